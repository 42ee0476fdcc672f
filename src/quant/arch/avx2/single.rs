//! float32.

use std::arch::x86_64::*;

use super::{EXPONENT_F32, ONE_OCTAVE_F32, Words, first_words, select};
use crate::quant::arch::Scale;
use crate::quant::{Bits, Format};

/// What is done to the 32 bytes of a vector.
trait Kernel {
    /// # Safety
    /// The processor has AVX2; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;
    unsafe fn quantise(&self, x: __m256i) -> __m256i;
}

/// Runs a kernel over `len` words of four bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sweep<K: Kernel>(source: *const i32, destination: *mut i32, len: usize, scale: &Scale) {
    // SAFETY: all within `len` words, and a masked access touches no word outside its mask.
    unsafe {
        let kernel = K::new(scale);
        let whole = len & !7;
        let mut i = 0;
        while i < whole {
            let y = kernel.quantise(_mm256_loadu_si256(source.add(i).cast()));
            _mm256_storeu_si256(destination.add(i).cast(), y);
            i += 8;
        }
        if i < len {
            let mask = first_words(len - i);
            let y = kernel.quantise(_mm256_maskload_epi32(source.add(i), mask));
            _mm256_maskstore_epi32(destination.add(i), mask, y);
        }
    }
}

#[target_feature(enable = "avx2")]
pub unsafe fn apply(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source.cast(), destination.cast(), len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source.cast(), destination.cast(), len, scale),
        }
    }
}

/// The limits of a float32 scale, raised by an octave.
struct Limits {
    flush: [__m256i; 2],
    lowest: [__m256i; 2],
    highest: __m256i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(scale: &Scale) -> Limits {
        let limits = &scale.f32;
        Limits {
            flush: limits.flush.map(|b| _mm256_set1_epi32(b as i32)),
            lowest: limits.lowest.map(|b| _mm256_set1_epi32(b as i32 + ONE_OCTAVE_F32)),
            highest: _mm256_set1_epi32(limits.highest as i32 + ONE_OCTAVE_F32),
        }
    }

    /// Which values are not zero, and their magnitudes raised and held within the limits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn hold(&self, x: __m256i) -> (__m256i, __m256i) {
        let flush = select(self.flush[0], self.flush[1], x);
        let lowest = select(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        // As numbers, so that NaN is not among them.
        let (a, b) = (_mm256_castsi256_ps(magnitude), _mm256_castsi256_ps(flush));
        let keep = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
        let raised = _mm256_add_epi32(magnitude, _mm256_set1_epi32(ONE_OCTAVE_F32));
        (keep, _mm256_max_epi32(_mm256_min_epi32(raised, self.highest), lowest))
    }
}

/// The sum's octave, the value's mantissa and the sign of `x`, where `keep` has it.
#[inline]
#[target_feature(enable = "avx2")]
fn assemble_f32(x: __m256i, keep: __m256i, sum: __m256i, mantissa: __m256i) -> __m256i {
    let octave = _mm256_and_si256(sum, _mm256_set1_epi32(EXPONENT_F32));
    let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
    _mm256_and_si256(keep, _mm256_or_si256(_mm256_or_si256(octave, mantissa), sign))
}

/// 16 steps: four registers hold the 32 corrections, two the values.
struct Eight {
    limits: Limits,
    corrections: [__m256i; 4],
    values: [__m256i; 2],
}

impl Kernel for Eight {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Eight {
        let (octave, mantissa) = (_mm256_set1_epi32(ONE_OCTAVE_F32), _mm256_set1_epi32(ONE_OCTAVE_F32 - 1));
        // SAFETY: within the tables, which have 32 and 16 entries.
        let load = |table: &[u32], i: usize| unsafe { _mm256_loadu_si256(table.as_ptr().add(i).cast()) };
        let corrections = scale.format.corrections_f32;
        let values = scale.format.values_f32;
        Eight {
            limits: Limits::new(scale),
            corrections: [0, 8, 16, 24].map(|i| _mm256_sub_epi32(load(corrections, i), octave)),
            values: [0, 8].map(|i| _mm256_and_si256(load(values, i), mantissa)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, x: __m256i) -> __m256i {
        let (keep, held) = self.limits.hold(x);
        // A look-up reads the lowest three bits of an index; the next ones choose among look-ups.
        let cell = _mm256_srli_epi32::<18>(held);
        let (bit_3, bit_4) = (_mm256_slli_epi32::<10>(held), _mm256_slli_epi32::<9>(held));
        let [a, b, c, d] = self.corrections.map(|table| _mm256_permutevar8x32_epi32(table, cell));
        let correction = select(select(a, b, bit_3), select(c, d, bit_3), bit_4);
        let sum = _mm256_add_epi32(held, correction);
        let step = _mm256_srli_epi32::<19>(sum);
        let [a, b] = self.values.map(|table| _mm256_permutevar8x32_epi32(table, step));
        assemble_f32(x, keep, sum, select(a, b, _mm256_slli_epi32::<9>(sum)))
    }
}

/// 128 steps: one load from memory tells all about a cell.
struct Sixteen {
    limits: Limits,
}

/// A cell's two values and what separates them: the upper half is what the lower value adds to its octave, whose
/// exponent is one too high; bits 0 to 16 what the upper value adds to that; bits 17 to 31 the lowest 15 bits of the
/// mantissa that the upper value begins with.
static CELLS: [u64; 256] = {
    const SIXTEEN: &Format = Bits::Sixteen.format();
    let mut cells = [0; 256];
    let (mut cell, mut step) = (0, 0);
    while cell < 256 {
        let lower = if step < 128 { SIXTEEN.values_f32[step] as u64 } else { 0x4000_0000 };
        cells[cell] = ((lower as u32).wrapping_sub(0x4000_0000) as u64) << 32;
        if step < 128 && (SIXTEEN.thresholds_f32[step] >> 15) as usize == cell {
            let upper = if step < 127 { SIXTEEN.values_f32[step + 1] as u64 } else { 0x4000_0000 };
            assert!(upper - lower < 1 << 17);
            cells[cell] |= ((SIXTEEN.thresholds_f32[step] & 0x7fff) as u64) << 17 | (upper - lower);
            step += 1;
        }
        cell += 1;
    }
    cells
};

impl Kernel for Sixteen {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen { limits: Limits::new(scale) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, x: __m256i) -> __m256i {
        let (keep, held) = self.limits.hold(x);
        let mut cells = Words::ZERO;
        cells.store(_mm256_slli_epi32::<1>(held));
        let cell = |i: usize| CELLS[cells.third_byte(i)] as i64;
        // The shuffles, which work on 128 bits, put them in order.
        let a = _mm256_setr_epi64x(cell(0), cell(1), cell(4), cell(5));
        let b = _mm256_setr_epi64x(cell(2), cell(3), cell(6), cell(7));
        let (a, b) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        let value = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        let more = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
        let within = _mm256_and_si256(held, _mm256_set1_epi32(0x7fff));
        let below = _mm256_cmpgt_epi32(_mm256_srli_epi32::<17>(more), within);
        let more = _mm256_andnot_si256(below, _mm256_and_si256(more, _mm256_set1_epi32(0x1_ffff)));
        let octave = _mm256_and_si256(held, _mm256_set1_epi32(EXPONENT_F32));
        let magnitude = _mm256_add_epi32(octave, _mm256_add_epi32(value, more));
        let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
        _mm256_and_si256(keep, _mm256_or_si256(magnitude, sign))
    }
}
