#!/usr/bin/env bash
# Installs the Debian packages that building Caffe and running the scripts need. Does nothing if all are installed.
# Usage: scripts/setup.sh [PACKAGE…]      installs these packages too
set -euo pipefail

packages=(
  build-essential ca-certificates dpkg-dev patch
  libboost-filesystem-dev libboost-python-dev libboost-regex-dev libboost-system-dev libboost-thread-dev
  libgflags-dev libgoogle-glog-dev libhdf5-dev libopenblas-dev libprotobuf-dev protobuf-compiler
  python3-dev python3-h5py python3-lib2to3 python3-matplotlib python3-numpy python3-pip python3-protobuf
  python3-skimage python3-sklearn python3-six python3-tqdm
  "$@"
)
missing=()
for package in "${packages[@]}"; do
  if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" != installed ]; then
    missing+=("$package")
  fi
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

if [ "$(id -u)" -ne 0 ]; then
  echo "setup.sh: as root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "setup: installing ${#missing[@]} packages from Debian: ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq >&2
apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
