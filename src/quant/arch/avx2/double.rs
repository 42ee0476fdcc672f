//! float64: a value's upper half decides, unless it is the upper half of a threshold or a limit.

use std::arch::x86_64::*;

use super::{first_words, select};
use crate::quant::Bits;
use crate::quant::arch::{Scale, scalar};

/// Of an upper half.
const EXPONENT: i32 = 0x7ff0_0000;
const ONE_OCTAVE: i32 = 1 << 20;

/// What is done to the upper halves of eight values.
trait Kernel {
    /// # Safety
    /// The processor has AVX2; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;
    /// For magnitudes held within the limits, of which the first two of every four belong to one vector and the others to
    /// another: octave and step, and both vectors' values, of which the mantissa counts.
    unsafe fn quantise(&self, held: __m256i) -> (__m256i, __m256i, __m256i);
}

#[target_feature(enable = "avx2")]
pub unsafe fn apply(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source, destination, len, scale),
        }
    }
}

/// Runs a kernel over `len` values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sweep<K: Kernel>(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    let limits = &scale.f64;
    let upper = |b: u64| _mm256_set1_epi32((b >> 32) as i32);
    let (flush, lowest, highest) = (limits.flush.map(upper), limits.lowest.map(upper), upper(limits.highest));
    // A sum's bits below the step.
    let below = _mm256_set1_epi32((1 << (20 - scale.format.steps_log2)) - 1);
    let zero = _mm256_setzero_si256();
    // SAFETY: all within `len` values, and a masked access touches no value outside its mask.
    unsafe {
        let kernel = K::new(scale);
        let eight = |a: __m256d, b: __m256d| {
            // Within each 128 bits two of `a` and two of `b`; the unpacking puts them back.
            let x = _mm256_shuffle_ps::<0b11_01_11_01>(_mm256_castpd_ps(a), _mm256_castpd_ps(b));
            let x = _mm256_castps_si256(x);
            let (flush, lowest) = (select(flush[0], flush[1], x), select(lowest[0], lowest[1], x));
            let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
            let keep = _mm256_cmpgt_epi32(magnitude, flush);
            let (sum, low, high) = kernel.quantise(_mm256_max_epi32(_mm256_min_epi32(magnitude, highest), lowest));
            let octave = _mm256_and_si256(sum, _mm256_set1_epi32(EXPONENT));
            let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
            let upper = _mm256_and_si256(keep, _mm256_or_si256(octave, sign));
            let mantissa = _mm256_and_si256(keep, _mm256_set1_epi32(ONE_OCTAVE - 1));
            let low = _mm256_and_si256(low, _mm256_unpacklo_epi32(keep, mantissa));
            let high = _mm256_and_si256(high, _mm256_unpackhi_epi32(keep, mantissa));
            let mut low = _mm256_castsi256_pd(_mm256_or_si256(low, _mm256_unpacklo_epi32(zero, upper)));
            let mut high = _mm256_castsi256_pd(_mm256_or_si256(high, _mm256_unpackhi_epi32(zero, upper)));
            // At a threshold, not finite, at the limit of what becomes zero.
            let open = _mm256_and_si256(keep, _mm256_cmpeq_epi32(_mm256_and_si256(sum, below), zero));
            let open = _mm256_or_si256(open, _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(EXPONENT - 1)));
            let open = _mm256_or_si256(open, _mm256_cmpeq_epi32(magnitude, flush));
            let open = _mm256_movemask_ps(_mm256_castsi256_ps(open));
            if open != 0 {
                let (mut x, mut y) = ([0.0; 8], [0.0; 8]);
                _mm256_storeu_pd(x.as_mut_ptr(), a);
                _mm256_storeu_pd(x.as_mut_ptr().add(4), b);
                _mm256_storeu_pd(y.as_mut_ptr(), low);
                _mm256_storeu_pd(y.as_mut_ptr().add(4), high);
                decide(&x, &mut y, open as u32, scale);
                low = _mm256_loadu_pd(y.as_ptr());
                high = _mm256_loadu_pd(y.as_ptr().add(4));
            }
            (low, high)
        };
        let whole = len & !7;
        let mut i = 0;
        while i < whole {
            let (a, b) = eight(_mm256_loadu_pd(source.add(i)), _mm256_loadu_pd(source.add(i + 4)));
            _mm256_storeu_pd(destination.add(i), a);
            _mm256_storeu_pd(destination.add(i + 4), b);
            i += 8;
        }
        if i < len {
            let left = len - i;
            let masks = [first_words(2 * left), first_words(2 * left.saturating_sub(4))];
            let b = _mm256_maskload_pd(source.wrapping_add(i + 4), masks[1]);
            let (a, b) = eight(_mm256_maskload_pd(source.add(i), masks[0]), b);
            _mm256_maskstore_pd(destination.add(i), masks[0], a);
            _mm256_maskstore_pd(destination.wrapping_add(i + 4), masks[1], b);
        }
    }
}

/// Decides the `open` ones of `x` one by one.
#[cold]
#[inline(never)]
fn decide(x: &[f64; 8], y: &mut [f64; 8], open: u32, scale: &Scale) {
    for lane in (0..8).filter(|lane| open >> lane & 1 == 1) {
        let i = lane / 4 * 2 + lane % 2 + lane % 4 / 2 * 4;
        y[i] = scalar::value_f64(x[i], scale);
    }
}

/// 16 steps: four registers hold the 32 corrections, four the values.
struct Eight {
    corrections: [__m256i; 4],
    upper: [__m256i; 2],
    lower: [__m256i; 2],
}

impl Kernel for Eight {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Eight {
        let (corrections, values) = (scale.format.corrections_upper, scale.format.values_f64);
        let half = |i: usize, shift: u32| {
            let half: [u32; 8] = std::array::from_fn(|lane| (values[i + lane] >> shift) as u32);
            // SAFETY: eight words.
            unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
        };
        Eight {
            // SAFETY: the table has 32 entries.
            corrections: [0, 8, 16, 24].map(|i| unsafe { _mm256_loadu_si256(corrections.as_ptr().add(i).cast()) }),
            upper: [0, 8].map(|i| half(i, 32)),
            lower: [0, 8].map(|i| half(i, 0)),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, held: __m256i) -> (__m256i, __m256i, __m256i) {
        // A look-up reads the lowest three bits of an index; the next ones choose among look-ups.
        let cell = _mm256_srli_epi32::<15>(held);
        let (bit_3, bit_4) = (_mm256_slli_epi32::<13>(held), _mm256_slli_epi32::<12>(held));
        let [a, b, c, d] = self.corrections.map(|table| _mm256_permutevar8x32_epi32(table, cell));
        let sum = _mm256_add_epi32(held, select(select(a, b, bit_3), select(c, d, bit_3), bit_4));
        let (step, bit_3) = (_mm256_srli_epi32::<16>(sum), _mm256_slli_epi32::<12>(sum));
        let [upper, lower] = [&self.upper, &self.lower].map(|table| {
            let [a, b] = table.map(|half| _mm256_permutevar8x32_epi32(half, step));
            select(a, b, bit_3)
        });
        (sum, _mm256_unpacklo_epi32(lower, upper), _mm256_unpackhi_epi32(lower, upper))
    }
}

/// 128 steps, looked up in memory.
struct Sixteen {
    corrections: *const i32,
    values: *const i64,
}

impl Kernel for Sixteen {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen {
            corrections: scale.format.corrections_upper.as_ptr().cast(),
            values: scale.format.values_f64.as_ptr().cast(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, held: __m256i) -> (__m256i, __m256i, __m256i) {
        let cell = _mm256_and_si256(_mm256_srli_epi32::<12>(held), _mm256_set1_epi32(255));
        // SAFETY: the table has 256 entries.
        let sum = _mm256_add_epi32(held, unsafe { _mm256_i32gather_epi32::<4>(self.corrections, cell) });
        let step = _mm256_and_si256(_mm256_srli_epi32::<13>(sum), _mm256_set1_epi32(127));
        // The first halves of each 128 bits, then the second ones.
        let step = _mm256_permute4x64_epi64::<0b11_01_10_00>(step);
        let (low, high) = (_mm256_castsi256_si128(step), _mm256_extracti128_si256::<1>(step));
        // SAFETY: the table has 128 entries.
        unsafe { (sum, _mm256_i32gather_epi64::<8>(self.values, low), _mm256_i32gather_epi64::<8>(self.values, high)) }
    }
}
