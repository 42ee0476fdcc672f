//! A caffemodel: the layers and blobs of a binary NetParameter, laid over its bytes.

use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};

use super::blob::{self, Header, Values};
use super::error::Error;
use super::old_types;
use super::wire::{Fields, Malformed, Value};
use crate::prototxt::has_weights;
use crate::prototxt::net::Net;

/// Field numbers of NetParameter.
pub(super) mod net {
    pub const NAME: u32 = 1;
    pub const LAYERS: u32 = 2;
    pub const LAYER: u32 = 100;
}

/// Field numbers of LayerParameter.
pub(super) mod layer {
    pub const NAME: u32 = 1;
    pub const TYPE: u32 = 2;
    pub const TOP: u32 = 4;
    pub const BLOBS: u32 = 7;
}

/// Field numbers of V1LayerParameter, and of the V0LayerParameter in its first.
mod old {
    pub const LAYER: u32 = 1;
    pub const NAME: u32 = 4;
    pub const TYPE: u32 = 5;
    pub const BLOBS: u32 = 6;
    pub const V0_NAME: u32 = 1;
    pub const V0_TYPE: u32 = 2;
    pub const V0_BLOBS: u32 = 50;
}

/// How many bytes at a file's start say whether it is a text.
const SAMPLE: usize = 1024;

/// A blob of a layer.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its message in the model's bytes.
    pub(super) message: Range<usize>,
    header: Header,
}

impl Blob {
    /// The axes' lengths, the outermost first; four in a blob from before Caffe had shapes.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// How many values the file holds for it.
    pub fn count(&self) -> usize {
        self.header.stored
    }

    /// Whether the file holds as many values as the shape asks for. Forks that store half floats fill fields of
    /// their own instead.
    pub fn is_whole(&self) -> bool {
        self.header.count() == Some(self.header.stored)
    }
}

/// A layer as the model knows it.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The field in the model's bytes.
    pub(super) range: Range<usize>,
    /// Its message.
    pub(super) message: Range<usize>,
    /// Its name.
    pub name: BString,
    /// Its type as today's Caffe names it.
    pub kind: BString,
    /// Its parameters.
    pub blobs: Vec<Blob>,
}

/// A caffemodel that is kept as its bytes.
#[derive(Clone, Debug)]
pub struct Model {
    source: Vec<u8>,
    name: BString,
    layers: Vec<Layer>,
    is_old: bool,
}

impl Model {
    /// Reads a binary NetParameter; of its values nothing is looked at yet.
    ///
    /// # Errors
    /// [`Error::NotAModel`] where the bytes are something else, or a model that is damaged or cut off.
    pub fn parse(source: Vec<u8>) -> Result<Model, Error> {
        if let Some(what) = other_format(&source) {
            return Err(Error::NotAModel(what.to_owned()));
        }
        let mut name = BString::default();
        let (mut today, mut before) = (Vec::new(), Vec::new());
        for field in Fields::of(&source) {
            let field = field.map_err(|Malformed { at }| damaged(&source, at))?;
            let at = field.range.start;
            match (field.number, field.value) {
                (net::NAME, Value::Bytes(text)) => name = text.into(),
                (net::LAYER, Value::Bytes(message)) => {
                    let start = field.payload().start;
                    today.push(read_layer(message, start, field.range).ok_or_else(|| damaged(&source, at))?);
                }
                (net::LAYERS, Value::Bytes(message)) => {
                    let start = field.payload().start;
                    before.push(read_old_layer(message, start, field.range).ok_or_else(|| damaged(&source, at))?);
                }
                (net::NAME | net::LAYER | net::LAYERS, _) => return Err(damaged(&source, at)),
                _ => {}
            }
        }
        // Where a model has both, Caffe ignores the old ones.
        let is_old = today.is_empty();
        let layers = if is_old { before } else { today };
        if layers.is_empty() {
            return Err(Error::NotAModel("it holds no layers".to_owned()));
        }
        Ok(Model { source, name, layers, is_old })
    }

    /// The bytes it was read from.
    pub fn as_bytes(&self) -> &[u8] {
        &self.source
    }

    /// The net's name.
    pub fn name(&self) -> &BStr {
        self.name.as_ref()
    }

    /// The layers in their order, those without blobs included.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Whether the layers are in Caffe's old form, `layers`: it can be read here, not changed.
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// The numbers of the layers that have this name and blobs: one, as a rule.
    pub fn with_blobs<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let layers = self.layers.iter().enumerate();
        layers.filter(move |(_, layer)| layer.name == name && !layer.blobs.is_empty()).map(|(number, _)| number)
    }

    /// A blob's values.
    ///
    /// # Errors
    /// [`Error::Blob`] where they are not as many as the shape asks for.
    pub fn values(&self, layer: usize, blob: usize) -> Result<Values, Error> {
        let Layer { name, blobs, .. } = &self.layers[layer];
        let Blob { message, header } = &blobs[blob];
        if !blobs[blob].is_whole() {
            let reason = format!("it is of shape {:?}, and the file holds {} values", header.shape, header.stored);
            return Err(Error::Blob { layer: name.clone(), blob, reason });
        }
        Ok(blob::read_values(&self.source[message.clone()], header.stored))
    }

    /// Whether this is a model of a net, and one that can be changed.
    pub(super) fn check_editable_for(&self, net: &Net) -> Result<(), Error> {
        if self.is_old() { Err(Error::OldModel) } else { self.check_matches(net) }
    }

    /// Whether this is a model of a net: one may lack a layer that the net has got since, but not most of them.
    pub(super) fn check_matches(&self, net: &Net) -> Result<(), Error> {
        let weighted = || net.layers.iter().filter(|layer| has_weights(&layer.kind));
        let known = weighted().filter(|layer| self.with_blobs(&layer.name).next().is_some()).count();
        let any = net.layers.iter().any(|layer| self.with_blobs(&layer.name).next().is_some());
        if any && 2 * known >= weighted().count() {
            return Ok(());
        }
        let names = self.layers().iter().filter(|layer| !layer.blobs.is_empty()).map(|layer| layer.name.to_string());
        let mut names: Vec<String> = names.collect();
        if names.len() > 3 {
            names.splice(3.., ["…".to_owned()]);
        }
        Err(Error::WrongNet(names.join(", ")))
    }
}

/// What a file is that is no caffemodel, where its first bytes tell.
fn other_format(source: &[u8]) -> Option<&'static str> {
    let start = &source[..source.len().min(SAMPLE)];
    let is_text = |bytes: &[u8]| {
        let cut_off = bytes.len().saturating_sub(3);
        let is_utf8 = bytes.to_str().map_or_else(|error| error.valid_up_to() >= cut_off, |_| true);
        is_utf8 && bytes.iter().all(|&b| b >= b' ' || b.is_ascii_whitespace())
    };
    if source.is_empty() {
        Some("it is empty")
    } else if start.starts_with(b"\x89HDF\r\n") {
        Some("it is an HDF5 file: load it in Caffe and save it with net.save(\"….caffemodel\")")
    } else if is_text(start) {
        Some("it is a text (a prototxt goes to --net)")
    } else {
        None
    }
}

fn damaged(source: &[u8], at: usize) -> Error {
    let what = match at {
        0 => "its first bytes are no NetParameter's".to_owned(),
        _ => format!("the field at byte {at} of {} is damaged or cut off", source.len()),
    };
    Error::NotAModel(what)
}

fn read_blob(message: &[u8], start: usize) -> Option<Blob> {
    Some(Blob { message: start..start + message.len(), header: Header::read(message)? })
}

/// Reads a LayerParameter's message, which begins at byte `start` of the model.
fn read_layer(message: &[u8], start: usize, range: Range<usize>) -> Option<Layer> {
    let (mut name, mut kind, mut blobs) = (BString::default(), BString::default(), Vec::new());
    for field in Fields::of(message) {
        let field = field.ok()?;
        match (field.number, field.value) {
            (layer::NAME, Value::Bytes(text)) => name = text.into(),
            (layer::TYPE, Value::Bytes(text)) => kind = text.into(),
            (layer::BLOBS, Value::Bytes(blob)) => blobs.push(read_blob(blob, start + field.payload().start)?),
            (layer::NAME | layer::TYPE | layer::BLOBS, _) => return None,
            _ => {}
        }
    }
    Some(Layer { range, message: start..start + message.len(), name, kind, blobs })
}

/// Reads a V1LayerParameter's message, or the V0LayerParameter that it holds.
fn read_old_layer(message: &[u8], start: usize, range: Range<usize>) -> Option<Layer> {
    let (mut name, mut kind, mut blobs) = (BString::default(), BString::default(), Vec::new());
    for field in Fields::of(message) {
        let field = field.ok()?;
        match (field.number, field.value) {
            (old::NAME, Value::Bytes(text)) => name = text.into(),
            (old::TYPE, Value::Varint(number)) => kind = old_types::today(number).into(),
            (old::BLOBS, Value::Bytes(blob)) => blobs.push(read_blob(blob, start + field.payload().start)?),
            (old::LAYER, Value::Bytes(inner)) => {
                let start = start + field.payload().start;
                for field in Fields::of(inner) {
                    let field = field.ok()?;
                    match (field.number, field.value) {
                        (old::V0_NAME, Value::Bytes(text)) => name = text.into(),
                        (old::V0_TYPE, Value::Bytes(text)) => kind = text.into(),
                        (old::V0_BLOBS, Value::Bytes(blob)) => {
                            blobs.push(read_blob(blob, start + field.payload().start)?);
                        }
                        _ => {}
                    }
                }
            }
            (old::NAME | old::TYPE | old::BLOBS | old::LAYER, _) => return None,
            _ => {}
        }
    }
    Some(Layer { range, message: start..start + message.len(), name, kind, blobs })
}
