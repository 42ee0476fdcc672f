//! Any bytes as a prototxt: read or refused, printed as read, Quant layers in and out.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../prototxt/properties/survive.rs"]
mod survive;

fuzz_target!(|bytes: &[u8]| survive::survive(bytes));
