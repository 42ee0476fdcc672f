//! The format's definition, one value at a time with `log2` and `pow`: slow, but easy to compare with the format's
//! description.
//!
//! Tests compare every backend with it. It also serves calls with a delta outside the format's own range, which only a
//! caller's parameter can bring.

use super::element::Element;
use super::format::Bits;

/// Quantises and dequantises one value.
///
/// S is the number of steps per octave and K the largest code. The result is zero unless `|x| > 2^(lo/S) / 2`;
/// otherwise it is `x`'s sign times `2^(q/S)`, where `q = round(log2(|x|) S)` is clamped to `lo ..= delta + K`. `lo` is
/// `delta` for positive values and `delta + 1` for negative ones, since the code "negative, 0" stands for zero.
pub fn quantise_value<T: Element>(x: T, bits: Bits, delta: i32) -> T {
    let format = bits.format();
    let steps = f64::from(format.steps());
    let x = x.to_f64();
    let sign = if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        return T::from_f64(0.0);
    };
    let delta = i64::from(delta);
    let lowest = if sign < 0.0 { delta + 1 } else { delta };
    let highest = delta + i64::from(format.max_code);
    let value = |q: i64| 2f64.powf(q as f64 / steps);
    if x.abs() <= value(lowest) / 2.0 {
        return T::from_f64(0.0);
    }
    let q = if x.is_infinite() { lowest } else { ((x.abs().log2() * steps).round() as i64).min(highest).max(lowest) };
    T::from_f64(sign * value(q))
}
