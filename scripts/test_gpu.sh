#!/usr/bin/env bash
# All that needs a GPU, in one command of a few minutes: the quantiser bit for bit against the CPU, the same under
# compute-sanitizer, its throughput, and, in a GPU build of Caffe, the layers' own tests, that a Quant layer does not wait
# for the GPU, and a short training. What cannot be done is skipped with its reason.
# Takes the built library (scripts/package.sh), Python 3 with NumPy, and an NVIDIA driver; the training also the program
# gfpq, h5py and scikit-learn.
# Usage: scripts/test_gpu.sh [GFPQLIBS=target/dist/GFPQLibs] [CAFFE_ROOT]
set -uo pipefail

libs=${1:+$(realpath -m "$1")}
caffe=${2:+$(realpath -m "$2")}
cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
libs=${libs:-$target/dist/GFPQLibs}
python=${PYTHON:-python3}
gfpq=${GFPQ:-$(command -v gfpq || echo "$target/release/gfpq")}
export GFPQ_LIB=$libs/lib/libgfpq.so.1 PYTHONPATH=scripts
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
run() {
  echo "== $*"
  "$@" || { failed=$((failed + 1)); echo "FAILED: $*"; }
}

# Caffe numbers a suite's types: 2 and 3 are those on the GPU. None of them run is no success.
gpu_tests() {
  "$caffe/.build_release/test/test_$1.testbin" --gtest_filter='*/2.*:*/3.*' > "$scratch/gtest.log" 2>&1 &&
    grep -q '\[  PASSED  \] [1-9]' "$scratch/gtest.log"
  local result=$?
  [ "$result" -eq 0 ] && tail -n 1 "$scratch/gtest.log" || tail -n 40 "$scratch/gtest.log"
  return "$result"
}

quant_does_not_wait() {
  GFPQ_GPU_CAFFE=$caffe PYTHONPATH=$caffe/python:scripts "$python" tests/python/test_gpu_caffe.py -v
}

training() {
  PYTHONPATH=$caffe/python "$python" scripts/sample/digits/digits.py "$scratch/digits" --gfpq "$gfpq" --gpu 0 \
    --examples lenet --seeds 1 &&
    "$python" - "$scratch/digits/report.json" <<'PYTHON'
import json, sys

for row in json.load(open(sys.argv[1]))["results"]:
    assert min(row["accuracy"]) > 0.94, row
PYTHON
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
if [ -z "$caffe" ]; then
  echo "SKIPPED: Caffe in GPU mode; give the root of a patched GPU build (make pycaffe test) as the second argument"
else
  for name in quant_layer weight_quantizer batch_norm_folding; do
    run gpu_tests "$name"
  done
  run quant_does_not_wait
  if [ ! -x "$gfpq" ]; then
    echo "SKIPPED: a training in GPU mode; it takes the program gfpq, on the path or named by GFPQ"
  elif ! "$python" -c 'import h5py, sklearn' 2> /dev/null; then
    echo "SKIPPED: a training in GPU mode; $python has no h5py or scikit-learn"
  else
    run training
  fi
fi
[ "$failed" -eq 0 ]
