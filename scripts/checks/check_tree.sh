#!/usr/bin/env bash
# Applies and reverts the patch on a copy of a Caffe tree. A dry run and a second apply must change no byte, and a revert
# must restore every byte, also after an apply that was killed.
# Usage: scripts/checks/check_tree.sh CAFFE_ROOT
set -euo pipefail

root=$(realpath -- "${1:?usage: scripts/checks/check_tree.sh CAFFE_ROOT}")
CDPATH='' cd -- "$(dirname -- "$0")/../.."
gfpq=$(realpath "${CARGO_TARGET_DIR:-target}/release/gfpq")
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cp -a "$root" "$scratch/original"
cp -a "$root" "$scratch/tree"

# Fails with a message if two trees differ.
# Usage: same TREE TREE MESSAGE
same() { diff -r --no-dereference "$1" "$2" || { echo "check_tree.sh: $3" >&2; exit 1; }; }

"$gfpq" patch apply "$scratch/tree" --dry-run > "$scratch/dry_run.diff"
same "$scratch/original" "$scratch/tree" "a dry run changed the tree"
"$gfpq" patch apply "$scratch/tree" > /dev/null
cp -a "$scratch/tree" "$scratch/once"
"$gfpq" patch apply "$scratch/tree" > /dev/null
same "$scratch/once" "$scratch/tree" "a second apply changed the tree"
"$gfpq" patch status "$scratch/tree" > /dev/null
"$gfpq" patch revert "$scratch/tree" > /dev/null
same "$scratch/original" "$scratch/tree" "a revert did not restore the tree"

# The dry run's diff must be what apply does: patch(1) with it gives the same tree, except for binaries and the journal.
(cd "$scratch/original" && patch --quiet -p1 < "$scratch/dry_run.diff")
rm -rf "$scratch/once/.gfpq" "$scratch/once/GFPQLibs" "$scratch/original/GFPQLibs"
same "$scratch/original" "$scratch/once" "the dry run's diff is not what apply does"

# After a kill at any moment, apply must complete the patch and revert must undo it.
for delay in 0.002 0.004 0.008 0.012 0.016 0.024 0.032; do
  "$gfpq" patch apply "$scratch/tree" > /dev/null & apply=$!
  sleep "$delay"
  kill -9 "$apply" 2> /dev/null || true
  wait "$apply" 2> /dev/null || true
  "$gfpq" patch apply "$scratch/tree" > /dev/null
  "$gfpq" patch revert "$scratch/tree" > /dev/null
done
rm -rf "$scratch/original"
cp -a "$root" "$scratch/original"
same "$scratch/original" "$scratch/tree" "an interrupted apply left something behind"
echo "$root: dry run, apply, second apply, revert and interrupted applies: all passed"
