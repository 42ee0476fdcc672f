//! The bridge and, through it, the C++ interface as this crate's own tests link it.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// The bit pattern of the first value whose quantisation panics; 0 for none.
static PANIC_AT: AtomicU32 = AtomicU32::new(0);

/// The interface's `GFPQ_PARAM_ST`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
struct VendorParam {
    mode: u32,
    buf: [u8; 16],
}

unsafe extern "C" {
    /// The vendor's `HI_GFPQ_QuantAndDeQuant` for float32, in `hi_gfpq.cpp`.
    #[link_name = "_Z23HI_GFPQ_QuantAndDeQuantPfjjP14_GFPQ_PARAM_ST"]
    fn quant_and_dequant(data: *mut f32, count: u32, bits: u32, param: *mut VendorParam) -> u32;
}

/// Panics if the test below asked for it by this data.
pub(super) fn panic_if_asked<T: Element>(data: &[T]) {
    let asked = PANIC_AT.load(Ordering::Relaxed);
    if asked != 0 && data.first().is_some_and(|x| (x.to_f64() as f32).to_bits() == asked) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_becomes_a_return_code_in_cpp() {
    let marker = 123.456f32;
    PANIC_AT.store(marker.to_bits(), Ordering::Relaxed);
    let mut data = [marker, 1.0, 2.0];
    let before = VendorParam { mode: 0, buf: [7; 16] };
    let mut param = before;
    let call = |data: &mut [f32; 3], param: &mut VendorParam| {
        // SAFETY: the pointers are to three values and a parameter.
        unsafe { quant_and_dequant(data.as_mut_ptr(), 3, 8, param) }
    };

    assert_eq!(call(&mut data, &mut param), refusal::GENERIC);
    assert_eq!((data, param), ([marker, 1.0, 2.0], before));
    // The process lives and goes on quantising.
    data[0] = 3.0;
    assert_eq!(call(&mut data, &mut param), refusal::SUCCESS);
    assert_ne!(param, before);
}

#[test]
fn unknown_numbers_unequal_lengths_and_damaged_parameters_are_refused() {
    fn check(expected: (u32, &str), call: impl FnOnce(&mut [u8]) -> u32) {
        let mut reason = [0; 200];
        let code = call(&mut reason);
        let text = CStr::from_bytes_until_nul(&reason).unwrap().to_str().unwrap();
        assert!(code == expected.0 && text.starts_with(expected.1), "{code:#x} {text}");
    }
    let mut data = [1f32, 2.0];
    let mut param = [0; 16];
    check((refusal::BAD_FORMAT, "invalid bit width 7"), |why| in_place(&mut data, 7, 0, &mut param, why));
    check((refusal::BAD_PARAMETERS, "unknown mode 3"), |why| in_place(&mut data, 8, 3, &mut param, why));
    check((refusal::SUCCESS, ""), |why| in_place(&mut data, 8, 0, &mut param, why));
    check((refusal::SUCCESS, ""), |why| in_place(&mut data, 8, 0, &mut [], why));
    check((refusal::BAD_PARAMETERS, "source has 1 values and destination 0"), |why| {
        into(&[1f64], &mut [], 8, 0, &mut param, why)
    });
    check((refusal::BAD_FORMAT, "malformed parameter"), |why| in_place(&mut data, 8, 2, &mut [1; 16], why));
}

#[test]
fn only_the_modes_that_take_a_scale_from_the_data_write_the_parameter() {
    for (mode, is_written) in [(0, true), (1, true), (2, false)] {
        let before = Param { delta: -300 }.to_bytes();
        let mut param = before;
        assert_eq!(in_place(&mut [1f32, 2.0], 8, mode, &mut param, &mut []), refusal::SUCCESS);
        assert_eq!(param != before, is_written, "mode {mode}");
    }
}
