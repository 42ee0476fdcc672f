//! Quant layers in a net's text: where they go ([`add_quant`]), and how they come out again ([`strip_quant`]).
//!
//! [`placement`] decides where a Quant layer is needed, over the [`existing`] ones and with the [`merged_rules`] of its
//! readers; [`weights`] decides what the net says of its weights. Both hand a list of [`changes`] to one writer, which
//! words new layers like their neighbours ([`layer_text`]).

mod add;
mod changes;
mod existing;
mod layer_text;
mod merged_rules;
mod placement;
mod selection;
mod strip;
mod weights;

pub use add::{Quantised, Weights, add_quant};
pub use layer_text::Added;
pub use selection::{BadGlob, BadType, Selection};
pub use strip::{Stripped, strip_quant};
pub use weights::{WeightBits, weight_bits};
