//! AVX2: the work in two short loops over a strip of values ([`sweep`]).
//!
//! 16 steps are looked up in planes of bytes, 32 values at a time: a cell's correction turns a magnitude, or the upper
//! half of it, into octave and step, as in `avx512`. 128 steps do not fit into registers: each value's cell is loaded
//! from memory by itself.
//!
//! Tried, nanoseconds for a value on one core of a Zen 3 (bits, type): 8, float32: planes for halves 0.29, for whole
//! words 0.31, these in one loop 0.37, permutations of words 0.50, an estimate with one compare 0.55. 8, float64: planes
//! 0.55, in two loops 0.62, permutations 0.80. 16, float32: cells 0.45, with limits and sign in the first loop 0.55,
//! which stores more, in one loop 0.55 by indices that leave the register in pairs and 0.75 through memory, by gathers
//! 0.79, logarithm and power as polynomials of degree six 0.55. 16, float64: cells 0.67, with limits and sign in the
//! second loop 0.73, in one loop 0.98, gathers 1.59. Limits with the sign, which take fewer instructions but more blends:
//! 0.38 and 0.67 for float32 in one loop. In strips of 128 values cells take a third longer; out of memory, everything
//! takes a twentieth longer in strips of 2048, and another without asking for lines ahead.
//!
//! Where vectors go through a closure, see that it is inlined (a short one is): called, it passes them in memory. And
//! `inline(never)` does not hold beside `target_feature`.

mod double;
mod planes;
mod single;

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ptr;

use super::{Passes, Path, Scale};
use crate::quant::Element;

pub static PATH: Path = Path {
    name: "avx2",
    worth_sharing: 256 << 10,
    f32: Passes { max_abs: max_abs_f32, apply: single::apply },
    f64: Passes { max_abs: max_abs_f64, apply: double::apply },
};

pub fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

const EXPONENT_F32: i32 = 0x7f80_0000;
const ONE_OCTAVE_F32: i32 = 1 << 23;
const EXPONENT_F64: i64 = 0x7ff0_0000_0000_0000;

/// What quantises one type to one width, in two halves.
trait Kernel {
    type Value: Element;
    /// What the first half leaves for the second.
    type Place;
    /// Values it takes at a time.
    const LEN: usize;

    /// # Safety
    /// The processor has the path's instruction set; so for all functions here.
    unsafe fn new(scale: &Scale) -> Self;

    /// Where `LEN` values lie among cells or steps.
    ///
    /// # Safety
    /// `source` is good for `LEN` values.
    unsafe fn locate(&self, source: *const Self::Value) -> Self::Place;

    /// Quantises `LEN` values. False, and nothing is written, when one of them wants a closer look.
    ///
    /// # Safety
    /// As [`super::Passes`] has it, and `place` is what `locate` says of `source`.
    unsafe fn quantise(&self, place: &Self::Place, source: *const Self::Value, destination: *mut Self::Value) -> bool;

    /// The closer look.
    fn quantise_value(x: Self::Value, scale: &Scale) -> Self::Value;
}

/// Values that are all located before the first of them is quantised.
const STRIP: usize = 512;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Runs a kernel over `len` values.
///
/// A block's instructions wait for one another; the processor fills the time with those of the next blocks, but does
/// not see far enough ahead. In two loops the way through a block is half as long, and what the second needs is there.
///
/// Without the instruction set, so that the loops are not inlined here, and with a kernel made in each: the compiler
/// then keeps in registers what each of them needs.
unsafe fn sweep<K: Kernel>(source: *const K::Value, destination: *mut K::Value, len: usize, scale: &Scale) {
    // For as many blocks as there may be in a strip.
    const { assert!(8 <= K::LEN && K::LEN <= 32) };
    let mut places = [const { MaybeUninit::uninit() }; STRIP / 8];
    let blocks = len / K::LEN;
    let strip = const { STRIP / K::LEN };
    for start in (0..blocks).step_by(strip) {
        let places = &mut places[..strip.min(blocks - start)];
        let value = |block: usize| (start + block) * K::LEN;
        let mut block = 0;
        // SAFETY: all within `len` values, and a block is located before it is quantised.
        unsafe {
            locate::<K>(source.add(value(0)), places, scale);
            loop {
                let i = value(block);
                block += quantise::<K>(&places[block..], source.add(i), destination.add(i), scale);
                if block == places.len() {
                    break;
                }
                for i in value(block)..value(block + 1) {
                    *destination.add(i) = K::quantise_value(*source.add(i), scale);
                }
                block += 1;
            }
        }
    }
    let (rest, count) = (blocks * K::LEN, len % K::LEN);
    if count > 0 {
        // Among zeros.
        let mut block = [K::Value::from_f64(0.0); 32];
        // SAFETY: the last `count` of `len` values, and a block is no shorter.
        unsafe {
            source.add(rest).copy_to_nonoverlapping(block.as_mut_ptr(), count);
            sweep::<K>(block.as_ptr(), block.as_mut_ptr(), K::LEN, scale);
            block.as_ptr().copy_to_nonoverlapping(destination.add(rest), count);
        }
    }
}

/// Locates as many blocks as there are places.
#[target_feature(enable = "avx2")]
unsafe fn locate<K: Kernel>(source: *const K::Value, places: &mut [MaybeUninit<K::Place>], scale: &Scale) {
    // SAFETY: the caller's pointer is good for the blocks.
    unsafe {
        let kernel = K::new(scale);
        for (k, place) in places.iter_mut().enumerate() {
            place.write(kernel.locate(source.add(k * K::LEN)));
        }
    }
}

/// Quantises located blocks up to the first that wants a closer look. Returns how many.
#[target_feature(enable = "avx2")]
unsafe fn quantise<K: Kernel>(
    places: &[MaybeUninit<K::Place>],
    source: *const K::Value,
    destination: *mut K::Value,
    scale: &Scale,
) -> usize {
    // SAFETY: the caller's pointers are good for the blocks, and the places are found.
    unsafe {
        let kernel = K::new(scale);
        for (k, place) in places.iter().enumerate() {
            let (source, destination) = (source.add(k * K::LEN), destination.add(k * K::LEN));
            // The memory would rest, for this strip is in the nearest cache: the next but one is asked for.
            let ahead = source.wrapping_add(2 * STRIP);
            for line in (0..K::LEN * size_of::<K::Value>()).step_by(LINE) {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_byte_add(line).cast());
            }
            if !kernel.quantise(place.assume_init_ref(), source, destination) {
                return k;
            }
        }
    }
    places.len()
}

/// All ones in the first `count` words.
#[inline]
#[target_feature(enable = "avx2")]
fn first_words(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The `T` that begins at bit 16 of each word. Loaded one by one: to take them out of the register costs twice the
/// instructions.
#[inline]
#[target_feature(enable = "avx2")]
fn from_bit_16<T: Copy + Into<usize>>(words: &__m256i) -> [usize; 8] {
    const { assert!(size_of::<T>() <= 2) };
    let start = ptr::from_ref(words).cast::<u16>();
    let mut parts = [0; 8];
    for (i, part) in parts.iter_mut().enumerate() {
        // SAFETY: within the register, and aligned. Volatile, since the compiler would take it out of a register.
        *part = unsafe { start.add(2 * i + 1).cast::<T>().read_volatile() }.into();
    }
    parts
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

#[target_feature(enable = "avx2")]
unsafe fn max_abs_f32(data: &[f32]) -> f32 {
    // Magnitudes are raised, so that NaN becomes negative.
    const RAISE: i32 = i32::MAX - EXPONENT_F32;
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi32(i32::MAX));
        _mm256_max_epi32(max, _mm256_add_epi32(magnitude, _mm256_set1_epi32(RAISE)))
    };
    let mut max = [_mm256_set1_epi32(RAISE); 4];
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
    let mut lanes = [0i32; 8];
    // SAFETY: eight lanes.
    unsafe {
        let max = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max);
    }
    f32::from_bits((lanes.into_iter().fold(RAISE, i32::max) - RAISE) as u32)
}

#[target_feature(enable = "avx2")]
unsafe fn max_abs_f64(data: &[f64]) -> f64 {
    const RAISE: i64 = i64::MAX - EXPONENT_F64;
    let larger = |max: __m256i, x: __m256i| {
        let magnitude = _mm256_and_si256(x, _mm256_set1_epi64x(i64::MAX));
        let raised = _mm256_add_epi64(magnitude, _mm256_set1_epi64x(RAISE));
        select_wide(max, raised, _mm256_cmpgt_epi64(raised, max))
    };
    let mut max = [_mm256_set1_epi64x(RAISE); 4];
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
    let mut lanes = [[0i64; 4]; 4];
    for (lanes, max) in lanes.iter_mut().zip(max) {
        // SAFETY: four lanes.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), max) }
    }
    f64::from_bits((lanes.into_iter().flatten().fold(RAISE, i64::max) - RAISE) as u64)
}
