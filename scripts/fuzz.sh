#!/usr/bin/env bash
# Coverage-guided fuzzing (cargo-fuzz, libFuzzer) of a parser: prototxt or caffemodel. It starts from the files of that
# kind in the CORPUS folders. New inputs are kept in target/fuzz/prototxt (or caffemodel), inputs that fail in
# target/fuzz/artifacts.
# Usage: scripts/fuzz.sh prototxt|caffemodel [SECONDS=3600] [CORPUS…]
set -euo pipefail

name=${1:?usage: scripts/fuzz.sh prototxt|caffemodel [SECONDS] [CORPUS…]}
seconds=${2:-3600}
corpus=()
for folder in "${@:3}"; do
  corpus+=("$(realpath -- "$folder")")
done

CDPATH='' cd -- "$(dirname -- "$0")/.."
if [ ! -e "tests/fuzz/$name.rs" ] || [ "$name" != "$(basename -- "$name")" ]; then
  echo "fuzz.sh: there is no target $name: name prototxt or caffemodel" >&2
  exit 2
fi
work=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")/fuzz
mkdir -p -- "$work/$name" "$work/artifacts"
files=$(mktemp -d -p "$work" "$name.XXXXXX")
trap 'rm -rf -- "$files"' EXIT

# libFuzzer takes every file of a folder as an input, so the corpus files are copied out of their trees.
if [ "$name" = prototxt ]; then
  corpus+=("$PWD/tests/fixtures")
fi
[ ${#corpus[@]} -eq 0 ] || find "${corpus[@]}" -type f -name "*.$name" -size -64k \
  -exec cp --backup=numbered -t "$files" {} +

# Debug assertions and overflow checks are on. Sanitizers would need a nightly toolchain, and the parsers have no unsafe
# code for them to check.
command -v cargo-fuzz > /dev/null || cargo install --quiet --locked cargo-fuzz@0.13.2
options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=65536 -artifact_prefix="$work/artifacts/")
[ "$name" != prototxt ] || options+=(-dict=tests/fuzz/prototxt.dict)
cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none --target-dir "$work/build" "$name" \
  "$work/$name" "$files" -- "${options[@]}"
