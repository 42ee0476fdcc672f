//! Caffemodels: reading and editing, folding, quantising, and the commands of `gfpq model`.

mod cli;
mod fold;
mod quantise;
mod unknown_fields;

use gfpq::caffemodel::Model;
use gfpq::prototxt::Document;

/// A length-delimited field. Encoded here, independently of the library under test.
fn field(number: u32, payload: &[u8]) -> Vec<u8> {
    [varint(u64::from(number << 3 | 2)), varint(payload.len() as u64), payload.to_vec()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A BlobProto as the current Caffe writes it.
fn blob(shape: &[u64], values: &[f32]) -> Vec<u8> {
    let axes: Vec<u8> = shape.iter().flat_map(|&axis| varint(axis)).collect();
    [field(5, &floats(values)), field(7, &field(1, &axes))].concat()
}

/// A NetParameter's field with a LayerParameter that has these blobs.
fn layer(name: &str, kind: &str, blobs: &[Vec<u8>]) -> Vec<u8> {
    let head = [field(1, name.as_bytes()), field(2, kind.as_bytes()), field(4, name.as_bytes())].concat();
    field(100, &[head, blobs.iter().flat_map(|blob| field(7, blob)).collect()].concat())
}

fn parse(bytes: Vec<u8>) -> Model {
    Model::parse(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn document(text: &str) -> Document {
    Document::parse(text, "net.prototxt").unwrap_or_else(|error| panic!("{error}"))
}

/// The values of a blob of the layer `name`.
fn values(model: &Model, name: &str, blob: usize) -> Vec<f32> {
    let layer = model.with_blobs(name.as_bytes()).next().unwrap();
    model.values(layer, blob).unwrap().into_f32()
}
