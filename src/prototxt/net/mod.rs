//! The net a document describes: layers in order, blobs as versions, who makes and who reads each.

mod old_types;
mod states;
mod wiring;

use std::collections::HashMap;

use bstr::BString;

use super::document::{Document, Field, Id, Kind};
use super::{EditError, ParseError};
pub use states::{Phase, Rule, Rules, StateSet, States};
pub use wiring::{Port, Producer, Source, Wire, Wiring};

/// Where a net may lie in a document besides the whole of it: a solver can hold its nets itself.
const NET_FIELDS: [&str; 4] = ["net_param", "train_net_param", "test_net_param", "shared_net_param"];

/// How a net's layers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// `layer`, whose type is a string.
    Today,
    /// `layers`, whose type is an enum's name (V1) or which hold a `layer` (V0).
    Old,
}

/// A name that a layer reads or makes, and the field that says it.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The blob.
    pub name: BString,
    /// The value in the document.
    pub id: Id,
}

/// A layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The message in the document.
    pub id: Id,
    /// Its name, empty where it has none.
    pub name: BString,
    /// Its type as today's Caffe names it; an old type that is not known, as written.
    pub kind: BString,
    /// What it reads.
    pub bottoms: Vec<Blob>,
    /// What it makes.
    pub tops: Vec<Blob>,
    /// The names of its parameters that other layers may share.
    pub params: Vec<BString>,
    /// When it takes part.
    pub rules: Rules,
    /// The states in which it takes part.
    pub states: StateSet,
}

impl Layer {
    /// Whether bottom `index` is written over by the top of the same number.
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
    /// The message that holds it: the document, or a solver's `net_param`.
    pub id: Id,
    /// How its layers are written.
    pub era: Era,
    /// The blobs of its `input` fields.
    pub inputs: Vec<Blob>,
    /// Its layers in their order.
    pub layers: Vec<Layer>,
    /// The states its rules tell apart.
    pub states: States,
}

impl Net {
    /// The nets of a document: the document itself where it has layers, and those that a solver holds.
    ///
    /// # Errors
    /// [`ParseError`] where Caffe would refuse a field of a layer for what its value is.
    pub fn all(document: &Document) -> Result<Vec<Net>, ParseError> {
        let root = document.root();
        let held = NET_FIELDS.iter().flat_map(|name| root.all(name));
        let nets: Result<Vec<Net>, Wrong<'_>> = std::iter::once(root).chain(held).map(Net::read).collect();
        match nets {
            Ok(nets) => Ok(nets.into_iter().filter(|net| !net.layers.is_empty()).collect()),
            Err(Wrong { value, field, wanted }) => {
                Err(document.error_at(value, format!("expected {wanted} as the value of `{field}`")))
            }
        }
    }

    /// A document's one net, in today's form.
    ///
    /// # Errors
    /// [`EditError::Empty`], [`EditError::NoLayers`], [`EditError::SeveralNets`], [`EditError::OldNet`],
    /// [`EditError::Mistyped`].
    pub fn only(document: &Document) -> Result<Net, EditError> {
        if document.root().children().next().is_none() {
            return Err(EditError::Empty);
        }
        let mut nets = Net::all(document)?;
        let count = nets.len();
        let net = nets.pop().ok_or(EditError::NoLayers)?;
        if count > 1 {
            return Err(EditError::SeveralNets(count));
        }
        if net.era == Era::Old {
            let at = document.field(net.layers[0].id).range().start;
            return Err(EditError::OldNet { line: document.line_starts().line(at) });
        }
        Ok(net)
    }

    /// The net in a message, which need not have layers.
    fn read(message: Field<'_>) -> Result<Net, Wrong<'_>> {
        // Where a net has both, Caffe ignores the old ones.
        let today: Vec<Field<'_>> = message.all("layer").collect();
        let (era, fields) = match today.is_empty() {
            false => (Era::Today, today),
            true => (Era::Old, message.all("layers").collect()),
        };
        let rules: Vec<Rules> = fields.iter().map(|&layer| Rules::read(layer)).collect();
        let states = States::of(rules.iter());
        // Files repeat the same few rules: each is looked at once.
        let mut known: HashMap<Rules, StateSet> = HashMap::new();
        let layers: Result<Vec<Layer>, Wrong<'_>> = fields
            .into_iter()
            .zip(rules)
            .map(|(layer, rules)| {
                let admitted = known.entry(rules.clone()).or_insert_with(|| states.admitted_by(&rules)).clone();
                read_layer(layer, era, rules, admitted)
            })
            .collect();
        let layers = layers?;
        // A file without layers may be anything, and its `input` mean anything.
        let inputs = if layers.is_empty() { Vec::new() } else { blobs(message, "input")? };
        Ok(Net { id: message.id(), era, inputs, layers, states })
    }

    /// The states in which the net is meant to run: those for which it has data. Files for training alone, or nets
    /// that need a stage to be given, are not wrong in the others.
    pub fn meant(&self) -> StateSet {
        let has_data = |layer: &&Layer| {
            let is_constant = layer.kind == "DummyData" || layer.kind == "Parameter";
            layer.bottoms.is_empty() && !layer.tops.is_empty() && !is_constant
        };
        let states = self.layers.iter().filter(has_data).map(|layer| layer.states.clone()).reduce(|a, b| a.or(&b));
        states.filter(|states| self.inputs.is_empty() && !states.is_empty()).unwrap_or_else(|| self.states.all())
    }

    /// Who makes and who reads each blob.
    pub fn wiring(&self) -> Wiring {
        Wiring::of(self)
    }
}

/// A value that is not what its field takes.
struct Wrong<'a> {
    value: Field<'a>,
    field: &'static str,
    wanted: &'static str,
}

fn read_layer(layer: Field<'_>, era: Era, rules: Rules, states: StateSet) -> Result<Layer, Wrong<'_>> {
    if layer.kind() != Kind::Message {
        let field = if era == Era::Old { "layers" } else { "layer" };
        return Err(Wrong { value: layer, field, wanted: "a message, `{ … }`" });
    }
    // A V0 layer keeps its name and type one level further in.
    let inner = match era {
        Era::Old => layer.first("layer").unwrap_or(layer),
        Era::Today => layer,
    };
    let first = |name| inner.first(name).map(|value| string(value, name)).transpose();
    let kind = match era {
        Era::Old => {
            let kind = inner.first("type").map(|value| value.string()).unwrap_or_default();
            old_types::today(&kind).map_or(kind, BString::from)
        }
        Era::Today => first("type")?.unwrap_or_default(),
    };
    let params = layer.all("param").filter_map(|param| param.first("name"));
    Ok(Layer {
        id: layer.id(),
        name: first("name")?.unwrap_or_default(),
        kind,
        bottoms: blobs(layer, "bottom")?,
        tops: blobs(layer, "top")?,
        params: params.map(|name| name.string()).collect(),
        rules,
        states,
    })
}

fn blobs<'a>(message: Field<'a>, name: &'static str) -> Result<Vec<Blob>, Wrong<'a>> {
    message.all(name).map(|value| Ok(Blob { name: string(value, name)?, id: value.id() })).collect()
}

fn string<'a>(value: Field<'a>, field: &'static str) -> Result<BString, Wrong<'a>> {
    match value.kind() {
        Kind::String => Ok(value.string()),
        _ => Err(Wrong { value, field, wanted: "a string in quotes" }),
    }
}
