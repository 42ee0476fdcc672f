#!/usr/bin/env bash
# Runs everything that needs a GPU, in a few minutes: compares the quantiser with the CPU bit for bit, also under
# compute-sanitizer, and measures its throughput. In a GPU build of Caffe it runs the layers' gtests, checks that a Quant
# layer does not wait for the GPU, and trains for a short time. A step that cannot run is skipped with the reason.
# Needs the built library (scripts/package.sh), Python 3 with NumPy, and an NVIDIA driver; the training also needs the
# program gfpq, h5py and scikit-learn.
# Usage: scripts/test_gpu.sh [GFPQLIBS=target/dist/GFPQLibs] [CAFFE_ROOT]
set -uo pipefail

libs=${1:+$(realpath -m -- "$1")}
caffe=${2:+$(realpath -m -- "$2")}
CDPATH='' cd -- "$(dirname -- "$0")/.." || exit 1
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
libs=${libs:-$target/dist/GFPQLibs}
python=${PYTHON:-python3}
gfpq=${GFPQ:-$(command -v gfpq || echo "$target/release/gfpq")}
export GFPQ_LIB=$libs/lib/libgfpq.so.1 PYTHONPATH=scripts
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
failed=0

# Runs a step; a failure is counted, and the next step runs all the same.
run() {
  echo "== $*"
  "$@" || { failed=$((failed + 1)); echo "FAILED: $*"; }
}

# Runs the GPU tests of one gtest program: the types 2 and 3 of Caffe's typed suites. Fails if no test ran.
gpu_tests() {
  "$caffe/.build_release/test/test_$1.testbin" --gtest_filter='*/2.*:*/3.*' > "$scratch/gtest.log" 2>&1 &&
    grep -q '\[  PASSED  \] [1-9]' "$scratch/gtest.log"
  local result=$? lines=40
  [ "$result" -ne 0 ] || lines=1
  tail -n "$lines" "$scratch/gtest.log"
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
  echo "SKIPPED: compute-sanitizer, throughput and Caffe: there is no GPU"
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
  echo "SKIPPED: Caffe in GPU mode: give the root of a patched GPU build (make pycaffe test) as the second argument"
else
  for name in quant_layer weight_quantizer batch_norm_folding; do
    run gpu_tests "$name"
  done
  run quant_does_not_wait
  if [ ! -x "$gfpq" ]; then
    echo "SKIPPED: training in GPU mode: no program gfpq; put it on the path, or name it in GFPQ"
  elif ! "$python" -c 'import h5py, sklearn' 2> /dev/null; then
    echo "SKIPPED: training in GPU mode: $python has no h5py or scikit-learn"
  else
    run training
  fi
fi
[ "$failed" -eq 0 ]
