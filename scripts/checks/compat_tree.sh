#!/usr/bin/env bash
# Makes OUT, a copy of an unpatched Caffe tree with only the compatibility edits, which today's compilers and libraries
# need. scripts/checks/same_training.py compares it with a patched Caffe whose quantisation is off.
# OUT is made anew if this script made it; another's folder stays as it is.
# Usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT
set -euo pipefail

root=$(realpath -- "${1:?usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT}")
out=$(realpath -m -- "${2:?usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT}")
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# shellcheck source=scripts/build/folders.sh
source scripts/build/folders.sh
if [[ $root/ == "$out"/* || $out/ == "$root"/* ]]; then
  echo "compat_tree.sh: $out and $root are one folder, or one is in the other: name another OUT" >&2
  exit 1
fi
is_made_by compat_tree.sh "$out" || is_free "$out" || refuse "$out"
gfpq=$(realpath -- "${CARGO_TARGET_DIR:-target}/release/gfpq")
mkdir -p -- "$(dirname -- "$out")"
scratch=$(mktemp -d -p "$(dirname -- "$out")" .compat_tree.XXXXXX)
trap 'rm -rf -- "$scratch"' EXIT

new=$scratch/out
for copy in all rest out; do
  cp -a -- "$root" "$scratch/$copy"
done
"$gfpq" patch apply "$scratch/all" > /dev/null
"$gfpq" patch apply --no-compat "$scratch/rest" > /dev/null

# The compatibility edits are the difference between the patch with and without --no-compat.
(cd "$scratch" && diff -ru --exclude=.gfpq rest all) > "$scratch/compat.diff" || true
test -s "$scratch/compat.diff"
(cd "$new" && patch --quiet -p1 < "$scratch/compat.diff")

# The Makefile.config for this machine, without the quantiser's lines.
grep -vi gfpq "$scratch/all/Makefile.config" > "$new/Makefile.config"

if grep -rqi gfpq "$new/src" "$new/include" "$new/Makefile" "$new/Makefile.config"; then
  echo "compat_tree.sh: the tree still has lines of the quantiser" >&2
  exit 1
fi
replace compat_tree.sh "$new" "$out"
echo "$out: $(grep -c '^+++' "$scratch/compat.diff") files with compatibility edits, and a Makefile.config"
