#!/usr/bin/env bash
# Downloads the vendor's library from its package on PyPI and prints its path. Tests and benchmarks compare with it.
# Needs pip (scripts/setup.sh installs it). Usage: export GFPQ_VENDOR_LIB=$(scripts/vendor.sh)
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/.."
# shellcheck source=scripts/fetch/wheels.sh
source scripts/fetch/wheels.sh
folder=${CARGO_TARGET_DIR:-$PWD/target}/vendor
lib=$folder/libgfpq.so.1
if [ ! -f "$lib" ]; then
  mkdir -p -- "$folder"
  scratch=$(mktemp -d -p "$folder" .fetch.XXXXXX)
  trap 'rm -rf -- "$scratch"' EXIT
  download_wheels "$scratch" <<'PACKAGES'
nnieqat==0.1.0b0 --hash=sha256:024229a8c8de835da2e2d73c6689a16970a732dd21529ed0a7489f4b7a337913
PACKAGES
  /usr/bin/python3 - "$scratch"/nnieqat-*.whl "$scratch/library" <<'PYTHON'
import sys, zipfile

wheel, library = sys.argv[1:]
with open(library, "wb") as out:
    out.write(zipfile.ZipFile(wheel).read("nnieqat/gpu/lib/libgfpq.so.1.1.5"))
PYTHON
  mv -- "$scratch/library" "$lib"
fi
echo "$lib"
