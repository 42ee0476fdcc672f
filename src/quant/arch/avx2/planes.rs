//! Tables in planes of bytes: one shuffle looks up a byte for 32 values, while a permutation looks up words for only
//! eight.

use std::arch::x86_64::*;

/// 32 words of 32 bits. Where a register holds one byte for each word, byte 4k + i of each 128-bit half belongs to word
/// i of the same half of register k.
pub(super) type Block = [__m256i; 4];

/// A table of `16 * HALVES` entries. Plane p holds byte p of each entry.
#[repr(align(16))]
pub(super) struct Planes<const HALVES: usize, const BYTES: usize>([[[u8; 16]; HALVES]; BYTES]);

impl<const HALVES: usize, const BYTES: usize> Planes<HALVES, BYTES> {
    /// Splits a table into planes. Bytes beyond the first `BYTES` of an entry must be zero.
    pub(super) const fn new(table: &[u32]) -> Self {
        assert!(table.len() == 16 * HALVES);
        let mut planes = [[[0; 16]; HALVES]; BYTES];
        let mut i = 0;
        while i < table.len() * BYTES {
            let (plane, entry) = (i % BYTES, i / BYTES);
            assert!(BYTES == 4 || table[entry] >> (8 * BYTES) == 0);
            planes[plane][entry / 16][entry % 16] = (table[entry] >> (8 * plane)) as u8;
            i += 1;
        }
        Planes(planes)
    }

    /// Loads the planes into registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn load(&self) -> [Plane<HALVES>; BYTES] {
        let load = |entries: &[u8; 16]| {
            // SAFETY: the array is 16 bytes, aligned as the planes are.
            _mm256_broadcastsi128_si256(unsafe { _mm_load_si128(entries.as_ptr().cast()) })
        };
        std::array::from_fn(
            #[inline(always)]
            |p| {
                Plane(std::array::from_fn(
                    #[inline(always)]
                    |h| load(&self.0[p][h]),
                ))
            },
        )
    }
}

/// A plane in registers, each half repeated in both 128-bit lanes of one.
pub(super) struct Plane<const HALVES: usize>([__m256i; HALVES]);

impl Plane<1> {
    /// Looks up 32 indices below 16.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(&self, index: __m256i) -> __m256i {
        _mm256_shuffle_epi8(self.0[0], index)
    }
}

impl Plane<2> {
    /// Looks up 32 indices below 32: `index` holds their lowest four bits, the sign bits of `bit_4` their fifth.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(&self, index: __m256i, bit_4: __m256i) -> __m256i {
        let [a, b] = &self.0;
        _mm256_blendv_epi8(_mm256_shuffle_epi8(*a, index), _mm256_shuffle_epi8(*b, index), bit_4)
    }
}

/// Bits 16 to 23 of each word, in one register of bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn third_bytes([a, b, c, d]: Block) -> __m256i {
    const NONE: i32 = -1;
    const THIRD: i32 = 0x0e0a_0602;
    let a = _mm256_shuffle_epi8(a, _mm256_setr_epi32(THIRD, NONE, NONE, NONE, THIRD, NONE, NONE, NONE));
    let b = _mm256_shuffle_epi8(b, _mm256_setr_epi32(NONE, THIRD, NONE, NONE, NONE, THIRD, NONE, NONE));
    let c = _mm256_shuffle_epi8(c, _mm256_setr_epi32(NONE, NONE, THIRD, NONE, NONE, NONE, THIRD, NONE));
    let d = _mm256_shuffle_epi8(d, _mm256_setr_epi32(NONE, NONE, NONE, THIRD, NONE, NONE, NONE, THIRD));
    _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d))
}

/// The 32 words whose lowest to highest bytes are in the four registers.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn words([a, b, c, d]: [__m256i; 4]) -> Block {
    let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
    let (low_2, high_2) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
    [
        _mm256_unpacklo_epi16(low, high),
        _mm256_unpackhi_epi16(low, high),
        _mm256_unpacklo_epi16(low_2, high_2),
        _mm256_unpackhi_epi16(low_2, high_2),
    ]
}

/// Adds word by word.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn add(mut a: Block, b: Block) -> Block {
    for k in 0..4 {
        a[k] = _mm256_add_epi32(a[k], b[k]);
    }
    a
}
