//! Caffe's binary models (caffemodels): reading, folding, quantising and measuring them.
//!
//! A [`Model`] keeps its file's bytes, and knows where in them the layers and blobs are. [`ModelEdits`] writes the file
//! again with some layers changed; everything else keeps its bytes.
//!
//! Types generated from a caffe.proto would drop the fields that it does not declare (forks of Caffe add fields and
//! layers), and would copy hundreds of megabytes of values that are never looked at. So only the wire format comes from
//! a library, `prost`; the few field numbers used here are Caffe's and never change.

mod affine;
mod blob;
mod edit;
mod error;
mod fold;
mod model;
mod quantise;
mod ranges;
mod wire;

pub use blob::Values;
pub use edit::ModelEdits;
pub use error::Error;
pub use fold::{Folded, FoldedLayer, fold};
pub use model::{Blob, Layer, Model};
pub use quantise::{QuantisedLayer, QuantisedModel, quantise};
pub use ranges::{
    BlobInfo, DataRange, LayerInfo, Parameters, QuantRange, QuantisedFit, Statistics, WeightRange, info, parameters,
};
