//! The memory's speed: reads a buffer, and rewrites a buffer in place, with the least work per value and on the same
//! threads as the quantiser.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::quant::parallel::{part_len, share};

/// Reads all of `data`. Returns a sum, so that the compiler does not remove the reads.
pub(super) fn read<T: Sync>(data: &[T]) -> u64 {
    let words = words(data);
    let Some(len) = part_len::<u64>(words.len()) else { return sum(words) };
    let total = AtomicU64::new(0);
    share(words.chunks(len), |part| _ = total.fetch_add(sum(part), Ordering::Relaxed));
    total.into_inner()
}

/// Rewrites all of `data` with other values.
pub(super) fn rewrite<T: Send>(data: &mut [T]) {
    // SAFETY: as in `words`; a float with its lowest mantissa bit flipped is still a valid float.
    let words = unsafe { data.align_to_mut::<u64>().1 };
    match part_len::<u64>(words.len()) {
        None => flip(words),
        Some(len) => share(words.chunks_mut(len), |part| flip(part)),
    }
}

/// `data` as eight-byte words, without a few unaligned bytes at its ends.
fn words<T>(data: &[T]) -> &[u64] {
    // SAFETY: floats have no padding, and any bits are a valid u64.
    unsafe { data.align_to::<u64>().1 }
}

/// Defines a function that uses AVX2 where the processor has it: the baseline's vectors cannot keep up with a cache.
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
