//! Calls in floating-point environments other than the default: each rounding mode, with denormal numbers flushed to zero
//! or not. Results are those of the format's formula, and of the vendor's library, in the same environment.

use std::arch::asm;

use gfpq::quant::{Bits as Width, Element, Mode, Param, formula, quantise, quantise_into};

use crate::Bits;
use crate::vendor::{Vendor, VendorValue};

const WIDTHS: [Width; 2] = [Width::Eight, Width::Sixteen];
const MODES: [Mode; 4] = [Mode::Init, Mode::Update, Mode::Update, Mode::ApplyOnly];
/// The numbers of values: a few, some, and enough to be shared among threads.
const LENGTHS: [usize; 3] = [7, 2_000, 140_000];

/// The environments as MXCSR: rounding to nearest, downward, upward and toward zero, each with and without flush-to-zero
/// and denormals-are-zero.
const ENVIRONMENTS: [u32; 10] = [0x1f80, 0x3f80, 0x5f80, 0x7f80, 0x9f80, 0x1fc0, 0x9fc0, 0xbfc0, 0xdfc0, 0xffc0];

/// Runs `body` with this MXCSR, then restores the default one.
#[inline(never)]
fn within<R>(mxcsr: u32, body: impl FnOnce() -> R) -> R {
    fn set(mxcsr: u32) {
        // SAFETY: the value is a valid MXCSR with all exceptions masked.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr, options(nostack)) };
    }
    set(mxcsr);
    let result = body();
    set(0x1f80);
    result
}

/// A random tensor; one in four has denormal numbers only, or some.
fn tensor<T: Element>(random: &mut Bits, len: usize, least: f64) -> Vec<T> {
    let denormal = random.below(4) == 0;
    let all = random.below(2) == 0;
    let mut tensor = random.tensor(len);
    for x in &mut tensor {
        if denormal && (all || random.below(3) == 0) {
            *x = (random.unit() - 0.5) * least;
        }
    }
    tensor.into_iter().map(T::from_f64).collect()
}

/// The formula's result in the environment of the caller.
fn expected<T: Element>(data: &[T], width: Width, delta: i32) -> Vec<T> {
    data.iter().map(|&x| formula::quantise_value(x, width, delta)).collect()
}

fn follows_the_formula<T: VendorValue>(seed: u64, least: f64) {
    let mut random = Bits(seed);
    for mxcsr in ENVIRONMENTS {
        for (width, len) in WIDTHS.into_iter().flat_map(|width| LENGTHS.map(|len| (width, len))) {
            let mut param = Param::default();
            for mode in MODES {
                let source: Vec<T> = tensor(&mut random, len, least);
                let (mut in_place, mut out_of_place) = (source.clone(), source.clone());
                let before = param;
                let (after, copied) = within(mxcsr, || {
                    let (mut after, mut copied) = (before, before);
                    quantise(&mut in_place, width, mode, &mut after);
                    quantise_into(&source, &mut out_of_place, width, mode, &mut copied).unwrap();
                    (after, copied)
                });
                assert_eq!(after, copied);
                let expected = within(mxcsr, || expected(&source, width, after.delta));
                for (i, y) in expected.iter().enumerate() {
                    let at = format!("MXCSR {mxcsr:#x} {width:?} {mode:?} value {i} of {len}: {:?}", source[i]);
                    assert_eq!(in_place[i].bits(), y.bits(), "{at}");
                    assert_eq!(out_of_place[i].bits(), y.bits(), "{at}, out of place");
                }
                param = after;
            }
        }
    }
}

#[test]
fn every_environment_follows_the_formula() {
    follows_the_formula::<f32>(51, 1e-38);
    follows_the_formula::<f64>(52, 2e-308);
}

#[test]
fn a_call_leaves_the_environment_as_it_was() {
    let mut data = vec![1.5f32; 200_000];
    for mxcsr in ENVIRONMENTS {
        let after = within(mxcsr, || {
            quantise(&mut data, Width::Eight, Mode::Init, &mut Param::default());
            let mut after = 0u32;
            // SAFETY: the instruction stores 32 bits at the pointer.
            unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut after, options(nostack)) };
            after
        });
        // The lowest six bits say which exceptions have occurred.
        assert_eq!(after & !0x3f, mxcsr);
    }
}

fn agrees_with_the_vendor<T: VendorValue>(vendor: &Vendor, seed: u64, least: f64) {
    let mut random = Bits(seed);
    for mxcsr in ENVIRONMENTS {
        for (width, len) in WIDTHS.into_iter().flat_map(|width| LENGTHS.map(|len| (width, len))) {
            // Short tensors of many kinds, few long ones.
            for turn in 0..(20_000 / len).clamp(3, 100) {
                let (mut theirs_param, mut ours_param) = ([0; 16], Param::default());
                for mode in MODES {
                    let data: Vec<T> = tensor(&mut random, len, least);
                    let (mut theirs, mut ours) = (data.clone(), data.clone());
                    within(mxcsr, || {
                        theirs_param = vendor.quantise(&mut theirs, width, mode, theirs_param);
                        quantise(&mut ours, width, mode, &mut ours_param);
                    });
                    let at = format!("seed {seed} MXCSR {mxcsr:#x} {width:?} {mode:?} turn {turn}");
                    assert_eq!(ours_param.to_bytes(), theirs_param, "{at}");
                    for (i, (o, t)) in ours.iter().zip(&theirs).enumerate() {
                        assert_eq!(o.bits(), t.bits(), "{at} value {i} of {len}: {:?}", data[i]);
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs the vendor's library in GFPQ_VENDOR_LIB; scripts/test.sh runs it"]
fn every_environment_agrees_with_the_vendor() {
    let vendor = Vendor::load();
    for seed in 0..3 {
        agrees_with_the_vendor::<f32>(&vendor, seed, 1e-38);
        agrees_with_the_vendor::<f64>(&vendor, seed, 2e-308);
    }
}
