//! Measures the quantiser's speed on this machine, beside the memory's speed and another library's.
//!
//! Speeds differ between machines and vary from minute to minute. So each figure comes with the time for reading and
//! rewriting the same buffer and with the other library's time on the same data, all measured in turns within one run.

mod bandwidth;
mod peer;

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::quant::{Bits, Element, Mode, Param, delta_of, quantise};

pub use peer::{Error, Peer};

/// Numbers of values, from a few to an early layer of a large network, so that tensors fit into each cache or into
/// none.
pub const COUNTS: [usize; 5] = [10, 1_000, 100_000, 1_000_000, 13_107_200];

/// One case's speed.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// `float32` or `float64`.
    pub element: &'static str,
    /// 8 or 16.
    pub bits: u32,
    /// `INIT`, `UPDATE` or `APPLY_ONLY`.
    pub mode: &'static str,
    /// The number of values in the tensor.
    pub count: usize,
    /// Nanoseconds per call.
    pub ns: f64,
    /// Tensor bytes per second, in 10^9.
    pub gb_per_s: f64,
    /// The speed of reading the same buffer.
    pub read_gb_per_s: f64,
    /// The speed of rewriting the same buffer in place.
    pub rewrite_gb_per_s: f64,
    /// The speed that these two allow: one read for the range, except with APPLY_ONLY, and one rewrite.
    pub limit_gb_per_s: f64,
    /// `gb_per_s` divided by `limit_gb_per_s`.
    pub share_of_limit: f64,
    /// The other library's nanoseconds per call.
    pub other_ns: Option<f64>,
    /// `other_ns` divided by `ns`.
    pub ratio: Option<f64>,
}

/// Measures all types and modes at each of `counts` and `widths`, and passes each figure to `report` once measured.
///
/// # Errors
/// Those that `report` returns, and refusals by the other library.
pub fn run<E: From<Error>>(
    counts: &[usize],
    widths: &[Bits],
    peer: Option<&Peer>,
    mut report: impl FnMut(Figure) -> Result<(), E>,
) -> Result<(), E> {
    for &count in counts {
        measure::<f32, E>("float32", count, widths, peer, &mut report)?;
        measure::<f64, E>("float64", count, widths, peer, &mut report)?;
    }
    Ok(())
}

const MODES: [(Mode, &str); 3] = [(Mode::Init, "INIT"), (Mode::Update, "UPDATE"), (Mode::ApplyOnly, "APPLY_ONLY")];

/// The least number of turns of a case, in each of which all contenders are measured. A figure is the best time of all
/// turns: the one least disturbed by the machine's other work.
const TURNS: usize = 9;
/// The least time that a case takes.
const CASE: Duration = Duration::from_millis(400);
/// The number of samples per contender and turn; the other library, whose calls may take long, gets one.
const SAMPLES: usize = 5;
/// A sample makes as many calls as fill this time.
const SAMPLE: Duration = Duration::from_micros(200);

/// Indices of the contenders; 0 is this library.
const READ: usize = 1;
const REWRITE: usize = 2;
const OTHER: usize = 3;

/// Measures one type at one count, in all modes.
fn measure<T: Element, E: From<Error>>(
    element: &'static str,
    count: usize,
    widths: &[Bits],
    peer: Option<&Peer>,
    report: &mut impl FnMut(Figure) -> Result<(), E>,
) -> Result<(), E> {
    let data = normal::<T>(count);
    let mut buffer = data.clone();
    for &bits in widths {
        for (mode, name) in MODES {
            // In training, UPDATE and APPLY_ONLY nearly always see data that fits the parameter's scale.
            let given = Param { delta: delta_of(&data, bits) };

            let mut calls = [1; 4];
            let mut times = [f64::INFINITY; 4];
            let begin = Instant::now();
            for turn in (0..).take_while(|&turn| turn <= TURNS || begin.elapsed() < CASE) {
                for contender in 0..3 + usize::from(peer.is_some()) {
                    let mut best = f64::INFINITY;
                    for _ in 0..if contender == OTHER { 1 } else { SAMPLES } {
                        buffer.copy_from_slice(&data);
                        let mut param = given;
                        let start = Instant::now();
                        for _ in 0..calls[contender] {
                            let buffer = black_box(&mut buffer[..]);
                            match (contender, peer) {
                                (OTHER, Some(peer)) => peer.quantise(buffer, bits, mode, &mut param)?,
                                (READ, _) => _ = black_box(bandwidth::read(buffer)),
                                (REWRITE, _) => bandwidth::rewrite(buffer),
                                _ => quantise(buffer, bits, mode, &mut param),
                            }
                        }
                        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls[contender]));
                    }

                    if turn > 0 {
                        times[contender] = best.min(times[contender]);
                    } else {
                        // The first turn only warms up and finds the number of calls that fill a sample.
                        calls[contender] = (SAMPLE.as_secs_f64() * 1e9 / best).clamp(1.0, 1e6) as u32;
                    }
                }
            }

            let [ours, read, rewrite, other] = times;
            let limit = if mode == Mode::ApplyOnly { rewrite } else { read + rewrite };
            let bytes = size_of_val(&data[..]) as f64;

            report(Figure {
                element,
                bits: bits.number(),
                mode: name,
                count,
                ns: ours,
                gb_per_s: bytes / ours,
                read_gb_per_s: bytes / read,
                rewrite_gb_per_s: bytes / rewrite,
                limit_gb_per_s: bytes / limit,
                share_of_limit: limit / ours,
                other_ns: peer.map(|_| other),
                ratio: peer.map(|_| other / ours),
            })?;
        }
    }
    Ok(())
}

/// Roughly normally distributed values, as weights and activations are, the same in every run.
fn normal<T: Element>(count: usize) -> Vec<T> {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    (0..count).map(|_| T::from_f64((0..4).map(|_| uniform()).sum::<f64>() - 2.0)).collect()
}
