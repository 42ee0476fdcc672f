#!/bin/sh
# Cargo runs rustc through this file (see .cargo/config.toml). It names the sources of a dependency by package and version:
# the messages of its panics are in the binaries, and would hold the folder of this machine's package cache. So two machines
# build the same bytes. It is no RUSTFLAGS, which the user's own would replace. Cargo does not build anew what was built
# without this file, as with a RUSTC_WRAPPER of the user's own: after that, run cargo clean before scripts/package.sh.
# Usage: scripts/build/rustc.sh RUSTC ARGUMENT…
set -eu

# Cargo sets the name for a package, not for questions about rustc itself. The paths of this package's own sources are
# relative already, and a debugger needs the folder that they start from.
if [ -n "${CARGO_PKG_NAME-}" ] && [ -z "${CARGO_PRIMARY_PACKAGE-}" ]; then
  exec "$@" "--remap-path-prefix=$CARGO_MANIFEST_DIR=$CARGO_PKG_NAME-$CARGO_PKG_VERSION"
fi
exec "$@"
