#!/usr/bin/env bash
# Unpacks CUDA 11.8 as Debian packages it (component non-free) into DIR, with g++-11, the host compiler that it supports.
# Nothing is installed in the system; DIR/bin/nvcc is ready to use. The packages come from the Debian mirror that this
# machine's own apt sources name: 1.2 GB. For building Caffe's GPU side on a machine without a CUDA toolkit.
# Usage: scripts/fetch/cuda_toolkit.sh DIR      does nothing if DIR/bin/nvcc exists
set -euo pipefail

dir=$(realpath -m "${1:?usage: scripts/fetch/cuda_toolkit.sh DIR}")
if [ -e "$dir/bin/nvcc" ]; then
  exit 0
fi
cd "$(dirname "$0")/../.."
# shellcheck source=scripts/fetch/debian.sh
source scripts/fetch/debian.sh
mkdir -p "$(dirname "$dir")"
scratch=$(mktemp -d -p "$(dirname "$dir")")
# An interrupted run must leave neither packages nor half a toolkit.
trap 'rm -rf "$scratch" "$dir.part"' EXIT
private_apt "$scratch" deb bookworm main non-free
(cd "$scratch" && "${apt[@]}" download nvidia-cuda-toolkit nvidia-cuda-dev nvidia-profiler libcudart11.0 libcublas11 \
  libcublaslt11 libcurand10 libnvvm4 libthrust-dev libcub-dev libcu++-dev \
  g++-11 gcc-11 cpp-11 libstdc++-11-dev libgcc-11-dev >&2)
for package in "$scratch"/*.deb; do
  dpkg -x "$package" "$dir.part"
  rm "$package"
done

# Debian's paths start at /usr; Caffe's build expects bin, include and lib64 in the CUDA folder.
usr=$dir.part/usr
toolkit=$usr/lib/nvidia-cuda-toolkit
rm "$toolkit/bin/nvcc.profile"
sed "s|/usr/|$dir/usr/|g; s|^#INCLUDES.*|INCLUDES += \"-I$dir/include\" \$(_SPACE_)|" "$dir.part/etc/nvcc.profile" \
  > "$toolkit/bin/nvcc.profile"
mkdir "$dir.part/bin"
ln -s usr/include "$dir.part/include"
ln -s usr/lib/x86_64-linux-gnu "$dir.part/lib64"
cat > "$dir.part/bin/nvcc" <<WRAPPER
#!/bin/sh
PATH=$dir/usr/bin:\$PATH exec $dir/usr/lib/nvidia-cuda-toolkit/bin/nvcc "\$@"
WRAPPER
chmod +x "$dir.part/bin/nvcc"
# Caffe links no static library of CUDA but libcudart_static.a, and they take most of the space.
find "$usr/lib/x86_64-linux-gnu" -name 'lib*_static*.a' ! -name 'libcudart_static.a' -delete
rm -rf "$dir"
mv "$dir.part" "$dir"
