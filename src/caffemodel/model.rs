//! A caffemodel: finds the layers and blobs in the bytes of a binary NetParameter.

use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};

use super::blob::{self, Header, Values};
use super::error::Error;
use super::wire::{Fields, Malformed, Value};
use crate::prototxt::has_weights;
use crate::prototxt::net::{Net, old_type_from_number};

/// Field numbers of NetParameter.
pub(super) mod net {
    pub(crate) const NAME: u32 = 1;
    pub(crate) const LAYERS: u32 = 2;
    pub(crate) const LAYER: u32 = 100;
}

/// Field numbers of LayerParameter.
pub(super) mod layer {
    pub(crate) const NAME: u32 = 1;
    pub(crate) const TYPE: u32 = 2;
    pub(crate) const TOP: u32 = 4;
    pub(crate) const BLOBS: u32 = 7;
}

/// Field numbers of V1LayerParameter, and of the V0LayerParameter in its field `layer`.
mod old {
    pub(super) const LAYER: u32 = 1;
    pub(super) const NAME: u32 = 4;
    pub(super) const TYPE: u32 = 5;
    pub(super) const BLOBS: u32 = 6;
    pub(super) const V0_NAME: u32 = 1;
    pub(super) const V0_TYPE: u32 = 2;
    pub(super) const V0_BLOBS: u32 = 50;
}

/// The number of bytes at a file's start that are inspected to detect a text file.
const SAMPLE: usize = 1024;

/// A blob of a layer.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The range of the BlobProto in the model's bytes, without key and length.
    pub(super) message: Range<usize>,
    header: Header,
}

impl Blob {
    /// The lengths of the axes, the outermost first; always four for a blob in the old format (num, channels, height,
    /// width).
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The number of values that the file holds for the blob.
    pub fn count(&self) -> usize {
        self.header.stored
    }

    /// Whether the file holds as many values as the shape asks for. Forks that store half-precision values put them in
    /// fields of their own, which are not read.
    pub fn is_whole(&self) -> bool {
        self.header.count() == Some(self.header.stored)
    }
}

/// A layer of the model.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The range of the layer's field in the model's bytes, including key and length.
    pub(super) range: Range<usize>,
    /// The range of the LayerParameter in the model's bytes, without key and length.
    pub(super) message: Range<usize>,
    /// The layer's name.
    pub name: BString,
    /// The layer's type, by its current name where a V1 layer gives a number.
    pub kind: BString,
    /// The layer's learned parameters.
    pub blobs: Vec<Blob>,
}

/// A caffemodel: its bytes, and where the layers and blobs are in them.
#[derive(Clone, Debug)]
pub struct Model {
    source: Vec<u8>,
    name: BString,
    layers: Vec<Layer>,
    is_old: bool,
}

impl Model {
    /// Reads the structure of a binary NetParameter; the blobs' values are not decoded.
    ///
    /// # Errors
    /// [`Error::NotAModel`] if the bytes are of another format, damaged or cut off.
    pub fn parse(source: Vec<u8>) -> Result<Model, Error> {
        if let Some(what) = other_format(&source) {
            return Err(Error::NotAModel(what.to_owned()));
        }

        let mut name = BString::default();
        let (mut current, mut old) = (Vec::new(), Vec::new());
        for field in Fields::of(&source) {
            let field = field.map_err(|Malformed { at }| damaged(&source, at))?;
            let at = field.range.start;
            match (field.number, field.value) {
                (net::NAME, Value::Bytes(text)) => name = text.into(),
                (net::LAYER, Value::Bytes(message)) => {
                    let start = field.payload().start;
                    current.push(read_layer(message, start, field.range).ok_or_else(|| damaged(&source, at))?);
                }
                (net::LAYERS, Value::Bytes(message)) => {
                    let start = field.payload().start;
                    old.push(read_old_layer(message, start, field.range).ok_or_else(|| damaged(&source, at))?);
                }
                (net::NAME | net::LAYER | net::LAYERS, _) => return Err(damaged(&source, at)),
                _ => {}
            }
        }

        // Where a model has both kinds of layers, Caffe ignores the old ones.
        let is_old = current.is_empty();
        let layers = if is_old { old } else { current };
        if layers.is_empty() {
            return Err(Error::NotAModel("it holds no layers".to_owned()));
        }
        Ok(Model { source, name, layers, is_old })
    }

    /// The bytes that the model was read from.
    pub fn as_bytes(&self) -> &[u8] {
        &self.source
    }

    /// The net's name.
    pub fn name(&self) -> &BStr {
        self.name.as_ref()
    }

    /// All layers in the file's order, including those without blobs.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Whether the layers are in Caffe's old format (V0 or V1 `layers`): such a model can be read, but not changed.
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// The indices of the layers with this name that have blobs; usually there is one.
    pub fn with_blobs<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
        let layers = self.layers.iter().enumerate();
        layers.filter(move |(_, layer)| layer.name == name && !layer.blobs.is_empty()).map(|(number, _)| number)
    }

    /// Decodes the values of a blob, given the layer's index and the blob's index in it.
    ///
    /// # Errors
    /// [`Error::Blob`] if there are not as many values as the shape asks for.
    pub fn values(&self, layer: usize, blob: usize) -> Result<Values, Error> {
        let Layer { name, blobs, .. } = &self.layers[layer];
        let Blob { message, header } = &blobs[blob];
        if !blobs[blob].is_whole() {
            let reason = format!("its shape is {:?}, but the file holds {} values", header.shape, header.stored);
            return Err(Error::Blob { layer: name.clone(), blob, reason });
        }
        Ok(blob::read_values(&self.source[message.clone()], header.stored))
    }

    /// Checks that the model belongs to a net and can be changed.
    pub(super) fn check_editable_for(&self, net: &Net) -> Result<(), Error> {
        if self.is_old() { Err(Error::OldModel) } else { self.check_matches(net) }
    }

    /// Checks that the model belongs to a net: it has blobs for at least half of the layers with weights. Some may be
    /// missing, because a layer may have been added to the net later.
    pub(super) fn check_matches(&self, net: &Net) -> Result<(), Error> {
        let weighted = || net.layers.iter().filter(|layer| has_weights(&layer.kind));
        let known = weighted().filter(|layer| self.with_blobs(&layer.name).next().is_some()).count();
        // Without this, a net without layers that have weights would match every model.
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

/// Recognises other file formats by their first bytes, and describes them.
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
        Some("it is a text file (give a prototxt with --net)")
    } else {
        None
    }
}

/// The error for the field at byte `at`.
fn damaged(source: &[u8], at: usize) -> Error {
    let what = match at {
        0 => "its first bytes are not those of a NetParameter".to_owned(),
        _ => format!("the field at byte {at} of {} is damaged or cut off", source.len()),
    };
    Error::NotAModel(what)
}

/// Reads the header of a BlobProto that begins at byte `start` of the model.
fn read_blob(message: &[u8], start: usize) -> Option<Blob> {
    Some(Blob { message: start..start + message.len(), header: Header::read(message)? })
}

/// Reads a LayerParameter that begins at byte `start` of the model; `range` is that of its field. `None` if malformed.
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

/// Reads a V1LayerParameter like [`read_layer`], or the V0LayerParameter that it contains.
fn read_old_layer(message: &[u8], start: usize, range: Range<usize>) -> Option<Layer> {
    let (mut name, mut kind, mut blobs) = (BString::default(), BString::default(), Vec::new());
    for field in Fields::of(message) {
        let field = field.ok()?;
        match (field.number, field.value) {
            (old::NAME, Value::Bytes(text)) => name = text.into(),
            (old::TYPE, Value::Varint(number)) => kind = old_type_from_number(number).unwrap_or("NONE").into(),
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
