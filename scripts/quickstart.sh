#!/usr/bin/env bash
# From a plain Caffe to a retrained, quantised network: builds this project, patches and builds Caffe, trains LeNet on
# handwritten digits and prints what quantisation costs before and after retraining. A second run reuses what is built.
# Usage: scripts/quickstart.sh [--caffe DIR] [--seeds N]
#   --caffe DIR   your own Caffe tree, which is patched and built anew in place; without it, BVLC's is downloaded into
#                 target/caffe
set -euo pipefail

caffe=
seeds=5
while [ $# -gt 0 ]; do
  case $1 in
    --caffe) caffe=$(realpath -- "${2:?--caffe takes a folder}"); shift 2 ;;
    --seeds) seeds=${2:?--seeds takes a number}; shift 2 ;;
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
done

CDPATH='' cd -- "$(dirname -- "$0")/.."
python=${PYTHON:-/usr/bin/python3}
target=${CARGO_TARGET_DIR:-target}
gfpq=$target/release/gfpq

step() { printf '\n== %s\n' "$*"; }

command -v cargo > /dev/null || {
  echo "quickstart.sh: no Rust toolchain: install cargo and rustc 1.89 or later" >&2
  exit 1
}
step "1/5 Packages that Caffe's build needs"
scripts/setup.sh

step "2/5 The quantiser and the patch"
scripts/package.sh

step "3/5 Caffe"
if [ -z "$caffe" ]; then
  caffe=$target/caffe
  scripts/fetch/get_caffe.sh "$caffe"
fi
applied=$("$gfpq" patch apply "$caffe")
echo "$applied"

step "4/5 make pycaffe (a few minutes the first time)"
if [[ $applied != *"already patched"* ]] || [ ! -e "$caffe/python/caffe/_caffe.so" ]; then
  make -C "$caffe" clean
fi
scripts/build/build_caffe.sh "$caffe" pycaffe

step "5/5 LeNet on handwritten digits: float, quantised, retrained ($seeds seeds)"
PYTHONPATH=$caffe/python OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1} "$python" scripts/sample/digits/digits.py \
  "$target/quickstart" --gfpq "$gfpq" --examples lenet --seeds "$seeds"

cat <<EOF

The table is in $target/quickstart/report.json too. Next, with your own network:
  $gfpq patch apply YOUR_CAFFE                      the same patch for your own Caffe tree
  (cd YOUR_CAFFE; make clean; make pycaffe tools -j)
  scripts/finetune.py solver.prototxt float.caffemodel -o retrained --caffe YOUR_CAFFE
  scripts/diagnose.py train_val.prototxt float.caffemodel -o diagnosis --caffe YOUR_CAFFE
  $gfpq prototxt strip-quant …                      the deploy file for the NNIE compiler
README.md explains each step.
EOF
