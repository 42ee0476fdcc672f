//! Every backend against the format's formula and the scalar backend.

use gfpq::quant::arch::{self, Backend, Scale};
use gfpq::quant::{Bits as Width, Element, Tensor, formula};

use crate::Bits;

const WIDTHS: [Width; 2] = [Width::Eight, Width::Sixteen];

/// The element types, with their values as bit patterns to compare.
trait Value: Element + std::fmt::Debug + Default {
    fn bits(self) -> u64;
}

impl Value for f32 {
    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}

impl Value for f64 {
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// Compares a backend with the formula on `data`, in place and out of place.
fn check<T: Value>(backend: &Backend, data: &[T], width: Width, delta: i32) {
    let scale = Scale::new(width, delta);
    let mut out_of_place = vec![T::default(); data.len()];
    backend.apply(&mut Tensor::into(data, &mut out_of_place), &scale);
    let mut in_place = data.to_vec();
    backend.apply(&mut Tensor::in_place(&mut in_place), &scale);

    for (i, &x) in data.iter().enumerate() {
        let expected = formula::quantise_value(x, width, delta);
        let name = backend.name();
        let at = format!("{name} {width:?} delta {delta} value {i} of {}: {x:?}", data.len());
        assert_eq!(out_of_place[i].bits(), expected.bits(), "{at}: {:?}, not {expected:?}", out_of_place[i]);
        assert_eq!(in_place[i].bits(), expected.bits(), "{at}: {:?} in place, not {expected:?}", in_place[i]);
    }
}

/// Checks every length up to 70 at several alignments.
fn all_lengths<T: Value>(random: &mut Bits) {
    for backend in arch::backends() {
        for len in 0..=70 {
            // At several alignments within a larger buffer, whose other values must stay unchanged.
            for offset in [0, 1, 3] {
                let width = WIDTHS[random.below(2) as usize];
                let tensor: Vec<T> = random.tensor(len).into_iter().map(T::from_f64).collect();
                let delta = gfpq::quant::delta_of(&tensor, width);
                check(backend, &tensor, width, delta);

                let mut wider: Vec<T> = random.tensor(len + 8).into_iter().map(T::from_f64).collect();
                let before = wider.clone();
                wider[offset..offset + len].copy_from_slice(&tensor);
                backend.apply(&mut Tensor::in_place(&mut wider[offset..offset + len]), &Scale::new(width, delta));
                for (i, (x, y)) in before.iter().zip(&wider).enumerate() {
                    let expected = match i.checked_sub(offset) {
                        Some(i) if i < len => formula::quantise_value(tensor[i], width, delta),
                        _ => *x,
                    };
                    assert_eq!(y.bits(), expected.bits(), "{} at {i}, offset {offset}", backend.name());
                }
            }
        }
    }
}

#[test]
fn every_length_and_alignment_follows_the_formula() {
    all_lengths::<f32>(&mut Bits(11));
    all_lengths::<f64>(&mut Bits(12));
}

/// Checks `max_abs` at every length up to 300, with some values replaced by `specials`.
fn all_ranges<T: Value>(random: &mut Bits, specials: &[f64]) {
    for backend in arch::backends() {
        for len in 0..=300 {
            let mut data: Vec<T> = random.tensor(len).into_iter().map(T::from_f64).collect();
            for &special in specials {
                if len > 0 && random.below(3) == 0 {
                    data[random.below(len as u64) as usize] = T::from_f64(special);
                }
            }
            let magnitudes = data.iter().map(|x| x.to_f64().abs());
            let expected = magnitudes.filter(|a| !a.is_nan()).fold(0.0, f64::max);
            assert_eq!(backend.max_abs(&data).to_f64(), expected, "{} {data:?}", backend.name());
        }
    }
}

#[test]
fn ranges_ignore_nan() {
    let specials = [f64::NAN, -f64::NAN, 1e300, -1e300, 1e-310, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    all_ranges::<f32>(&mut Bits(13), &specials[..5]);
    all_ranges::<f64>(&mut Bits(14), &specials[..5]);
    all_ranges::<f32>(&mut Bits(15), &specials);
    all_ranges::<f64>(&mut Bits(16), &specials);
}

#[test]
fn both_sides_of_every_threshold_follow_the_formula() {
    for backend in arch::backends() {
        for width in WIDTHS {
            let format = width.format();
            let (steps, limit) = (format.steps(), format.delta_limit);
            for delta in [-limit, -limit + 1, -5 * steps + 3, -7, 0, 2 * steps, limit - 1, limit] {
                let lowest = delta >> format.steps_log2;
                let highest = (delta + format.max_code) >> format.steps_log2;
                let mut single = Vec::new();
                let mut double = Vec::new();
                for octave in [lowest - 2, lowest - 1, lowest, lowest + 1, highest - 1, highest, highest + 1] {
                    for j in 0..steps as usize {
                        let at = format.thresholds_f32[j] + (((octave + 127) as u32) << 23);
                        single.extend([at - 1, at, at + 1, (at - 1) | 1 << 31, at | 1 << 31].map(f32::from_bits));
                        let at = format.thresholds_f64[j] + (((octave + 1023) as u64) << 52);
                        for d in [-300i64, -256, -255, -40, -3, -2, -1, 0, 1, 2, 3, 40, 254, 255, 256, 300] {
                            let x = f64::from_bits(at.wrapping_add_signed(d));
                            double.extend([x, -x]);
                        }
                    }
                }
                check(backend, &single, width, delta);
                check(backend, &double, width, delta);
            }
        }
    }
}

#[test]
fn both_sides_of_every_limit_follow_the_formula() {
    for backend in arch::backends() {
        for width in WIDTHS {
            let format = width.format();
            let limit = format.delta_limit;
            for delta in (-limit..=limit).step_by(7).chain([limit]) {
                let mut single = vec![0.0, -0.0, f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX];
                let mut double = vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX];
                single.extend([1, 0x7f_ffff, 0x80_0000, 0x8000_0001, 0x7f80_0001, 0xff80_0001].map(f32::from_bits));
                double.extend([1, 1 << 51, 1 << 52, 1 << 63 | 1, 0x7ff << 52 | 1].map(f64::from_bits));
                for q in [delta, delta + 1, delta + format.max_code] {
                    for value in [format.value_f64(q), format.value_f64(q) / 2.0] {
                        let nearest = (value as f32).to_bits();
                        for bits in nearest - 1..=nearest + 1 {
                            single.extend([f32::from_bits(bits), -f32::from_bits(bits)]);
                        }
                        for bits in value.to_bits() - 1..=value.to_bits() + 1 {
                            double.extend([f64::from_bits(bits), -f64::from_bits(bits)]);
                        }
                    }
                }
                check(backend, &single, width, delta);
                check(backend, &double, width, delta);
            }
        }
    }
}

/// Compares a backend with the scalar one on all 2^23 mantissas of one octave, with both signs. The thresholds are the
/// same in every octave, so that this covers each of them.
fn mantissas(backend: &Backend, width: Width) {
    let delta = -5 * width.format().steps() + 3;
    let scale = Scale::new(width, delta);
    let scalar = arch::backends().last().unwrap();
    for sign in [0, 1 << 31] {
        let data: Vec<f32> = (0..1 << 23).map(|m| f32::from_bits(sign | 0x3f80_0000 | m)).collect();
        let (mut ours, mut theirs) = (data.clone(), data);
        backend.apply(&mut Tensor::in_place(&mut ours), &scale);
        scalar.apply(&mut Tensor::in_place(&mut theirs), &scale);
        let differs = ours.iter().zip(&theirs).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{} {width:?} sign {sign:x}", backend.name());
    }
}

#[test]
fn every_mantissa_agrees_with_scalar() {
    for backend in arch::backends() {
        for width in WIDTHS {
            mantissas(backend, width);
        }
    }
}

#[test]
#[ignore = "takes minutes: cargo test --release --test quant every_float32 -- --ignored --nocapture"]
fn every_float32_agrees_with_scalar() {
    const BLOCK: usize = 1 << 20;
    let scalar = arch::backends().last().unwrap();
    for width in WIDTHS {
        let format = width.format();
        let limit = format.delta_limit;
        let mut ours = vec![0f32; BLOCK];
        let mut theirs = vec![0f32; BLOCK];
        for delta in [-limit, -format.max_code + 3 * format.steps() + 5, -format.max_code, limit] {
            let scale = Scale::new(width, delta);
            let start = std::time::Instant::now();
            for block in 0..1u32 << 12 {
                let data: Vec<f32> = (0..BLOCK as u32).map(|i| f32::from_bits(block << 20 | i)).collect();
                scalar.apply(&mut Tensor::into(&data, &mut theirs), &scale);
                for backend in arch::backends() {
                    backend.apply(&mut Tensor::into(&data, &mut ours), &scale);
                    let differs = ours.iter().zip(&theirs).position(|(a, b)| a.to_bits() != b.to_bits());
                    assert_eq!(differs, None, "{} {width:?} delta {delta} block {block:x}", backend.name());
                }
            }
            println!("{width:?} delta {delta}: all float32 agree, {:.0} s", start.elapsed().as_secs_f64());
        }
    }
}
