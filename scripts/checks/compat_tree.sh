#!/usr/bin/env bash
# Makes OUT, a copy of an unpatched Caffe tree with only the compatibility edits, which today's compilers and libraries
# need. scripts/checks/same_training.py compares it with a patched Caffe whose quantisation is off.
# Usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT
set -euo pipefail

root=$(realpath "${1:?usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT}")
out=$(realpath -m "${2:?usage: scripts/checks/compat_tree.sh CAFFE_ROOT OUT}")
cd "$(dirname "$0")/../.."
gfpq=$(realpath "${CARGO_TARGET_DIR:-target}/release/gfpq")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

rm -rf "$out"
cp -a "$root" "$scratch/all"
cp -a "$root" "$scratch/rest"
cp -a "$root" "$out"
"$gfpq" patch apply "$scratch/all" > /dev/null
"$gfpq" patch apply --no-compat "$scratch/rest" > /dev/null

# The compatibility edits are the difference between the patch with and without --no-compat.
diff -ru --exclude=.gfpq "$scratch/rest" "$scratch/all" > "$scratch/compat.diff" || true
test -s "$scratch/compat.diff"
(cd "$out" && patch --quiet -p"$(tr -cd / <<< "$scratch/all/" | wc -c)" < "$scratch/compat.diff")

# The Makefile.config for this machine, without the quantiser's lines.
grep -vi gfpq "$scratch/all/Makefile.config" > "$out/Makefile.config"

if grep -rqi gfpq "$out/src" "$out/include" "$out/Makefile" "$out/Makefile.config"; then
  echo "compat_tree.sh: $out still has lines of the quantiser" >&2
  exit 1
fi
echo "$out: $(grep -c '^+++' "$scratch/compat.diff") files with compatibility edits, and a Makefile.config"
