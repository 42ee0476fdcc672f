//! AVX-512, as Ice Lake and Zen 4 have it and whatever came after them.
//!
//! One algorithm for all four cases. A magnitude is held within the scale's limits; its cell's correction, looked up
//! by the mantissa's upper bits, turns it into octave and step; the step's value is looked up.
//! Magnitudes are handled with the exponent raised by one, as signed integers: infinity overflows and so is held at
//! the lowest magnitude, without a test of its own. The corrections take the one off again.

use std::arch::x86_64::*;

use super::{Passes, Path, Scale, scalar};
use crate::quant::Bits;
use crate::quant::format::AMBIGUOUS;

pub static PATH: Path = Path {
    name: "avx512",
    f32: Passes { max_abs: max_abs_f32, apply: apply_f32 },
    f64: Passes { max_abs: max_abs_f64, apply: apply_f64 },
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
const ONE_OCTAVE_F64: i64 = 1 << 52;

/// What is done to the 64 bytes of a vector.
trait Kernel {
    /// # Safety
    /// The processor has the path's instruction set; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;
    unsafe fn quantise(&self, x: __m512i) -> __m512i;
}

/// Runs a kernel over `len` bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
unsafe fn sweep<K: Kernel>(source: *const i8, destination: *mut i8, len: usize, scale: &Scale) {
    // SAFETY: all within `len` bytes, and a masked access touches no byte outside its mask.
    unsafe {
        let kernel = K::new(scale);
        let whole = len & !63;
        let mut i = 0;
        while i < whole {
            let y = kernel.quantise(_mm512_loadu_epi8(source.add(i)));
            _mm512_storeu_epi8(destination.add(i), y);
            i += 64;
        }
        if i < len {
            let mask = (1 << (len - i)) - 1;
            let y = kernel.quantise(_mm512_maskz_loadu_epi8(mask, source.add(i)));
            _mm512_mask_storeu_epi8(destination.add(i), mask, y);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
unsafe fn apply_f32(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<EightF32>(source.cast(), destination.cast(), 4 * len, scale),
            Bits::Sixteen => sweep::<SixteenF32>(source.cast(), destination.cast(), 4 * len, scale),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
unsafe fn apply_f64(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<F64<4>>(source.cast(), destination.cast(), 8 * len, scale),
            Bits::Sixteen => sweep::<F64<7>>(source.cast(), destination.cast(), 8 * len, scale),
        }
    }
}

/// The limits of a float32 scale, raised by an octave and `shift`.
struct LimitsF32 {
    raise: __m512i,
    flush: [__m512i; 2],
    lowest: [__m512i; 2],
    highest: __m512i,
}

impl LimitsF32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn new(scale: &Scale, shift: i32) -> LimitsF32 {
        let raise = ONE_OCTAVE_F32 + shift;
        let limits = &scale.f32;
        LimitsF32 {
            raise: _mm512_set1_epi32(raise),
            flush: limits.flush.map(|b| _mm512_set1_epi32(b as i32)),
            lowest: limits.lowest.map(|b| _mm512_set1_epi32(b as i32 + raise)),
            highest: _mm512_set1_epi32(limits.highest as i32 + raise),
        }
    }

    /// Which values are not zero, and their magnitudes raised and held within the limits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn hold(&self, x: __m512i) -> (__mmask16, __m512i) {
        let negative = _mm512_movepi32_mask(x);
        let flush = _mm512_mask_blend_epi32(negative, self.flush[0], self.flush[1]);
        let lowest = _mm512_mask_blend_epi32(negative, self.lowest[0], self.lowest[1]);
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        // As numbers, so that NaN is not among them.
        let (a, b) = (_mm512_castsi512_ps(magnitude), _mm512_castsi512_ps(flush));
        let keep = _mm512_cmp_round_ps_mask::<_CMP_GT_OQ, _MM_FROUND_NO_EXC>(a, b);
        let raised = _mm512_add_epi32(magnitude, self.raise);
        (keep, _mm512_max_epi32(_mm512_min_epi32(raised, self.highest), lowest))
    }
}

/// 16 steps: two registers hold the 32 corrections, one the values.
struct EightF32 {
    limits: LimitsF32,
    corrections: [__m512i; 2],
    values: __m512i,
}

impl Kernel for EightF32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> EightF32 {
        let octave = _mm512_set1_epi32(ONE_OCTAVE_F32);
        let format = scale.format;
        // SAFETY: the tables have 32 and 16 entries.
        let (corrections, values) = unsafe {
            let table = format.corrections_f32.as_ptr().cast::<i32>();
            let halves = [_mm512_loadu_epi32(table), _mm512_loadu_epi32(table.add(16))];
            (halves.map(|half| _mm512_sub_epi32(half, octave)), _mm512_loadu_epi32(format.values_f32.as_ptr().cast()))
        };
        let mantissa = _mm512_set1_epi32(ONE_OCTAVE_F32 - 1);
        EightF32 { limits: LimitsF32::new(scale, 0), corrections, values: _mm512_and_si512(values, mantissa) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> __m512i {
        let (keep, held) = self.limits.hold(x);
        // The look-ups read the lowest five and four bits of an index.
        let cell = _mm512_srli_epi32::<18>(held);
        let correction = _mm512_permutex2var_epi32(self.corrections[0], cell, self.corrections[1]);
        let sum = _mm512_add_epi32(held, correction);
        let value = _mm512_permutexvar_epi32(_mm512_srli_epi32::<19>(sum), self.values);
        let magnitude = _mm512_ternarylogic_epi32::<AND_OR>(sum, _mm512_set1_epi32(EXPONENT_F32), value);
        _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude)
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
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> SixteenF32 {
        SixteenF32 {
            limits: LimitsF32::new(scale, 0),
            corrections: scale.format.corrections_f32.as_ptr().cast(),
            values: scale.format.values_f32.as_ptr().cast(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> __m512i {
        let (keep, held) = self.limits.hold(x);
        let cell = _mm512_and_si512(_mm512_srli_epi32::<15>(held), _mm512_set1_epi32(255));
        // SAFETY: 256 corrections, 128 values.
        let (sum, value) = unsafe {
            let sum = _mm512_add_epi32(held, _mm512_i32gather_epi32::<4>(cell, self.corrections));
            let sum = _mm512_sub_epi32(sum, _mm512_set1_epi32(ONE_OCTAVE_F32));
            let step = _mm512_and_si512(_mm512_srli_epi32::<16>(sum), _mm512_set1_epi32(127));
            (sum, _mm512_i32gather_epi32::<4>(step, self.values))
        };
        let value = _mm512_and_si512(value, _mm512_set1_epi32(ONE_OCTAVE_F32 - 1));
        let magnitude = _mm512_ternarylogic_epi32::<AND_OR>(sum, _mm512_set1_epi32(EXPONENT_F32), value);
        _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude)
    }
}

/// float64 with `2^STEPS` steps, looked up in memory; values in a threshold's ambiguous band are left to the C
/// library's log2.
struct F64<const STEPS: u32> {
    scale: *const Scale,
    flush: [__m512i; 2],
    lowest: [__m512i; 2],
    highest: __m512i,
    corrections: *const i64,
    values: *const i64,
}

impl<const STEPS: u32> Kernel for F64<STEPS> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Self {
        let limits = &scale.f64;
        F64 {
            scale,
            flush: limits.flush.map(|b| _mm512_set1_epi64(b as i64)),
            lowest: limits.lowest.map(|b| _mm512_set1_epi64(b as i64 + ONE_OCTAVE_F64)),
            highest: _mm512_set1_epi64(limits.highest as i64 + ONE_OCTAVE_F64),
            corrections: scale.format.corrections_f64.as_ptr().cast(),
            values: scale.format.values_f64.as_ptr().cast(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> __m512i {
        let octave = _mm512_set1_epi64(ONE_OCTAVE_F64);
        let (cells, steps) = (_mm512_set1_epi64((2 << STEPS) - 1), _mm512_set1_epi64((1 << STEPS) - 1));
        let negative = _mm512_movepi64_mask(x);
        let flush = _mm512_mask_blend_epi64(negative, self.flush[0], self.flush[1]);
        let lowest = _mm512_mask_blend_epi64(negative, self.lowest[0], self.lowest[1]);
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi64(i64::MAX));
        // As numbers, so that NaN is not among them.
        let (a, b) = (_mm512_castsi512_pd(magnitude), _mm512_castsi512_pd(flush));
        let keep = _mm512_cmp_round_pd_mask::<_CMP_GT_OQ, _MM_FROUND_NO_EXC>(a, b);
        let raised = _mm512_add_epi64(magnitude, octave);
        let held = _mm512_max_epi64(_mm512_min_epi64(raised, self.highest), lowest);

        let cell = _mm512_and_si512(_mm512_srl_epi64(held, _mm_cvtsi32_si128(51 - STEPS as i32)), cells);
        // SAFETY: the tables have `2 << STEPS` and `1 << STEPS` entries.
        let correction = unsafe { _mm512_i64gather_epi64::<8>(cell, self.corrections) };
        let sum = _mm512_sub_epi64(_mm512_add_epi64(held, correction), octave);
        let step = _mm512_and_si512(_mm512_srl_epi64(sum, _mm_cvtsi32_si128(52 - STEPS as i32)), steps);
        // SAFETY: as above.
        let value = unsafe { _mm512_i64gather_epi64::<8>(step, self.values) };
        let value = _mm512_and_si512(value, _mm512_set1_epi64(ONE_OCTAVE_F64 - 1));
        let magnitude = _mm512_ternarylogic_epi64::<AND_OR>(sum, _mm512_set1_epi64(EXPONENT_F64), value);
        let y = _mm512_maskz_ternarylogic_epi64::<AND_OR>(keep, x, _mm512_set1_epi64(i64::MIN), magnitude);

        let shifted = _mm512_add_epi64(sum, _mm512_set1_epi64(AMBIGUOUS as i64 - 1));
        let distance = _mm512_and_si512(shifted, _mm512_set1_epi64((1 << (52 - STEPS)) - 1));
        let near = _mm512_mask_cmplt_epu64_mask(keep, distance, _mm512_set1_epi64(2 * AMBIGUOUS as i64 - 1));
        if near == 0 {
            return y;
        }
        // SAFETY: the scale outlives the sweep that made this kernel.
        ambiguous(x, y, near, unsafe { &*self.scale })
    }
}

/// `y` with the `near` ones of `x` decided by log2.
#[cold]
#[target_feature(enable = "avx512f")]
fn ambiguous(x: __m512i, y: __m512i, near: __mmask8, scale: &Scale) -> __m512i {
    let (mut from, mut to) = ([0.0; 8], [0.0; 8]);
    // SAFETY: both arrays have eight values.
    unsafe {
        _mm512_storeu_pd(from.as_mut_ptr(), _mm512_castsi512_pd(x));
        _mm512_storeu_pd(to.as_mut_ptr(), _mm512_castsi512_pd(y));
    }
    for lane in (0..8).filter(|lane| near >> lane & 1 == 1) {
        to[lane] = scalar::value_f64(from[lane], scale);
    }
    // SAFETY: as above.
    unsafe { _mm512_castpd_si512(_mm512_loadu_pd(to.as_ptr())) }
}

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
