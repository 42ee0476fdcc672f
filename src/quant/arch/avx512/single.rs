//! float32.

use std::arch::x86_64::*;

use super::planes::{Estimate, LACKS, Loaded, SHIFT, THRESHOLDS};
use super::{AND_OR, EXPONENT_F32, ONE_OCTAVE_F32};
use crate::quant::Bits;
use crate::quant::arch::Scale;

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
pub unsafe fn apply(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source.cast(), destination.cast(), 4 * len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source.cast(), destination.cast(), 4 * len, scale),
        }
    }
}

/// The limits of a float32 scale, raised by an octave.
struct Limits {
    flush: [__m512i; 2],
    lowest: [__m512i; 2],
    highest: __m512i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn new(scale: &Scale) -> Limits {
        let limits = &scale.f32;
        Limits {
            flush: limits.flush.map(|b| _mm512_set1_epi32(b as i32)),
            lowest: limits.lowest.map(|b| _mm512_set1_epi32(b as i32 + ONE_OCTAVE_F32)),
            highest: _mm512_set1_epi32(limits.highest as i32 + ONE_OCTAVE_F32),
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
        let raised = _mm512_add_epi32(magnitude, _mm512_set1_epi32(ONE_OCTAVE_F32));
        (keep, _mm512_max_epi32(_mm512_min_epi32(raised, self.highest), lowest))
    }
}

/// 16 steps: two registers hold the 32 corrections, one the values.
struct Eight {
    limits: Limits,
    corrections: [__m512i; 2],
    values: __m512i,
}

impl Kernel for Eight {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Eight {
        let octave = _mm512_set1_epi32(ONE_OCTAVE_F32);
        let format = scale.format;
        // SAFETY: the tables have 32 and 16 entries.
        let (corrections, values) = unsafe {
            let table = format.corrections_f32.as_ptr().cast::<i32>();
            let halves = [_mm512_loadu_epi32(table), _mm512_loadu_epi32(table.add(16))];
            (halves.map(|half| _mm512_sub_epi32(half, octave)), _mm512_loadu_epi32(format.values_f32.as_ptr().cast()))
        };
        let mantissa = _mm512_set1_epi32(ONE_OCTAVE_F32 - 1);
        Eight { limits: Limits::new(scale), corrections, values: _mm512_and_si512(values, mantissa) }
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

/// 128 steps: twelve registers hold the thresholds and the values.
struct Sixteen {
    limits: Limits,
    estimate: Estimate,
    thresholds: Loaded<3>,
    lacks: Loaded<3>,
}

impl Kernel for Sixteen {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen {
            limits: Limits::new(scale),
            estimate: Estimate::new(),
            thresholds: THRESHOLDS.load(),
            lacks: LACKS.load(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> __m512i {
        let (keep, held) = self.limits.hold(x);
        let held = _mm512_add_epi32(held, _mm512_set1_epi32(SHIFT as i32));
        let mantissa = _mm512_and_si512(held, _mm512_set1_epi32(ONE_OCTAVE_F32 - 1));
        let index = self.estimate.last_passed(mantissa);
        let passed = _mm512_cmpge_epu32_mask(mantissa, self.thresholds.look_up(index));
        let index = _mm512_mask_add_epi32(index, passed, index, _mm512_set1_epi32(0x0001_0101));
        let octave = _mm512_and_si512(held, _mm512_set1_epi32(EXPONENT_F32));
        let magnitude = _mm512_sub_epi32(octave, self.lacks.look_up(index));
        _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude)
    }
}
