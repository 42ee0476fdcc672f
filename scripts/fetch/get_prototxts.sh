#!/usr/bin/env bash
# Unpacks the prototxt files of Caffe forks (SSD, SqueezeDet, TextBoxes and others, 15 files) that Debian 12's source package
# "opencv" holds, and nothing else of it, into DIR. 130 MB are fetched.
# Usage: scripts/fetch/get_prototxts.sh DIR      an existing DIR is left alone
set -euo pipefail

dir=${1:?usage: scripts/fetch/get_prototxts.sh DIR}
if [ -e "$dir" ]; then
  exit 0
fi
# shellcheck source=scripts/fetch/debian.sh
source "$(dirname "$0")/debian.sh"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
private_apt "$scratch" deb-src bookworm main
(cd "$scratch" && "${apt[@]}" source --download-only opencv >&2)
mkdir "$scratch/files"
for archive in "$scratch"/opencv_*.orig*.tar.xz; do
  tar -xJf "$archive" -C "$scratch/files" --wildcards '*.prototxt'
done

# DIR appears when it is whole.
mkdir -p "$(dirname "$dir")"
rm -rf "$dir.part"
cp -r "$scratch/files" "$dir.part"
mv "$dir.part" "$dir"
