#!/usr/bin/env bash
# Prints the CUDA toolkit, the GPUs, and the -gencode options that nvcc needs for these GPUs.
# Usage: scripts/get_gpu_version.sh
set -euo pipefail

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2> /dev/null || true)
known=
if [ -n "$nvcc" ]; then
  echo "CUDA toolkit: $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p') ($nvcc)"
  # nvcc has had this option since CUDA 11; without it the list stays empty.
  known=$("$nvcc" --list-gpu-arch 2> /dev/null | sed -n 's/^compute_\([0-9]*\)$/\1/p' | sort -n || true)
else
  echo "CUDA toolkit: none (no nvcc on the path, nor in /usr/local/cuda);" \
    "the GFPQ library needs none, Caffe's GPU build does"
fi

# Lines of: index, name, compute capability, driver. nvidia-smi prints its errors on standard output too, so only lines
# with a compute capability count. Drivers before 510 do not know the field compute_cap; `gfpq info` works with them.
if ! gpus=$(nvidia-smi --query-gpu=index,name,compute_cap,driver_version --format=csv,noheader 2> /dev/null); then
  gpus=
fi
gpus=$(grep -E ', [0-9]+\.[0-9]+, ' <<< "$gpus" || true)
gfpq=$(command -v "${GFPQ:-gfpq}" || ls "$(dirname -- "$0")/../target/release/gfpq" 2> /dev/null || true)
if [ -z "$gpus" ] && [ -n "$gfpq" ]; then
  gpus=$("$gfpq" info 2> /dev/null | sed -n 's/^GPU  \(.*\), compute capability \([0-9]*\.[0-9]*\).*/\1, \2, /p' |
    awk '{ print NR - 1 ", " $0 }' || true)
fi

if [ -z "$gpus" ]; then
  echo "GPU: none that nvidia-smi or gfpq shows"
  # One option for each architecture of nvcc.
  numbers=$known
else
  # shellcheck disable=SC2001 # The end of each line, which ${gpus//…} cannot say.
  while IFS=, read -r index name capability driver; do
    echo "GPU $index:${name}, compute capability${capability}${driver:+, driver$driver}"
  done <<< "$(sed 's/, $//' <<< "$gpus")"
  numbers=$(cut -d , -f 3 <<< "$gpus" | tr -d ' .' | sort -nu)
fi

newest=$(tail -n 1 <<< "$known")
for number in $numbers; do
  if [ -z "$known" ] || grep -qx "$number" <<< "$known"; then
    echo "-gencode arch=compute_$number,code=sm_$number"
  else
    echo "compute capability ${number%?}.${number: -1} is not one of this nvcc's: $(tr '\n' ' ' <<< "$known")"
    [ "$number" -lt "$newest" ] || echo "-gencode arch=compute_$newest,code=compute_$newest"
  fi
done
