//! The float32 passes.

use std::arch::x86_64::*;

use super::planes::{Estimate, LACKS, Loaded, SHIFT, THRESHOLDS};
use crate::quant::arch::scale::Scale;
use crate::quant::format::Bits;

/// A float32's exponent bits, which are also the bits of infinity.
const EXPONENT: i32 = 0x7f80_0000;
/// What doubles a float32 when added to its bits.
const ONE_OCTAVE: i32 = 1 << 23;
/// Truth table of `(a & b) | c`, for `ternarylogic`.
const AND_OR: i32 = 0xea;

/// The largest magnitude, ignoring NaN, or 0 if there is none.
///
/// # Safety
/// The processor has AVX-512F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn max_abs(data: &[f32]) -> f32 {
    let infinity = _mm512_set1_epi32(EXPONENT);
    let larger = |max: __m512i, x: __m512i| {
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        let number = _mm512_cmple_epi32_mask(magnitude, infinity);
        _mm512_mask_max_epi32(max, number, max, magnitude)
    };
    let mut max = [_mm512_setzero_si512(); 4];
    let (blocks, rest) = data.as_chunks::<64>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: the load is within the block.
            *max = larger(*max, unsafe { _mm512_loadu_epi32(block.as_ptr().add(16 * i).cast()) });
        }
    }
    for chunk in rest.chunks(16) {
        let mask = ((1u32 << chunk.len()) - 1) as __mmask16;
        // SAFETY: the mask ends where the chunk does.
        max[0] = larger(max[0], unsafe { _mm512_maskz_loadu_epi32(mask, chunk.as_ptr().cast()) });
    }
    let [a, b, c, d] = max;
    let max = _mm512_max_epi32(_mm512_max_epi32(a, b), _mm512_max_epi32(c, d));
    f32::from_bits(_mm512_reduce_max_epi32(max) as u32)
}

/// What quantises 16 values, the 64 bytes of a register.
trait Kernel {
    /// Loads the tables and limits into registers.
    ///
    /// # Safety
    /// The processor has the backend's instructions, as for all functions of this trait.
    unsafe fn new(scale: &Scale) -> Self;

    /// Quantises 16 values.
    ///
    /// # Safety
    /// As for [`Kernel::new`].
    unsafe fn quantise(&self, x: __m512i) -> __m512i;
}

/// Runs a kernel over `len` bytes.
///
/// # Safety
/// The processor has the backend's instructions, and the pointers are valid for `len` bytes as
/// [`Passes`](crate::quant::arch::Passes) demands.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
unsafe fn sweep<K: Kernel>(source: *const i8, destination: *mut i8, len: usize, scale: &Scale) {
    // SAFETY: all accesses are within `len` bytes; a masked one touches no byte outside its mask.
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

/// Quantises and dequantises.
///
/// # Safety
/// The processor has the backend's instructions, and the pointers are as [`Passes`](crate::quant::arch::Passes)
/// demands.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
pub(super) unsafe fn apply(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are valid for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source.cast(), destination.cast(), 4 * len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source.cast(), destination.cast(), 4 * len, scale),
        }
    }
}

/// The limits of a float32 scale, for positive and for negative values; `lowest` and `highest` are raised by an octave.
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
            lowest: limits.lowest.map(|b| _mm512_set1_epi32(b as i32 + ONE_OCTAVE)),
            highest: _mm512_set1_epi32(limits.highest as i32 + ONE_OCTAVE),
        }
    }

    /// A mask of the values that do not become zero, and the magnitudes, raised by an octave and clamped to the limits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    fn hold(&self, x: __m512i) -> (__mmask16, __m512i) {
        let negative = _mm512_movepi32_mask(x);
        let flush = _mm512_mask_blend_epi32(negative, self.flush[0], self.flush[1]);
        let lowest = _mm512_mask_blend_epi32(negative, self.lowest[0], self.lowest[1]);
        let magnitude = _mm512_and_si512(x, _mm512_set1_epi32(i32::MAX));
        // Compared as floats, so that NaN is not greater.
        let (a, b) = (_mm512_castsi512_ps(magnitude), _mm512_castsi512_ps(flush));
        let keep = _mm512_cmp_round_ps_mask::<_CMP_GT_OQ, _MM_FROUND_NO_EXC>(a, b);
        let raised = _mm512_add_epi32(magnitude, _mm512_set1_epi32(ONE_OCTAVE));
        (keep, _mm512_max_epi32(_mm512_min_epi32(raised, self.highest), lowest))
    }
}

/// 16 steps: two registers hold the 32 corrections, one holds the values.
struct Eight {
    limits: Limits,
    corrections: [__m512i; 2],
    values: __m512i,
}

impl Kernel for Eight {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn new(scale: &Scale) -> Eight {
        let octave = _mm512_set1_epi32(ONE_OCTAVE);
        let format = scale.format;
        // SAFETY: the tables have 32 and 16 entries of four bytes.
        let (corrections, values) = unsafe {
            let table = format.corrections_f32.as_ptr().cast::<i32>();
            let halves = [_mm512_loadu_epi32(table), _mm512_loadu_epi32(table.add(16))];
            (halves.map(|half| _mm512_sub_epi32(half, octave)), _mm512_loadu_epi32(format.values_f32.as_ptr().cast()))
        };
        let mantissa = _mm512_set1_epi32(ONE_OCTAVE - 1);
        Eight { limits: Limits::new(scale), corrections, values: _mm512_and_si512(values, mantissa) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    unsafe fn quantise(&self, x: __m512i) -> __m512i {
        let (keep, held) = self.limits.hold(x);
        // The look-ups use only the lowest five and four bits of an index.
        let cell = _mm512_srli_epi32::<18>(held);
        let correction = _mm512_permutex2var_epi32(self.corrections[0], cell, self.corrections[1]);
        let sum = _mm512_add_epi32(held, correction);
        let value = _mm512_permutexvar_epi32(_mm512_srli_epi32::<19>(sum), self.values);
        let magnitude = _mm512_ternarylogic_epi32::<AND_OR>(sum, _mm512_set1_epi32(EXPONENT), value);
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
        let mantissa = _mm512_and_si512(held, _mm512_set1_epi32(ONE_OCTAVE - 1));
        let index = self.estimate.last_passed(mantissa);
        let passed = _mm512_cmpge_epu32_mask(mantissa, self.thresholds.look_up(index));
        let index = _mm512_mask_add_epi32(index, passed, index, _mm512_set1_epi32(0x0001_0101));
        let octave = _mm512_and_si512(held, _mm512_set1_epi32(EXPONENT));
        let magnitude = _mm512_sub_epi32(octave, self.lacks.look_up(index));
        _mm512_maskz_ternarylogic_epi32::<AND_OR>(keep, x, _mm512_set1_epi32(i32::MIN), magnitude)
    }
}
