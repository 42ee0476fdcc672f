//! Caffe's binary models: read, folded, quantised, measured; what a change does not touch keeps its bytes.
//!
//! A [`Model`] is its file's bytes and the places of layers and blobs in them, and [`ModelEdits`] writes them out again
//! with some layers changed. Messages declared for a code generator would lose what they do not declare (forks add
//! fields and layers), and would hold and copy hundreds of megabytes of values that nobody looks at. So only the wire
//! format itself comes from a library, `prost`; the few field numbers needed are Caffe's own and never change.

mod affine;
mod blob;
mod edit;
mod fold;
mod model;
mod quantise;
mod ranges;
mod wire;

use bstr::BString;

pub use blob::Values;
pub use edit::ModelEdits;
pub use fold::{Folded, FoldedLayer, fold};
pub use model::{Blob, Layer, Model};
pub use quantise::{QuantisedLayer, QuantisedModel, quantise};
pub use ranges::{BlobInfo, DataRange, LayerInfo, Parameters, Range, Spread, Use, WeightRange, info, parameters};

use crate::prototxt::net::Net;
use crate::prototxt::{EditError, has_weights};

/// Why a model could not be read, or not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that are something else, or damaged.
    #[error("not a caffemodel: {0}")]
    NotAModel(String),
    /// A model of Caffe's old form, which can be read only.
    #[error(
        "its `layers` are Caffe's old form: run Caffe's own `upgrade_net_proto_binary IN OUT` first, and use its output"
    )]
    OldModel,
    /// A blob without the values it should have.
    #[error("blob {blob} of layer `{layer}` cannot be read: {reason}")]
    Blob {
        /// The layer.
        layer: BString,
        /// Its number among the layer's.
        blob: usize,
        /// What is wrong.
        reason: String,
    },
    /// A model of another net.
    #[error(
        "most layers of the net have no blobs in the weights file (whose layers are {0}): they are of different nets"
    )]
    Strangers(String),
    /// A layer whose weights are to be quantised in both widths.
    #[error("there are layers of the name `{0}` in both 8 and 16 bit, and they have the same weights: make them agree")]
    TwoWidths(BString),
    /// A document that is not the net wanted.
    #[error(transparent)]
    Net(#[from] EditError),
}

impl Model {
    /// Whether this is a model of a net, and one that can be changed.
    fn is_for(&self, net: &Net) -> Result<(), Error> {
        if self.is_old() { Err(Error::OldModel) } else { self.is_of(net) }
    }

    /// Whether this is a model of a net: one may lack a layer that the net has got since, but not most of them.
    fn is_of(&self, net: &Net) -> Result<(), Error> {
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
        Err(Error::Strangers(names.join(", ")))
    }
}
