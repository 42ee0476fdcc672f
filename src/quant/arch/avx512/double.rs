//! The float64 passes: a value's upper 32 bits decide, unless they are those of a threshold or a limit.

use std::arch::x86_64::*;

use super::planes::{Estimate, Loaded, SHIFT_UPPER, THRESHOLDS_UPPER, VALUES_LOWER, VALUES_UPPER};
use crate::quant::arch::scalar;
use crate::quant::arch::scale::Scale;
use crate::quant::format::Bits;

/// The exponent bits in a float64's upper half, which are also the upper half of infinity.
const EXPONENT: i32 = 0x7ff0_0000;
/// What doubles a float64 when added to its upper half.
const ONE_OCTAVE: i32 = 1 << 20;
/// Truth table of `(a & b) | c`, for `ternarylogic`.
const AND_OR: i32 = 0xea;

/// The largest magnitude, ignoring NaN, or 0 if there is none.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn max_abs(data: &[f64]) -> f64 {
    let infinity = _mm512_set1_epi64((EXPONENT as i64) << 32);
    let larger = |max: __m512i, x: __m512i| {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi64(i64::MAX));
        let number = _mm512_cmple_epi64_mask(magnitude, infinity);
        _mm512_mask_max_epi64(max, number, max, magnitude)
    };
    let mut max = [_mm512_setzero_si512(); 4];
    let (blocks, rest) = data.as_chunks::<32>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: the load is within the block.
            *max = larger(*max, unsafe { _mm512_loadu_epi64(block.as_ptr().add(8 * i).cast()) });
        }
    }
    for chunk in rest.chunks(8) {
        let mask = ((1u32 << chunk.len()) - 1) as __mmask8;
        // SAFETY: the mask ends where the chunk does.
        max[0] = larger(max[0], unsafe { _mm512_maskz_loadu_epi64(mask, chunk.as_ptr().cast()) });
    }
    let [a, b, c, d] = max;
    let max = _mm512_max_epi64(_mm512_max_epi64(a, b), _mm512_max_epi64(c, d));
    f64::from_bits(_mm512_reduce_max_epi64(max) as u64)
}

/// Quantises and dequantises.
///
/// # Safety
/// The processor has the backend's instructions, and the pointers are as [`Passes`](crate::quant::arch::Passes)
/// demands.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
pub(super) unsafe fn apply(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are valid for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source, destination, len, scale),
        }
    }
}

/// The limits of a float64 scale, their upper halves only, for positive and for negative values.
struct Limits {
    flush: [__m512i; 2],
    lowest: [__m512i; 2],
    highest: __m512i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn new(scale: &Scale) -> Limits {
        let limits = &scale.f64;
        let upper = |b: u64| _mm512_set1_epi32((b >> 32) as i32);
        Limits { flush: limits.flush.map(upper), lowest: limits.lowest.map(upper), highest: upper(limits.highest) }
    }

    /// A mask of the values that do not become zero, a mask of those that the upper half does not decide (at the limit
    /// of becoming zero, or not finite), and the upper halves of the magnitudes, clamped to the limits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn hold(&self, x: __m512i) -> (__mmask16, __mmask16, __m512i) {
        let negative = _mm512_movepi32_mask(x);
        let flush = _mm512_mask_blend_epi32(negative, self.flush[0], self.flush[1]);
        let lowest = _mm512_mask_blend_epi32(negative, self.lowest[0], self.lowest[1]);
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        let keep = _mm512_cmpgt_epi32_mask(magnitude, flush);
        let open = _mm512_cmpeq_epi32_mask(magnitude, flush);
        let open = open | _mm512_cmpge_epi32_mask(magnitude, _mm512_set1_epi32(EXPONENT));
        (keep, open, _mm512_max_epi32(_mm512_min_epi32(magnitude, self.highest), lowest))
    }
}

/// What quantises 16 values by their upper halves.
trait Kernel {
    /// Loads the tables and limits into registers.
    ///
    /// # Safety
    /// The processor has the backend's instructions, as for all functions of this trait.
    unsafe fn new(scale: &Scale) -> Self;

    /// The upper and lower halves of the quantised values, and a mask of those that `upper` does not decide.
    ///
    /// # Safety
    /// As for [`Kernel::new`].
    unsafe fn quantise(&self, upper: __m512i) -> (__m512i, __m512i, __mmask16);
}

/// Runs a kernel over `len` values.
///
/// # Safety
/// The processor has the backend's instructions, and the pointers are as [`Passes`](crate::quant::arch::Passes)
/// demands.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
unsafe fn sweep<K: Kernel>(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: all accesses are within `len` values; a masked one touches no value outside its mask.
    unsafe {
        let kernel = K::new(scale);
        let sixteen = |a: __m512d, b: __m512d| {
            let [wide_a, wide_b] = [a, b].map(|v| _mm512_castpd_ps(v));
            // Each 128 bits hold two of `a` and two of `b`; unpacking restores the order.
            let upper = _mm512_castps_si512(_mm512_shuffle_ps::<0b11_01_11_01>(wide_a, wide_b));
            let (upper, lower, open) = kernel.quantise(upper);
            let mut low = _mm512_castsi512_pd(_mm512_unpacklo_epi32(lower, upper));
            let mut high = _mm512_castsi512_pd(_mm512_unpackhi_epi32(lower, upper));
            if open != 0 {
                let (mut x, mut y) = ([0.0; 16], [0.0; 16]);
                _mm512_storeu_pd(x.as_mut_ptr(), a);
                _mm512_storeu_pd(x.as_mut_ptr().add(8), b);
                _mm512_storeu_pd(y.as_mut_ptr(), low);
                _mm512_storeu_pd(y.as_mut_ptr().add(8), high);
                decide(&x, &mut y, open as u32, scale);
                low = _mm512_loadu_pd(y.as_ptr());
                high = _mm512_loadu_pd(y.as_ptr().add(8));
            }
            (low, high)
        };
        let whole = len & !15;
        let mut i = 0;
        while i < whole {
            let (a, b) = sixteen(_mm512_loadu_pd(source.add(i)), _mm512_loadu_pd(source.add(i + 8)));
            _mm512_storeu_pd(destination.add(i), a);
            _mm512_storeu_pd(destination.add(i + 8), b);
            i += 16;
        }
        if i < len {
            let mask = (1u32 << (len - i)) - 1;
            let [low, high] = [mask as u8, (mask >> 8) as u8];
            let b = source.wrapping_add(i + 8);
            let (a, b) = sixteen(_mm512_maskz_loadu_pd(low, source.add(i)), _mm512_maskz_loadu_pd(high, b));
            _mm512_mask_storeu_pd(destination.add(i), low, a);
            _mm512_mask_storeu_pd(destination.wrapping_add(i + 8), high, b);
        }
    }
}

/// Quantises the values of `x` whose bits in `open` are set, one by one.
#[cold]
#[inline(never)]
fn decide(x: &[f64; 16], y: &mut [f64; 16], open: u32, scale: &Scale) {
    for lane in (0..16).filter(|lane| open >> lane & 1 == 1) {
        // Undoes the shuffle of `sweep`: lanes 0 and 1 of each 128 bits are of the first eight values.
        let i = lane / 4 * 2 + lane % 2 + lane % 4 / 2 * 8;
        y[i] = scalar::value_f64(x[i], scale);
    }
}

/// 16 steps, as in `single`, with one more register for the lower halves of the values.
struct Eight {
    limits: Limits,
    corrections: [__m512i; 2],
    upper: __m512i,
    lower: __m512i,
}

impl Kernel for Eight {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Eight {
        let format = scale.format;
        let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        let odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
        // SAFETY: the tables have 32 entries of four bytes and 16 of eight.
        let [corrections, values] = unsafe {
            let (corrections, values) = (format.corrections_upper.as_ptr(), format.values_f64.as_ptr());
            [
                [0, 16].map(|i| _mm512_loadu_epi32(corrections.add(i).cast())),
                [0, 8].map(|i| _mm512_loadu_epi32(values.add(i).cast())),
            ]
        };
        let upper = _mm512_permutex2var_epi32(values[0], odd, values[1]);
        Eight {
            limits: Limits::new(scale),
            corrections,
            upper: _mm512_and_si512(upper, _mm512_set1_epi32(ONE_OCTAVE - 1)),
            lower: _mm512_permutex2var_epi32(values[0], even, values[1]),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> (__m512i, __m512i, __mmask16) {
        let (keep, open, held) = self.limits.hold(x);
        let cell = _mm512_srli_epi32::<15>(held);
        let correction = _mm512_permutex2var_epi32(self.corrections[0], cell, self.corrections[1]);
        let sum = _mm512_add_epi32(held, correction);
        let open = open | _mm512_mask_testn_epi32_mask(keep, sum, _mm512_set1_epi32(0xffff));
        let step = _mm512_srli_epi32::<16>(sum);
        let upper = _mm512_permutexvar_epi32(step, self.upper);
        let magnitude = _mm512_ternarylogic_epi32::<AND_OR>(sum, _mm512_set1_epi32(EXPONENT), upper);
        let upper = _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude);
        (upper, _mm512_maskz_permutexvar_epi32(keep, step, self.lower), open)
    }
}

/// 128 steps, as in `single`, with four more planes for the lower halves of the values.
struct Sixteen {
    limits: Limits,
    estimate: Estimate,
    thresholds: Loaded<3>,
    upper: Loaded<3>,
    lower: Loaded<4>,
}

impl Kernel for Sixteen {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen {
            limits: Limits::new(scale),
            estimate: Estimate::new(),
            thresholds: THRESHOLDS_UPPER.load(),
            upper: VALUES_UPPER.load(),
            lower: VALUES_LOWER.load(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> (__m512i, __m512i, __mmask16) {
        let (keep, open, held) = self.limits.hold(x);
        let held = _mm512_add_epi32(held, _mm512_set1_epi32(SHIFT_UPPER as i32));
        let mantissa = _mm512_and_si512(held, _mm512_set1_epi32(ONE_OCTAVE - 1));
        let index = self.estimate.last_passed(_mm512_slli_epi32::<3>(mantissa));
        let threshold = self.thresholds.look_up(index);
        let open = open | _mm512_mask_cmpeq_epi32_mask(keep, mantissa, threshold);
        let passed = _mm512_cmpge_epu32_mask(mantissa, threshold);
        let index = _mm512_mask_add_epi32(index, passed, index, _mm512_set1_epi32(0x0001_0101));
        // Repeats the index in the fourth byte.
        let four = _mm512_or_si512(index, _mm512_slli_epi32::<24>(index));
        let octave = _mm512_and_si512(held, _mm512_set1_epi32(EXPONENT));
        let magnitude = _mm512_or_si512(octave, self.upper.look_up(index));
        let upper = _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude);
        (upper, _mm512_maskz_mov_epi32(keep, self.lower.look_up(four)), open)
    }
}
