//! Plain Rust: every platform's path, and the tail of the others.

use super::Scale;

const INFINITY_F32: u32 = 0x7f80_0000;
const INFINITY_F64: u64 = 0x7ff0_0000_0000_0000;

/// Mantissa distance, in units of 2^-52, within which the vendor's rounded log2 may disagree with the table.
const AMBIGUOUS: u64 = 1 << 8;

pub fn max_abs_f32(data: &[f32]) -> f32 {
    let magnitude = |x: &f32| x.to_bits() & !(1 << 31);
    let max = data.iter().map(magnitude).filter(|&a| a <= INFINITY_F32).max();
    f32::from_bits(max.unwrap_or(0))
}

pub fn max_abs_f64(data: &[f64]) -> f64 {
    let magnitude = |x: &f64| x.to_bits() & !(1 << 63);
    let max = data.iter().map(magnitude).filter(|&a| a <= INFINITY_F64).max();
    f64::from_bits(max.unwrap_or(0))
}

pub fn apply_in_place_f32(data: &mut [f32], scale: &Scale) {
    for x in data {
        *x = value_f32(*x, scale);
    }
}

pub fn apply_f32(source: &[f32], destination: &mut [f32], scale: &Scale) {
    for (x, y) in source.iter().zip(destination) {
        *y = value_f32(*x, scale);
    }
}

pub fn apply_in_place_f64(data: &mut [f64], scale: &Scale) {
    for x in data {
        *x = value_f64(*x, scale);
    }
}

pub fn apply_f64(source: &[f64], destination: &mut [f64], scale: &Scale) {
    for (x, y) in source.iter().zip(destination) {
        *y = value_f64(*x, scale);
    }
}

#[inline]
fn value_f32(x: f32, scale: &Scale) -> f32 {
    let format = scale.format;
    let magnitude = x.to_bits() & !(1 << 31);
    let sign = (x.to_bits() >> 31) as usize;
    if magnitude <= scale.flush_f32[sign] || magnitude > INFINITY_F32 {
        return 0.0;
    }
    let q = if magnitude == INFINITY_F32 {
        scale.lowest[sign]
    } else {
        let octave = (magnitude >> 23) as i32 - 127;
        let mantissa = magnitude & 0x7f_ffff;
        let steps = format.thresholds_f32.partition_point(|&t| t <= mantissa) as i32;
        ((octave << format.steps_log2) + steps).min(scale.highest).max(scale.lowest[sign])
    };
    let step = (q & (format.steps() - 1)) as usize;
    let octave = (q >> format.steps_log2) as u32;
    let bits = format.values_f32[step].wrapping_add(octave << 23);
    f32::from_bits(bits | (sign as u32) << 31)
}

#[inline]
fn value_f64(x: f64, scale: &Scale) -> f64 {
    let format = scale.format;
    let magnitude = x.to_bits() & !(1 << 63);
    let sign = (x.to_bits() >> 63) as usize;
    // False for NaN too.
    if !(x.abs() > scale.flush[sign]) {
        return 0.0;
    }
    let q = if magnitude == INFINITY_F64 {
        scale.lowest[sign]
    } else {
        let octave = (magnitude >> 52) as i32 - 1023;
        let mantissa = magnitude & ((1 << 52) - 1);
        let table = format.thresholds_f64;
        let steps = table.partition_point(|&t| t <= mantissa);
        let near = |j: usize| table.get(j).is_some_and(|t| t.abs_diff(mantissa) < AMBIGUOUS);
        let q = if near(steps) || steps > 0 && near(steps - 1) {
            (x.abs().log2() * f64::from(format.steps())).round() as i32
        } else {
            (octave << format.steps_log2) + steps as i32
        };
        q.min(scale.highest).max(scale.lowest[sign])
    };
    f64::from_bits(format.value_f64(q).to_bits() | (sign as u64) << 63)
}
