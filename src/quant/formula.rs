//! The format's definition, one value at a time with `log2` and `pow`: slow, but easy to compare with the format's
//! description.
//!
//! Tests compare every backend with it. It also serves calls that the backends' tables are not made for: with a delta
//! outside the format's own range, which only a caller's parameter can bring, or in a floating-point environment that does
//! not round to nearest. It computes in the caller's environment, step for step as the vendor's library does, and so gives
//! that library's bits in any environment.

use super::element::Element;
use super::environment::exp2;
use super::format::Bits;

/// The definition for one bit width and delta.
///
/// S is the number of steps per octave and K the largest code. The result is zero unless `|x| > 2^(lo/S) / 2`;
/// otherwise it is `x`'s sign times `2^(q/S)`, where `q = round(log2(|x|) S)` is clamped to `lo ..= delta + K`. `lo` is
/// `delta` for positive values and `delta + 1` for negative ones, since the code "negative, 0" stands for zero.
pub(super) struct Formula {
    /// S.
    steps: f64,
    /// `lo` for positive and for negative values.
    lowest: [i64; 2],
    /// `delta + K`.
    highest: i64,
    /// The magnitudes up to which positive and negative values become zero.
    flush: [f64; 2],
}

impl Formula {
    pub(super) fn new(bits: Bits, delta: i32) -> Formula {
        let format = bits.format();
        let steps = f64::from(format.steps());
        let delta = i64::from(delta);
        let lowest = [delta, delta + 1];
        let highest = delta + i64::from(format.max_code_here());
        Formula { steps, lowest, highest, flush: lowest.map(|q| exp2(q as f64 / steps) / 2.0) }
    }

    pub(super) fn quantise<T: Element>(&self, x: T) -> T {
        let x = x.to_f64();
        let (sign, which) = if x > 0.0 {
            (1.0, 0)
        } else if x < 0.0 {
            (-1.0, 1)
        } else {
            return T::from_f64(0.0);
        };
        if x.abs() <= self.flush[which] {
            return T::from_f64(0.0);
        }
        let lowest = self.lowest[which];
        let q = if x.is_infinite() {
            lowest
        } else {
            (round(x.abs().log2() * self.steps) as i64).min(self.highest).max(lowest)
        };
        T::from_f64(sign * exp2(q as f64 / self.steps))
    }
}

/// Quantises and dequantises one value by the format's definition.
pub fn quantise_value<T: Element>(x: T, bits: Bits, delta: i32) -> T {
    Formula::new(bits, delta).quantise(x)
}

/// Rounds half away from zero, in any environment. (The compiler's instructions for `f64::round` may add nearly one half,
/// which is itself rounded.)
fn round(x: f64) -> f64 {
    let whole = x.trunc();
    if (x - whole).abs() >= 0.5 { whole + x.signum() } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for x in [0.0, 0.5, -0.5, 0.49999999999999994, 2.5, -3.5, -2.4, 1e9 + 0.5, 4503599627370495.5, 1e300] {
            assert_eq!(round(x), x.round(), "{x}");
        }
    }
}
