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
    added: Vec<u8>,
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
enum Piece {
    Kept(Range<usize>),
    New(Vec<u8>),
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
    pub fn add(&mut self, layer: usize, shape: &[usize], values: &Values) {
        let blob = wire::bytes_field(layer::BLOBS, &blob::new(shape, values));
        self.layers.entry(layer).or_default().added.extend(blob);
    }

    /// Adds a field to a layer's message. A message's fields are merged with those that are there already.
    pub fn merge(&mut self, layer: usize, field: &[u8]) {
        self.layers.entry(layer).or_default().added.extend_from_slice(field);
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
        let length = |piece: &Piece| match piece {
            Piece::Kept(range) => range.len(),
            Piece::New(bytes) => bytes.len(),
        };
        out.write_all(&wire::header(net::LAYER, pieces.iter().map(length).sum()))?;
        pieces.into_iter().try_for_each(|piece| match piece {
            Piece::Kept(range) => out.write_all(&source[range]),
            Piece::New(bytes) => out.write_all(&bytes),
        })
    }

    fn pieces(&self, number: usize, edit: &LayerEdit) -> Vec<Piece> {
        let known = &self.model.layers()[number];
        let start = known.message.start;
        let message = &self.model.as_bytes()[known.message.clone()];
        let mut pieces = Vec::new();
        let mut blobs = 0;
        for field in Fields::of(message).filter_map(Result::ok) {
            let payload = &message[field.payload()];
            let new = match (field.number, &edit.top) {
                (layer::BLOBS, _) => {
                    blobs += 1;
                    let values = edit.replaced.get(&(blobs - 1));
                    values.map(|values| wire::bytes_field(layer::BLOBS, &blob::with_values(payload, values)))
                }
                (layer::TOP, Some((from, to))) if payload == from => Some(wire::bytes_field(layer::TOP, to)),
                _ => None,
            };
            let kept = || Piece::Kept(start + field.range.start..start + field.range.end);
            pieces.push(new.map_or_else(kept, Piece::New));
        }
        pieces.push(Piece::New(edit.added.clone()));
        pieces
    }
}
