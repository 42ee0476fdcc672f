#!/usr/bin/env bash
# Downloads NVRTC and ptxas, the compiler and the assembler of CUDA kernels, from NVIDIA's packages on PyPI: those of CUDA
# 11.8, which the embedded PTX is made with, and of the newest CUDA 12 and 13. Prints the folder that they are in; it has
# a subfolder for each major version. Needs pip (scripts/setup.sh installs it).
# Usage: GFPQ_NVRTC=$(scripts/fetch/nvrtc.sh) cargo test --test cuda
set -euo pipefail

cd "$(dirname "$0")/../.."
folder=${CARGO_TARGET_DIR:-$PWD/target}/nvrtc

# Downloads packages into the subfolder of a major version, if that does not exist yet.
# Usage: fetch MAJOR PACKAGE…
fetch() {
  local major=$1
  shift
  [ ! -e "$folder/$major" ] || return 0

  local scratch
  scratch=$(mktemp -d)
  /usr/bin/python3 -m pip download --quiet --no-deps --dest "$scratch" "$@" >&2
  rm -rf "$folder/$major.part"
  mkdir -p "$folder/$major.part"
  /usr/bin/python3 - "$folder/$major.part" "$scratch"/*.whl <<'PYTHON'
import os, sys, zipfile

folder, *wheels = sys.argv[1:]
for wheel in map(zipfile.ZipFile, wheels):
    for member in wheel.namelist():
        name = os.path.basename(member)
        if name == "ptxas" or name.startswith("libnvrtc") and ".alt." not in name:
            path = os.path.join(folder, name)
            with open(path, "wb") as out:
                out.write(wheel.read(member))
            os.chmod(path, 0o755)
PYTHON
  rm -rf "$scratch"
  mv "$folder/$major.part" "$folder/$major"
}

mkdir -p "$folder"
fetch 11 nvidia-cuda-nvrtc-cu11==11.8.89 nvidia-cuda-nvcc-cu11==11.8.89
fetch 12 nvidia-cuda-nvrtc-cu12 nvidia-cuda-nvcc-cu12
fetch 13 nvidia-cuda-nvrtc nvidia-cuda-nvcc
echo "$folder"
