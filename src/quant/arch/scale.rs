//! A format at one delta, prepared for the passes.

use crate::quant::format::{Bits, Format};

/// A format at one delta of its own range: what a pass needs to know, computed once per call.
#[derive(Debug)]
pub struct Scale {
    pub(super) format: &'static Format,
    pub(super) delta: i32,
    pub(super) f32: Limits<u32>,
    pub(super) f64: Limits<u64>,
}

/// Limits of magnitudes, as bit patterns of the element type. Pairs are indexed by the value's sign bit, because
/// negative magnitudes begin one step higher.
#[derive(Debug)]
pub(super) struct Limits<B> {
    /// Magnitudes up to and including this one become zero.
    pub flush: [B; 2],
    /// All other magnitudes are clamped to `lowest ..= highest`; both are representable in the format.
    pub lowest: [B; 2],
    /// See `lowest`; the same for both signs.
    pub highest: B,
}

impl Scale {
    /// The format's scale at `delta`.
    ///
    /// # Panics
    /// When `delta` is outside the format's range: only inside it are all limits normal float32 numbers.
    pub fn new(bits: Bits, delta: i32) -> Scale {
        let format = bits.format();
        assert!(format.contains(delta));
        let lowest = [format.value_f64(delta), format.value_f64(delta + 1)];
        let highest = format.value_f64(delta + format.max_code);
        // Exact: half of a representable magnitude is the magnitude one octave lower.
        let flush = lowest.map(|value| value / 2.0);
        // The largest float32 that is not above the limit.
        let flush_f32 = flush.map(|limit| {
            let nearest = limit as f32;
            nearest.to_bits() - u32::from(f64::from(nearest) > limit)
        });

        Scale {
            format,
            delta,
            f32: Limits {
                flush: flush_f32,
                lowest: lowest.map(|value| (value as f32).to_bits()),
                highest: (highest as f32).to_bits(),
            },
            f64: Limits {
                flush: flush.map(f64::to_bits),
                lowest: lowest.map(f64::to_bits),
                highest: highest.to_bits(),
            },
        }
    }
}
