//! The float64 passes: a value's upper 32 bits decide, unless they are those of a threshold or a limit.

use std::arch::x86_64::*;

use super::lanes::{first_words, from_bit_16, select, select_wide};
use super::planes::{Block, Plane, Planes, add, third_bytes, words};
use super::sweep::{Kernel, sweep};
use crate::quant::arch::scalar;
use crate::quant::arch::scale::Scale;
use crate::quant::format::{AMBIGUOUS, Bits, Format};

/// The exponent bits in a float64's upper half, which are also the upper half of infinity.
const EXPONENT: i32 = 0x7ff0_0000;
/// What doubles a float64 when added to its upper half.
const ONE_OCTAVE: i32 = 1 << 20;
/// The mantissa bits of a whole float64.
const MANTISSA: u64 = (1 << 52) - 1;

/// The largest magnitude, ignoring NaN, or 0 if there is none.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn max_abs(data: &[f64]) -> f64 {
    // As for float32.
    const RAISE: i64 = i64::MAX - ((EXPONENT as i64) << 32);
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi64x(i64::MAX));
        let raised = _mm256_add_epi64(magnitude, _mm256_set1_epi64x(RAISE));
        select_wide(max, raised, _mm256_cmpgt_epi64(raised, max))
    };
    let mut max = [_mm256_set1_epi64x(RAISE); 4];
    let (blocks, rest) = data.as_chunks::<16>();
    for block in blocks {
        for (i, max) in max.iter_mut().enumerate() {
            // SAFETY: the load is within the block.
            *max = larger(*max, unsafe { _mm256_loadu_si256(block.as_ptr().add(4 * i).cast()) });
        }
    }
    for chunk in rest.chunks(4) {
        let mask = first_words(2 * chunk.len());
        // SAFETY: the mask ends where the chunk does.
        max[0] = larger(max[0], unsafe { _mm256_maskload_epi64(chunk.as_ptr().cast(), mask) });
    }
    let mut lanes = [[0i64; 4]; 4];
    for (lanes, max) in lanes.iter_mut().zip(max) {
        // SAFETY: the array holds the four lanes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max) }
    }
    f64::from_bits((lanes.into_iter().flatten().fold(RAISE, i64::max) - RAISE) as u64)
}

/// Quantises and dequantises.
///
/// # Safety
/// The processor has AVX2, and the pointers are as [`Passes`](crate::quant::arch::Passes) demands.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn apply(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are valid for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<Sixteen>(source, destination, len, scale),
        }
    }
}

/// The upper halves of eight values. Each 128 bits hold two of the first four values, then two of the last four;
/// unpacking them restores the order.
///
/// # Safety
/// The processor has AVX2, and `source` is valid for eight values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn upper_halves(source: *const f64) -> __m256i {
    // SAFETY: the caller's pointer is valid for eight values.
    let (a, b) = unsafe { (_mm256_loadu_ps(source.cast()), _mm256_loadu_ps(source.add(4).cast())) };
    _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b))
}

/// Stores eight values, the first four in `low`.
///
/// # Safety
/// The processor has AVX2, and `destination` is valid for eight values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(destination: *mut f64, low: __m256i, high: __m256i) {
    // SAFETY: the caller's pointer is valid for eight values.
    unsafe {
        _mm256_storeu_si256(destination.cast(), low);
        _mm256_storeu_si256(destination.add(4).cast(), high);
    }
}

/// The limits of a float64 scale, their upper halves only; `lowest` for positive and for negative values.
struct Limits {
    lowest: [__m256i; 2],
    highest: __m256i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(scale: &Scale) -> Limits {
        let upper = |b: u64| _mm256_set1_epi32((b >> 32) as i32);
        let limits = &scale.f64;
        Limits { lowest: limits.lowest.map(upper), highest: upper(limits.highest) }
    }

    /// Applies the limits to eight upper halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn held(&self, x: __m256i) -> Held {
        let lowest = select(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        // Magnitudes up to an octave below the lowest become zero. Raised by an octave, NaN and infinity overflow into
        // the sign bit.
        let raised = _mm256_add_epi32(magnitude, _mm256_set1_epi32(ONE_OCTAVE));
        Held {
            magnitude: _mm256_max_epi32(_mm256_min_epi32(magnitude, self.highest), lowest),
            keep: _mm256_cmpgt_epi32(raised, lowest),
            open: _mm256_or_si256(raised, _mm256_cmpeq_epi32(raised, lowest)),
        }
    }
}

/// The result of [`Limits::held`] for eight values.
struct Held {
    /// The upper halves of the magnitudes, clamped to the limits.
    magnitude: __m256i,
    /// Zeros in the lanes whose values become zero, ones in the others.
    keep: __m256i,
    /// The sign bit is set in the lanes that the upper half does not decide: not finite, or at the limit of becoming
    /// zero.
    open: __m256i,
}

/// Whether all lanes of [`Held::open`] are decided.
#[inline]
#[target_feature(enable = "avx2")]
fn is_decided(open: __m256i) -> bool {
    _mm256_movemask_ps(_mm256_castsi256_ps(open)) == 0
}

/// 16 steps, looked up in planes of bytes.
struct Eight {
    limits: Limits,
    corrections: [Plane<2>; 3],
    upper: [Plane<1>; 3],
    lower: [Plane<1>; 4],
}

/// Per cell: the correction of the upper half. The fourth byte is zero.
static CORRECTIONS: Planes<2, 3> = {
    const EIGHT: &Format = Bits::Eight.format();
    let mut step = 0;
    while step < 16 {
        // No representable magnitude has a threshold's upper half: magnitudes clamped to the lowest, as are all that
        // become zero, must not look undecided.
        let upper = (EIGHT.values_f64[step] & MANTISSA) >> 32;
        assert!((upper as u32).wrapping_add(EIGHT.corrections_upper[(upper >> 15) as usize]) & 0xffff != 0);
        step += 1;
    }
    Planes::new(EIGHT.corrections_upper)
};

/// Per step: the upper half of the value's mantissa.
static UPPER: Planes<1, 3> = Planes::new(&halves(32));

/// Per step: the lower half of the value's mantissa.
static LOWER: Planes<1, 4> = Planes::new(&halves(0));

/// 32 bits of each value's mantissa, from bit `shift` on.
const fn halves(shift: u32) -> [u32; 16] {
    let mut table = [0; 16];
    let mut step = 0;
    while step < 16 {
        table[step] = ((Bits::Eight.format().values_f64[step] & MANTISSA) >> shift) as u32;
        step += 1;
    }
    table
}

impl Kernel for Eight {
    type Value = f64;
    /// Nothing: all is done in the second half, since to store intermediate results takes longer than it saves.
    type Place = ();
    const LEN: usize = 32;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Eight {
        Eight { limits: Limits::new(scale), corrections: CORRECTIONS.load(), upper: UPPER.load(), lower: LOWER.load() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, _: *const f64) {}

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, (): &(), source: *const f64, destination: *mut f64) -> bool {
        let mut x: Block = [_mm256_setzero_si256(); 4];
        let mut held = x;
        let mut cell = x;
        for k in 0..4 {
            // SAFETY: the caller's pointer is valid for 32 values.
            x[k] = unsafe { upper_halves(source.add(8 * k)) };
            held[k] = self.limits.held(x[k]).magnitude;
            cell[k] = _mm256_slli_epi32::<4>(held[k]);
        }
        // Bits 15 to 19 of an upper half are the cell.
        let cell = third_bytes(cell);
        let (cell, bit_4) = (_mm256_and_si256(_mm256_srli_epi16::<3>(cell), _mm256_set1_epi8(15)), cell);
        let [a, b, c] = &self.corrections;
        let correction = words([a.of(cell, bit_4), b.of(cell, bit_4), c.of(cell, bit_4), _mm256_setzero_si256()]);
        let sum = add(held, correction);
        // Bits 16 to 19 of a sum are the step.
        let step = _mm256_and_si256(third_bytes(sum), _mm256_set1_epi8(15));
        let [a, b, c] = &self.upper;
        let upper = words([a.of(step), b.of(step), c.of(step), _mm256_setzero_si256()]);
        let [a, b, c, d] = &self.lower;
        let lower = words([a.of(step), b.of(step), c.of(step), d.of(step)]);
        let (mut low, mut high, mut open) = (x, x, _mm256_setzero_si256());
        let mut least = _mm256_set1_epi32(0xffff);
        for k in 0..4 {
            least = _mm256_min_epu32(least, _mm256_and_si256(sum[k], _mm256_set1_epi32(0xffff)));
            // Computed a second time rather than kept from above, so that the compiler chooses what stays in registers.
            let limited = self.limits.held(x[k]);
            open = _mm256_or_si256(open, limited.open);
            let octave = _mm256_and_si256(sum[k], _mm256_set1_epi32(EXPONENT));
            let sign = _mm256_and_si256(x[k], _mm256_set1_epi32(i32::MIN));
            let upper = _mm256_and_si256(limited.keep, _mm256_or_si256(_mm256_or_si256(octave, upper[k]), sign));
            let lower = _mm256_and_si256(limited.keep, lower[k]);
            low[k] = _mm256_unpacklo_epi32(lower, upper);
            high[k] = _mm256_unpackhi_epi32(lower, upper);
        }
        // A sum that is a whole number of steps comes from the upper half of a threshold.
        let at_threshold = _mm256_cmpeq_epi32(least, _mm256_setzero_si256());
        if !is_decided(_mm256_or_si256(open, at_threshold)) {
            return false;
        }
        for k in 0..4 {
            // SAFETY: the caller's pointer is valid for 32 values.
            unsafe { store(destination.add(8 * k), low[k], high[k]) }
        }
        true
    }

    fn quantise_value(x: f64, scale: &Scale) -> f64 {
        scalar::value_f64(x, scale)
    }
}

/// 128 steps: one load from memory fetches all that belongs to a cell.
struct Sixteen {
    limits: Limits,
}

/// A cell's two values and the threshold between them.
#[repr(C, align(16))]
struct Cell {
    /// The lower value's bits less those of its octave.
    lower: u64,
    /// Bits 0 to 51: the upper value's bits less the lower value's. Bits 52 to 63: the lowest 12 bits of the
    /// threshold's upper half; values with a larger one round up, and a value with an equal one is undecided.
    more: u64,
}

/// The 256 cells, and a last one for values that become zero.
static CELLS: [Cell; 257] = {
    const SIXTEEN: &Format = Bits::Sixteen.format();
    const ONE: u64 = 1f64.to_bits();
    // Without a threshold: as if it were at the cell's last upper half, so that the values there count as undecided.
    let mut cells = [const { Cell { lower: 0, more: 0xfff << 52 } }; 257];
    let (mut cell, mut step) = (0, 0);
    while cell < 256 {
        let lower = SIXTEEN.value_f64(step).to_bits();
        cells[cell].lower = lower - ONE;
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
    while step > 0 {
        step -= 1;
        // As for `Eight`: no representable magnitude has a threshold's upper half.
        let upper = (SIXTEEN.value_f64(step).to_bits() & MANTISSA) >> 32;
        assert!(cells[(upper >> 12) as usize].more >> 52 != upper & 0xfff);
    }
    cells
};

/// What the second half needs to know of eight values.
struct Place {
    /// From bit 16 on, the byte offset of the value's cell in [`CELLS`].
    offsets: __m256i,
    /// The lowest 12 bits of the upper half: the place within the cell.
    within: __m256i,
    /// Sign and exponent, or zero for values that become zero.
    octave: __m256i,
    /// See [`Held::open`].
    open: __m256i,
}

/// Loads two cells.
///
/// # Safety
/// The processor has AVX2, and the arguments are byte offsets of cells in [`CELLS`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cells(i: usize, j: usize) -> __m256i {
    // SAFETY: the loads are within the table, whose cells are 16 aligned bytes each.
    unsafe {
        let cell = |offset: usize| _mm_load_si128(CELLS.as_ptr().byte_add(offset).cast());
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(cell(i)), cell(j))
    }
}

impl Kernel for Sixteen {
    type Value = f64;
    type Place = Place;
    const LEN: usize = 8;

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(scale: &Scale) -> Sixteen {
        Sixteen { limits: Limits::new(scale) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn locate(&self, source: *const f64) -> Place {
        const ZERO: i32 = (((CELLS.len() - 1) * size_of::<Cell>()) << 16) as i32;
        // SAFETY: the caller's pointer is valid for eight values.
        let x = unsafe { upper_halves(source) };
        let Held { magnitude, keep, open } = self.limits.held(x);
        let sign = _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN));
        let octave = _mm256_or_si256(_mm256_and_si256(magnitude, _mm256_set1_epi32(EXPONENT)), sign);
        let offsets = _mm256_and_si256(_mm256_slli_epi32::<8>(magnitude), _mm256_set1_epi32(0xff0_0000));
        Place {
            offsets: select(_mm256_set1_epi32(ZERO), offsets, keep),
            within: _mm256_and_si256(magnitude, _mm256_set1_epi32(0xfff)),
            octave: _mm256_and_si256(octave, keep),
            open,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, place: &Place, _: *const f64, destination: *mut f64) -> bool {
        let [o0, o1, o2, o3, o4, o5, o6, o7] = from_bit_16::<u16>(&place.offsets);
        // In such pairs that unpacking restores the order of the values, as for `upper_halves`.
        // SAFETY: `locate` stored offsets of cells.
        let (a, b, c, d) = unsafe { (cells(o0, o4), cells(o1, o5), cells(o2, o6), cells(o3, o7)) };
        let (low, low_more) = (_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
        let (high, high_more) = (_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
        let (a, b) = (_mm256_castsi256_ps(low_more), _mm256_castsi256_ps(high_more));
        let threshold = _mm256_srli_epi32::<20>(_mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b)));
        let at_threshold = _mm256_cmpeq_epi32(threshold, place.within);
        if !is_decided(_mm256_or_si256(place.open, at_threshold)) {
            return false;
        }
        let below = _mm256_cmpgt_epi32(threshold, place.within);
        let (zero, mantissa) = (_mm256_setzero_si256(), _mm256_set1_epi64x(MANTISSA as i64));
        let low_more = _mm256_andnot_si256(_mm256_unpacklo_epi32(below, below), _mm256_and_si256(low_more, mantissa));
        let low = _mm256_add_epi64(_mm256_add_epi64(low, low_more), _mm256_unpacklo_epi32(zero, place.octave));
        let high_more = _mm256_andnot_si256(_mm256_unpackhi_epi32(below, below), _mm256_and_si256(high_more, mantissa));
        let high = _mm256_add_epi64(_mm256_add_epi64(high, high_more), _mm256_unpackhi_epi32(zero, place.octave));
        // SAFETY: the caller's pointer is valid for eight values.
        unsafe { store(destination, low, high) };
        true
    }

    fn quantise_value(x: f64, scale: &Scale) -> f64 {
        scalar::value_f64(x, scale)
    }
}
