//! The errors of reading and changing a caffemodel.

use bstr::BString;

use crate::prototxt::EditError;

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
    WrongNet(String),
    /// A layer whose weights are to be quantised in both widths.
    #[error("there are layers of the name `{0}` in both 8 and 16 bit, and they have the same weights: make them agree")]
    TwoWidths(BString),
    /// A document that is not the net wanted.
    #[error(transparent)]
    Net(#[from] EditError),
}
