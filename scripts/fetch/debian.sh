# shellcheck shell=bash
# Sourced by the fetch scripts: packages from Debian's archive, through an apt configuration of their own. The system's
# package lists and its installed packages stay as they are.

# shellcheck source=scripts/build/folders.sh
source scripts/build/folders.sh

# Prints the URL of the Debian mirror that this machine's own apt sources name.
debian_mirror() {
  # shellcheck disable=SC2016 # $(SITE) and the others are apt's fields.
  apt-get indextargets --format '$(SITE) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk '/ Debian / && !/security/ { print $3; exit }'
}

# Sets the array `apt` to the apt-get command for the packages of one Debian release.
# Usage: private_apt SCRATCH_FOLDER deb|deb-src SUITE COMPONENT…
private_apt() {
  local scratch=$1 types=$2 suite=$3 mirror
  shift 3
  mirror=$(debian_mirror)
  if [ -z "$mirror" ]; then
    # An archive's origin is known from its index only, so without package lists no mirror is found.
    apt-get update -qq >&2 || true
    mirror=$(debian_mirror)
  fi
  if [ -z "$mirror" ]; then
    echo "$(basename -- "$0"): this machine's apt sources name no Debian mirror: add one" >&2
    return 1
  fi

  mkdir -p "$scratch/parts" "$scratch/lists/partial" "$scratch/cache/archives/partial"
  cat > "$scratch/parts/debian.sources" <<SOURCES
Types: $types
URIs: $mirror
Suites: $suite
Components: $*
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  apt=(apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$scratch/parts"
    -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
}

# Unpacks the original archives of a Debian source package into DIR, which must be empty or not exist. DIR gets its files
# only when they are complete, so an interrupted run leaves no half of them. Runs in a subshell, which removes its scratch
# folder when it ends.
# Usage: unpack_source SUITE PACKAGE DIR [TAR_ARGUMENT…]      without tar arguments, all files are unpacked
unpack_source() (
  local suite=$1 package=$2 to=$3 scratch archive
  shift 3
  is_free "$to" || refuse "$to"
  mkdir -p -- "$(dirname -- "$to")"
  scratch=$(mktemp -d -p "$(dirname -- "$to")" .source.XXXXXX)
  trap 'rm -rf -- "$scratch"' EXIT
  private_apt "$scratch" deb-src "$suite" main
  (cd "$scratch" && "${apt[@]}" source --download-only "$package" >&2)

  mkdir "$scratch/files"
  for archive in "$scratch/${package}"_*.orig*.tar.[gx]z; do
    tar -xf "$archive" -C "$scratch/files" --no-same-owner --no-same-permissions --touch "$@"
  done
  place "$scratch/files" "$to"
)
