//! Operations on the lanes of a register that AVX2 has no single instruction for.

use std::arch::x86_64::*;
use std::ptr;

/// All ones in the first `count` 32-bit lanes, zeros in the others.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn first_words(count: usize) -> __m256i {
    _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The `T` that begins at bit 16 of each 32-bit lane. Loaded from memory one by one: to extract them from the register
/// costs twice the instructions.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn from_bit_16<T: Copy + Into<usize>>(words: &__m256i) -> [usize; 8] {
    const { assert!(size_of::<T>() <= 2) };
    let start = ptr::from_ref(words).cast::<u16>();
    let mut parts = [0; 8];
    for (i, part) in parts.iter_mut().enumerate() {
        // SAFETY: within the register, and aligned. Volatile, because the compiler would extract it from a register.
        *part = unsafe { start.add(2 * i + 1).cast::<T>().read_volatile() }.into();
    }
    parts
}

/// Per 32-bit lane, `b` where the sign bit of `by` is set, else `a`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn select(a: __m256i, b: __m256i, by: __m256i) -> __m256i {
    let [a, b, by] = [a, b, by].map(|v| _mm256_castsi256_ps(v));
    _mm256_castps_si256(_mm256_blendv_ps(a, b, by))
}

/// Per 64-bit lane, `b` where the sign bit of `by` is set, else `a`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn select_wide(a: __m256i, b: __m256i, by: __m256i) -> __m256i {
    let [a, b, by] = [a, b, by].map(|v| _mm256_castsi256_pd(v));
    _mm256_castpd_si256(_mm256_blendv_pd(a, b, by))
}
