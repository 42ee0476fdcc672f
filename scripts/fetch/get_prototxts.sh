#!/usr/bin/env bash
# Unpacks the 15 prototxt files of Caffe forks (SSD, SqueezeDet, TextBoxes and others) from Debian 12's source package
# "opencv" into DIR, and no other file of that package. Downloads 130 MB.
# Usage: scripts/fetch/get_prototxts.sh DIR      does nothing if DIR exists
set -euo pipefail

dir=$(realpath -m -- "${1:?usage: scripts/fetch/get_prototxts.sh DIR}")
if [ -e "$dir" ]; then
  exit 0
fi
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# shellcheck source=scripts/fetch/debian.sh
source scripts/fetch/debian.sh
unpack_source bookworm opencv "$dir" --wildcards '*.prototxt'
