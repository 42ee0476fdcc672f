//! float64: a value's upper half decides, unless it is the upper half of a threshold or a limit.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::planes::{Block, Plane, Planes, add, third_bytes, words};
use super::{indices, select};
use crate::quant::arch::{Scale, scalar};
use crate::quant::format::AMBIGUOUS;
use crate::quant::{Bits, Format};

/// Of an upper half.
const EXPONENT: i32 = 0x7ff0_0000;
/// Of a whole value.
const MANTISSA: u64 = (1 << 52) - 1;

/// What is done to the upper halves of `N` times eight values.
trait Kernel<const N: usize> {
    /// # Safety
    /// The processor has AVX2; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;
    unsafe fn quantise(&self, upper: &[Upper; N]) -> [Quantised; N];
}

/// Upper halves of two vectors' values: of every four, the first two belong to one vector and the others to the other.
#[derive(Clone, Copy)]
struct Upper {
    /// The magnitudes, held within the limits.
    held: __m256i,
    /// The values that are not zero.
    keep: __m256i,
    sign: __m256i,
}

/// What became of them.
struct Quantised {
    /// Upper halves that do not decide.
    open: __m256i,
    /// One vector's values.
    low: __m256i,
    /// The other's.
    high: __m256i,
}

#[target_feature(enable = "avx2")]
pub unsafe fn apply(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    // SAFETY: the caller's pointers are good for `len` values.
    unsafe {
        match scale.format.bits {
            Bits::Eight => sweep::<4, Eight>(source, destination, len, scale),
            Bits::Sixteen => sweep::<1, Sixteen>(source, destination, len, scale),
        }
    }
}

/// Runs a kernel over `len` values.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sweep<const N: usize, K: Kernel<N>>(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    let limits = Limits::new(scale);
    // SAFETY: all within `len` values.
    unsafe {
        let kernel = K::new(scale);
        let mut i = 0;
        while len - i >= 8 * N {
            block(source.add(i), destination.add(i), &kernel, &limits, scale);
            i += 8 * N;
        }
        if i < len {
            // The last ones among zeros.
            let mut rest = [[0f64; 8]; N];
            let rest = rest.as_mut_ptr().cast::<f64>();
            source.add(i).copy_to_nonoverlapping(rest, len - i);
            block(rest, rest, &kernel, &limits, scale);
            rest.copy_to_nonoverlapping(destination.add(i), len - i);
        }
    }
}

/// Runs a kernel over as many values as it takes at once.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block<const N: usize, K: Kernel<N>>(
    source: *const f64,
    destination: *mut f64,
    kernel: &K,
    limits: &Limits,
    scale: &Scale,
) {
    // SAFETY: the caller's pointers are good for 8 N values.
    unsafe {
        let x: [__m256i; N] = from_fn(
            #[inline(always)]
            |k| upper_halves(source.add(8 * k)),
        );
        let upper = x.map(
            #[inline(always)]
            |x| limits.hold(x),
        );
        let y = kernel.quantise(&upper);
        for k in 0..N {
            let open = _mm256_and_si256(upper[k].keep, y[k].open);
            let open = _mm256_or_si256(open, limits.open(x[k]));
            let open = _mm256_movemask_ps(_mm256_castsi256_ps(open));
            if open == 0 {
                _mm256_storeu_si256(destination.add(8 * k).cast(), y[k].low);
                _mm256_storeu_si256(destination.add(8 * k + 4).cast(), y[k].high);
            } else {
                let mut decided = [0.0; 8];
                _mm256_storeu_si256(decided.as_mut_ptr().cast(), y[k].low);
                _mm256_storeu_si256(decided.as_mut_ptr().add(4).cast(), y[k].high);
                decide(&source.add(8 * k).cast::<[f64; 8]>().read(), &mut decided, open as u32, scale);
                destination.add(8 * k).cast::<[f64; 8]>().write(decided);
            }
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

/// The upper halves of the limits of a float64 scale.
struct Limits {
    flush: [__m256i; 2],
    lowest: [__m256i; 2],
    highest: __m256i,
}

impl Limits {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(scale: &Scale) -> Limits {
        let upper = |b: u64| _mm256_set1_epi32((b >> 32) as i32);
        let limits = &scale.f64;
        Limits { flush: limits.flush.map(upper), lowest: limits.lowest.map(upper), highest: upper(limits.highest) }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn hold(&self, x: __m256i) -> Upper {
        let (flush, lowest) = (select(self.flush[0], self.flush[1], x), select(self.lowest[0], self.lowest[1], x));
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        Upper {
            held: _mm256_max_epi32(_mm256_min_epi32(magnitude, self.highest), lowest),
            keep: _mm256_cmpgt_epi32(magnitude, flush),
            sign: _mm256_and_si256(x, _mm256_set1_epi32(i32::MIN)),
        }
    }

    /// Which values are not finite, or at the limit of what becomes zero.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn open(&self, x: __m256i) -> __m256i {
        let flush = select(self.flush[0], self.flush[1], x);
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        let not_finite = _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32(EXPONENT - 1));
        _mm256_or_si256(not_finite, _mm256_cmpeq_epi32(magnitude, flush))
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

/// 16 steps, looked up in planes of bytes.
struct Eight {
    corrections: [Plane<2>; 3],
    upper: [Plane<1>; 3],
    lower: [Plane<1>; 4],
}

/// The corrections; their fourth byte is the sign of the third.
static CORRECTIONS: Planes<2, 3> = {
    let table = Bits::Eight.format().corrections_upper;
    let mut cell = 0;
    while cell < 32 {
        assert!((table[cell] as i32) << 8 >> 8 == table[cell] as i32);
        cell += 1;
    }
    Planes::new(table)
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

impl Kernel<4> for Eight {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(_: &Scale) -> Eight {
        Eight { corrections: CORRECTIONS.load(), upper: UPPER.load(), lower: LOWER.load() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, x: &[Upper; 4]) -> [Quantised; 4] {
        let held: Block = x.map(
            #[inline(always)]
            |x| x.held,
        );
        // Bits 15 to 19 of an upper half are its cell.
        let cell = third_bytes(held.map(
            #[inline(always)]
            |held| _mm256_slli_epi32::<4>(held),
        ));
        let (cell, bit_4) = (_mm256_and_si256(_mm256_srli_epi16::<3>(cell), _mm256_set1_epi8(15)), cell);
        let [a, b, c] = &self.corrections;
        let (a, b, c) = (a.of(cell, bit_4), b.of(cell, bit_4), c.of(cell, bit_4));
        let sum = add(held, words([a, b, c, _mm256_cmpgt_epi8(_mm256_setzero_si256(), c)]));
        // Bits 16 to 19 of a sum are its step.
        let step = _mm256_and_si256(third_bytes(sum), _mm256_set1_epi8(15));
        let [a, b, c] = &self.upper;
        let upper = words([a.of(step), b.of(step), c.of(step), _mm256_setzero_si256()]);
        let [a, b, c, d] = &self.lower;
        let lower = words([a.of(step), b.of(step), c.of(step), d.of(step)]);
        from_fn(
            #[inline(always)]
            |i| {
                // A sum that is a whole step: the upper half of a threshold.
                let rest = _mm256_and_si256(sum[i], _mm256_set1_epi32(0xffff));
                let octave = _mm256_and_si256(sum[i], _mm256_set1_epi32(EXPONENT));
                let upper = _mm256_or_si256(_mm256_or_si256(octave, upper[i]), x[i].sign);
                let (upper, lower) = (_mm256_and_si256(x[i].keep, upper), _mm256_and_si256(x[i].keep, lower[i]));
                Quantised {
                    open: _mm256_cmpeq_epi32(rest, _mm256_setzero_si256()),
                    low: _mm256_unpacklo_epi32(lower, upper),
                    high: _mm256_unpackhi_epi32(lower, upper),
                }
            },
        )
    }
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
    /// Two cells.
    ///
    /// # Safety
    /// The indices are below 256.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn load(i: usize, j: usize) -> __m256i {
        // SAFETY: within the table, whose cells are 16 aligned bytes each.
        unsafe {
            let (i, j) = (CELLS.as_ptr().add(i).cast(), CELLS.as_ptr().add(j).cast());
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_load_si128(i)), _mm_load_si128(j))
        }
    }
}

impl Kernel<1> for Sixteen {
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn new(_: &Scale) -> Sixteen {
        Sixteen
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn quantise(&self, &[Upper { held, keep, sign }]: &[Upper; 1]) -> [Quantised; 1] {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = indices::<12>(held);
        // In pairs, so that the unpacking leaves the values in the order of `held`.
        // SAFETY: they are bytes.
        let (a, b, c, d) = unsafe { (Cell::load(c0, c4), Cell::load(c1, c5), Cell::load(c2, c6), Cell::load(c3, c7)) };
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
        [Quantised { open: _mm256_cmpeq_epi32(threshold, within), low, high }]
    }
}
