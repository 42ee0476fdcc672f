#!/usr/bin/env bash
# Builds one program against the header and runs it with the vendor's library, with ours, and with ours linked statically.
# A second program tests what our library has beyond the vendor's.
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
libs=${CARGO_TARGET_DIR:-target}/dist/GFPQLibs
vendor=$(scripts/vendor.sh)
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
flags=(-std=c++11 -Wall -Wextra -I"$libs/include")
g++ "${flags[@]}" tests/swap/swap.cpp -L"$libs/lib" -lgfpq -o "$scratch/swap"
g++ "${flags[@]}" tests/swap/swap.cpp "$libs/lib/libgfpq.a" -pthread -ldl -lm -o "$scratch/swap_static"
g++ "${flags[@]}" tests/swap/swap.cpp -L"$libs/lib" -lgfpq_gpu -o "$scratch/swap_gpu"

# The vendor's library writes its error lines to the output, some without an end of line.
LD_LIBRARY_PATH=$(dirname -- "$vendor") "$scratch/swap" |
  sed -E 's/^\[ERR\]\S* Not Support GPU mode//; /^\[ERR\]/d' > "$scratch/vendor.txt"
LD_LIBRARY_PATH=$libs/lib "$scratch/swap" > "$scratch/ours.txt" 2> "$scratch/errors.txt"
LD_LIBRARY_PATH=$libs/lib "$scratch/swap_gpu" > "$scratch/gpu.txt" 2> /dev/null
"$scratch/swap_static" > "$scratch/static.txt" 2> /dev/null
for other in ours gpu static; do
  diff "$scratch/vendor.txt" "$scratch/$other.txt" || { echo "swap: $other differs from the vendor's library" >&2; exit 1; }
done
# Our library writes one line for each of the six refusals, and nothing else.
grep -c '^\[ERR\]\[HI_GFPQ_' "$scratch/errors.txt" | grep -qx 6
[ "$(wc -l < "$scratch/errors.txt")" -eq 6 ]
for lib in libgfpq libgfpq_gpu; do
  diff <(nm -D --defined-only "$libs/lib/$lib.so.1" | awk '{ print $3 }' | LC_ALL=C sort) src/ffi/symbols.txt
  readelf -d "$libs/lib/$lib.so.1" | grep -q "soname: \[$lib.so.1\]"
done
g++ "${flags[@]}" tests/swap/ext.cpp -L"$libs/lib" -lgfpq -o "$scratch/ext"
LD_LIBRARY_PATH=$libs/lib "$scratch/ext" 2> "$scratch/errors.txt"
[ "$(grep -c '^\[ERR\]\[\(HI_\)\?GFPQ_' "$scratch/errors.txt")" -eq 24 ]
[ "$(grep -c 'for GPU memory call the function of this name that ends in _GPU' "$scratch/errors.txt")" -eq 20 ]
for name in no_memory unload; do
  g++ "${flags[@]}" "tests/swap/$name.cpp" -pthread -ldl -o "$scratch/$name"
  "$scratch/$name" "$libs/lib/libgfpq.so.1" 2> "$scratch/errors.txt" || { tail "$scratch/errors.txt" >&2; exit 1; }
done
# valgrind stays silent over correct calls, those that look whether memory can be read included.
if command -v valgrind > /dev/null; then
  g++ "${flags[@]}" scripts/sample/sample.cpp -L"$libs/lib" -lgfpq -o "$scratch/sample"
  GFPQ_ARCH=scalar LD_LIBRARY_PATH=$libs/lib valgrind -q --error-exitcode=1 "$scratch/sample" 2> "$scratch/errors.txt" \
    > "$scratch/sample.txt"
  [ ! -s "$scratch/errors.txt" ]
fi
echo "swap: $(wc -l < "$scratch/ours.txt") calls, the same with the vendor's library and ours, shared and static"
