//! float32.

use std::arch::asm;
use std::arch::x86_64::*;

use super::planes::{Block, Plane, Planes, add, third_bytes, words};
use super::{EXPONENT_F32, Kernel, ONE_OCTAVE_F32, from_bit_16, select, sweep};
use crate::quant::arch::{Scale, scalar};
use crate::quant::{Bits, Format};

#[target_feature(enable = "avx2")]
pub unsafe fn apply(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source, destination, len, scale),
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

    /// The magnitude raised and held within the limits.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn hold(&self, x: __m256i) -> __m256i {
        let lowest = select(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        let raised = _mm256_add_epi32(magnitude, _mm256_set1_epi32(ONE_OCTAVE_F32));
        _mm256_max_epi32(_mm256_min_epi32(raised, self.highest), lowest)
    }

    /// The quantised magnitude with the sign of `x`, or zero if that is too small or NaN.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(&self, x: __m256i, quantised: __m256i) -> __m256i {
        let flush = select(self.flush[0], self.flush[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        // As numbers, so that NaN is not among the larger ones.
        let (a, b) = (_mm256_castsi256_ps(magnitude), _mm256_castsi256_ps(flush));
        let keep = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b));
        let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
        _mm256_and_si256(keep, _mm256_or_si256(quantised, sign))
    }
}

/// 16 steps, looked up in planes of bytes.
struct Eight {
    limits: Limits,
    corrections: [Plane<2>; 3],
    values: [Plane<1>; 3],
}

/// The corrections, which take the raise back.
static CORRECTIONS: Planes<2, 3> = {
    let mut table = [0; 32];
    let mut cell = 0;
    while cell < 32 {
        table[cell] = Bits::Eight.format().corrections_f32[cell].wrapping_sub(ONE_OCTAVE_F32 as u32);
        // The fourth byte is nothing but ones.
        assert!(table[cell] >> 24 == 0xff);
        table[cell] &= 0xff_ffff;
        cell += 1;
    }
    Planes::new(&table)
};

/// The values' mantissas.
static VALUES: Planes<1, 3> = {
    let mut table = [0; 16];
    let mut step = 0;
    while step < 16 {
        table[step] = Bits::Eight.format().values_f32[step] & 0x7f_ffff;
        step += 1;
    }
    Planes::new(&table)
};

impl Kernel for Eight {
    type Value = f32;
    /// The sums whose upper bits are octave and step.
    type Place = Block;
    const LEN: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Eight {
        Eight { limits: Limits::new(scale), corrections: CORRECTIONS.load(), values: VALUES.load() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, source: *const f32) -> Block {
        let source = source.cast::<__m256i>();
        let mut held: Block = [_mm256_setzero_si256(); 4];
        for (k, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's pointer is good for 32 values.
            *held = self.limits.hold(unsafe { _mm256_loadu_si256(source.add(k)) });
        }
        // Bits 18 to 22 of a magnitude are its cell.
        let cell = third_bytes(held);
        let (cell, bit_4) = (_mm256_srli_epi16::<2>(cell), _mm256_slli_epi16::<1>(cell));
        let cell = _mm256_and_si256(cell, _mm256_set1_epi8(15));
        let [a, b, c] = &self.corrections;
        let correction = words([a.of(cell, bit_4), b.of(cell, bit_4), c.of(cell, bit_4), _mm256_set1_epi8(-1)]);
        add(held, correction)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, &sums: &Block, source: *const f32, destination: *mut f32) -> bool {
        let (source, destination) = (source.cast::<__m256i>(), destination.cast::<__m256i>());
        // Bits 19 to 22 of a sum are its step.
        let step = _mm256_and_si256(_mm256_srli_epi16::<3>(third_bytes(sums)), _mm256_set1_epi8(15));
        let [a, b, c] = &self.values;
        let mantissa = words([a.of(step), b.of(step), c.of(step), _mm256_setzero_si256()]);
        for k in 0..4 {
            let octave = _mm256_and_si256(sums[k], _mm256_set1_epi32(EXPONENT_F32));
            let quantised = _mm256_or_si256(octave, mantissa[k]);
            // SAFETY: the caller's pointers are good for 32 values.
            unsafe {
                let x = _mm256_loadu_si256(source.add(k));
                _mm256_storeu_si256(destination.add(k), self.limits.finish(x, quantised));
            }
        }
        true
    }

    fn quantise_value(x: f32, scale: &Scale) -> f32 {
        scalar::value_f32(x, scale)
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
    type Value = f32;
    /// Twice the magnitude: bits 16 to 23 are its cell.
    type Place = __m256i;
    const LEN: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen { limits: Limits::new(scale) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, source: *const f32) -> __m256i {
        // SAFETY: the caller's pointer is good for eight values.
        let held = self.limits.hold(unsafe { _mm256_loadu_si256(source.cast()) });
        _mm256_add_epi32(held, held)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, place: &__m256i, source: *const f32, destination: *mut f32) -> bool {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = from_bit_16::<u8>(place);
        // The shuffles, which work on 128 bits, put them in order.
        // SAFETY: they are bytes.
        let (a, b) = unsafe { (cells([c0, c1, c4, c5]), cells([c2, c3, c6, c7])) };
        let value = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        let more = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
        let held = _mm256_srli_epi32::<1>(*place);
        let within = _mm256_and_si256(held, _mm256_set1_epi32(0x7fff));
        let below = _mm256_cmpgt_epi32(_mm256_srli_epi32::<17>(more), within);
        let more = _mm256_andnot_si256(below, _mm256_and_si256(more, _mm256_set1_epi32(0x1_ffff)));
        let octave = _mm256_and_si256(held, _mm256_set1_epi32(EXPONENT_F32));
        let quantised = _mm256_add_epi32(octave, _mm256_add_epi32(value, more));
        // SAFETY: the caller's pointers are good for eight values.
        unsafe {
            let x = _mm256_loadu_si256(source.cast());
            _mm256_storeu_si256(destination.cast(), self.limits.finish(x, quantised));
        }
        true
    }

    fn quantise_value(x: f32, scale: &Scale) -> f32 {
        scalar::value_f32(x, scale)
    }
}

/// Four cells.
///
/// # Safety
/// The indices are below 256.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cells(indices: [usize; 4]) -> __m256 {
    // SAFETY: within the table, and any bits are an f64.
    unsafe {
        let pair = |i: usize, j: usize| {
            let mut pair = _mm_load_sd(CELLS.as_ptr().add(i).cast());
            // `_mm_loadh_pd`, which the compiler makes two instructions of: a twentieth of the whole time.
            asm!(
                "vmovhps {pair}, {pair}, qword ptr [{cells} + 8 * {j}]",
                pair = inout(xmm_reg) pair,
                cells = in(reg) CELLS.as_ptr(),
                j = in(reg) j,
                options(pure, readonly, nostack, preserves_flags)
            );
            pair
        };
        let (low, high) = (pair(indices[0], indices[1]), pair(indices[2], indices[3]));
        _mm256_castpd_ps(_mm256_insertf128_pd::<1>(_mm256_castpd128_pd256(low), high))
    }
}
