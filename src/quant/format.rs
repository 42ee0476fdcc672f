//! The GFPQ format: bit widths, steps, code range, and the tables by which every implementation decides.
//!
//! A magnitude is `2^(q/S)` with an integer `q`; an octave has `S` steps. To round `log2(x) * S` to the nearest `q` is
//! to compare x's mantissa with the `S` thresholds `2^((j + 1/2) / S)`, which are the same in every octave. The tables
//! below hold those thresholds and the values. They are computed at compile time in exact integer arithmetic, without
//! libm, so that CPU and GPU read the same bits on every platform.

use super::environment::{Environment, exp2};

/// A bit width the NNIE computes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bits {
    /// 8 bits: 16 steps an octave, 128 codes.
    Eight,
    /// 16 bits, of which 12 are used: 128 steps an octave, 1408 codes.
    Sixteen,
}

impl Bits {
    /// The width as a number, 8 or 16, as the C interface takes it.
    pub const fn number(self) -> u32 {
        match self {
            Bits::Eight => 8,
            Bits::Sixteen => 16,
        }
    }

    /// The width for 8 or 16, `None` for any other number.
    pub const fn from_number(bits: u32) -> Option<Bits> {
        match bits {
            8 => Some(Bits::Eight),
            16 => Some(Bits::Sixteen),
            _ => None,
        }
    }

    /// The format's constants and tables.
    pub const fn format(self) -> &'static Format {
        match self {
            Bits::Eight => &EIGHT,
            Bits::Sixteen => &SIXTEEN,
        }
    }
}

/// How far from a threshold, in units of 2^-52 of the mantissa, the vendor's rounded log2 may disagree with it.
pub(crate) const AMBIGUOUS: u64 = 1 << 8;

/// One bit width's constants and tables. The tables have [`Format::steps`] entries, the corrections twice as many.
#[derive(Debug)]
pub struct Format {
    /// The width these numbers belong to.
    pub bits: Bits,
    /// log2 of the steps per octave.
    pub steps_log2: u32,
    /// The largest code K: magnitudes are `2^(q/S)` for `delta <= q <= delta + K`.
    pub max_code: i32,
    /// The format's own range of delta is `-delta_limit ..= delta_limit`.
    pub delta_limit: i32,
    /// Entry j: the smallest 23-bit mantissa field that rounds up past step j, `ceil(2^23 (2^((j+1/2)/S) - 1))`.
    pub thresholds_f32: &'static [u32],
    /// Entry j: the same for the 52-bit field. The thresholds are exact, but the vendor's library decides by a rounded
    /// `log2`, which may decide otherwise within about 2^-44 of a threshold.
    pub thresholds_f64: &'static [u64],
    /// One entry per cell: an octave has 2S cells of equal width, each with one threshold at most. Added to float32
    /// bits whose mantissa lies in the cell, the entry moves the cell's threshold to the start of the next of S equal
    /// steps, so that the upper bits of the sum are octave and step. A cell without a threshold is moved to the middle
    /// of its step.
    pub corrections_f32: &'static [u32],
    /// The same for float64 bits.
    pub corrections_f64: &'static [u64],
    /// The same for the upper 32 bits of float64 bits. A sum that is a whole number of steps means that these 32 bits
    /// are those of the threshold itself, so that the lower 32 bits must decide.
    pub corrections_upper: &'static [u32],
    /// Entry j: `2^(j/S)` as float32 bits, round to nearest.
    pub values_f32: &'static [u32],
    /// Entry j: `2^(j/S)` as float64 bits, round to nearest.
    pub values_f64: &'static [u64],
}

impl Format {
    /// Steps per octave, S.
    pub const fn steps(&self) -> i32 {
        1 << self.steps_log2
    }

    /// Whether `delta` lies in this format's own range. The vendor's interface accepts any other delta, too.
    pub const fn contains(&self, delta: i32) -> bool {
        -self.delta_limit <= delta && delta <= self.delta_limit
    }

    /// `2^(q/S)` in float64, for any q whose value is a normal number.
    pub const fn value_f64(&self, q: i32) -> f64 {
        let j = (q & (self.steps() - 1)) as usize;
        let octave = (q >> self.steps_log2) as i64;
        f64::from_bits(self.values_f64[j].wrapping_add((octave << 52) as u64))
    }

    /// The largest code K as the vendor's library computes it, at 8 bits as `(int)pow(2, 7) - 1`: with rounding downward or
    /// toward zero, glibc's `pow` may return a little less than 128, and then K is 126.
    pub(super) fn max_code_here(&self) -> i32 {
        match self.bits {
            Bits::Eight if !Environment::current().rounds_to_nearest() => exp2(7.0) as i32 - 1,
            _ => self.max_code,
        }
    }

    /// The delta of data whose largest magnitude m is `max_abs`: `floor(log2(m) S) - K`, clamped to the format's range.
    ///
    /// Where m is 0, the caller passes 1e-6 in its own type's precision instead.
    pub fn delta_for(&self, max_abs: f64) -> i32 {
        if max_abs == f64::INFINITY {
            return self.delta_limit;
        }
        let top = (max_abs.log2() * f64::from(self.steps())).floor() as i32;
        (top - self.max_code_here()).clamp(-self.delta_limit, self.delta_limit)
    }
}

static EIGHT: Format = Format {
    bits: Bits::Eight,
    steps_log2: 4,
    max_code: 127,
    delta_limit: 511,
    thresholds_f32: &narrow(thresholds::<16>(23)),
    thresholds_f64: &thresholds::<16>(52),
    corrections_f32: &narrow(corrections::<32>(&thresholds::<16>(23), 23, 0)),
    corrections_f64: &corrections::<32>(&thresholds::<16>(52), 52, AMBIGUOUS),
    corrections_upper: &corrections_upper(corrections::<32>(&thresholds::<16>(52), 52, AMBIGUOUS)),
    values_f32: &narrow(values::<16>(23, 1f32.to_bits() as u64)),
    values_f64: &values::<16>(52, 1f64.to_bits()),
};

static SIXTEEN: Format = Format {
    bits: Bits::Sixteen,
    steps_log2: 7,
    max_code: 1407,
    delta_limit: 4095,
    thresholds_f32: &narrow(thresholds::<128>(23)),
    thresholds_f64: &thresholds::<128>(52),
    corrections_f32: &narrow(corrections::<256>(&thresholds::<128>(23), 23, 0)),
    corrections_f64: &corrections::<256>(&thresholds::<128>(52), 52, AMBIGUOUS),
    corrections_upper: &corrections_upper(corrections::<256>(&thresholds::<128>(52), 52, AMBIGUOUS)),
    values_f32: &narrow(values::<128>(23, 1f32.to_bits() as u64)),
    values_f64: &values::<128>(52, 1f64.to_bits()),
};

/// The number of fraction bits of the fixed-point numbers below: 1.0 is `1 << FRACTION`.
const FRACTION: u32 = 63;

/// `2^(n/256)` for `0 <= n < 256` in fixed point, rounded down; the error is less than two units of 2^-63.
///
/// With the binary digits of n/256, `0.abc… = (a + 0.bc…) / 2`. So from the last digit to the first: double the power
/// if the digit is 1, then take the square root. Each root halves the error of the roots before it.
const fn exp2_256ths(n: u32) -> u128 {
    let mut power: u128 = 1 << FRACTION;
    let mut digit = 0;
    while digit < 8 {
        let doubled = power << ((n >> digit) & 1);
        power = (doubled << FRACTION).isqrt();
        digit += 1;
    }
    power
}

/// `2^(j/S) - 1`, or with `half` `2^((j+1/2)/S) - 1`, in fixed point.
const fn fraction(j: usize, steps: usize, half: bool) -> u128 {
    let n = (2 * j + half as usize) * (128 / steps);
    exp2_256ths(n as u32) - (1 << FRACTION)
}

/// The thresholds as mantissa fields of `mantissa` bits.
const fn thresholds<const S: usize>(mantissa: u32) -> [u64; S] {
    let mut table = [0; S];
    let mut j = 0;
    while j < S {
        // The number is irrational, so its ceiling is its floor plus one.
        table[j] = (fraction(j, S, true) >> (FRACTION - mantissa)) as u64 + 1;
        j += 1;
    }
    table
}

/// The values `2^(j/S)`, rounded to nearest, as bits of a float with `mantissa` bits; `one` is 1.0 as bits.
const fn values<const S: usize>(mantissa: u32, one: u64) -> [u64; S] {
    let mut table = [0; S];
    let mut j = 0;
    while j < S {
        let half = 1 << (FRACTION - mantissa - 1);
        table[j] = one + ((fraction(j, S, false) + half) >> (FRACTION - mantissa)) as u64;
        j += 1;
    }
    table
}

/// The lower 32 bits of each entry.
const fn narrow<const N: usize>(wide: [u64; N]) -> [u32; N] {
    let mut table = [0; N];
    let mut i = 0;
    while i < N {
        table[i] = wide[i] as u32;
        i += 1;
    }
    table
}

/// The correction of the cell that begins at mantissa `start` and is `width` wide, a power of two. `step` thresholds
/// lie below the cell, and `threshold` is the next one. A step is as wide as two cells.
const fn correction(start: u64, width: u64, step: u64, threshold: Option<u64>) -> u64 {
    match threshold {
        Some(threshold) if threshold < start + width => (2 * width * (step + 1)).wrapping_sub(threshold),
        _ => (2 * width * step + width / 2).wrapping_sub(start),
    }
}

/// The correction of every cell, for mantissas of `mantissa` bits. The `ambiguous` mantissas on both sides of a
/// threshold must lie in the threshold's own cell, and no cell may contain two thresholds: otherwise this does not
/// compile.
const fn corrections<const CELLS: usize>(thresholds: &[u64], mantissa: u32, ambiguous: u64) -> [u64; CELLS] {
    assert!(CELLS == 2 * thresholds.len());
    let width = (1 << mantissa) / CELLS as u64;
    let mut table = [0; CELLS];
    let (mut cell, mut step) = (0, 0);
    while cell < CELLS {
        let start = cell as u64 * width;
        let next = if step < thresholds.len() { Some(thresholds[step]) } else { None };
        table[cell] = correction(start, width, step as u64, next);
        if let Some(threshold) = next
            && threshold < start + width
        {
            assert!(start + ambiguous <= threshold && threshold + ambiguous <= start + width);
            step += 1;
            assert!(step == thresholds.len() || thresholds[step] >= start + width);
        }
        cell += 1;
    }
    assert!(step == thresholds.len());
    table
}

/// The corrections for the upper 32 bits of float64.
const fn corrections_upper<const CELLS: usize>(corrections: [u64; CELLS]) -> [u32; CELLS] {
    let mut table = [0; CELLS];
    let mut cell = 0;
    while cell < CELLS {
        let lower = corrections[cell] as u32 as u64;
        assert!(lower == 0 || AMBIGUOUS <= lower && lower <= (1 << 32) - AMBIGUOUS);
        // Plus one, so that the threshold's own upper half, whose lower half is not zero, sums to exactly a whole step.
        table[cell] = (corrections[cell] >> 32) as u32 + 1;
        cell += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_libm() {
        for bits in [Bits::Eight, Bits::Sixteen] {
            let format = bits.format();
            for q in -format.delta_limit..=format.delta_limit + format.max_code {
                let expected = 2f64.powf(f64::from(q) / f64::from(format.steps()));
                assert_eq!(format.value_f64(q).to_bits(), expected.to_bits(), "{bits:?} q {q}");
            }
            for j in 0..format.steps() as usize {
                let expected = 2f64.powf(j as f64 / f64::from(format.steps())) as f32;
                assert_eq!(format.values_f32[j], expected.to_bits(), "{bits:?} step {j}");
            }
        }
    }

    #[test]
    fn corrections_round_every_mantissa_to_its_step() {
        for bits in [Bits::Eight, Bits::Sixteen] {
            let format = bits.format();
            let (step_bits, cell_bits) = (23 - format.steps_log2, 22 - format.steps_log2);
            let mut step = 0;
            for mantissa in 0..1 << 23 {
                step += usize::from(format.thresholds_f32.get(step) == Some(&mantissa));
                let sum = mantissa.wrapping_add(format.corrections_f32[(mantissa >> cell_bits) as usize]);
                assert_eq!((sum >> step_bits) as usize, step, "{bits:?} mantissa {mantissa}");
            }
        }
    }

    #[test]
    fn log2_rounds_up_exactly_from_each_threshold() {
        for bits in [Bits::Eight, Bits::Sixteen] {
            let format = bits.format();
            let steps = f64::from(format.steps());
            for (j, &threshold) in format.thresholds_f32.iter().enumerate() {
                let round = |m: u32| f64::from(f32::from_bits(0x3f80_0000 + m)).log2() * steps;
                assert_eq!(round(threshold - 1).round() as usize, j);
                assert_eq!(round(threshold).round() as usize, j + 1);
                assert_eq!(u64::from(threshold - 1), format.thresholds_f64[j] >> 29);
            }
        }
    }
}
