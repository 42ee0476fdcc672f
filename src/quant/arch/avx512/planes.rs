//! Tables of 128 entries, too many to look up as words: registers hold them in planes of bytes.
//!
//! Magnitudes are raised so far that the last threshold of an octave becomes the octave's end. This leaves 127
//! thresholds in an octave, and no carry into the exponent where a magnitude has passed the last one. A polynomial
//! estimates the last threshold that a magnitude has passed, to within half a step; a compare with the estimated
//! threshold decides.

use std::arch::x86_64::*;

use crate::quant::format::{Bits, Format};

const SIXTEEN: &Format = Bits::Sixteen.format();

/// Planes whose entries `j < $count` are `$entry`, and the others up to 128 zero.
macro_rules! planes {
    ($j:ident < $count:literal => $entry:expr) => {{
        let mut table = [0; 128];
        let mut $j = 0;
        while $j < $count {
            table[$j] = $entry;
            $j += 1;
        }
        Planes::new(&table)
    }};
}

/// What is added to float32 magnitudes to raise them.
pub(super) const SHIFT: u32 = (1 << 23) - SIXTEEN.thresholds_f32[127];

/// What is added to the upper halves of float64 magnitudes to raise them.
pub(super) const SHIFT_UPPER: u32 = (1 << 20) - (SIXTEEN.thresholds_f64[127] >> 32) as u32;

/// Entry j is threshold j, raised. Entry 127 is 0, the start of an octave, and thus always passed.
pub(super) static THRESHOLDS: Planes<3> = planes!(j < 127 => SIXTEEN.thresholds_f32[j] + SHIFT);

/// The same for the upper halves of float64.
pub(super) static THRESHOLDS_UPPER: Planes<3> =
    planes!(j < 127 => (SIXTEEN.thresholds_f64[j] >> 32) as u32 + SHIFT_UPPER);

/// Entry j is the difference of the next octave's bits and value j's.
pub(super) static LACKS: Planes<3> = planes!(j < 128 => 0x4000_0000 - SIXTEEN.values_f32[j]);

/// Entry j is the mantissa in the upper half of float64 value j.
pub(super) static VALUES_UPPER: Planes<3> = planes!(j < 128 => (SIXTEEN.values_f64[j] >> 32) as u32 & 0xf_ffff);

/// Entry j is the lower half of float64 value j.
pub(super) static VALUES_LOWER: Planes<4> = planes!(j < 128 => SIXTEEN.values_f64[j] as u32);

/// The coefficients, from the highest power, of a polynomial in the raised mantissa `1 <= x < 2`. It estimates the
/// index of the last threshold passed to within half a step, plus 384 so that the result lies in the octave from 256 to
/// 512.
const POLYNOMIAL: [f32; 4] = [5.874_505, -70.944_49, 299.163_8, 384.0 - 234.581_07];

/// A table of 128 entries. Plane p holds byte p of each entry.
#[repr(align(64))]
pub(super) struct Planes<const BYTES: usize>([[u8; 128]; BYTES]);

impl<const BYTES: usize> Planes<BYTES> {
    /// Splits a table into planes. Bytes beyond the first `BYTES` of an entry must be zero.
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

    /// Loads the planes into registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) fn load(&self) -> Loaded<BYTES> {
        // SAFETY: a plane is 128 bytes, aligned to 64.
        Loaded(
            self.0.each_ref().map(|plane| [0, 64].map(|i| unsafe { _mm512_load_si512(plane.as_ptr().add(i).cast()) })),
        )
    }
}

/// A table in registers.
pub(super) struct Loaded<const BYTES: usize>([[__m512i; 2]; BYTES]);

impl<const BYTES: usize> Loaded<BYTES> {
    /// Looks up 16 entries, byte by byte: byte p of a lane is plane p at the index in byte p of `index`, its lowest
    /// seven bits. A fourth byte without a plane is left as it is in `index`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) fn look_up(&self, index: __m512i) -> __m512i {
        let mut entry = index;
        for (p, plane) in self.0.iter().enumerate() {
            entry = _mm512_mask2_permutex2var_epi8(plane[0], entry, 0x1111_1111_1111_1111 << p, plane[1]);
        }
        entry
    }
}

/// Mask of the lowest three bytes of every 32-bit lane.
const THREE_BYTES: u64 = 0x7777_7777_7777_7777;

/// Estimates the last threshold passed; holds the polynomial's coefficients in registers.
pub(super) struct Estimate([__m512; 4]);

impl Estimate {
    /// Loads the coefficients into registers.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) fn new() -> Estimate {
        Estimate(POLYNOMIAL.map(|c| _mm512_set1_ps(c)))
    }

    /// For raised mantissas of 23 bits, the index of the last threshold passed or of the one after it, repeated in the
    /// lowest three bytes of each lane. Before the first threshold it may be 127, for the last threshold of the octave
    /// below.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi")]
    pub(super) fn last_passed(&self, mantissa: __m512i) -> __m512i {
        let x = _mm512_castsi512_ps(_mm512_or_si512(mantissa, _mm512_castps_si512(_mm512_set1_ps(1.0))));
        let [a, b, c, d] = self.0;
        let estimate = _mm512_fmadd_ps(_mm512_fmadd_ps(_mm512_fmadd_ps(a, x, b), x, c), x, d);
        // For a float from 256 to 512, the lowest seven bits before the binary point begin at bit 15.
        let bit_15 = _mm512_set1_epi64(0x2f2f_2f2f_0f0f_0f0f);
        _mm512_maskz_multishift_epi64_epi8(THREE_BYTES, bit_15, _mm512_castps_si512(estimate))
    }
}
