//! The net that a document describes: its layers in order, and which layer makes and which layers read each blob.
//!
//! [`Net::all`] reads a document once; what later steps need of a layer (its line, its `quant_param`, the states in which
//! it takes part) is kept in [`Layer`]. [`Wiring`] tells versions of a blob apart, since a layer may write over a blob in
//! place.

mod old_types;
mod quant_parameter;
mod read;
mod removal;
mod states;
mod wiring;

use bstr::BString;

use super::text::Id;

pub(crate) use old_types::from_number as old_type_from_number;
pub use quant_parameter::QuantParameter;
pub(super) use removal::remove_layers;
pub use states::{Phase, Rule, Rules, StateSet, States};
pub use wiring::{Port, Producer, Source, Wire, Wiring};

/// The form in which a net's layers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `layer`, whose type is a string.
    Current,
    /// `layers`, whose type is an enum's name (V1), or which hold a `layer` with a lower-case type (V0).
    Legacy,
}

/// A blob's name where a layer reads or makes it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The blob's name.
    pub name: BString,
    /// The field in the document that holds this name.
    pub id: Id,
}

/// A layer of a net.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The layer's message in the document.
    pub id: Id,
    /// The line on which the layer begins, counted from 1.
    pub line: usize,
    /// The layer's name, empty where it has none.
    pub name: BString,
    /// The layer's type as current Caffe names it; an unknown old type as it is written.
    pub kind: BString,
    /// The blobs that the layer reads.
    pub bottoms: Vec<Blob>,
    /// The blobs that the layer makes.
    pub tops: Vec<Blob>,
    /// The names of its parameters, by which other layers can share them.
    pub params: Vec<BString>,
    /// Its `quant_param`: of a Quant layer, how it quantises data; of another layer, how its weights are quantised.
    pub quant_param: QuantParameter,
    /// The `include` and `exclude` rules that decide when the layer takes part.
    pub rules: Rules,
    /// The states of the net in which the layer takes part.
    pub states: StateSet,
}

impl Layer {
    /// Whether the top with number `index` writes over the bottom with the same number.
    pub fn is_in_place(&self, index: usize) -> bool {
        match (self.bottoms.get(index), self.tops.get(index)) {
            (Some(bottom), Some(top)) => bottom.name == top.name,
            _ => false,
        }
    }
}

/// A net in a document.
#[derive(Clone, Debug)]
pub struct Net {
    /// The message that holds the net: the document itself, or a solver's `net_param`.
    pub id: Id,
    /// The form in which its layers are written.
    pub form: Form,
    /// The blobs of its `input` fields.
    pub inputs: Vec<Blob>,
    /// Its layers, in the order of the text.
    pub layers: Vec<Layer>,
    /// The states that the rules of its layers tell apart.
    pub states: States,
    /// Its `weight_quant_param`: how the weights of its layers are quantised.
    pub weight_quant_param: QuantParameter,
}

impl Net {
    /// The states in which the net is meant to run: those in which a layer provides data. A file for training only, or a
    /// net that needs a stage, is not wrong in its other states.
    pub fn intended_states(&self) -> StateSet {
        let has_data = |layer: &&Layer| {
            let is_constant = layer.kind == "DummyData" || layer.kind == "Parameter";
            layer.bottoms.is_empty() && !layer.tops.is_empty() && !is_constant
        };
        let states = self.layers.iter().filter(has_data).map(|layer| layer.states.clone()).reduce(|a, b| a.or(&b));
        states.filter(|states| self.inputs.is_empty() && !states.is_empty()).unwrap_or_else(|| self.states.all())
    }
}
