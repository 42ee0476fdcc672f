//! Prototxt files: parsing and printing, adding and removing Quant layers, checking, and the program itself.

mod add;
mod check;
mod cli;
mod document;
mod large_files;
mod net;
mod properties;
mod strip;

use gfpq::prototxt::{Document, Quantised, Selection, Weights, add_quant, strip_quant};

/// A net's text as a document.
fn parse(text: impl AsRef<[u8]>) -> Document {
    Document::parse(text.as_ref(), "net.prototxt").unwrap_or_else(|error| panic!("{error}"))
}

/// The text with Quant layers, as a string.
fn added(text: &str) -> String {
    String::from_utf8(quantised(text, &Selection::default()).text).unwrap()
}

/// The same with the account of what was added.
fn quantised(text: &str, selection: &Selection) -> Quantised {
    add_quant(&parse(text), selection, Weights::AsTheyAre).unwrap()
}

/// The text without Quant layers.
fn stripped(text: &str) -> String {
    String::from_utf8(strip_quant(&parse(text)).unwrap().text).unwrap()
}

/// Adds Quant layers, checks that stripping undoes it and that adding again changes nothing, and returns the new text.
fn there_and_back(text: &str) -> String {
    let with = added(text);
    assert_eq!(stripped(&with), text, "taken out of:\n{with}");
    assert_eq!(added(&with), with, "added twice");
    with
}

/// A fixture's text.
fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/prototxt/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
