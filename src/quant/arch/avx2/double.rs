//! float64: a value's upper half decides, unless it is the upper half of a threshold or a limit.

use std::arch::x86_64::*;

use super::{Words, first_words, select};
use crate::quant::arch::{Scale, scalar};
use crate::quant::format::AMBIGUOUS;
use crate::quant::{Bits, Format};

/// Of an upper half.
const EXPONENT: i32 = 0x7ff0_0000;
/// Of a whole value.
const MANTISSA: u64 = (1 << 52) - 1;

/// What is done to the upper halves of eight values.
trait Kernel {
    /// # Safety
    /// The processor has AVX2; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;
    /// For magnitudes held within the limits, of which the first two of every four belong to one vector and the others to
    /// another: which are open, and both vectors' values, with the `sign` where `keep` has them.
    unsafe fn quantise(&self, held: __m256i, keep: __m256i, sign: __m256i) -> (__m256i, __m256i, __m256i);
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
            let held = _mm256_max_epi32(_mm256_min_epi32(magnitude, highest), lowest);
            let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
            let (open, low, high) = kernel.quantise(held, keep, sign);
            let (mut low, mut high) = (_mm256_castsi256_pd(low), _mm256_castsi256_pd(high));
            // At a threshold, not finite, at the limit of what becomes zero.
            let open = _mm256_and_si256(keep, open);
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

/// 16 steps: four registers hold the 32 corrections, four the values' mantissas.
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
            let half: [u32; 8] = std::array::from_fn(|lane| ((values[i + lane] & MANTISSA) >> shift) as u32);
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
    unsafe fn quantise(&self, held: __m256i, keep: __m256i, sign: __m256i) -> (__m256i, __m256i, __m256i) {
        // A look-up reads the lowest three bits of an index; the next ones choose among look-ups.
        let cell = _mm256_srli_epi32::<15>(held);
        let (bit_3, bit_4) = (_mm256_slli_epi32::<13>(held), _mm256_slli_epi32::<12>(held));
        let [a, b, c, d] = &self.corrections;
        let correction = select(look_up([a, b], cell, bit_3), look_up([c, d], cell, bit_3), bit_4);
        let sum = _mm256_add_epi32(held, correction);
        // A sum that is a whole step: the upper half of a threshold.
        let open = _mm256_cmpeq_epi32(_mm256_and_si256(sum, _mm256_set1_epi32(0xffff)), _mm256_setzero_si256());
        let (step, bit_3) = (_mm256_srli_epi32::<16>(sum), _mm256_slli_epi32::<12>(sum));
        let octave = _mm256_and_si256(sum, _mm256_set1_epi32(EXPONENT));
        let upper = _mm256_or_si256(octave, look_up([&self.upper[0], &self.upper[1]], step, bit_3));
        let upper = _mm256_and_si256(keep, _mm256_or_si256(upper, sign));
        let lower = _mm256_and_si256(keep, look_up([&self.lower[0], &self.lower[1]], step, bit_3));
        (open, _mm256_unpacklo_epi32(lower, upper), _mm256_unpackhi_epi32(lower, upper))
    }
}

/// Entries of a table of 16, of which `index` has the lowest three bits and the sign of `bit_3` the fourth.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up(table: [&__m256i; 2], index: __m256i, bit_3: __m256i) -> __m256i {
    let a = _mm256_permutevar8x32_epi32(*table[0], index);
    let b = _mm256_permutevar8x32_epi32(*table[1], index);
    select(a, b, bit_3)
}

/// 128 steps: one load from memory tells all about a cell.
struct Sixteen;

/// A cell's two values and what separates them.
#[repr(C, align(16))]
struct Cell {
    /// What the lower value adds to its octave.
    lower: u64,
    /// Bits 0 to 51: what the upper value adds to the lower. Bits 52 to 63: the lowest 12 bits of the upper half that the
    /// upper value begins with, or inside which it begins: the upper half of a threshold is open.
    more: u64,
}

static CELLS: [Cell; 256] = {
    const SIXTEEN: &Format = Bits::Sixteen.format();
    const ONE: u64 = 1f64.to_bits();
    let mut cells = [const { Cell { lower: 0, more: 0 } }; 256];
    let (mut cell, mut step) = (0, 0);
    while cell < 256 {
        let lower = SIXTEEN.value_f64(step).to_bits();
        // Without a threshold: one beyond the cell's values, but for the last of them, which is taken for open.
        cells[cell] = Cell { lower: lower - ONE, more: 0xfff << 52 };
        if step < 128 && SIXTEEN.thresholds_f64[step as usize] >> 44 == cell as u64 {
            let threshold = SIXTEEN.thresholds_f64[step as usize];
            assert!(
                (threshold - AMBIGUOUS) >> 32 == threshold >> 32 && (threshold + AMBIGUOUS) >> 32 == threshold >> 32
            );
            step += 1;
            let more = SIXTEEN.value_f64(step).to_bits() - lower;
            assert!(more <= MANTISSA);
            cells[cell].more = (threshold >> 32 & 0xfff) << 52 | more;
        }
        cell += 1;
    }
    assert!(step == 128);
    cells
};

impl Cell {
    /// The cells of two words.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(cells: &Words, i: usize, j: usize) -> __m256i {
        let (i, j) = (&raw const CELLS[cells.third_byte(i)], &raw const CELLS[cells.third_byte(j)]);
        // SAFETY: a cell is 16 aligned bytes.
        unsafe {
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_load_si128(i.cast())), _mm_load_si128(j.cast()))
        }
    }
}

impl Kernel for Sixteen {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(_: &Scale) -> Sixteen {
        Sixteen
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, held: __m256i, keep: __m256i, sign: __m256i) -> (__m256i, __m256i, __m256i) {
        let mut cells = Words::ZERO;
        cells.store(_mm256_slli_epi32::<4>(held));
        // In pairs, so that the unpacking leaves the values in the order of `held`.
        let (a, b) = (Cell::load(&cells, 0, 4), Cell::load(&cells, 1, 5));
        let (c, d) = (Cell::load(&cells, 2, 6), Cell::load(&cells, 3, 7));
        let (low, low_more) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let (high, high_more) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
        let (a, b) = (_mm256_castsi256_ps(low_more), _mm256_castsi256_ps(high_more));
        let threshold = _mm256_srli_epi32::<20>(_mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)));
        let within = _mm256_and_si256(held, _mm256_set1_epi32(0xfff));
        let below = _mm256_cmpgt_epi32(threshold, within);
        let octave = _mm256_or_si256(_mm256_and_si256(held, _mm256_set1_epi32(EXPONENT)), sign);
        let (zero, mantissa) = (_mm256_setzero_si256(), _mm256_set1_epi64x(MANTISSA as i64));
        let low_more = _mm256_andnot_si256(_mm256_unpacklo_epi32(below, below), _mm256_and_si256(low_more, mantissa));
        let low = _mm256_add_epi64(_mm256_add_epi64(low, low_more), _mm256_unpacklo_epi32(zero, octave));
        let low = _mm256_and_si256(low, _mm256_unpacklo_epi32(keep, keep));
        let high_more = _mm256_andnot_si256(_mm256_unpackhi_epi32(below, below), _mm256_and_si256(high_more, mantissa));
        let high = _mm256_add_epi64(_mm256_add_epi64(high, high_more), _mm256_unpackhi_epi32(zero, octave));
        let high = _mm256_and_si256(high, _mm256_unpackhi_epi32(keep, keep));
        (_mm256_cmpeq_epi32(threshold, within), low, high)
    }
}
