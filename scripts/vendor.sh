#!/usr/bin/env bash
# Downloads the vendor's library from its package on PyPI and prints its path. Tests and benchmarks compare with it.
# Needs pip (scripts/setup.sh installs it). Usage: export GFPQ_VENDOR_LIB=$(scripts/vendor.sh)
set -euo pipefail

cd "$(dirname "$0")/.."
folder=${CARGO_TARGET_DIR:-$PWD/target}/vendor
lib=$folder/libgfpq.so.1
if [ ! -f "$lib" ]; then
  mkdir -p "$folder"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  /usr/bin/python3 -m pip download --quiet --no-deps --dest "$scratch" nnieqat==0.1.0b0 >&2
  /usr/bin/python3 - "$scratch"/nnieqat-*.whl "$lib" <<'EOF'
import os, sys, zipfile

wheel, lib = sys.argv[1:]
data = zipfile.ZipFile(wheel).read("nnieqat/gpu/lib/libgfpq.so.1.1.5")
with open(lib + ".part", "wb") as out:
    out.write(data)
os.replace(lib + ".part", lib)
EOF
fi
echo "$lib"
