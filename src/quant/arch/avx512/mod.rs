//! AVX-512, as Ice Lake and Zen 4 have it and whatever came after them.
//!
//! A magnitude is held within the scale's limits; with 16 steps its cell's correction, looked up by the mantissa's upper
//! bits, turns it into octave and step, and the step's value is looked up. `planes` says how 128 steps go.
//! float32 magnitudes are handled with the exponent raised by one, as signed integers: infinity overflows and so is held
//! at the lowest magnitude, without a test of its own.
//!
//! Tried, for 100,000 values in the cache of a Zen 4: 128 steps by two gathers took 90 microseconds (float32) and 150
//! (float64), by planes of bytes 38 and 60; 16 steps of float64 by gathers of 64-bit numbers 150, by upper halves 26.

mod double;
mod planes;
mod single;

use std::arch::x86_64::*;

use super::{Passes, Path};

pub static PATH: Path = Path {
    name: "avx512",
    worth_sharing: 256 << 10,
    f32: Passes { max_abs: max_abs_f32, apply: single::apply },
    f64: Passes { max_abs: max_abs_f64, apply: double::apply },
};

pub fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vbmi")
}

/// Truth table of `(a & b) | c`.
const AND_OR: i32 = 0xea;

const EXPONENT_F32: i32 = 0x7f80_0000;
const EXPONENT_F64: i64 = 0x7ff0_0000_0000_0000;
const ONE_OCTAVE_F32: i32 = 1 << 23;

#[target_feature(enable = "avx512f")]
unsafe fn max_abs_f32(data: &[f32]) -> f32 {
    let infinity = _mm512_set1_epi32(EXPONENT_F32);
    let larger = |max: __m512i, x: __m512i| {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        let number = _mm512_cmple_epi32_mask(magnitude, infinity);
        _mm512_mask_max_epi32(max, number, max, magnitude)
    };
    let mut max = [_mm512_setzero_si512(); 4];
    let (blocks, rest) = data.as_chunks::<64>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: within the block.
            *max = larger(*max, unsafe { _mm512_loadu_epi32(block.as_ptr().add(16 * i).cast()) });
        }
    }
    for chunk in rest.chunks(16) {
        let mask = ((1u32 << chunk.len()) - 1) as __mmask16;
        // SAFETY: the mask ends with the chunk.
        max[0] = larger(max[0], unsafe { _mm512_maskz_loadu_epi32(mask, chunk.as_ptr().cast()) });
    }
    let [a, b, c, d] = max;
    let max = _mm512_max_epi32(_mm512_max_epi32(a, b), _mm512_max_epi32(c, d));
    f32::from_bits(_mm512_reduce_max_epi32(max) as u32)
}

#[target_feature(enable = "avx512f")]
unsafe fn max_abs_f64(data: &[f64]) -> f64 {
    let infinity = _mm512_set1_epi64(EXPONENT_F64);
    let larger = |max: __m512i, x: __m512i| {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi64(i64::MAX));
        let number = _mm512_cmple_epi64_mask(magnitude, infinity);
        _mm512_mask_max_epi64(max, number, max, magnitude)
    };
    let mut max = [_mm512_setzero_si512(); 4];
    let (blocks, rest) = data.as_chunks::<32>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: within the block.
            *max = larger(*max, unsafe { _mm512_loadu_epi64(block.as_ptr().add(8 * i).cast()) });
        }
    }
    for chunk in rest.chunks(8) {
        let mask = ((1u32 << chunk.len()) - 1) as __mmask8;
        // SAFETY: the mask ends with the chunk.
        max[0] = larger(max[0], unsafe { _mm512_maskz_loadu_epi64(mask, chunk.as_ptr().cast()) });
    }
    let [a, b, c, d] = max;
    let max = _mm512_max_epi64(_mm512_max_epi64(a, b), _mm512_max_epi64(c, d));
    f64::from_bits(_mm512_reduce_max_epi64(max) as u64)
}
