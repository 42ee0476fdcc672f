//! Caffe's prototxt files: read without a schema, understood as nets, and changed without touching any other byte.
//!
//! A [`Document`] keeps a file's bytes, [`net`] reads it as a graph of layers and blobs, and `nnie` knows what the chip
//! computes. On these stand [`add_quant`], [`strip_quant`], [`check()`] and [`fold`].
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

mod check;
mod error;
pub mod fold;
pub mod net;
mod nnie;
mod quant_layers;
mod text;

pub use check::{Fault, Finding, Report, Severity, Target, check};
pub use error::EditError;
pub use net::Net;
pub use nnie::{COMPUTED, QUANT, has_weights, is_computed};
pub use quant_layers::{
    Added, BadGlob, BadType, Quantised, Selection, Stripped, WeightBits, Weights, add_quant, strip_quant, weight_bits,
};
pub use text::{Document, Edits, Field, Id, Kind, LineIndex, ParseError};
