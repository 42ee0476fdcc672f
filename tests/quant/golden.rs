//! Repeats every recorded call of the vendor's library, bit for bit; `tests/fixtures/golden/README.md` describes the
//! records.

use std::{fs, path::Path};

use gfpq::quant::{Bits, Element, Mode, Param, quantise, quantise_into};

#[derive(serde::Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    dtype: String,
    bits: u32,
    mode: u32,
    count: usize,
    null_param: bool,
    param_in: String,
    param_out: String,
    ret: String,
    input: usize,
    output: usize,
}

/// The parameter's bytes, from hexadecimal digits.
fn param(hex: &str) -> [u8; 16] {
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

/// Repeats a call, in place and out of place.
fn replay<T: Element>(case: &Case, input: Vec<T>, output: &[T], bits_of: fn(&T) -> u64) {
    let Some(bits) = Bits::from_number(case.bits) else {
        assert_eq!(case.ret, "0xffff0005", "{}", case.name);
        return;
    };
    assert_eq!(case.ret, "0x00000000", "{}", case.name);
    let mode = Mode::from_number(case.mode).unwrap();
    let before = Param::from_bytes(&param(&case.param_in)).unwrap();
    let expected: Vec<u64> = output.iter().map(bits_of).collect();

    let mut out_of_place = vec![T::from_f64(7.0); input.len()];
    let mut after = before;
    quantise_into(&input, &mut out_of_place, bits, mode, &mut after).unwrap();
    assert_eq!(out_of_place.iter().map(bits_of).collect::<Vec<_>>(), expected, "{}", case.name);

    let mut in_place = input;
    let mut after = before;
    quantise(&mut in_place, bits, mode, &mut after);
    assert_eq!(in_place.iter().map(bits_of).collect::<Vec<_>>(), expected, "{}", case.name);
    if !case.null_param {
        assert_eq!(after.to_bytes(), param(&case.param_out), "{}", case.name);
    }
}

#[test]
fn recorded_calls_are_bit_identical() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let golden: Golden = serde_json::from_slice(&fs::read(folder.join("cases.json")).unwrap()).unwrap();
    let data = fs::read(folder.join("data.bin")).unwrap();
    assert_eq!(golden.cases.len(), 190);
    for case in &golden.cases {
        let values = |offset: usize, size: usize| data[offset..offset + size * case.count].chunks_exact(size);
        match case.dtype.as_str() {
            "float32" => {
                let read = |at| values(at, 4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
                replay(case, read(case.input), &read(case.output), |x| x.to_bits().into());
            }
            "float64" => {
                let read = |at| values(at, 8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect::<Vec<_>>();
                replay(case, read(case.input), &read(case.output), |x| x.to_bits());
            }
            other => panic!("dtype {other}"),
        }
    }
}
