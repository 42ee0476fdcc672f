//! AVX2: the algorithm of `avx512`, in half the width and without masks.

use std::arch::x86_64::*;

use super::{Passes, Path, Scale, scalar};
use crate::quant::Bits;
use crate::quant::format::AMBIGUOUS;

pub static PATH: Path = Path {
    name: "avx2",
    f32: Passes { max_abs: max_abs_f32, apply: apply_f32 },
    f64: Passes { max_abs: max_abs_f64, apply: apply_f64 },
};

pub fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

const EXPONENT_F32: i32 = 0x7f80_0000;
const EXPONENT_F64: i64 = 0x7ff0_0000_0000_0000;
const ONE_OCTAVE_F32: i32 = 1 << 23;
const ONE_OCTAVE_F64: i64 = 1 << 52;

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

/// All ones in the first `count` words.
#[inline]
#[target_feature(enable = "avx2")]
fn first_words(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

#[target_feature(enable = "avx2")]
unsafe fn apply_f32(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<EightF32>(source.cast(), destination.cast(), len, scale),
            Bits::Sixteen => sweep::<SixteenF32>(source.cast(), destination.cast(), len, scale),
        }
    }
}

#[target_feature(enable = "avx2")]
unsafe fn apply_f64(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<F64<4>>(source.cast(), destination.cast(), 2 * len, scale),
            Bits::Sixteen => sweep::<F64<7>>(source.cast(), destination.cast(), 2 * len, scale),
        }
    }
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

/// The limits of a float32 scale, raised by an octave.
struct LimitsF32 {
    flush: [__m256i; 2],
    lowest: [__m256i; 2],
    highest: __m256i,
}

impl LimitsF32 {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(scale: &Scale) -> LimitsF32 {
        let limits = &scale.f32;
        LimitsF32 {
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
struct EightF32 {
    limits: LimitsF32,
    corrections: [__m256i; 4],
    values: [__m256i; 2],
}

impl Kernel for EightF32 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> EightF32 {
        let (octave, mantissa) = (_mm256_set1_epi32(ONE_OCTAVE_F32), _mm256_set1_epi32(ONE_OCTAVE_F32 - 1));
        // SAFETY: within the tables, which have 32 and 16 entries.
        let load = |table: &[u32], i: usize| unsafe { _mm256_loadu_si256(table.as_ptr().add(i).cast()) };
        let corrections = scale.format.corrections_f32;
        let values = scale.format.values_f32;
        EightF32 {
            limits: LimitsF32::new(scale),
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

/// 128 steps, looked up in memory.
struct SixteenF32 {
    limits: LimitsF32,
    corrections: *const i32,
    values: *const i32,
}

impl Kernel for SixteenF32 {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> SixteenF32 {
        SixteenF32 {
            limits: LimitsF32::new(scale),
            corrections: scale.format.corrections_f32.as_ptr().cast(),
            values: scale.format.values_f32.as_ptr().cast(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, x: __m256i) -> __m256i {
        let (keep, held) = self.limits.hold(x);
        let cell = _mm256_and_si256(_mm256_srli_epi32::<15>(held), _mm256_set1_epi32(255));
        // SAFETY: the table has 256 entries.
        let correction = unsafe { _mm256_i32gather_epi32::<4>(self.corrections, cell) };
        let sum = _mm256_sub_epi32(_mm256_add_epi32(held, correction), _mm256_set1_epi32(ONE_OCTAVE_F32));
        let step = _mm256_and_si256(_mm256_srli_epi32::<16>(sum), _mm256_set1_epi32(127));
        // SAFETY: the table has 128 entries.
        let value = unsafe { _mm256_i32gather_epi32::<4>(self.values, step) };
        assemble_f32(x, keep, sum, _mm256_and_si256(value, _mm256_set1_epi32(ONE_OCTAVE_F32 - 1)))
    }
}

/// float64 with `2^STEPS` steps, looked up in memory; values in a threshold's ambiguous band are left to the C
/// library's log2.
struct F64<const STEPS: u32> {
    scale: *const Scale,
    flush: [__m256i; 2],
    lowest: [__m256i; 2],
    highest: __m256i,
    corrections: *const i64,
    values: *const i64,
}

impl<const STEPS: u32> Kernel for F64<STEPS> {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Self {
        let limits = &scale.f64;
        F64 {
            scale,
            flush: limits.flush.map(|b| _mm256_set1_epi64x(b as i64)),
            lowest: limits.lowest.map(|b| _mm256_set1_epi64x(b as i64)),
            highest: _mm256_set1_epi64x(limits.highest as i64),
            corrections: scale.format.corrections_f64.as_ptr().cast(),
            values: scale.format.values_f64.as_ptr().cast(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, x: __m256i) -> __m256i {
        let (cells, steps) = (_mm256_set1_epi64x((2 << STEPS) - 1), _mm256_set1_epi64x((1 << STEPS) - 1));
        let flush = select_wide(self.flush[0], self.flush[1], x);
        let lowest = select_wide(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi64x(i64::MAX));
        // No minimum of 64-bit integers here, so all as numbers.
        let [a, f, l, h] = [magnitude, flush, lowest, self.highest].map(|v| _mm256_castsi256_pd(v));
        let keep = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_GT_OQ>(a, f));
        let held = _mm256_castpd_si256(_mm256_max_pd(_mm256_min_pd(a, h), l));
        let infinite = _mm256_cmpeq_epi64(magnitude, _mm256_set1_epi64x(EXPONENT_F64));
        let held = select_wide(held, lowest, infinite);

        let cell = _mm256_and_si256(_mm256_srl_epi64(held, _mm_cvtsi32_si128(51 - STEPS as i32)), cells);
        // SAFETY: the tables have `2 << STEPS` and `1 << STEPS` entries.
        let sum = _mm256_add_epi64(held, unsafe { _mm256_i64gather_epi64::<8>(self.corrections, cell) });
        let step = _mm256_and_si256(_mm256_srl_epi64(sum, _mm_cvtsi32_si128(52 - STEPS as i32)), steps);
        // SAFETY: as above.
        let value = unsafe { _mm256_i64gather_epi64::<8>(self.values, step) };
        let value = _mm256_and_si256(value, _mm256_set1_epi64x(ONE_OCTAVE_F64 - 1));
        let octave = _mm256_and_si256(sum, _mm256_set1_epi64x(EXPONENT_F64));
        let sign = _mm256_and_si256(x, _mm256_set1_epi64x(i64::MIN));
        let y = _mm256_and_si256(keep, _mm256_or_si256(_mm256_or_si256(octave, value), sign));

        let shifted = _mm256_add_epi64(sum, _mm256_set1_epi64x(AMBIGUOUS as i64 - 1));
        let distance = _mm256_and_si256(shifted, _mm256_set1_epi64x((1 << (52 - STEPS)) - 1));
        let near = _mm256_and_si256(keep, _mm256_cmpgt_epi64(_mm256_set1_epi64x(2 * AMBIGUOUS as i64 - 1), distance));
        if _mm256_testz_si256(near, near) == 1 {
            return y;
        }
        // SAFETY: the scale outlives the sweep that made this kernel.
        ambiguous(x, y, _mm256_movemask_pd(_mm256_castsi256_pd(near)), unsafe { &*self.scale })
    }
}

/// `y` with the `near` ones of `x` decided by log2.
#[cold]
#[target_feature(enable = "avx2")]
fn ambiguous(x: __m256i, y: __m256i, near: i32, scale: &Scale) -> __m256i {
    let (mut from, mut to) = ([0.0; 4], [0.0; 4]);
    // SAFETY: both arrays have four values.
    unsafe {
        _mm256_storeu_pd(from.as_mut_ptr(), _mm256_castsi256_pd(x));
        _mm256_storeu_pd(to.as_mut_ptr(), _mm256_castsi256_pd(y));
    }
    for lane in (0..4).filter(|lane| near >> lane & 1 == 1) {
        to[lane] = scalar::value_f64(from[lane], scale);
    }
    // SAFETY: as above.
    unsafe { _mm256_castpd_si256(_mm256_loadu_pd(to.as_ptr())) }
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
