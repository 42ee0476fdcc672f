# Sourced. Packages from Debian's archive through an apt configuration apart from the system's.

# The mirror that this machine's own apt sources name.
debian_mirror() {
  apt-get indextargets --format '$(SITE) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
    awk '/ Debian / && !/security/ { print $3; exit }'
}

# Sets the array `apt` to the command for packages of a release.
# Usage: private_apt SCRATCH_FOLDER deb|deb-src SUITE COMPONENT…
private_apt() {
  local scratch=$1 types=$2 suite=$3 mirror
  shift 3
  mirror=$(debian_mirror)
  if [ -z "$mirror" ]; then
    # Whose an archive is stands in its index, which is not here yet.
    apt-get update -qq >&2 || true
    mirror=$(debian_mirror)
  fi
  if [ -z "$mirror" ]; then
    echo "$(basename "$0"): this machine's apt sources name no Debian mirror: add one" >&2
    return 1
  fi
  mkdir -p "$scratch/parts" "$scratch/lists/partial" "$scratch/cache/archives/partial"
  cat > "$scratch/parts/debian.sources" <<SOURCES
Types: $types
URIs: $mirror
Suites: $suite
Components: $*
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  apt=(apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$scratch/parts"
    -o Dir::State::Lists="$scratch/lists" -o Dir::Cache="$scratch/cache" -o APT::Sandbox::User=root)
  "${apt[@]}" update >&2
}
