#!/usr/bin/env bash
# Checks the C++ files of the patch with Caffe's own linter, which is converted from Python 2 to Python 3 first.
# Usage: scripts/checks/lint.sh CAFFE_ROOT
set -euo pipefail

root=$(realpath -- "${1:?usage: scripts/checks/lint.sh CAFFE_ROOT}")
CDPATH='' cd -- "$(dirname -- "$0")/../../caffe_patch"
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
cp "$root/scripts/cpp_lint.py" "$scratch/"
/usr/bin/python3 -W ignore -m lib2to3 --write --nobackups "$scratch/cpp_lint.py" > /dev/null 2>&1
mapfile -t files < <(find . -name '*.hpp' -o -name '*.cpp' -o -name '*.cu')
/usr/bin/python3 -W ignore "$scratch/cpp_lint.py" "${files[@]}" 2>&1 | grep -v '^Done processing'
