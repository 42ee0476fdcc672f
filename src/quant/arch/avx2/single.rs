//! The float32 passes.

use std::arch::asm;
use std::arch::x86_64::*;

use super::lanes::{first_words, from_bit_16, select};
use super::planes::{Plane, Planes};
use super::sweep::{Kernel, sweep};
use crate::quant::arch::scalar;
use crate::quant::arch::scale::Scale;
use crate::quant::format::{Bits, Format};

/// A float32's exponent bits, which are also the bits of infinity.
const EXPONENT: i32 = 0x7f80_0000;
/// What doubles a float32 when added to its bits.
const ONE_OCTAVE: i32 = 1 << 23;

/// The largest magnitude, ignoring NaN, or 0 if there is none.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn max_abs(data: &[f32]) -> f32 {
    // Added to magnitudes so that infinity becomes the largest integer and NaN overflows to a negative one.
    const RAISE: i32 = i32::MAX - EXPONENT;
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        _mm256_max_epi32(max, _mm256_add_epi32(magnitude, _mm256_set1_epi32(RAISE)))
    };
    let mut max = [_mm256_set1_epi32(RAISE); 4];
    let (blocks, rest) = data.as_chunks::<32>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: the load is within the block.
            *max = larger(*max, unsafe { _mm256_loadu_si256(block.as_ptr().add(8 * i).cast()) });
        }
    }
    for chunk in rest.chunks(8) {
        // SAFETY: the mask ends where the chunk does.
        max[0] = larger(max[0], unsafe { _mm256_maskload_epi32(chunk.as_ptr().cast(), first_words(chunk.len())) });
    }
    let [a, b, c, d] = max;
    let mut lanes = [0i32; 8];
    // SAFETY: the array holds the eight lanes.
    unsafe {
        let max = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max);
    }
    f32::from_bits((lanes.into_iter().fold(RAISE, i32::max) - RAISE) as u32)
}

/// Quantises and dequantises.
///
/// # Safety
/// The processor has AVX2, and the pointers are as [`Passes`](crate::quant::arch::Passes) demands.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn apply(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are valid for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source, destination, len, scale),
        }
    }
}

/// The limits up to which magnitudes become zero, for positive and for negative values.
struct Flush([__m256i; 2]);

impl Flush {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(scale: &Scale) -> Flush {
        Flush(scale.f32.flush.map(|b| _mm256_set1_epi32(b as i32)))
    }

    /// A mask with zeros in the lanes whose values become zero, NaN included, and ones in the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn keep(&self, x: __m256i) -> __m256i {
        let flush = select(self.0[0], self.0[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        // Compared as floats, so that NaN is not greater.
        let (a, b) = (_mm256_castsi256_ps(magnitude), _mm256_castsi256_ps(flush));
        _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GT_OQ>(a, b))
    }
}

/// 16 steps, looked up in planes of bytes. The upper 16 bits of 16 values fill one register, their lower 16 bits
/// another.
///
/// An upper half is the sign, the octave (8 bits), and seven bits of the mantissa, the first five of which are the
/// cell. The correction added to it moves the threshold's own upper half to just below a step, and one more is added
/// where the lower half has reached the threshold's. Bits 3 to 6 of the sum are then the step.
struct Eight {
    flush: Flush,
    lowest: __m256i,
    highest: __m256i,
    corrections: [Plane<2>; 3],
    values: [Plane<1>; 3],
}

/// Part of every correction, so large that the sum of an infinity overflows 15 bits, and as a signed number is below
/// all others, while the sums of finite magnitudes do not.
const LIFT: u32 = 0x7b;

/// Per cell: the threshold's lower half (bits 0 to 15) and the correction of the upper half (bits 16 to 23).
static CORRECTIONS: Planes<2, 3> = {
    const EIGHT: &Format = Bits::Eight.format();
    let mut table = [0; 32];
    let (mut cell, mut step) = (0, 0);
    while cell < 32 {
        let first = 4 * cell as u32;
        let (lower, sum) = if step < 16 && (EIGHT.thresholds_f32[step] >> 18) as usize == cell {
            let threshold = EIGHT.thresholds_f32[step];
            step += 1;
            (threshold & 0xffff, 8 * step as u32 - 1 - ((threshold >> 16) - first))
        } else {
            (0xffff, 8 * step as u32)
        };
        assert!(0x7f00 + sum + 3 + 1 + LIFT < 0x8000 && 0x7f80 + sum + LIFT >= 0x8000);
        table[cell] = lower | (sum - first + LIFT) << 16;
        cell += 1;
    }
    assert!(step == 16);
    Planes::new(&table)
};

/// Per step: the value's mantissa.
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
    /// Sign, octave and step in upper halves, in the order of [`Halves`]; the lowest three bits are undefined.
    type Place = [__m256i; 2];
    const LEN: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Eight {
        // The sum that stands for `2^(q/16)`.
        let sum = |q: i32| _mm256_set1_epi16((8 * (q + 16 * 127) + LIFT as i32) as i16);
        Eight {
            flush: Flush::new(scale),
            lowest: sum(scale.delta),
            highest: sum(scale.delta + scale.format.max_code),
            corrections: CORRECTIONS.load(),
            values: VALUES.load(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, source: *const f32) -> [__m256i; 2] {
        // SAFETY: the caller's pointer is valid for 32 values.
        let [a, b] = unsafe { [halves(source), halves(source.add(16))] };
        let mantissa = _mm256_set1_epi16(0x7f);
        let cell = _mm256_packus_epi16(_mm256_and_si256(a.upper, mantissa), _mm256_and_si256(b.upper, mantissa));
        let (cell, bit_4) = (_mm256_srli_epi16::<2>(cell), _mm256_add_epi8(cell, cell));
        let cell = _mm256_and_si256(cell, _mm256_set1_epi8(15));
        let [p, q, r] = &self.corrections;
        let (p, q, r) = (p.of(cell, bit_4), q.of(cell, bit_4), r.of(cell, bit_4));
        let zero = _mm256_setzero_si256();
        [
            self.place(&a, _mm256_unpacklo_epi8(p, q), _mm256_unpacklo_epi8(r, zero)),
            self.place(&b, _mm256_unpackhi_epi8(p, q), _mm256_unpackhi_epi8(r, zero)),
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, &[a, b]: &[__m256i; 2], source: *const f32, destination: *mut f32) -> bool {
        let step = _mm256_set1_epi16(0x78);
        let step = _mm256_packus_epi16(_mm256_and_si256(a, step), _mm256_and_si256(b, step));
        let step = _mm256_srli_epi16::<3>(step);
        let [p, q, r] = &self.values;
        let (p, q, r) = (p.of(step), q.of(step), r.of(step));
        let octave = _mm256_set1_epi16(!0x7f);
        let (a, b) = (_mm256_and_si256(a, octave), _mm256_and_si256(b, octave));
        let zero = _mm256_setzero_si256();
        let a = Halves { upper: _mm256_or_si256(a, _mm256_unpacklo_epi8(r, zero)), lower: _mm256_unpacklo_epi8(p, q) };
        let b = Halves { upper: _mm256_or_si256(b, _mm256_unpackhi_epi8(r, zero)), lower: _mm256_unpackhi_epi8(p, q) };
        let ([a, b], [c, d]) = (a.join(), b.join());
        for (k, quantised) in [a, b, c, d].into_iter().enumerate() {
            // SAFETY: the caller's pointers are valid for 32 values.
            unsafe {
                let keep = self.flush.keep(_mm256_loadu_si256(source.add(8 * k).cast()));
                _mm256_storeu_si256(destination.add(8 * k).cast(), _mm256_and_si256(keep, quantised));
            }
        }
        true
    }

    fn quantise_value(x: f32, scale: &Scale) -> f32 {
        scalar::value_f32(x, scale)
    }
}

impl Eight {
    /// Octave and step of 16 values, clamped to the limits, with their signs.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn place(&self, x: &Halves, threshold: __m256i, correction: __m256i) -> __m256i {
        let above = _mm256_cmpeq_epi16(_mm256_max_epu16(x.lower, threshold), x.lower);
        let magnitude = _mm256_and_si256(x.upper, _mm256_set1_epi16(i16::MAX));
        let sum = _mm256_sub_epi16(_mm256_add_epi16(magnitude, correction), above);
        let sign = _mm256_and_si256(x.upper, _mm256_set1_epi16(i16::MIN));
        // Negative magnitudes begin one step higher.
        let lowest = _mm256_add_epi16(self.lowest, _mm256_srli_epi16::<12>(sign));
        let held = _mm256_max_epi16(_mm256_min_epi16(sum, self.highest), lowest);
        _mm256_or_si256(_mm256_sub_epi16(held, _mm256_set1_epi16(LIFT as i16)), sign)
    }
}

/// 16 values as two registers of 16-bit halves. Lanes 2k and 2k + 1 belong to the values k and k + 8.
struct Halves {
    upper: __m256i,
    lower: __m256i,
}

/// Splits 16 values into halves.
///
/// # Safety
/// The processor has AVX2, and `source` is valid for 16 values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(source: *const f32) -> Halves {
    // SAFETY: the caller's pointer is valid for 16 values.
    let (a, b) = unsafe { (_mm256_loadu_si256(source.cast()), _mm256_loadu_si256(source.add(8).cast())) };
    Halves {
        upper: _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(a), b),
        lower: _mm256_blend_epi16::<0b1010_1010>(a, _mm256_slli_epi32::<16>(b)),
    }
}

impl Halves {
    /// Joins the halves to 16 values again: the first eight and the last eight.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn join(self) -> [__m256i; 2] {
        let Halves { upper, lower } = self;
        [
            _mm256_blend_epi16::<0b1010_1010>(lower, _mm256_slli_epi32::<16>(upper)),
            _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(lower), upper),
        ]
    }
}

/// 128 steps: one load from memory fetches all that belongs to a cell. Magnitudes are raised by an octave, so that an
/// infinity becomes a negative integer and is clamped to the lowest magnitude.
struct Sixteen {
    flush: Flush,
    lowest: [__m256i; 2],
    highest: __m256i,
}

/// Per cell, its two values and the threshold between them. Bits 32 to 63: the lower value's bits less those of its
/// raised octave, whose exponent is one too high. Bits 0 to 16: the upper value's bits less the lower value's. Bits 17
/// to 31: the lowest 15 bits of the mantissa from which values round up.
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
    /// Twice the clamped and raised magnitude, so that bits 16 to 23 are its cell.
    type Place = __m256i;
    const LEN: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        let raised = |b: u32| _mm256_set1_epi32(b as i32 + ONE_OCTAVE);
        let limits = &scale.f32;
        Sixteen { flush: Flush::new(scale), lowest: limits.lowest.map(raised), highest: raised(limits.highest) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, source: *const f32) -> __m256i {
        // SAFETY: the caller's pointer is valid for eight values.
        let x = unsafe { _mm256_loadu_si256(source.cast()) };
        let lowest = select(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        let raised = _mm256_add_epi32(magnitude, _mm256_set1_epi32(ONE_OCTAVE));
        let held = _mm256_max_epi32(_mm256_min_epi32(raised, self.highest), lowest);
        _mm256_add_epi32(held, held)
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, place: &__m256i, source: *const f32, destination: *mut f32) -> bool {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = from_bit_16::<u8>(place);
        // In this order, because the shuffles below work within 128 bits each.
        // SAFETY: the indices are bytes.
        let (a, b) = unsafe { (cells([c0, c1, c4, c5]), cells([c2, c3, c6, c7])) };
        let value = _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b));
        let more = _mm256_castps_si256(_mm256_shuffle_ps::<0b10_00_10_00>(a, b));
        let held = _mm256_srli_epi32::<1>(*place);
        let within = _mm256_and_si256(held, _mm256_set1_epi32(0x7fff));
        let below = _mm256_cmpgt_epi32(_mm256_srli_epi32::<17>(more), within);
        let more = _mm256_andnot_si256(below, _mm256_and_si256(more, _mm256_set1_epi32(0x1_ffff)));
        let octave = _mm256_and_si256(held, _mm256_set1_epi32(EXPONENT));
        let quantised = _mm256_add_epi32(octave, _mm256_add_epi32(value, more));
        // SAFETY: the caller's pointers are valid for eight values.
        unsafe {
            let x = _mm256_loadu_si256(source.cast());
            let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
            let y = _mm256_and_si256(self.flush.keep(x), _mm256_or_si256(quantised, sign));
            _mm256_storeu_si256(destination.cast(), y);
        }
        true
    }

    fn quantise_value(x: f32, scale: &Scale) -> f32 {
        scalar::value_f32(x, scale)
    }
}

/// Loads four cells.
///
/// # Safety
/// The processor has AVX2, and the indices are below 256.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cells(indices: [usize; 4]) -> __m256 {
    // SAFETY: the loads are within the table, and any bits are a valid f64.
    unsafe {
        let pair = |i: usize, j: usize| {
            let mut pair = _mm_load_sd(CELLS.as_ptr().add(i).cast());
            // `_mm_loadh_pd` as one instruction: the compiler makes two of it, which takes 5% of the whole time.
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
