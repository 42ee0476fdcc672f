//! Protobuf's text format, read without a schema and kept byte for byte.
//!
//! [`lexer`] cuts the bytes into tokens, [`parser`] builds a flat list of [`node`]s that hold places in the source, and a
//! [`Document`] gives access to them as fields. [`splice`] changes a document's bytes. Nothing here knows what a field
//! means.

mod document;
mod error;
mod lexer;
mod literal;
mod node;
mod parser;
mod splice;

pub use document::{Document, Field, LineIndex};
pub use error::ParseError;
pub(super) use literal::encode;
pub use node::{Id, Kind};
pub use splice::Edits;
pub(super) use splice::{Place, removal, renamed};
