#!/usr/bin/env bash
# Builds and packages the last commit twice, in two new folders, with other paths, another package cache, another umask and
# another time zone, and compares the results byte for byte. Takes the time of two complete builds, so it is run by hand.
# Usage: scripts/build/reproducible.sh
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cargo_home=${CARGO_HOME:-$HOME/.cargo}
unset CARGO_TARGET_DIR SOURCE_DATE_EPOCH

# Usage: build FOLDER      leaves the hashes of what is packaged in FOLDER.txt
build() {
  git clone --quiet -- "$PWD" "$1"
  (cd "$1" && scripts/package.sh)
  (cd "$1/target" && find dist/*.tgz dist/GFPQLibs release/gfpq -type f ! -name '.made-by-*' -print0 | LC_ALL=C sort -z |
    xargs -0 sha256sum) > "$1.txt"
}

build "$scratch/first"
mkdir "$scratch/cargo"
ln -s "$cargo_home/registry" "$scratch/cargo/registry"
(umask 077; CARGO_HOME=$scratch/cargo TZ=Pacific/Auckland build "$scratch/second folder with a longer name")
if ! diff "$scratch/first.txt" "$scratch/second folder with a longer name.txt"; then
  echo "reproducible.sh: the two builds differ in these files" >&2
  exit 1
fi
cat "$scratch/first.txt"
echo "$(wc -l < "$scratch/first.txt") files, the same bytes from both builds"
