#!/usr/bin/env bash
# Patches stock Caffe with a CUDA toolkit on the path, builds its GPU side for one architecture, and imports it. Needs no
# GPU and no installed toolkit: scripts/fetch/cuda_toolkit.sh unpacks Debian's in a folder of its own.
# Usage: scripts/test_gpu_build.sh [MAKE_TARGET…]      the targets to build; pycaffe without arguments
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/.."
# shellcheck source=scripts/build/folders.sh
source scripts/build/folders.sh
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
python=${PYTHON:-/usr/bin/python3}
caffe=$target/test/gpu_caffe
cuda=$target/cuda

claim test.sh "$target/test"
scripts/fetch/cuda_toolkit.sh "$cuda"
scripts/fetch/get_caffe.sh "$target/test/stock"
export PATH=$cuda/bin:$cuda/usr/bin:$PATH

rm -rf -- "$caffe"
cp -a "$target/test/stock" "$caffe"
"$target/release/gfpq" patch apply "$caffe"
# Fails unless Makefile.config has this line.
config() {
  grep -qxF "$1" "$caffe/Makefile.config" || {
    echo "test_gpu_build.sh: Makefile.config has no line: $1" >&2
    exit 1
  }
}
config "CUDA_DIR := $cuda"
config "# CPU_ONLY := 1"
if grep -q compute_20 "$caffe/Makefile.config"; then
  echo "test_gpu_build.sh: Makefile.config names architectures that this nvcc does not know" >&2
  exit 1
fi
# The libraries of the data layers play no part on the GPU, and nvcc's older host compiler would have to read them.
scripts/build/build_caffe.sh "$caffe" "${@:-pycaffe}" "CUDA_ARCH=-gencode arch=compute_60,code=sm_60" \
  USE_OPENCV=0 USE_LMDB=0 USE_LEVELDB=0

readelf -d "$caffe/build/lib/libcaffe.so" | grep -q 'NEEDED.*libgfpq_gpu.so.1'
LD_LIBRARY_PATH=$cuda/lib64 PYTHONPATH=$caffe/python "$python" -W ignore - <<'PYTHON'
import caffe

assert "Quant" in caffe.layer_type_list()
print("a GPU build of Caffe: linked with libgfpq_gpu, imported")
PYTHON
