//! AVX2: the algorithm of `avx512` for 16 steps, in half the width and without masks.
//!
//! 16 steps are looked up in planes of bytes, 32 values at a time. 128 do not fit into registers: each value's cell is
//! loaded from memory by itself.
//!
//! Tried, nanoseconds for a value on one core of a Zen 3 (bits, type): 8, float32: planes 0.36, permutations of words 0.50, an
//! estimate with one compare 0.55. 8, float64: planes 0.58, permutations 0.80. 16, float32: cells by indices that leave
//! the register in pairs 0.57, through memory 0.75, by gathers 0.79, an octave's logarithm and power as polynomials 1.3.
//! 16, float64: cells 0.98, gathers 1.59. Limits with the sign, which take fewer instructions but more blends: 0.38 and
//! 0.67 for float32. Asking for memory 1024 bytes ahead takes a twentieth off what planes take out of the caches, and adds
//! as much to cells.
//!
//! Where vectors go through a closure, see that it is inlined (a short one is): called, it passes them in memory.

mod double;
mod planes;
mod single;

use std::arch::asm;
use std::arch::x86_64::*;

use super::{Passes, Path, Scale};
use crate::quant::Element;

pub static PATH: Path = Path {
    name: "avx2",
    worth_sharing: 256 << 10,
    f32: Passes { max_abs: max_abs_f32, apply: single::apply },
    f64: Passes { max_abs: max_abs_f64, apply: double::apply },
};

pub fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

const EXPONENT_F32: i32 = 0x7f80_0000;
const ONE_OCTAVE_F32: i32 = 1 << 23;
const EXPONENT_F64: i64 = 0x7ff0_0000_0000_0000;

/// What quantises one type to one width.
trait Kernel {
    type Value: Element;
    /// Values it takes at a time.
    const LEN: usize;
    /// Whether memory is asked for [`AHEAD`]: where the work on a block fills the processor's window, it does not see the
    /// next one's loads in time.
    const ASKS_AHEAD: bool;

    /// # Safety
    /// The processor has the path's instruction set; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;

    /// Quantises `LEN` values. False, and nothing is written, when one of them wants a closer look.
    ///
    /// # Safety
    /// As [`super::Passes`] has it.
    unsafe fn quantise(&self, source: *const Self::Value, destination: *mut Self::Value) -> bool;

    /// The closer look.
    fn quantise_value(x: Self::Value, scale: &Scale) -> Self::Value;
}

/// Runs a kernel over `len` values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sweep<K: Kernel>(source: *const K::Value, destination: *mut K::Value, len: usize, scale: &Scale) {
    const { assert!(K::LEN <= 32) };
    let mut i = 0;
    // SAFETY: all within `len` values, or within a kernel's own number of them.
    unsafe {
        loop {
            if len - i >= K::LEN {
                i += run::<K>(source.add(i), destination.add(i), len - i, scale);
            }
            if i == len {
                return;
            }
            let count = K::LEN.min(len - i);
            // The last ones among zeros.
            let mut rest = [K::Value::from_f64(0.0); 32];
            source.add(i).copy_to_nonoverlapping(rest.as_mut_ptr(), count);
            if count == K::LEN || run::<K>(rest.as_ptr(), rest.as_mut_ptr(), K::LEN, scale) == 0 {
                rest[..count].iter_mut().for_each(|x| *x = K::quantise_value(*x, scale));
            }
            rest.as_ptr().copy_to_nonoverlapping(destination.add(i), count);
            i += count;
        }
    }
}

/// Bytes of a cache line, and how far ahead lines are asked for.
const LINE: usize = 64;
const AHEAD: usize = 1024;

/// Runs a kernel for as long as there is a whole number of values for it and none that wants a closer look. Returns how
/// many it has quantised.
///
/// By itself and without a call in it: the compiler then keeps in registers what the loop needs.
#[inline(never)]
#[target_feature(enable = "avx2")]
unsafe fn run<K: Kernel>(source: *const K::Value, destination: *mut K::Value, len: usize, scale: &Scale) -> usize {
    let mut i = 0;
    // SAFETY: all within `len` values.
    unsafe {
        let kernel = K::new(scale);
        while len - i >= K::LEN && kernel.quantise(source.add(i), destination.add(i)) {
            if K::ASKS_AHEAD {
                for line in (0..K::LEN * size_of::<K::Value>()).step_by(LINE) {
                    _mm_prefetch::<_MM_HINT_T0>(source.wrapping_add(i).cast::<i8>().wrapping_add(AHEAD + line));
                }
            }
            i += K::LEN;
        }
    }
    i
}

/// All ones in the first `count` words.
#[inline]
#[target_feature(enable = "avx2")]
fn first_words(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Bits `SHIFT` to `SHIFT + 7` of each word, to index a table of 256 by. Two words at a time: to take one out of a register
/// takes longer than a shift.
#[inline]
#[target_feature(enable = "avx2")]
fn indices<const SHIFT: i32>(words: __m256i) -> [usize; 8] {
    let bytes = _mm256_and_si256(_mm256_srli_epi32::<SHIFT>(words), _mm256_set1_epi32(0xff));
    let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
    let pairs =
        [_mm_cvtsi128_si64(low), _mm_extract_epi64::<1>(low), _mm_cvtsi128_si64(high), _mm_extract_epi64::<1>(high)];
    let mut words = [0; 8];
    for (i, pair) in pairs.into_iter().enumerate() {
        let mut pair = pair as u64;
        // SAFETY: does nothing. But the compiler cannot know that, and does not take out each word by itself.
        unsafe { asm!("/* {} */", inout(reg) pair, options(pure, nomem, nostack, preserves_flags)) }
        (words[2 * i], words[2 * i + 1]) = (pair as u32 as usize, (pair >> 32) as usize);
    }
    words
}

/// Per lane of 32 bits, `b` where the sign bit of `by` is set, else `a`.
#[inline]
#[target_feature(enable = "avx2")]
fn select(a: __m256i, b: __m256i, by: __m256i) -> __m256i {
    let [a, b, by] = [a, b, by].map(|v| _mm256_castsi256_ps(v));
    _mm256_castps_si256(_mm256_blendv_ps(a, b, by))
}

/// Per lane of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn select_wide(a: __m256i, b: __m256i, by: __m256i) -> __m256i {
    let [a, b, by] = [a, b, by].map(|v| _mm256_castsi256_pd(v));
    _mm256_castpd_si256(_mm256_blendv_pd(a, b, by))
}

#[target_feature(enable = "avx2")]
unsafe fn max_abs_f32(data: &[f32]) -> f32 {
    let infinity = _mm256_set1_epi32(EXPONENT_F32);
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        let nan = _mm256_cmpgt_epi32(magnitude, infinity);
        _mm256_max_epi32(max, _mm256_andnot_si256(nan, magnitude))
    };
    let mut max = [_mm256_setzero_si256(); 4];
    let (blocks, rest) = data.as_chunks::<32>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: within the block.
            *max = larger(*max, unsafe { _mm256_loadu_si256(block.as_ptr().add(8 * i).cast()) });
        }
    }
    for chunk in rest.chunks(8) {
        // SAFETY: the mask ends with the chunk.
        max[0] = larger(max[0], unsafe { _mm256_maskload_epi32(chunk.as_ptr().cast(), first_words(chunk.len())) });
    }
    let [a, b, c, d] = max;
    let mut lanes = [0u32; 8];
    // SAFETY: eight lanes.
    unsafe {
        let max = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max);
    }
    f32::from_bits(lanes.into_iter().fold(0, u32::max))
}

#[target_feature(enable = "avx2")]
unsafe fn max_abs_f64(data: &[f64]) -> f64 {
    let infinity = _mm256_set1_epi64x(EXPONENT_F64);
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi64x(i64::MAX));
        let nan = _mm256_cmpgt_epi64(magnitude, infinity);
        let number = _mm256_andnot_si256(nan, magnitude);
        select_wide(max, number, _mm256_cmpgt_epi64(number, max))
    };
    let mut max = [_mm256_setzero_si256(); 4];
    let (blocks, rest) = data.as_chunks::<16>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: within the block.
            *max = larger(*max, unsafe { _mm256_loadu_si256(block.as_ptr().add(4 * i).cast()) });
        }
    }
    for chunk in rest.chunks(4) {
        let mask = first_words(2 * chunk.len());
        // SAFETY: the mask ends with the chunk.
        max[0] = larger(max[0], unsafe { _mm256_maskload_epi64(chunk.as_ptr().cast(), mask) });
    }
    let mut lanes = [[0u64; 4]; 4];
    for (lanes, max) in lanes.iter_mut().zip(max) {
        // SAFETY: four lanes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max) }
    }
    f64::from_bits(lanes.into_iter().flatten().fold(0, u64::max))
}
