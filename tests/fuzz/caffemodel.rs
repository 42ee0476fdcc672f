//! Any bytes as a caffemodel: read or refused, written as read.
#![no_main]

use gfpq::caffemodel::{Model, ModelEdits, info};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::parse(bytes.to_vec()) else { return };
    assert_eq!(ModelEdits::new(&model).to_vec(), bytes);
    info(&model);
});
