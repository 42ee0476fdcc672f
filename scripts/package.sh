#!/usr/bin/env bash
# Builds the library and packages it in OUT in the vendor's layout:
#   GFPQLibs/include/gfpq{,_ext}.hpp, GFPQLibs/lib/libgfpq{,_gpu}.{a,so*}, GFPQLibs/sample/, GFPQLibs.tgz, caffe_patch.tgz
# Usage: scripts/package.sh [OUT=target/dist]
set -euo pipefail

out=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}/release
out=${out:-${CARGO_TARGET_DIR:-target}/dist}
cxx=${CXX:-g++}

cargo build --release --quiet
version=$("$target/gfpq" --version | cut -d ' ' -f 2)
rm -rf "$out/GFPQLibs" "$out/GFPQLibs.tgz" "$out/caffe_patch.tgz"
mkdir -p "$out/GFPQLibs/include" "$out/GFPQLibs/lib"
cp templates/GFPQLibs/include/*.hpp "$out/GFPQLibs/include/"
cp -r scripts/sample "$out/GFPQLibs/sample"

# Both libraries are made of one object; a program links gfpq, or gfpq_gpu if it passes GPU memory. The object holds only
# what the C++ interface needs of the Rust archive and exports only that interface, so that its symbols cannot clash with
# those of another Rust library. --strip-unneeded also drops the undefined symbols that nothing in the object refers to: ld
# leaves those of weak references in discarded code as local ones, objcopy would make them global, and the weak references of
# another Rust library to the same names (pidfd_spawnp and others that only newer C libraries have) would become strong.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mapfile -t symbols < src/ffi/symbols.txt
ld -r --gc-sections --force-group-allocation "${symbols[@]/#/--undefined=}" -o "$scratch/all.o" "$target/libgfpq.a"
objcopy --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
  "${symbols[@]/#/--keep-global-symbol=}" "$scratch/all.o" "$scratch/gfpq.o"
for name in gfpq gfpq_gpu; do
  lib=$out/GFPQLibs/lib/lib$name
  ar rcs "$lib.a" "$scratch/gfpq.o"
  "$cxx" -shared -o "$lib.so.$version" -Wl,-soname,"lib$name.so.1" -Wl,--gc-sections -Wl,-z,defs -Wl,-s \
    "$scratch/gfpq.o" -pthread -ldl -lm
  ln -s "lib$name.so.$version" "$lib.so.1"
  ln -s "lib$name.so.1" "$lib.so"
done

tar -C "$out" -czf "$out/GFPQLibs.tgz" GFPQLibs
tar -czf "$out/caffe_patch.tgz" caffe_patch
echo "$out: GFPQLibs $version, GFPQLibs.tgz, caffe_patch.tgz"
