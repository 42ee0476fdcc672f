#!/usr/bin/env bash
# Builds the library and packages it in OUT in the vendor's layout:
#   GFPQLibs/include/gfpq{,_ext}.hpp, GFPQLibs/lib/libgfpq{,_gpu}.{a,so*}, GFPQLibs/sample/, GFPQLibs.tgz, caffe_patch.tgz
# The same sources and tools give the same bytes in every folder. A GFPQLibs that this script did not make stays as it is.
# Usage: scripts/package.sh [OUT=target/dist]
set -euo pipefail

out=${1:+$(realpath -m -- "$1")}
CDPATH='' cd -- "$(dirname -- "$0")/.."
# shellcheck source=scripts/build/folders.sh
source scripts/build/folders.sh
target=${CARGO_TARGET_DIR:-target}/release
out=${out:-${CARGO_TARGET_DIR:-target}/dist}
cxx=${CXX:-g++}

# Before the build, which takes minutes. The archives of somebody else's GFPQLibs may be somebody else's too.
for product in GFPQLibs GFPQLibs.tgz caffe_patch.tgz; do
  is_made_by package.sh "$out/GFPQLibs" || is_free "$out/$product" || refuse "$out/$product"
done
cargo build --release --quiet
version=$("$target/gfpq" --version | cut -d ' ' -f 2)
mkdir -p -- "$out"
scratch=$(mktemp -d -p "$out" .package.XXXXXX)
trap 'rm -rf -- "$scratch"' EXIT
libs=$scratch/GFPQLibs
mkdir -p "$libs/include" "$libs/lib"
cp templates/GFPQLibs/include/*.hpp "$libs/include/"
cp -r scripts/sample "$libs/sample"

# Both libraries are made of one object; a program links gfpq, or gfpq_gpu if it passes GPU memory. The object holds only
# what the C++ interface needs of the Rust archive and exports only that interface, so that its symbols cannot clash with
# those of another Rust library. --strip-unneeded also drops the undefined symbols that nothing in the object refers to: ld
# leaves those of weak references in discarded code as local ones, objcopy would make them global, and the weak references of
# another Rust library to the same names (pidfd_spawnp and others that only newer C libraries have) would become strong.
mapfile -t symbols < src/ffi/symbols.txt
ld -r --gc-sections --force-group-allocation "${symbols[@]/#/--undefined=}" -o "$scratch/all.o" "$target/libgfpq.a"
objcopy --strip-unneeded --remove-section=.llvmbc --remove-section=.llvmcmd \
  "${symbols[@]/#/--keep-global-symbol=}" "$scratch/all.o" "$scratch/gfpq.o"
# The linker marks a library for control-flow enforcement (CET) only if every object is; stable Rust's are not.
for name in gfpq gfpq_gpu; do
  lib=$libs/lib/lib$name
  ar rcsD "$lib.a" "$scratch/gfpq.o"
  "$cxx" -shared -o "$lib.so.$version" -Wl,-soname,"lib$name.so.1" -Wl,--gc-sections -Wl,-z,defs,-z,relro,-z,now -Wl,-s \
    "$scratch/gfpq.o" -pthread -ldl -lm
  ln -s "lib$name.so.$version" "$lib.so.1"
  ln -s "lib$name.so.1" "$lib.so"
done

# The date of the archives' files: SOURCE_DATE_EPOCH, the commit's, or that of a released tree.
date=${SOURCE_DATE_EPOCH:-$(git log -1 --no-show-signature --format=%ct 2> /dev/null || stat -c %Y CHANGELOG.md)}
# Usage: archive FOLDER NAME      writes NAME.tgz, with nothing in it that depends on the machine, the user or the time
archive() {
  tar -C "$1" --format=gnu --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --exclude=__pycache__ -cf - "$2" | gzip -9 -n > "$scratch/$2.tgz"
}
archive "$scratch" GFPQLibs
archive . caffe_patch
replace package.sh "$libs" "$out/GFPQLibs"
mv -f -- "$scratch/GFPQLibs.tgz" "$scratch/caffe_patch.tgz" "$out/"
echo "$out: GFPQLibs $version, GFPQLibs.tgz, caffe_patch.tgz"
