#!/usr/bin/env bash
# Unpacks CUDA 11.8 as Debian packages it (component non-free) into DIR, with g++-11, the host compiler that it supports.
# Nothing is installed in the system; DIR/bin/nvcc is ready to use. The packages come from the Debian mirror that this
# machine's own apt sources name: 1.2 GB. For building Caffe's GPU side on a machine without a CUDA toolkit.
# Usage: scripts/fetch/cuda_toolkit.sh DIR      DIR must be empty or not exist; does nothing if DIR/bin/nvcc exists
set -euo pipefail

dir=$(realpath -m -- "${1:?usage: scripts/fetch/cuda_toolkit.sh DIR}")
if [ -e "$dir/bin/nvcc" ]; then
  exit 0
fi
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# shellcheck source=scripts/fetch/debian.sh
source scripts/fetch/debian.sh
is_free "$dir" || refuse "$dir"
case $dir in
  *[:\|]*)
    echo "cuda_toolkit.sh: $dir: gcc cannot link from a folder with : or | in its path: name another" >&2
    exit 1
    ;;
esac
mkdir -p -- "$(dirname -- "$dir")"
# An interrupted run must leave neither packages nor half a toolkit.
scratch=$(mktemp -d -p "$(dirname -- "$dir")" .cuda_toolkit.XXXXXX)
trap 'rm -rf -- "$scratch"' EXIT
private_apt "$scratch" deb bookworm main non-free
(cd "$scratch" && "${apt[@]}" download nvidia-cuda-toolkit nvidia-cuda-dev nvidia-profiler libcudart11.0 libcublas11 \
  libcublaslt11 libcurand10 libnvvm4 libthrust-dev libcub-dev libcu++-dev \
  g++-11 gcc-11 cpp-11 libstdc++-11-dev libgcc-11-dev >&2)
new=$scratch/toolkit
for package in "$scratch"/*.deb; do
  dpkg -x "$package" "$new"
  rm -- "$package"
done

# Debian's paths start at /usr; here they start at nvcc's own folder, usr/lib/nvidia-cuda-toolkit/bin, which nvcc calls
# _HERE_. So no path of this machine has to be quoted for nvcc, and the toolkit may be moved.
usr=$new/usr
toolkit=$usr/lib/nvidia-cuda-toolkit
rm -- "$toolkit/bin/nvcc.profile"
# shellcheck disable=SC2016 # $(_HERE_) and $(_SPACE_) are nvcc's.
sed -E 's|^#INCLUDES.*|INCLUDES += "-I/usr/include" $(_SPACE_)|; s|(^\|[ \t])(-L[^ \t]+)|\1"\2"|g;
  s|/usr/|$(_HERE_)/../../../|g' "$new/etc/nvcc.profile" > "$toolkit/bin/nvcc.profile"

# Caffe's build expects bin, include and lib64 in the CUDA folder.
mkdir "$new/bin"
ln -s usr/include "$new/include"
ln -s usr/lib/x86_64-linux-gnu "$new/lib64"
cat > "$new/bin/nvcc" <<'WRAPPER'
#!/bin/sh
cuda=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
PATH=$cuda/usr/bin:$PATH exec "$cuda/usr/lib/nvidia-cuda-toolkit/bin/nvcc" "$@"
WRAPPER
chmod +x "$new/bin/nvcc"
# Caffe links no static library of CUDA but libcudart_static.a, and they take most of the space.
find "$usr/lib/x86_64-linux-gnu" -name 'lib*_static*.a' ! -name 'libcudart_static.a' -delete
place "$new" "$dir"
