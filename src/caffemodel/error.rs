//! The errors of reading and changing a caffemodel.

use bstr::BString;

use crate::prototxt::EditError;

/// Why a model could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are of another file format, damaged or cut off; the string says which.
    #[error("not a caffemodel: {0}")]
    NotAModel(String),
    /// The model has V0 or V1 layers, which can be read but not changed.
    #[error(
        "its `layers` are in Caffe's old format: run Caffe's own `upgrade_net_proto_binary IN OUT` first, and use OUT"
    )]
    OldModel,
    /// A blob does not hold as many values as its shape asks for.
    #[error("blob {blob} of layer `{layer}` cannot be read: {reason}")]
    Blob {
        /// The name of the blob's layer.
        layer: BString,
        /// The blob's index among the layer's blobs.
        blob: usize,
        /// What is wrong, for the message.
        reason: String,
    },
    /// The model belongs to another net; the string lists some of the model's layers.
    #[error(
        "the weights file belongs to a different net: it has no blobs for most of the net's layers (it has blobs for {0})"
    )]
    WrongNet(String),
    /// Layers of this name share one blob of weights, and the net asks for both widths.
    #[error(
        "the net asks for both 8 and 16 bit for the layers named `{0}`, which share their weights: give them the same width"
    )]
    TwoWidths(BString),
    /// The document holds no net, several nets, or a net that cannot be used.
    #[error(transparent)]
    Net(#[from] EditError),
}
