#!/usr/bin/env bash
# Unpacks BVLC's Caffe (master of 2018-08-21) into DIR, from Debian 11's source package "caffe". The package comes from
# the Debian mirror that this machine's own apt sources name; the system's package lists stay as they are.
# Usage: scripts/fetch/get_caffe.sh DIR      DIR must be empty or not exist; does nothing if DIR has a Makefile
set -euo pipefail

dir=$(realpath -m -- "${1:?usage: scripts/fetch/get_caffe.sh DIR}")
if [ -e "$dir/Makefile" ]; then
  exit 0
fi
CDPATH='' cd -- "$(dirname -- "$0")/../.."
# shellcheck source=scripts/fetch/debian.sh
source scripts/fetch/debian.sh
unpack_source bullseye caffe "$dir"
