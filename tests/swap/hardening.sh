#!/usr/bin/env bash
# Checks how the packaged libraries are built: read-only after loading, no executable stack, glibc's checked functions and
# the stack protector in the C++ object, and no path of the machine that built them.
# Needs the built library (scripts/package.sh).
# Usage: tests/swap/hardening.sh
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
root=$PWD
target=$(realpath "${CARGO_TARGET_DIR:-target}")
cd "$target/dist/GFPQLibs/lib"
failed=0

# Usage: require MESSAGE COMMAND…      says MESSAGE if COMMAND fails
require() {
  local message=$1
  shift
  "$@" || { echo "hardening: $message" >&2; failed=1; }
}

# Usage: matches FILE PATTERN
matches() { grep -qP -e "$2" "$1"; }
lacks() { ! grep -nP -e "$2" "$1" >&2; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for lib in libgfpq libgfpq_gpu; do
  readelf -dlW "$lib.so.1" > "$scratch/headers"
  require "$lib.so.1 is not bound at load time (-z now)" matches "$scratch/headers" '\(FLAGS(_1)?\).*NOW'
  require "$lib.so.1 has no part that is read-only after relocation (-z relro)" matches "$scratch/headers" 'GNU_RELRO'
  require "$lib.so.1 needs an executable stack" matches "$scratch/headers" 'GNU_STACK.* RW '
  require "$lib.so.1 relocates its code" lacks "$scratch/headers" 'TEXTREL'
  require "$lib.so.1 has a search path" lacks "$scratch/headers" 'RPATH|RUNPATH'

  nm -D "$lib.so.1" > "$scratch/symbols"
  require "$lib.so.1 calls no checked function of glibc (_FORTIFY_SOURCE)" matches "$scratch/symbols" ' __[a-z]+_chk'
  require "$lib.so.1 has no stack protector" matches "$scratch/symbols" ' __stack_chk_fail'

  for file in "$lib.so.1" "$lib.a"; do
    strings -a "$file" > "$scratch/strings"
    for path in "$root" "$target" "${CARGO_HOME:-$HOME/.cargo}"; do
      require "$file names $path (an older build's files? Run cargo clean, then scripts/package.sh)" \
        lacks "$scratch/strings" "(?<![\w.-])\Q$path\E/"
    done
  done
done
[ "$failed" -eq 0 ]
echo "hardening: full RELRO, checked functions, stack protector, and no path of this machine"
