//! The public functions, on the chosen backend, against the format's formula.

use gfpq::quant::{Bits as Width, Element, Mode, Param, delta_of, formula, quantise};

use crate::Bits;

const WIDTHS: [Width; 2] = [Width::Eight, Width::Sixteen];

/// Compares APPLY_ONLY at `delta` with the formula.
fn check<T: Element + std::fmt::Debug>(values: &[T], width: Width, delta: i32, bits_of: fn(T) -> u64) {
    let mut fast = values.to_vec();
    quantise(&mut fast, width, Mode::ApplyOnly, &mut Param { delta });
    for (&x, &y) in values.iter().zip(&fast) {
        let expected = formula::quantise_value(x, width, delta);
        assert_eq!(bits_of(y), bits_of(expected), "{x:?} {width:?} delta {delta}: {y:?}, not {expected:?}");
    }
}

#[test]
fn random_tensors_follow_the_formula() {
    let mut random = Bits(1);
    for _ in 0..400 {
        let len = 1 + random.below(700) as usize;
        let tensor = random.tensor(len);
        let single: Vec<f32> = tensor.iter().map(|&x| x as f32).collect();
        for width in WIDTHS {
            let limit = width.format().delta_limit;
            let delta = match random.below(3) {
                0 => random.below(2 * limit as u64 + 1) as i32 - limit,
                1 => random.below(12_000) as i32 - 6_000,
                _ => delta_of(&single, width),
            };
            check(&tensor, width, delta, f64::to_bits);
            check(&single, width, delta, |x| x.to_bits().into());
        }
    }
}

#[test]
fn both_sides_of_every_threshold_follow_the_formula() {
    for width in WIDTHS {
        let format = width.format();
        for octave in [-20i32, -1, 0, 7] {
            let delta = (octave - 5) * format.steps() + 3;
            let single: Vec<f32> = (0..format.steps())
                .flat_map(|j| {
                    let at = format.thresholds_f32[j as usize] + (((octave + 127) as u32) << 23);
                    [at - 1, at, at + 1, (at - 1) | 1 << 31, at | 1 << 31].map(f32::from_bits)
                })
                .collect();
            check(&single, width, delta, |x| x.to_bits().into());
            let double: Vec<f64> = (0..format.steps())
                .flat_map(|j| {
                    let at = format.thresholds_f64[j as usize] + (((octave + 1023) as u64) << 52);
                    [-300i64, -256, -255, -40, -3, -2, -1, 0, 1, 2, 3, 40, 254, 255, 256, 300]
                        .map(|d| f64::from_bits(at.wrapping_add_signed(d)))
                })
                .collect();
            check(&double, width, delta, f64::to_bits);
        }
    }
}

#[test]
fn random_float32_ranges_give_the_formulas_delta() {
    let mut random = Bits(3);
    for _ in 0..200_000 {
        let m = f32::from_bits(1 + random.below(0x7f7f_ffff) as u32);
        for width in WIDTHS {
            let format = width.format();
            let exact = (f64::from(m).log2() * f64::from(format.steps())).floor() as i32 - format.max_code;
            assert_eq!(delta_of(&[0.0, -m], width), exact.clamp(-format.delta_limit, format.delta_limit));
        }
    }
}
