#!/usr/bin/env bash
# Unpacks BVLC's Caffe (master of 2018-08-21) into DIR, from Debian 11's source package "caffe". The package comes from
# the mirror that this machine's own apt sources name, through an apt configuration apart from the system's.
# Usage: scripts/fetch/get_caffe.sh DIR      an existing DIR is left alone
set -euo pipefail

dir=${1:?usage: scripts/fetch/get_caffe.sh DIR}
if [ -e "$dir/Makefile" ]; then
  exit 0
fi
# shellcheck source=scripts/fetch/debian.sh
source "$(dirname "$0")/debian.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
private_apt "$scratch" deb-src bullseye main
(cd "$scratch" && "${apt[@]}" source --download-only caffe >&2)

# The archive has no folder of its own; DIR appears when it is whole.
mkdir -p "$scratch/tree" "$(dirname "$dir")"
tar -xzf "$scratch"/caffe_*.orig.tar.gz -C "$scratch/tree"
rm -rf "$dir.part"
cp -r "$scratch/tree" "$dir.part"
mv "$dir.part" "$dir"
