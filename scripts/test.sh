#!/usr/bin/env bash
# Installs what the tests need and runs all of them: the Rust tests, the comparison with the vendor's library, the Python
# tests, and a real Caffe that is patched, built (also for GPUs), tested, trained and restored. About half an hour on two
# cores.
# Usage: scripts/test.sh [NAME…]      runs only these steps; their names are in the last lines of this file
set -uo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1
# shellcheck source=scripts/build/folders.sh
source scripts/build/folders.sh
target=${CARGO_TARGET_DIR:-target}
gfpq=$target/release/gfpq
caffe=$target/test/caffe
python=${PYTHON:-/usr/bin/python3}
passed=0
failed=()
wanted=("$@")
claim test.sh "$target/test"

# Runs a step; a failure is counted, and the next step runs all the same.
# Usage: step NAME COMMAND…
step() {
  local name=$1
  shift
  if [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]]; then
    return
  fi
  printf '\n== %s\n' "$name"
  local start=$SECONDS
  # As the condition of the `if`, the subshell would ignore -e.
  (set -e; "$@")
  # shellcheck disable=SC2181 # The reason is the comment above.
  if [ $? -eq 0 ]; then
    passed=$((passed + 1))
    echo "ok: $name, $((SECONDS - start)) s"
  else
    failed+=("$name")
    echo "FAILED: $name, $((SECONDS - start)) s"
  fi
}

rust_style() {
  cargo fmt --check
  cargo clippy --release --all-targets --quiet -- --deny warnings
}

# Every shell script, those that others source included.
shell_style() {
  scripts/setup.sh shellcheck
  find scripts tests .ci -type f \( -name '*.sh' -o -path '*/stand_ins/*' -o -path .ci/run \) \
    -exec shellcheck --external-sources {} +
}

rust_tests() { cargo test --release; }

# Patching under kills, full disks and errors at disk calls, on a mounted folder, and as root on a user's tree.
patch_faults() {
  scripts/setup.sh git strace
  cargo test --release --test patch faults -- --ignored --nocapture
}

# The CUDA kernels: all float32 patterns on the host, and every architecture that each NVRTC and ptxas compiles for.
gpu_kernels() {
  GFPQ_NVRTC=$(scripts/fetch/nvrtc.sh)
  export GFPQ_NVRTC
  cargo test --release --test cuda -- --include-ignored --nocapture
}

vendor_library() {
  local lib
  lib=$(scripts/vendor.sh)
  GFPQ_VENDOR_LIB=$lib cargo test --release --test quant vendor -- --ignored
}

stock_caffe() {
  scripts/fetch/get_caffe.sh "$target/test/stock"
  scripts/checks/check_tree.sh "$target/test/stock"
}

prototxts() {
  scripts/fetch/get_prototxts.sh "$target/test/forks"
  "$python" scripts/checks/prototxt_trees.py "$target/test/stock" "$target/test/forks"
}

build_caffe() {
  rm -rf "$caffe" "$target/test/digits"
  cp -a "$target/test/stock" "$caffe"
  "$gfpq" patch apply "$caffe"
  make -C "$caffe" clean > /dev/null
  scripts/build/build_caffe.sh "$caffe" pycaffe
}

# The patch's gtests, and those of Caffe's own gtests that its edits could break.
gtests() {
  local bins=() name
  for name in quant_layer weight_quantizer batch_norm_folding net protobuf; do
    bins+=(".build_release/test/test_$name.testbin")
  done
  scripts/build/build_caffe.sh "$caffe" "${bins[@]}"
  for name in "${bins[@]}"; do
    "$caffe/$name" --gtest_filter='-*GPU*' > "$target/test/gtest.log" 2>&1 || {
      tail -n 40 "$target/test/gtest.log"
      false
    }
    tail -n 1 "$target/test/gtest.log"
  done
}

nets_in_caffe() {
  PYTHONPATH=$caffe/python OPENBLAS_NUM_THREADS=1 "$python" scripts/checks/prototxt_caffe.py --gfpq "$gfpq" \
    "$target/test/stock" "$target/test/forks"
}

python_tests() {
  PYTHONPATH=$caffe/python:scripts GFPQ=$gfpq GFPQ_LIB=$target/dist/GFPQLibs/lib/libgfpq.so.1 \
    "$python" -m unittest discover -s tests/python -v
}

# One example that keeps its accuracy when it is quantised, and one that loses it.
short_training() {
  PYTHONPATH=$caffe/python OPENBLAS_NUM_THREADS=1 "$python" scripts/sample/digits/digits.py "$target/test/digits" \
    --gfpq "$gfpq" --examples lenet motion --seeds 1
  "$python" - "$target/test/digits/report.json" <<'EOF'
import json, sys

for row in json.load(open(sys.argv[1]))["results"]:
    ruined = row["example"] == "motion" and row["bits"] == 8 and row["stage"] == "quantised"
    assert min(row["accuracy"]) < 0.8 if ruined else min(row["accuracy"]) > 0.93, row
EOF
}

# A Caffe with only the compatibility edits must train exactly as the patched one does with quantisation off.
same_training() {
  scripts/checks/compat_tree.sh "$target/test/stock" "$target/test/plain"
  scripts/build/build_caffe.sh "$target/test/plain" pycaffe
  "$python" scripts/checks/same_training.py "$target/test/plain" "$caffe" --gfpq "$gfpq"
}

# `gfpq patch revert` must restore the tree byte for byte, once the files that make and Python wrote are gone.
give_back() {
  make -C "$caffe" clean > /dev/null
  find "$caffe/python" -name __pycache__ -prune -exec rm -rf {} +
  "$gfpq" patch revert "$caffe"
  diff -r --no-dereference "$target/test/stock" "$caffe"
}

step setup scripts/setup.sh
step package scripts/package.sh
step rust_style rust_style
step shell_style shell_style
step shell_tests tests/scripts/run.sh
step dependencies scripts/checks/dependencies.py
step rust_tests rust_tests
step patch_faults patch_faults
step memory_orderings cargo test --release --manifest-path tests/loom/Cargo.toml --target-dir "$target/loom"
step gpu_kernels gpu_kernels
step vendor_library vendor_library
step swap tests/swap/run.sh
step second_rust tests/swap/second_rust.sh
step hardening tests/swap/hardening.sh
step stock_caffe stock_caffe
step lint scripts/checks/lint.sh "$target/test/stock"
step prototxts prototxts
step build_caffe build_caffe
step gtests gtests
step nets_in_caffe nets_in_caffe
step python_tests python_tests
step short_training short_training
step same_training same_training
step give_back give_back
step gpu_build scripts/test_gpu_build.sh

echo
for name in "${failed[@]}"; do
  echo "failed: $name"
done
echo "$passed passed, ${#failed[@]} failed"
[ ${#failed[@]} -eq 0 ] && [ "$passed" -gt 0 ]
