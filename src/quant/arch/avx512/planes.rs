//! Tables of 128, too many for one look-up of numbers: registers hold them in planes of bytes.
//!
//! Magnitudes are raised so far that the last threshold becomes an octave's end: there are 127 others, and no carry. A
//! polynomial says which of them may be the last one passed, to within half a step; a compare with that one decides.

use std::arch::x86_64::*;

use crate::quant::{Bits, Format};

const SIXTEEN: &Format = Bits::Sixteen.format();

/// By how much float32 magnitudes are raised.
pub const SHIFT: u32 = (1 << 23) - SIXTEEN.thresholds_f32[127];

/// By how much the upper halves of float64 magnitudes are raised.
pub const SHIFT_UPPER: u32 = (1 << 20) - (SIXTEEN.thresholds_f64[127] >> 32) as u32;

/// Entry j is threshold j, raised. The last one begins an octave: always passed.
pub static THRESHOLDS: Planes<3> = {
    let mut table = [0; 128];
    let mut j = 0;
    while j < 127 {
        table[j] = SIXTEEN.thresholds_f32[j] + SHIFT;
        j += 1;
    }
    Planes::new(&table)
};

/// The same for upper halves.
pub static THRESHOLDS_UPPER: Planes<3> = {
    let mut table = [0; 128];
    let mut j = 0;
    while j < 127 {
        table[j] = (SIXTEEN.thresholds_f64[j] >> 32) as u32 + SHIFT_UPPER;
        j += 1;
    }
    Planes::new(&table)
};

/// Entry j is what value j lacks to the next octave.
pub static LACKS: Planes<3> = {
    let mut table = [0; 128];
    let mut j = 0;
    while j < 128 {
        table[j] = 0x4000_0000 - SIXTEEN.values_f32[j];
        j += 1;
    }
    Planes::new(&table)
};

/// The mantissas of the values' upper halves.
pub static VALUES_UPPER: Planes<3> = {
    let mut table = [0; 128];
    let mut j = 0;
    while j < 128 {
        table[j] = (SIXTEEN.values_f64[j] >> 32) as u32 & 0xf_ffff;
        j += 1;
    }
    Planes::new(&table)
};

/// The values' lower halves.
pub static VALUES_LOWER: Planes<4> = {
    let mut table = [0; 128];
    let mut j = 0;
    while j < 128 {
        table[j] = SIXTEEN.values_f64[j] as u32;
        j += 1;
    }
    Planes::new(&table)
};

/// Which threshold 1 <= x < 2 has passed last, give or take half a step, plus 384.
const POLYNOMIAL: [f32; 4] = [5.874_505, -70.944_49, 299.163_8, 384.0 - 234.581_07];

/// Plane p of a table holds byte p of each of its entries.
#[repr(align(64))]
pub struct Planes<const BYTES: usize>([[u8; 128]; BYTES]);

impl<const BYTES: usize> Planes<BYTES> {
    const fn new(table: &[u32; 128]) -> Planes<BYTES> {
        let mut planes = [[0; 128]; BYTES];
        let mut j = 0;
        while j < 128 {
            assert!(BYTES == 4 || table[j] >> (8 * BYTES) == 0);
            let mut plane = 0;
            while plane < BYTES {
                planes[plane][j] = table[j].to_le_bytes()[plane];
                plane += 1;
            }
            j += 1;
        }
        Planes(planes)
    }

    /// Into registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub fn load(&self) -> Loaded<BYTES> {
        // SAFETY: a plane is 64 bytes twice.
        Loaded(
            self.0.each_ref().map(|plane| [0, 64].map(|i| unsafe { _mm512_load_si512(plane.as_ptr().add(i).cast()) })),
        )
    }
}

/// A table in registers.
pub struct Loaded<const BYTES: usize>([[__m512i; 2]; BYTES]);

impl<const BYTES: usize> Loaded<BYTES> {
    /// Looks up what the bytes of a lane of `index` name with their lowest seven bits; a fourth byte without a plane stays
    /// as it is.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub fn look_up(&self, index: __m512i) -> __m512i {
        let mut entry = index;
        for (p, plane) in self.0.iter().enumerate() {
            entry = _mm512_mask2_permutex2var_epi8(plane[0], entry, 0x1111_1111_1111_1111 << p, plane[1]);
        }
        entry
    }
}

/// The lowest three bytes of every lane.
const THREE_BYTES: u64 = 0x7777_7777_7777_7777;

/// The estimate of the last threshold passed.
pub struct Estimate([__m512; 4]);

impl Estimate {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub fn new() -> Estimate {
        Estimate(POLYNOMIAL.map(|c| _mm512_set1_ps(c)))
    }

    /// For raised mantissas of 23 bits, as an index for three bytes: the last threshold passed or the one after it. Before
    /// the first it may be that of the previous octave's last.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub fn last_passed(&self, mantissa: __m512i) -> __m512i {
        let x = _mm512_castsi512_ps(_mm512_or_si512(mantissa, _mm512_castps_si512(_mm512_set1_ps(1.0))));
        let [a, b, c, d] = self.0;
        let estimate = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(a, x, b), x, c), x, d);
        // At 256 to 512 the last seven bits before the point begin at bit 15.
        let bit_15 = _mm512_set1_epi64(0x2f2f_2f2f_0f0f_0f0f);
        _mm512_maskz_multishift_epi64_epi8(THREE_BYTES, bit_15, _mm512_castps_si512(estimate))
    }
}
