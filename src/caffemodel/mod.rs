//! Caffe's binary models: read, folded, quantised, measured; what a change does not touch keeps its bytes.
//!
//! A [`Model`] is its file's bytes and the places of layers and blobs in them, and [`ModelEdits`] writes them out again
//! with some layers changed. Messages declared for a code generator would lose what they do not declare (forks add
//! fields and layers), and would hold and copy hundreds of megabytes of values that nobody looks at. So only the wire
//! format itself comes from a library, `prost`; the few field numbers needed are Caffe's own and never change.

mod affine;
mod blob;
mod edit;
mod error;
mod fold;
mod model;
mod old_types;
mod quantise;
mod ranges;
mod wire;

pub use blob::Values;
pub use edit::ModelEdits;
pub use error::Error;
pub use fold::{Folded, FoldedLayer, Left, fold};
pub use model::{Blob, Layer, Model};
pub use quantise::{QuantisedLayer, QuantisedModel, quantise};
pub use ranges::{
    BlobInfo, DataRange, LayerInfo, Parameters, QuantRange, QuantisedFit, Statistics, WeightRange, info, parameters,
};
