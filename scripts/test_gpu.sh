#!/usr/bin/env bash
# All that needs a GPU, in one command of a few minutes: the quantiser bit for bit against the CPU, the same under
# compute-sanitizer, its throughput, and, in a GPU build of Caffe, the layers' own tests. What cannot be done is skipped
# with its reason. Takes the built library (scripts/package.sh), Python 3 with NumPy, and an NVIDIA driver; no Rust.
# Usage: scripts/test_gpu.sh [GFPQLIBS=target/dist/GFPQLibs] [CAFFE_ROOT]
set -uo pipefail

cd "$(dirname "$0")/.."
libs=$(realpath -m "${1:-${CARGO_TARGET_DIR:-target}/dist/GFPQLibs}")
caffe=${2:-}
python=${PYTHON:-python3}
export GFPQ_LIB=$libs/lib/libgfpq.so.1 PYTHONPATH=scripts
failed=0
run() {
  echo "== $*"
  "$@" || { failed=$((failed + 1)); echo "FAILED: $*"; }
}

scripts/get_gpu_version.sh
if [ ! -e "$GFPQ_LIB" ]; then
  echo "test_gpu.sh: no $GFPQ_LIB: run scripts/package.sh" >&2
  exit 1
fi
run "$python" tests/python/test_gpu.py -v
if ! nvidia-smi > /dev/null 2>&1; then
  echo "SKIPPED: compute-sanitizer, throughput and Caffe, for want of a GPU"
  exit "$failed"
fi
if command -v compute-sanitizer > /dev/null; then
  for tool in memcheck racecheck initcheck; do
    GFPQ_SHORT=1 run compute-sanitizer --tool "$tool" --error-exitcode 1 --target-processes all \
      "$python" tests/python/test_gpu.py Quantiser.test_random Quantiser.test_golden
  done
else
  echo "SKIPPED: compute-sanitizer is not on the path"
fi
run "$python" scripts/bench_gpu.py --library "$libs/lib/libgfpq_gpu.so.1"
if [ -n "$caffe" ]; then
  for name in quant_layer weight_quantizer; do
    run "$caffe/.build_release/test/test_$name.testbin" --gtest_filter='*GPU*'
  done
else
  echo "SKIPPED: Caffe in GPU mode; give the root of a patched GPU build (make pycaffe test) as the second argument"
fi
[ "$failed" -eq 0 ]
