#!/usr/bin/env bash
# Patches stock Caffe on a machine that has a CUDA toolkit, builds its GPU side, and imports it. Needs no GPU: the toolkit
# is Debian's, unpacked apart from the system (scripts/fetch/cuda_toolkit.sh), and one architecture stands for all.
# Usage: scripts/test_gpu_build.sh [MAKE_TARGET…]      what to build, pycaffe if nothing is given
set -euo pipefail

cd "$(dirname "$0")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
python=${PYTHON:-/usr/bin/python3}
caffe=$target/test/gpu_caffe
cuda=$target/cuda
scripts/fetch/cuda_toolkit.sh "$cuda"
scripts/fetch/get_caffe.sh "$target/test/stock"
export PATH=$cuda/bin:$cuda/usr/bin:$PATH

rm -rf "$caffe"
cp -a "$target/test/stock" "$caffe"
"$target/release/gfpq" patch apply "$caffe"
config() { grep -qxF "$1" "$caffe/Makefile.config" || { echo "test_gpu_build.sh: Makefile.config lacks: $1" >&2; exit 1; }; }
config "CUDA_DIR := $cuda"
config "# CPU_ONLY := 1"
if grep -q compute_20 "$caffe/Makefile.config"; then
  echo "test_gpu_build.sh: Makefile.config has architectures that this nvcc refuses" >&2
  exit 1
fi
scripts/build/build_caffe.sh "$caffe" "${@:-pycaffe}" "CUDA_ARCH=-gencode arch=compute_60,code=sm_60"

readelf -d "$caffe/build/lib/libcaffe.so" | grep -q 'NEEDED.*libgfpq_gpu.so.1'
LD_LIBRARY_PATH=$cuda/lib64 PYTHONPATH=$caffe/python "$python" -W ignore - <<'PYTHON'
import caffe

assert "Quant" in caffe.layer_type_list()
print("a GPU build of Caffe: linked with libgfpq_gpu, imported")
PYTHON
