//! Caffe's prototxt files: read without a schema, understood as nets, changed without touching anything else.
//!
//! A [`Document`] prints as it was read, byte for byte. [`Net`] is the graph it describes: blobs as versions, who makes
//! and who reads each, in which phases. On these stand [`add_quant`], [`strip_quant`] and [`check`].
//!
//! ```
//! use gfpq::prototxt::{Document, Selection, Weights, add_quant, strip_quant};
//!
//! let net = "input: 'data'\nlayer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' }\n";
//! let float = Document::parse(net, "net.prototxt").unwrap();
//! let quantised = add_quant(&float, &Selection::default(), Weights::AsTheyAre).unwrap();
//! assert_eq!(quantised.added[0].name, "data_quant");
//! let back = Document::parse(quantised.text, "net.prototxt").unwrap();
//! assert_eq!(strip_quant(&back).unwrap().text, net.as_bytes());
//! ```

mod add;
mod check;
mod document;
mod earlier;
mod edit;
mod error;
pub mod fold;
mod lexer;
mod literal;
pub mod net;
mod parser;
mod plan;
mod select;
mod shared;
mod strip;
mod style;
mod weights;

pub use add::{Added, Quantised, Weights, add_quant};
pub use check::{Fault, Finding, Report, Severity, Target, check};
pub use document::{Document, Field, Id, Kind, LineIndex};
pub use edit::Edits;
pub use error::ParseError;
pub use net::Net;
pub(crate) use select::has_weights;
pub use select::{BadGlob, BadType, COMPUTED, Selection};
pub use strip::{Stripped, strip_quant};
pub use weights::{WeightBits, weight_bits};

/// The type of the layers that this module adds, takes out and looks for.
pub const QUANT: &str = "Quant";

/// Why a document could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// There is nothing in it.
    #[error("holds no field at all: an empty file is neither a net nor a solver")]
    Empty,
    /// There is nothing to check.
    #[error("has no layers: a solver's net is the file it names")]
    NoLayers,
    /// A layer whose fields are not what Caffe takes.
    #[error(transparent)]
    Mistyped(#[from] ParseError),
    /// A net whose layers have no room for a type given as a string.
    #[error(
        "line {line}: `layers` is Caffe's old form, which has no Quant layer: run Caffe's own \
         `upgrade_net_proto_text IN OUT` first, and use its output"
    )]
    OldLayers {
        /// The first layer that wants a Quant.
        line: usize,
    },
    /// A net whose layers are in Caffe's old form, where today's is wanted.
    #[error(
        "line {line}: `layers` is Caffe's old form: run Caffe's own `upgrade_net_proto_text IN OUT` first, and use its \
         output"
    )]
    OldNet {
        /// The first layer.
        line: usize,
    },
    /// A layer's width that the NNIE does not have.
    #[error("line {line}: quant_bits of its weights is {bits}, and the NNIE computes in 8 or 16")]
    BadBits {
        /// The layer.
        line: usize,
        /// What is written there.
        bits: u32,
    },
    /// A document with more nets than one.
    #[error("holds {0} nets: give the file of one")]
    SeveralNets(usize),
    /// A Quant layer that cannot be taken out.
    #[error("{at}")]
    Stuck {
        /// Where it is, and all of it in words.
        at: Box<ParseError>,
        /// Why not, and what to do.
        reason: String,
    },
}
