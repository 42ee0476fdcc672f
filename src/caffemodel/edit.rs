//! Changes to a caffemodel: blobs replaced and added, layers taken out, everything else its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::ops::Range;

use super::blob::{self, Values};
use super::model::{Model, layer, net};
use super::wire::{self, Fields};

/// What becomes of one layer.
#[derive(Clone, Debug, Default)]
struct LayerEdit {
    replaced: BTreeMap<usize, Values>,
    /// Blobs to come behind those that are there, with their shapes.
    added: Vec<(Vec<usize>, Values)>,
    merged: Vec<u8>,
    /// Another name for its top.
    top: Option<(Vec<u8>, Vec<u8>)>,
}

/// Changes to a model of today's form.
#[derive(Clone, Debug)]
pub struct ModelEdits<'m> {
    model: &'m Model,
    layers: BTreeMap<usize, LayerEdit>,
    removed: BTreeSet<usize>,
}

/// A stretch of the changed model.
enum Piece<'e> {
    Kept(Range<usize>),
    New(Vec<u8>),
    Values(&'e Values),
}

impl Piece<'_> {
    fn len(&self) -> usize {
        match self {
            Piece::Kept(range) => range.len(),
            Piece::New(bytes) => bytes.len(),
            Piece::Values(values) => values.size(),
        }
    }
}

/// A field of blobs: the start of its message, and the values that end it.
fn blob_field(start: Vec<u8>, values: &Values) -> [Piece<'_>; 2] {
    let header = wire::header(layer::BLOBS, start.len() + values.size());
    [Piece::New([header, start].concat()), Piece::Values(values)]
}

impl<'m> ModelEdits<'m> {
    /// No changes yet.
    pub fn new(model: &'m Model) -> ModelEdits<'m> {
        ModelEdits { model, layers: BTreeMap::new(), removed: BTreeSet::new() }
    }

    /// Gives a blob other values, as many as it has.
    pub fn replace(&mut self, layer: usize, blob: usize, values: Values) {
        debug_assert_eq!(self.model.layers()[layer].blobs[blob].count(), values.len());
        self.layers.entry(layer).or_default().replaced.insert(blob, values);
    }

    /// Gives a layer one more blob.
    pub fn add(&mut self, layer: usize, shape: &[usize], values: Values) {
        self.layers.entry(layer).or_default().added.push((shape.to_vec(), values));
    }

    /// Adds a field to a layer's message. A message's fields are merged with those that are there already.
    pub fn merge(&mut self, layer: usize, field: &[u8]) {
        self.layers.entry(layer).or_default().merged.extend_from_slice(field);
    }

    /// Gives a layer's top `from` the name `to`.
    pub fn rename_top(&mut self, layer: usize, from: &[u8], to: &[u8]) {
        self.layers.entry(layer).or_default().top = Some((from.to_vec(), to.to_vec()));
    }

    /// Takes a layer out.
    pub fn remove(&mut self, layer: usize) {
        self.removed.insert(layer);
    }

    /// Writes the changed model.
    ///
    /// # Errors
    /// The writer's.
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

    /// The changed model.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.model.as_bytes().len());
        self.write_to(&mut bytes).expect("a vector takes all bytes");
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
                    pieces.extend(blob_field(blob::with_values(payload, values), values));
                }
                (layer::TOP, Some((from, to))) if payload == from => {
                    pieces.push(Piece::New(wire::bytes_field(layer::TOP, to)));
                }
                _ => pieces.push(Piece::Kept(start + field.range.start..start + field.range.end)),
            }
        }
        for (shape, values) in &edit.added {
            pieces.extend(blob_field(blob::new(shape, values), values));
        }
        pieces.push(Piece::New(edit.merged.clone()));
        pieces
    }
}
