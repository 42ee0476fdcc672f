//! AVX2: each pass is two short loops over a strip of values (`sweep`).
//!
//! With 16 steps, tables are looked up in planes of bytes, 32 values at a time (`planes`): a cell's correction turns a
//! magnitude, or its upper half, into octave and step, as in `avx512`. The tables of 128 steps do not fit into
//! registers, so each value's cell is loaded from memory.
//!
//! What was tried, in nanoseconds per value on one core of a Zen 3, with the chosen way first:
//!
//! * 8 bits, float32: planes for halves of values 0.29; planes for whole values 0.31, in one loop 0.37; permutations of
//!   words 0.50; an estimate with one compare 0.55.
//! * 8 bits, float64: planes 0.55, in two loops 0.62; permutations of words 0.80.
//! * 16 bits, float32: cells 0.45; with limits and sign in the first loop, which stores more, 0.55; in one loop, with
//!   indices extracted from the register in pairs 0.55, with indices through memory 0.75; gathers 0.79; logarithm and
//!   power as polynomials of degree six 0.55.
//! * 16 bits, float64: cells 0.67; with limits and sign in the second loop 0.73; in one loop 0.98; gathers 1.59.
//!
//! Limits that include the sign bit need fewer instructions but more blends: 0.38 (8 bits) and 0.67 (16 bits) for
//! float32 in one loop. Strips of 128 values make cells a third slower. For data from memory, strips of 2048 values are
//! 5% slower, and a further 5% without prefetch.
//!
//! When changing this code: a closure that takes vectors must be inlined, as short ones are, since a call passes them
//! in memory. `inline(never)` has no effect together with `target_feature`.

mod double;
mod lanes;
mod planes;
mod single;
mod sweep;

use super::backend::{Backend, Passes};

pub(super) static BACKEND: Backend = Backend {
    name: "avx2",
    worth_sharing: 256 << 10,
    f32: Passes { max_abs: single::max_abs, apply: single::apply },
    f64: Passes { max_abs: double::max_abs, apply: double::apply },
};

/// Whether the processor has the instructions of this backend.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
}
