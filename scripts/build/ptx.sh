#!/usr/bin/env bash
# Makes kernels/quantise.ptx anew, after a change to the kernels or the tables. tests/cuda/compile.rs tells when to.
set -euo pipefail

cd "$(dirname "$0")/../.."
nvrtc=$(scripts/fetch/nvrtc.sh)
GFPQ_NVRTC=$nvrtc GFPQ_WRITE_PTX=1 cargo test --release --test cuda embedded_ptx -- --nocapture
