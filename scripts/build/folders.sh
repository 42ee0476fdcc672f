# shellcheck shell=bash
# Sourced by the scripts that write whole folders. They remove and replace nothing that they did not make: a folder that a
# script fills must not exist or be empty, and one that a script makes anew on every run carries a mark.

# The file that marks a folder. It names the script and the folder, so that a copy of the folder, in which somebody may have
# worked, has no valid mark.
folder_mark=.made-by-a-gfpq-script

# Ends the script with one line about a folder or file that it would have to remove.
refuse() {
  echo "$(basename -- "$0"): $1 exists, and this script did not make it: name another folder, or move it away" >&2
  exit 1
}

# Usage: is_free PATH      succeeds if there is nothing at PATH, or an empty folder
is_free() {
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    [ -z "$(ls -A -- "$1")" ]
  else
    [ ! -e "$1" ] && [ ! -L "$1" ]
  fi
}

# The content of the mark. Usage: mark_of FOLDER SCRIPT
mark_of() { echo "made by $2 as $(realpath -m -- "$1"), and removed by it without a question"; }

# Usage: is_made_by SCRIPT FOLDER
is_made_by() { [ ! -L "$2" ] && [ "$(cat -- "$2/$folder_mark" 2> /dev/null)" = "$(mark_of "$2" "$1")" ]; }

# Makes FOLDER and marks it as one that SCRIPT may empty. Ends the script if there is another's.
# Usage: claim SCRIPT FOLDER
claim() {
  ! is_made_by "$1" "$2" || return 0
  is_free "$2" || refuse "$2"
  mkdir -p -- "$2"
  mark_of "$2" "$1" > "$2/$folder_mark"
}

# Gives the complete folder NEW its name FOLDER and marks it; what SCRIPT had made there before is removed. Ends the script
# if there is another's. Usage: replace SCRIPT NEW FOLDER
replace() {
  if is_made_by "$1" "$3"; then
    rm -rf -- "$3"
  fi
  mark_of "$3" "$1" > "$2/$folder_mark"
  place "$2" "$3"
}

# Gives the complete folder NEW its name FOLDER. Ends the script if there is something.
# Usage: place NEW FOLDER
place() {
  is_free "$2" || refuse "$2"
  # Not into a folder that appeared meanwhile (-T), and not over one with files in it (rename).
  mv -T -- "$1" "$2"
}
