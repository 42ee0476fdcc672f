# shellcheck shell=bash
# Sourced by the scripts that take files out of Python packages (wheels).

# Downloads wheels into FOLDER. Standard input names them as pip's requirement files do, each with its version and with the
# SHA-256 hash of the wheel for each kind of processor; a wheel with another hash is an error. Needs pip.
# Usage: download_wheels FOLDER <<< "NAME==VERSION --hash=sha256:…"
download_wheels() {
  /usr/bin/python3 -m pip download --quiet --no-deps --require-hashes --only-binary :all: --dest "$1" \
    --requirement /dev/stdin >&2
}
