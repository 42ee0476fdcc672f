//! The passes over a tensor, one room per instruction set, all fed by the tables of [`Format`].

mod scalar;

pub(super) use scalar::{apply_f32, apply_f64, apply_in_place_f32, apply_in_place_f64, max_abs_f32, max_abs_f64};

use super::{Bits, Format};

/// A format at one delta of its own range: what a pass needs, worked out once a call.
///
/// Pairs are indexed by the sign bit, since negative magnitudes begin one step higher.
#[derive(Debug)]
pub struct Scale {
    format: &'static Format,
    lowest: [i32; 2],
    highest: i32,
    /// Magnitudes up to these become zero: as numbers, and as the bits of the largest float32 not above.
    flush: [f64; 2],
    flush_f32: [u32; 2],
}

impl Scale {
    /// `delta` must lie in the format's range, so that all values and limits are normal float32 numbers.
    pub(super) fn new(bits: Bits, delta: i32) -> Scale {
        let format = bits.format();
        debug_assert!(format.contains(delta));
        let lowest = [delta, delta + 1];
        // Half of a magnitude is the magnitude one octave down, exactly.
        let flush = lowest.map(|q| format.value_f64(q - format.steps()));
        let flush_f32 = flush.map(|limit| {
            let nearest = limit as f32;
            nearest.to_bits() - u32::from(f64::from(nearest) > limit)
        });
        Scale { format, lowest, highest: delta + format.max_code, flush, flush_f32 }
    }
}
