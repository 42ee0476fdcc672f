//! Why a document could not be read as a net, or not be changed.

use super::text::ParseError;

/// Why a document could not be read as a net, or not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The document has no fields.
    #[error("holds no field at all: an empty file is neither a net nor a solver")]
    Empty,
    /// The document has no layers.
    #[error("has no layers: a solver's net is the file it names")]
    NoLayers,
    /// A field of a layer has a value that Caffe refuses.
    #[error(transparent)]
    Mistyped(#[from] ParseError),
    /// The net is in Caffe's old form, whose layer types are an enum without `Quant`.
    #[error(
        "line {line}: `layers` is Caffe's old form, which has no Quant layer: run Caffe's own \
         `upgrade_net_proto_text IN OUT` first, and use its output"
    )]
    OldLayers {
        /// The line of the first layer that needs a Quant layer.
        line: usize,
    },
    /// The net is in Caffe's old form, and the command needs today's form.
    #[error(
        "line {line}: `layers` is Caffe's old form: run Caffe's own `upgrade_net_proto_text IN OUT` first, and use its \
         output"
    )]
    OldNet {
        /// The line of the first layer.
        line: usize,
    },
    /// A layer asks for a bit width that the NNIE does not have.
    #[error("line {line}: quant_bits of its weights is {bits}, and the NNIE computes in 8 or 16")]
    BadBits {
        /// The layer's line.
        line: usize,
        /// The width that the layer asks for.
        bits: u32,
    },
    /// The document holds more than one net.
    #[error("holds {0} nets: give the file of one")]
    SeveralNets(usize),
    /// A Quant layer cannot be removed, because the net without it would compute something else.
    #[error("{at}")]
    Stuck {
        /// The layer's place in the file, and the whole message.
        at: Box<ParseError>,
        /// What prevents the removal, and what to do.
        reason: String,
    },
}
