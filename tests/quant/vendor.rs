//! The vendor's own library, called on data beyond the recorded calls.
//!
//! `scripts/vendor.sh` fetches the library from its PyPI package and prints its path, which `scripts/test.sh` passes in
//! GFPQ_VENDOR_LIB. Without it these tests are reported as ignored, not as passed.

use std::ffi::c_void;

use gfpq::quant::{Bits as Width, Element, Mode, Param, quantise};
use libloading::Library;

use crate::Bits;

/// The interface's `GFPQ_PARAM_ST`.
#[repr(C)]
struct VendorParam {
    mode: u32,
    buf: [u8; 16],
}

/// `HI_GFPQ_QuantAndDeQuant`, for either type of `data`.
type Quantise = unsafe extern "C" fn(*mut c_void, u32, u32, *mut VendorParam) -> u32;

/// An element type, with the name of the library's call for it and its values as bit patterns to compare.
pub(crate) trait VendorValue: Element + std::fmt::Debug {
    const SYMBOL: &[u8];
    fn bits(self) -> u64;
}

impl VendorValue for f32 {
    const SYMBOL: &[u8] = b"_Z23HI_GFPQ_QuantAndDeQuantPfjjP14_GFPQ_PARAM_ST";
    fn bits(self) -> u64 {
        self.to_bits().into()
    }
}

impl VendorValue for f64 {
    const SYMBOL: &[u8] = b"_Z23HI_GFPQ_QuantAndDeQuantPdjjP14_GFPQ_PARAM_ST";
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

pub(crate) struct Vendor(Library);

impl Vendor {
    pub(crate) fn load() -> Vendor {
        let path = std::env::var_os("GFPQ_VENDOR_LIB")
            .expect("GFPQ_VENDOR_LIB names no library: export GFPQ_VENDOR_LIB=$(scripts/vendor.sh)");
        // SAFETY: the vendor's library is safe to load: its initialisers do not depend on the program.
        Vendor(unsafe { Library::new(path) }.expect("the vendor's library loads"))
    }

    /// Calls the library on `data` in place and returns the parameter's bytes.
    pub(crate) fn quantise<T: VendorValue>(&self, data: &mut [T], width: Width, mode: Mode, buf: [u8; 16]) -> [u8; 16] {
        let mut param = VendorParam { mode: mode as u32, buf };
        // SAFETY: the symbol has this signature for T, and the pointers are to `data.len()` values and a parameter.
        let code = unsafe {
            let call: libloading::Symbol<Quantise> = self.0.get(T::SYMBOL).expect("symbol");
            call(data.as_mut_ptr().cast(), data.len() as u32, width.number(), &mut param)
        };
        assert_eq!(code, 0);
        param.buf
    }
}

/// Makes a sequence of calls to both libraries and compares values and parameters.
fn compare<T: VendorValue>(vendor: &Vendor, seed: u64) {
    let mut random = Bits(seed);
    let len = random.below(3_000) as usize;
    let width = if random.below(2) == 0 { Width::Eight } else { Width::Sixteen };
    let mut theirs_param = [0; 16];
    let mut ours_param = Param::default();
    // A calibration as in training: INIT, UPDATE on data of other ranges, then APPLY_ONLY.
    for mode in [Mode::Init, Mode::Update, Mode::Update, Mode::ApplyOnly] {
        let data: Vec<T> = random.tensor(len).into_iter().map(T::from_f64).collect();
        let (mut theirs, mut ours) = (data.clone(), data);
        theirs_param = vendor.quantise(&mut theirs, width, mode, theirs_param);
        quantise(&mut ours, width, mode, &mut ours_param);
        assert_eq!(ours_param.to_bytes(), theirs_param, "seed {seed} {mode:?}");
        for (i, (&o, &t)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(o.bits(), t.bits(), "seed {seed} {width:?} {mode:?} value {i}");
        }
    }
}

#[test]
#[ignore = "needs the vendor's library in GFPQ_VENDOR_LIB; scripts/test.sh runs it"]
fn random_tensors_are_bit_identical() {
    let vendor = Vendor::load();
    for seed in 0..400 {
        compare::<f32>(&vendor, seed);
        compare::<f64>(&vendor, seed);
    }
}

/// Deltas outside the width's own range, which a parameter of the other width can bring.
#[test]
#[ignore = "needs the vendor's library in GFPQ_VENDOR_LIB; scripts/test.sh runs it"]
fn deltas_outside_the_range_are_bit_identical() {
    let vendor = Vendor::load();
    let mut random = Bits(9);
    for _ in 0..300 {
        let delta = random.below(60_000) as i32 - 30_000;
        let data: Vec<f32> = random.tensor(200).into_iter().map(|x| x as f32).collect();
        for width in [Width::Eight, Width::Sixteen] {
            let (mut theirs, mut ours) = (data.clone(), data.clone());
            vendor.quantise(&mut theirs, width, Mode::ApplyOnly, Param { delta }.to_bytes());
            quantise(&mut ours, width, Mode::ApplyOnly, &mut Param { delta });
            for ((&o, &t), &x) in ours.iter().zip(&theirs).zip(&data) {
                assert_eq!(o.to_bits(), t.to_bits(), "delta {delta} {width:?} {x:e}: {o:e}, not {t:e}");
            }
        }
    }
}
