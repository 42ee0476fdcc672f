//! Plain Rust, for every platform; the other backends are tested against it and take their undecided values from it.

use super::backend::{Backend, Passes};
use super::scale::Scale;
use crate::quant::format::AMBIGUOUS;

pub(super) static BACKEND: Backend = Backend {
    name: "scalar",
    worth_sharing: 1 << 17,
    f32: Passes { max_abs: max_abs_f32, apply: apply_f32 },
    f64: Passes { max_abs: max_abs_f64, apply: apply_f64 },
};

const INFINITY_F32: u32 = f32::INFINITY.to_bits();
const INFINITY_F64: u64 = f64::INFINITY.to_bits();

/// # Safety
/// None needed; unsafe only to have the type of the other backends' passes.
unsafe fn max_abs_f32(data: &[f32]) -> f32 {
    let magnitude = |x: &f32| x.to_bits() & !(1 << 31);
    let number = |a: u32| if a <= INFINITY_F32 { a } else { 0 };
    f32::from_bits(data.iter().map(magnitude).map(number).max().unwrap_or(0))
}

/// # Safety
/// As for [`max_abs_f32`].
unsafe fn max_abs_f64(data: &[f64]) -> f64 {
    let magnitude = |x: &f64| x.to_bits() & !(1 << 63);
    let number = |a: u64| if a <= INFINITY_F64 { a } else { 0 };
    f64::from_bits(data.iter().map(magnitude).map(number).max().unwrap_or(0))
}

/// # Safety
/// See [`Passes`].
unsafe fn apply_f32(source: *const f32, destination: *mut f32, len: usize, scale: &Scale) {
    for i in 0..len {
        // SAFETY: the caller's pointers are valid for `len` values.
        unsafe { destination.add(i).write(value_f32(source.add(i).read(), scale)) }
    }
}

/// # Safety
/// See [`Passes`].
unsafe fn apply_f64(source: *const f64, destination: *mut f64, len: usize, scale: &Scale) {
    for i in 0..len {
        // SAFETY: the caller's pointers are valid for `len` values.
        unsafe { destination.add(i).write(value_f64(source.add(i).read(), scale)) }
    }
}

/// Quantises and dequantises one value; the module documentation of `arch` follows an example through these lines.
#[inline]
pub(super) fn value_f32(x: f32, scale: &Scale) -> f32 {
    let format = scale.format;
    let magnitude = x.to_bits() & !(1 << 31);
    let sign = (x.to_bits() >> 31) as usize;

    let limits = &scale.f32;
    if magnitude <= limits.flush[sign] || magnitude > INFINITY_F32 {
        return 0.0;
    }
    // As in the vendor's library, an infinity becomes the lowest magnitude.
    let held = if magnitude == INFINITY_F32 { 0 } else { magnitude };
    let held = held.min(limits.highest).max(limits.lowest[sign]);

    let cell = held >> (22 - format.steps_log2) & (2 * format.steps() as u32 - 1);
    let sum = held.wrapping_add(format.corrections_f32[cell as usize]);
    let step = sum >> (23 - format.steps_log2) & (format.steps() as u32 - 1);
    let mantissa = format.values_f32[step as usize] & 0x7f_ffff;
    f32::from_bits((sign as u32) << 31 | sum & INFINITY_F32 | mantissa)
}

/// The same for float64, where the rounded log2 decides close to a threshold.
#[inline]
pub(super) fn value_f64(x: f64, scale: &Scale) -> f64 {
    let format = scale.format;
    let magnitude = x.to_bits() & !(1 << 63);
    let sign = (x.to_bits() >> 63) as usize;

    let limits = &scale.f64;
    if magnitude <= limits.flush[sign] || magnitude > INFINITY_F64 {
        return 0.0;
    }
    let held = if magnitude == INFINITY_F64 { 0 } else { magnitude };
    let held = held.min(limits.highest).max(limits.lowest[sign]);

    let cell = held >> (51 - format.steps_log2) & (2 * format.steps() as u64 - 1);
    let sum = held.wrapping_add(format.corrections_f64[cell as usize]);
    let step_bits = 52 - format.steps_log2;
    let mut steps = (sum >> step_bits) as i32;
    // The sum of a threshold is a whole number of steps: true if the sum is less than AMBIGUOUS away from one.
    if (sum + AMBIGUOUS - 1) & ((1 << step_bits) - 1) < 2 * AMBIGUOUS - 1 {
        let q = (f64::from_bits(held).log2() * f64::from(format.steps())).round() as i32;
        steps = q + (1023 << format.steps_log2);
    }
    let mantissa = format.values_f64[(steps & (format.steps() - 1)) as usize] & ((1 << 52) - 1);
    f64::from_bits((sign as u64) << 63 | (steps as u64 >> format.steps_log2) << 52 | mantissa)
}
