#!/usr/bin/env bash
# Fuzzes a parser, guided by coverage (cargo-fuzz, libFuzzer): prototxt or caffemodel. It starts from the real files in
# CORPUS folders; what it finds stays in target/fuzz/prototxt (or caffemodel), and a text that fails in target/fuzz/artifacts.
# Usage: scripts/fuzz.sh prototxt|caffemodel [SECONDS=3600] [CORPUS…]
set -euo pipefail

name=${1:?usage: scripts/fuzz.sh prototxt|caffemodel [SECONDS] [CORPUS…]}
seconds=${2:-3600}
corpus=()
for folder in "${@:3}"; do
  corpus+=("$(realpath "$folder")")
done
cd "$(dirname "$0")/.."
work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
rm -rf "$work/$name.files"
mkdir -p "$work/$name" "$work/artifacts" "$work/$name.files"

# libFuzzer takes each file of a folder as a text; they are found wherever they lie.
if [ "$name" = prototxt ]; then
  corpus+=("$PWD/tests/fixtures")
fi
[ ${#corpus[@]} -eq 0 ] || find "${corpus[@]}" -type f -name "*.$name" -size -64k \
  -exec cp --backup=numbered -t "$work/$name.files" {} +

# Debug assertions and overflow checks are on; sanitisers want another toolchain, and the parsers have no unsafe code.
command -v cargo-fuzz > /dev/null || cargo install --quiet --locked cargo-fuzz@0.13.2
options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -max_len=65536 -artifact_prefix="$work/artifacts/")
[ "$name" != prototxt ] || options+=(-dict=tests/fuzz/prototxt.dict)
exec cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none --target-dir "$work/build" "$name" \
  "$work/$name" "$work/$name.files" -- "${options[@]}"
