//! float64: a value's upper half decides, unless it is the upper half of a threshold or a limit.

use std::arch::x86_64::*;

use super::planes::{Block, Plane, Planes, add, third_bytes, words};
use super::{Kernel, from_bit_16, select, sweep};
use crate::quant::arch::{Scale, scalar};
use crate::quant::format::AMBIGUOUS;
use crate::quant::{Bits, Format};

/// Of an upper half.
const EXPONENT: i32 = 0x7ff0_0000;
const ONE_OCTAVE: i32 = 1 << 20;
/// Of a whole value.
const MANTISSA: u64 = (1 << 52) - 1;

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

/// The upper halves of eight values: within each 128 bits two of the first four, then two of the last four. Unpacking puts
/// them back.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn upper_halves(source: *const f64) -> __m256i {
    // SAFETY: the caller's pointer is good for eight values.
    let (a, b) = unsafe { (_mm256_loadu_ps(source.cast()), _mm256_loadu_ps(source.add(4).cast())) };
    _mm256_castps_si256(_mm256_shuffle_ps::<0b11_01_11_01>(a, b))
}

/// The same for storing.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store(destination: *mut f64, low: __m256i, high: __m256i) {
    // SAFETY: the caller's pointer is good for eight values.
    unsafe {
        _mm256_storeu_si256(destination.cast(), low);
        _mm256_storeu_si256(destination.add(4).cast(), high);
    }
}

/// The upper halves of the limits of a float64 scale.
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

    /// What the limits make of eight upper halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn held(&self, x: __m256i) -> Held {
        let lowest = select(self.lowest[0], self.lowest[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        // Magnitudes become zero up to an octave below the lowest. What is not finite gets a sign here.
        let raised = _mm256_add_epi32(magnitude, _mm256_set1_epi32(ONE_OCTAVE));
        Held {
            magnitude: _mm256_max_epi32(_mm256_min_epi32(magnitude, self.highest), lowest),
            keep: _mm256_cmpgt_epi32(raised, lowest),
            open: _mm256_or_si256(raised, _mm256_cmpeq_epi32(raised, lowest)),
        }
    }
}

/// See [`Limits::held`].
struct Held {
    /// Within the limits.
    magnitude: __m256i,
    /// Zeros for the values that become zero.
    keep: __m256i,
    /// By their signs, the values that are not decided here: not finite, or at the limit of becoming zero.
    open: __m256i,
}

/// Whether no lane is open.
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

/// The corrections. Their fourth byte is zero.
static CORRECTIONS: Planes<2, 3> = {
    const EIGHT: &Format = Bits::Eight.format();
    let mut step = 0;
    while step < 16 {
        // A magnitude held at the lowest, as all are that become zero, is not taken for a threshold.
        let upper = (EIGHT.values_f64[step] & MANTISSA) >> 32;
        assert!((upper as u32).wrapping_add(EIGHT.corrections_upper[(upper >> 15) as usize]) & 0xffff != 0);
        step += 1;
    }
    Planes::new(EIGHT.corrections_upper)
};

/// The upper halves of the values' mantissas.
static UPPER: Planes<1, 3> = Planes::new(&halves(32));

/// The lower halves.
static LOWER: Planes<1, 4> = Planes::new(&halves(0));

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
    /// It does all in the second half: to store what there is in the middle takes longer than it saves.
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
            // SAFETY: the caller's pointer is good for 32 values.
            x[k] = unsafe { upper_halves(source.add(8 * k)) };
            held[k] = self.limits.held(x[k]).magnitude;
            cell[k] = _mm256_slli_epi32::<4>(held[k]);
        }
        // Bits 15 to 19 of an upper half are its cell.
        let cell = third_bytes(cell);
        let (cell, bit_4) = (_mm256_and_si256(_mm256_srli_epi16::<3>(cell), _mm256_set1_epi8(15)), cell);
        let [a, b, c] = &self.corrections;
        let correction = words([a.of(cell, bit_4), b.of(cell, bit_4), c.of(cell, bit_4), _mm256_setzero_si256()]);
        let sum = add(held, correction);
        // Bits 16 to 19 of a sum are its step.
        let step = _mm256_and_si256(third_bytes(sum), _mm256_set1_epi8(15));
        let [a, b, c] = &self.upper;
        let upper = words([a.of(step), b.of(step), c.of(step), _mm256_setzero_si256()]);
        let [a, b, c, d] = &self.lower;
        let lower = words([a.of(step), b.of(step), c.of(step), d.of(step)]);
        let (mut low, mut high, mut open) = (x, x, _mm256_setzero_si256());
        let mut least = _mm256_set1_epi32(0xffff);
        for k in 0..4 {
            least = _mm256_min_epu32(least, _mm256_and_si256(sum[k], _mm256_set1_epi32(0xffff)));
            // Once more, and not from above: the compiler chooses what to keep.
            let limited = self.limits.held(x[k]);
            open = _mm256_or_si256(open, limited.open);
            let octave = _mm256_and_si256(sum[k], _mm256_set1_epi32(EXPONENT));
            let sign = _mm256_and_si256(x[k], _mm256_set1_epi32(i32::MIN));
            let upper = _mm256_and_si256(limited.keep, _mm256_or_si256(_mm256_or_si256(octave, upper[k]), sign));
            let lower = _mm256_and_si256(limited.keep, lower[k]);
            low[k] = _mm256_unpacklo_epi32(lower, upper);
            high[k] = _mm256_unpackhi_epi32(lower, upper);
        }
        // A sum that is a whole step: the upper half of a threshold.
        let at_threshold = _mm256_cmpeq_epi32(least, _mm256_setzero_si256());
        if !is_decided(_mm256_or_si256(open, at_threshold)) {
            return false;
        }
        for k in 0..4 {
            // SAFETY: the caller's pointer is good for 32 values.
            unsafe { store(destination.add(8 * k), low[k], high[k]) }
        }
        true
    }

    fn quantise_value(x: f64, scale: &Scale) -> f64 {
        scalar::value_f64(x, scale)
    }
}

/// 128 steps: one load from memory tells all about a cell.
struct Sixteen {
    limits: Limits,
}

/// A cell's two values and what separates them.
#[repr(C, align(16))]
struct Cell {
    /// What the lower value adds to its octave.
    lower: u64,
    /// Bits 0 to 51: what the upper value adds to the lower. Bits 52 to 63: the lowest 12 bits of the upper half that the
    /// upper value begins with, or inside which it begins: the upper half of a threshold is open.
    more: u64,
}

/// The cells, and one for zero.
static CELLS: [Cell; 257] = {
    const SIXTEEN: &Format = Bits::Sixteen.format();
    const ONE: u64 = 1f64.to_bits();
    // Without a threshold: one beyond the cell's values, but for the last of them, which is taken for open.
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
        // A magnitude held at the lowest, as all are that become zero, is not taken for a threshold.
        let upper = (SIXTEEN.value_f64(step).to_bits() & MANTISSA) >> 32;
        assert!(cells[(upper >> 12) as usize].more >> 52 != upper & 0xfff);
    }
    cells
};

/// Where eight values lie.
struct Place {
    /// From bit 16 on, the offset of each one's cell.
    offsets: __m256i,
    /// The lowest 12 bits of the upper half.
    within: __m256i,
    /// Sign and exponent; of values that become zero, zeros.
    octave: __m256i,
    /// As in [`Held`].
    open: __m256i,
}

/// Two cells.
///
/// # Safety
/// The offsets are a cell's, in bytes.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn cells(i: usize, j: usize) -> __m256i {
    // SAFETY: within the table, whose cells are 16 aligned bytes each.
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
        // SAFETY: the caller's pointer is good for eight values.
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
        // In pairs, so that the unpacking leaves the values in the order of their upper halves.
        // SAFETY: these are offsets of cells.
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
        // SAFETY: the caller's pointer is good for eight values.
        unsafe { store(destination, low, high) };
        true
    }

    fn quantise_value(x: f64, scale: &Scale) -> f64 {
        scalar::value_f64(x, scale)
    }
}
