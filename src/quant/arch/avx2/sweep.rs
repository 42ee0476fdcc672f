//! The two loops over a strip of values that every kernel runs in.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use crate::quant::arch::scale::Scale;

/// What quantises one type to one bit width, a block of `LEN` values at a time and in two halves.
pub(super) trait Kernel {
    type Value: Copy + Default;
    /// What the first half hands to the second for one block.
    type Place;
    /// The number of values in a block.
    const LEN: usize;

    /// Loads the tables and limits into registers.
    ///
    /// # Safety
    /// The processor has AVX2, as for all functions of this trait.
    unsafe fn new(scale: &Scale) -> Self;

    /// The first half: finds the cells or steps of a block's values.
    ///
    /// # Safety
    /// `source` is valid for reading `LEN` values.
    unsafe fn locate(&self, source: *const Self::Value) -> Self::Place;

    /// The second half: quantises a block. Returns false, having written nothing, if a value cannot be decided by
    /// integer compares of what is at hand (at a threshold or limit, or not finite).
    ///
    /// # Safety
    /// The pointers are valid for `LEN` values as [`Passes`](crate::quant::arch::Passes) demands, and `place` is what
    /// `locate` returned for `source`.
    unsafe fn quantise(&self, place: &Self::Place, source: *const Self::Value, destination: *mut Self::Value) -> bool;

    /// Quantises one value of an undecided block.
    fn quantise_value(x: Self::Value, scale: &Scale) -> Self::Value;
}

/// The number of values that are located before the first of them is quantised.
const STRIP: usize = 512;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Runs a kernel over `len` values.
///
/// A block is one long dependency chain, and the out-of-order window is too short to overlap it with enough others; two
/// loops halve the chain. Deliberately not `#[target_feature]`, so that the loops are not inlined into this function,
/// and each makes a kernel of its own: thus each loop keeps its constants in registers.
///
/// # Safety
/// The processor has AVX2, and the pointers are as [`Passes`](crate::quant::arch::Passes) demands.
pub(super) unsafe fn sweep<K: Kernel>(source: *const K::Value, destination: *mut K::Value, len: usize, scale: &Scale) {
    // Room for the blocks of a strip when they are shortest.
    const { assert!(8 <= K::LEN && K::LEN <= 32) };
    let mut places = [const { MaybeUninit::uninit() }; STRIP / 8];
    let blocks = len / K::LEN;
    let strip = const { STRIP / K::LEN };
    for start in (0..blocks).step_by(strip) {
        let places = &mut places[..strip.min(blocks - start)];
        let value = |block: usize| (start + block) * K::LEN;
        let mut block = 0;
        // SAFETY: all blocks are within `len` values, and each is located before it is quantised.
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
        // The tail, padded with zeros to a whole block.
        let mut block = [K::Value::default(); 32];
        // SAFETY: the tail is the last `count` of `len` values, and shorter than the array.
        unsafe {
            source.add(rest).copy_to_nonoverlapping(block.as_mut_ptr(), count);
            sweep::<K>(block.as_ptr(), block.as_mut_ptr(), K::LEN, scale);
            block.as_ptr().copy_to_nonoverlapping(destination.add(rest), count);
        }
    }
}

/// The first loop: locates as many blocks as there are places.
///
/// # Safety
/// The processor has AVX2, and `source` is valid for reading that many blocks.
#[target_feature(enable = "avx2")]
unsafe fn locate<K: Kernel>(source: *const K::Value, places: &mut [MaybeUninit<K::Place>], scale: &Scale) {
    // SAFETY: the caller's pointer is valid for the blocks.
    unsafe {
        let kernel = K::new(scale);
        for (k, place) in places.iter_mut().enumerate() {
            place.write(kernel.locate(source.add(k * K::LEN)));
        }
    }
}

/// The second loop: quantises located blocks up to the first undecided one. Returns the number of blocks quantised.
///
/// # Safety
/// The processor has AVX2, `locate` has initialised the places, and the pointers are valid for that many blocks.
#[target_feature(enable = "avx2")]
unsafe fn quantise<K: Kernel>(
    places: &[MaybeUninit<K::Place>],
    source: *const K::Value,
    destination: *mut K::Value,
    scale: &Scale,
) -> usize {
    // SAFETY: the caller's pointers are valid for the blocks, and the places are initialised.
    unsafe {
        let kernel = K::new(scale);
        for (k, place) in places.iter().enumerate() {
            let (source, destination) = (source.add(k * K::LEN), destination.add(k * K::LEN));
            // This strip is already in L1, so memory would idle: prefetch the strip after the next.
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
