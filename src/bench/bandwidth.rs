//! What the memory allows: a buffer read, and a buffer rewritten in place, as simply as can be.

use rayon::prelude::*;

/// Bytes above which all cores work at it.
const SHARED: usize = 1 << 22;
const CHUNK: usize = 1 << 16;

/// Reads all of `data`.
pub fn read<T: Sync>(data: &[T]) -> u64 {
    let words = words(data);
    if size_of_val(words) < SHARED { sum(words) } else { words.par_chunks(CHUNK).map(sum).sum() }
}

/// Rewrites all of `data`.
pub fn rewrite<T: Send>(data: &mut [T]) {
    // SAFETY: as in `words`; and flipping the lowest mantissa bit of a float leaves a float.
    let words = unsafe { data.align_to_mut::<u64>().1 };
    if size_of_val(words) < SHARED { flip(words) } else { words.par_chunks_mut(CHUNK).for_each(flip) }
}

/// The eight-byte words in `data`, but for a few bytes at its ends.
fn words<T>(data: &[T]) -> &[u64] {
    // SAFETY: floats have no padding, and any bits are a u64.
    unsafe { data.align_to::<u64>().1 }
}

/// Defines a function that is compiled for the processor at hand: the baseline's narrow vectors would not keep up with
/// a cache.
macro_rules! widest {
    ($name:ident, $argument:ident: $from:ty, $to:ty, $body:expr) => {
        fn $name($argument: $from) -> $to {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                #[target_feature(enable = "avx2")]
                fn wide($argument: $from) -> $to {
                    $body
                }
                // SAFETY: AVX2 was found.
                return unsafe { wide($argument) };
            }
            $body
        }
    };
}

widest!(sum, words: &[u64], u64, words.iter().fold(0, |sum, &word| sum.wrapping_add(word)));
widest!(flip, words: &mut [u64], (), words.iter_mut().for_each(|word| *word ^= 1));
