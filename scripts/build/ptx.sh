#!/usr/bin/env bash
# Compiles kernels/quantise.ptx again. Run it after a change to the kernels or the tables; the test in
# tests/cuda/compile.rs fails until then.
# Usage: scripts/build/ptx.sh
set -euo pipefail

CDPATH='' cd -- "$(dirname -- "$0")/../.."
nvrtc=$(scripts/fetch/nvrtc.sh)
GFPQ_NVRTC=$nvrtc GFPQ_WRITE_PTX=1 cargo test --release --test cuda embedded_ptx -- --nocapture
