#!/usr/bin/env bash
# Unpacks BVLC's Caffe (master of 2018-08-21) into DIR, from Debian 11's source package "caffe". The package comes from
# the mirror that this machine's own apt sources name, through an apt configuration apart from the system's.
# Usage: scripts/get_caffe.sh DIR      an existing DIR is left alone
set -euo pipefail

dir=${1:?usage: scripts/get_caffe.sh DIR}
if [ -e "$dir/Makefile" ]; then
  exit 0
fi
debian_mirror() {
  apt-get indextargets --format '$(SITE) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk '/ Debian / && !/security/ { print $3; exit }'
}
mirror=$(debian_mirror)
if [ -z "$mirror" ]; then
  # Whose an archive is stands in its index, which is not here yet.
  apt-get update -qq >&2 || true
  mirror=$(debian_mirror)
fi
if [ -z "$mirror" ]; then
  echo "get_caffe.sh: this machine's apt sources name no Debian mirror. Add one, or give a Caffe tree with --caffe" >&2
  exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/parts" "$scratch/lists/partial" "$scratch/cache/archives/partial"
cat > "$scratch/parts/caffe.sources" <<EOF
Types: deb-src
URIs: $mirror
Suites: bullseye
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
EOF
apt=(apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$scratch/parts"
  -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=root)
"${apt[@]}" update >&2
(cd "$scratch" && "${apt[@]}" source --download-only caffe >&2)

# The archive has no folder of its own; DIR appears when it is whole.
mkdir -p "$scratch/tree" "$(dirname "$dir")"
tar -xzf "$scratch"/caffe_*.orig.tar.gz -C "$scratch/tree"
rm -rf "$dir.part"
cp -r "$scratch/tree" "$dir.part"
mv "$dir.part" "$dir"
