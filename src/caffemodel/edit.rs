//! Edits of a caffemodel: replaces and adds blobs, removes layers; everything else keeps its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

use super::blob::{self, Values};
use super::model::{Model, layer, net};
use super::wire::{self, Fields};

/// The edits of one layer.
#[derive(Clone, Debug, Default)]
struct LayerEdit {
    /// New values, by the blob's index.
    replaced: BTreeMap<usize, Values>,
    /// Shapes and values of blobs to append after the existing ones.
    added: Vec<(Vec<usize>, Values)>,
    /// Encoded fields to append to the LayerParameter.
    merged: Vec<u8>,
    /// The old and the new name of a top.
    top: Option<(Vec<u8>, Vec<u8>)>,
}

/// Edits of a model in the current format. Layers and blobs are given by their indices in the model.
#[derive(Clone, Debug)]
pub struct ModelEdits<'m> {
    model: &'m Model,
    layers: BTreeMap<usize, LayerEdit>,
    removed: BTreeSet<usize>,
}

/// A part of an edited layer's message.
enum Piece<'e> {
    /// A range of the model's bytes.
    Kept(Range<usize>),
    /// New bytes.
    New(Vec<u8>),
    /// The values at the end of a BlobProto. They are written in chunks and never held as bytes: they may be large.
    Values(&'e Values),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Piece::Kept(range) => range.len(),
            Piece::New(bytes) => bytes.len(),
            Piece::Values(values) => values.byte_len(),
        }
    }
}

/// A layer's field `blobs`, given the start of the BlobProto and the values that follow it.
fn blob_field(start: Vec<u8>, values: &Values) -> [Piece<'_>; 2] {
    let header = wire::header(layer::BLOBS, start.len() + values.byte_len());
    [Piece::New([header, start].concat()), Piece::Values(values)]
}

impl<'m> ModelEdits<'m> {
    /// Starts without edits.
    pub fn new(model: &'m Model) -> ModelEdits<'m> {
        ModelEdits { model, layers: BTreeMap::new(), removed: BTreeSet::new() }
    }

    /// Replaces a blob's values by the same number of values.
    pub fn replace(&mut self, layer: usize, blob: usize, values: Values) {
        debug_assert_eq!(self.model.layers()[layer].blobs[blob].count(), values.len());
        self.layers.entry(layer).or_default().replaced.insert(blob, values);
    }

    /// Appends a blob to a layer.
    pub fn add(&mut self, layer: usize, shape: &[usize], values: Values) {
        self.layers.entry(layer).or_default().added.push((shape.to_vec(), values));
    }

    /// Appends an encoded field to a layer's message. By protobuf's rules, a second occurrence of a message field is
    /// merged into the first.
    pub fn merge(&mut self, layer: usize, field: &[u8]) {
        self.layers.entry(layer).or_default().merged.extend_from_slice(field);
    }

    /// Renames a layer's top from `from` to `to`.
    pub fn rename_top(&mut self, layer: usize, from: &[u8], to: &[u8]) {
        self.layers.entry(layer).or_default().top = Some((from.to_vec(), to.to_vec()));
    }

    /// Removes a layer.
    pub fn remove(&mut self, layer: usize) {
        self.removed.insert(layer);
    }

    /// Writes the edited model.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let source = self.model.as_bytes();
        let mut done = 0;
        for (number, layer) in self.model.layers().iter().enumerate() {
            let edit = self.layers.get(&number);
            if edit.is_none() && !self.removed.contains(&number) {
                continue;
            }

            out.write_all(&source[done..layer.range.start])?;
            done = layer.range.end;
            if let (Some(edit), false) = (edit, self.removed.contains(&number)) {
                self.write_layer(number, edit, out)?;
            }
        }
        out.write_all(&source[done..])
    }

    /// The edited model's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.model.as_bytes().len());
        // Writing to a vector cannot fail.
        let _ = self.write_to(&mut bytes);
        bytes
    }

    fn write_layer(&self, number: usize, edit: &LayerEdit, out: &mut dyn Write) -> io::Result<()> {
        let source = self.model.as_bytes();
        let pieces = self.pieces(number, edit);
        out.write_all(&wire::header(net::LAYER, pieces.iter().map(Piece::len).sum()))?;
        pieces.into_iter().try_for_each(|piece| match piece {
            Piece::Kept(range) => out.write_all(&source[range]),
            Piece::New(bytes) => out.write_all(&bytes),
            Piece::Values(values) => values.write_to(out),
        })
    }

    /// The parts of an edited layer's message, in their order.
    fn pieces<'e>(&self, number: usize, edit: &'e LayerEdit) -> Vec<Piece<'e>> {
        let known = &self.model.layers()[number];
        let start = known.message.start;
        let message = &self.model.as_bytes()[known.message.clone()];

        let mut pieces = Vec::new();
        let mut blobs = 0;
        for field in Fields::of(message).filter_map(Result::ok) {
            let payload = &message[field.payload()];
            blobs += usize::from(field.number == layer::BLOBS);
            match (field.number, &edit.top) {
                (layer::BLOBS, _) if edit.replaced.contains_key(&(blobs - 1)) => {
                    let values = &edit.replaced[&(blobs - 1)];
                    pieces.extend(blob_field(blob::replaced_prefix(payload, values), values));
                }
                (layer::TOP, Some((from, to))) if payload == from => {
                    pieces.push(Piece::New(wire::bytes_field(layer::TOP, to)));
                }
                _ => pieces.push(Piece::Kept(start + field.range.start..start + field.range.end)),
            }
        }

        for (shape, values) in &edit.added {
            pieces.extend(blob_field(blob::new_prefix(shape, values), values));
        }
        pieces.push(Piece::New(edit.merged.clone()));
        pieces
    }
}
