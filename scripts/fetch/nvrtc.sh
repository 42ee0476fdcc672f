#!/usr/bin/env bash
# Downloads NVRTC and ptxas, the compiler and the assembler of CUDA kernels, from NVIDIA's packages on PyPI: those of CUDA
# 11.8, which the embedded PTX is made with, and of a CUDA 12 and a CUDA 13. Prints the folder that they are in; it has
# a subfolder for each major version. Needs pip (scripts/setup.sh installs it).
# Usage: GFPQ_NVRTC=$(scripts/fetch/nvrtc.sh) cargo test --test cuda
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
# shellcheck source=scripts/fetch/wheels.sh
source scripts/fetch/wheels.sh
folder=${CARGO_TARGET_DIR:-$PWD/target}/nvrtc
mkdir -p -- "$folder"
scratch=$(mktemp -d -p "$folder" .fetch.XXXXXX)
trap 'rm -rf -- "$scratch"' EXIT

# Downloads the packages that standard input names into the subfolder of a major version, if that does not exist yet.
# Usage: fetch MAJOR < REQUIREMENTS
fetch() {
  [ ! -e "$folder/$1" ] || return 0
  mkdir "$scratch/wheels$1" "$scratch/$1"
  download_wheels "$scratch/wheels$1"
  /usr/bin/python3 - "$scratch/$1" "$scratch/wheels$1"/*.whl <<'PYTHON'
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
  mv -T -- "$scratch/$1" "$folder/$1"
}

# The hashes are those of the wheels for x86_64 and for aarch64.
fetch 11 <<'PACKAGES'
nvidia-cuda-nvrtc-cu11==11.8.89 \
  --hash=sha256:a8d02f3cba345be56b1ffc3e74d8f61f02bb758dd31b0f20e12277a5a244f756 \
  --hash=sha256:8ab17ed51e7c4928f7170a0551e3e3b42f89d973bd267ced9688c238b3e10aef
nvidia-cuda-nvcc-cu11==11.8.89 \
  --hash=sha256:f8e1e995166c884f2f5bf94975d7abb89175363b8712f7f81cd38d0df1b2cd85 \
  --hash=sha256:8a33d735e6c374009dd8f965a26658956d4e98a4916e63fca4ac8df7a455c136
PACKAGES
fetch 12 <<'PACKAGES'
nvidia-cuda-nvrtc-cu12==12.9.86 \
  --hash=sha256:210cf05005a447e29214e9ce50851e83fc5f4358df8b453155d5e1918094dcb4 \
  --hash=sha256:096d4de6bda726415dfaf3198d4f5c522b8e70139c97feef5cd2ca6d4cd9cead
nvidia-cuda-nvcc-cu12==12.9.86 \
  --hash=sha256:5d6a0d32fdc7ea39917c20065614ae93add6f577d840233237ff08e9a38f58f0 \
  --hash=sha256:44e1eca4d08926193a558d2434b1bf83d57b4d5743e0c431c0c83d51da1df62b
PACKAGES
fetch 13 <<'PACKAGES'
nvidia-cuda-nvrtc==13.5.37 \
  --hash=sha256:86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc \
  --hash=sha256:36e4fa2a8ada293f5693d308e531c196ab6f91cf7a0ff479bf96a537d43a6096
nvidia-cuda-nvcc==13.5.37 \
  --hash=sha256:f5c4f7ead5d964fb4af42bbf1e6d3ec3c1e6e9d83b53749f691d387e7fcaa3a7 \
  --hash=sha256:588eda18eb5076ae859fe272844b526459228af22df0b117f54eec3aa82bc9c8
PACKAGES
echo "$folder"
