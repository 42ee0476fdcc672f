#!/usr/bin/env bash
# Links libgfpq.a beside another Rust static library, which has its own copy of Rust's standard library, into one program,
# in both orders, and runs it. No symbol of one may satisfy, clash with or change a symbol of the other.
# Needs the built library (scripts/package.sh).
# Usage: tests/swap/second_rust.sh
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
libs=$(realpath "${CARGO_TARGET_DIR:-target}/dist/GFPQLibs")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Threads, a child process and a caught panic: the parts of the standard library that use weak symbols and unwinding.
cat > "$scratch/second.rs" <<'RUST'
#[unsafe(no_mangle)]
pub extern "C" fn second_sum(count: u64) -> u64 {
    let child = std::process::Command::new("true").status().expect("the child process starts");
    let sum = std::thread::spawn(move || (0..count).sum::<u64>()).join().expect("the thread ends");
    let panic = std::panic::catch_unwind(|| panic!("caught"));
    if child.success() && panic.is_err() { sum } else { 0 }
}
RUST
rustc --edition 2024 -O --crate-type staticlib -o "$scratch/libsecond.a" "$scratch/second.rs"

cat > "$scratch/main.cpp" <<'CPP'
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <vector>

#include "gfpq.hpp"

extern "C" unsigned long second_sum(unsigned long count);  // NOLINT

int main() {
  GFPQ_PARAM_ST param = GFPQ_PARAM_ST();
  // Large enough for the helper threads, in a library that starts them.
  std::vector<float> data(1 << 22);
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<float>(sin(static_cast<double>(i)));
  }
  param.mode = GFPQ_MODE_INIT;
  int code = HI_GFPQ_QuantAndDeQuant(&data[0], data.size(), 8, &param);
  const unsigned long sum = second_sum(1000);  // NOLINT
  // A refusal passes through the Rust side's error path.
  const int refused = HI_GFPQ_QuantAndDeQuant(&data[0], 1, 7, &param);
  // Quantised values stay as they are.
  std::vector<float> again = data;
  param.mode = GFPQ_MODE_APPLY_ONLY;
  code |= HI_GFPQ_QuantAndDeQuant(&again[0], again.size(), 8, &param);
  const bool is_same =
      memcmp(&data[0], &again[0], data.size() * sizeof(float)) == 0;
  printf("%d %d %lu %d %a\n", code, refused != 0, sum, is_same, data[1]);
  return code != 0 || refused == 0 || sum != 499500 || !is_same;
}
CPP

flags=(-std=c++11 -Wall -Wextra -I"$libs/include")
g++ "${flags[@]}" -c "$scratch/main.cpp" -o "$scratch/main.o"
for order in "$libs/lib/libgfpq.a|$scratch/libsecond.a" "$scratch/libsecond.a|$libs/lib/libgfpq.a"; do
  g++ "$scratch/main.o" "${order%|*}" "${order#*|}" -pthread -ldl -lm -o "$scratch/program"
  "$scratch/program" 2> /dev/null >> "$scratch/output.txt"
done
[ "$(sort -u "$scratch/output.txt" | wc -l)" -eq 1 ]

# Both archives define exactly the exported interface.
for lib in libgfpq libgfpq_gpu; do
  diff <(nm -g --defined-only "$libs/lib/$lib.a" | awk 'NF == 3 { print $3 }' | LC_ALL=C sort) src/ffi/symbols.txt
done
echo "second_rust: libgfpq.a and another Rust static library in one program, in both orders"
