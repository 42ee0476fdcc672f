//! Reading the nets of a document.

use std::collections::HashMap;

use bstr::BString;

use super::quant_parameter::QuantParameter;
use super::states::{Rules, StateSet, States};
use super::{Blob, Form, Layer, Net, old_types};
use crate::prototxt::error::EditError;
use crate::prototxt::text::{Document, Field, Kind, LineIndex};

/// The fields of a solver that can hold a net.
const NET_FIELDS: [&str; 4] = ["net_param", "train_net_param", "test_net_param", "shared_net_param"];

/// A value that is not of the kind that its field takes.
struct WrongValue<'a> {
    value: Field<'a>,
    field: &'static str,
    wanted: &'static str,
}

impl Net {
    /// The nets of a document: the document itself where it has layers, and the nets inside a solver.
    ///
    /// # Errors
    /// [`EditError::Empty`]; [`EditError::Mistyped`] where Caffe would refuse the value of a layer's field.
    pub fn all(document: &Document) -> Result<Vec<Net>, EditError> {
        if document.is_empty() {
            return Err(EditError::Empty);
        }

        let root = document.root();
        let lines = document.line_starts();
        let in_solver = NET_FIELDS.iter().flat_map(|name| root.all(name));
        let nets: Result<Vec<Net>, WrongValue<'_>> =
            std::iter::once(root).chain(in_solver).map(|message| net(message, &lines)).collect();

        match nets {
            Ok(nets) => Ok(nets.into_iter().filter(|net| !net.layers.is_empty()).collect()),
            Err(WrongValue { value, field, wanted }) => {
                Err(document.error_at(value, format!("expected {wanted} as the value of `{field}`")).into())
            }
        }
    }

    /// The one net of a document, in the current form.
    ///
    /// # Errors
    /// Those of [`Net::all`]; [`EditError::NoLayers`], [`EditError::SeveralNets`], [`EditError::OldNet`].
    pub fn only(document: &Document) -> Result<Net, EditError> {
        let mut nets = Net::all(document)?;
        let count = nets.len();
        let net = nets.pop().ok_or(EditError::NoLayers)?;
        if count > 1 {
            return Err(EditError::SeveralNets(count));
        }
        if net.form == Form::Legacy {
            return Err(EditError::OldNet { line: net.layers[0].line });
        }
        Ok(net)
    }
}

/// The net in a message, which may have no layers.
fn net<'a>(message: Field<'a>, lines: &LineIndex) -> Result<Net, WrongValue<'a>> {
    let current: Vec<Field<'_>> = message.all("layer").collect();
    let (form, fields) = match current.is_empty() {
        false => (Form::Current, current),
        true => (Form::Legacy, message.all("layers").collect()),
    };
    let rules: Vec<Rules> = fields.iter().map(|&layer| Rules::read(layer)).collect();
    let states = States::of(rules.iter());

    // Files repeat the same few rules, so the states that rules admit are computed once.
    let mut known: HashMap<Rules, StateSet> = HashMap::new();
    let mut layers = Vec::with_capacity(fields.len());
    for (field, rules) in fields.into_iter().zip(rules) {
        let admitted = known.entry(rules.clone()).or_insert_with(|| states.admitted_by(&rules)).clone();
        layers.push(layer(field, form, lines, rules, admitted)?);
    }

    // A file without layers may be anything, and so may its field `input`.
    let inputs = if layers.is_empty() { Vec::new() } else { blobs(message, "input")? };
    let weight_quant_param = QuantParameter::read(message, "weight_quant_param");
    Ok(Net { id: message.id(), form, inputs, layers, states, weight_quant_param })
}

fn layer<'a>(
    layer: Field<'a>,
    form: Form,
    lines: &LineIndex,
    rules: Rules,
    states: StateSet,
) -> Result<Layer, WrongValue<'a>> {
    if layer.kind() != Kind::Message {
        let field = if form == Form::Legacy { "layers" } else { "layer" };
        return Err(WrongValue { value: layer, field, wanted: "a message, `{ … }`" });
    }

    // A V0 layer keeps its name and type in a message of its own, which is again called `layer`.
    let inner = match form {
        Form::Legacy => layer.first("layer").unwrap_or(layer),
        Form::Current => layer,
    };
    let text = |name| inner.first(name).map(|value| string(value, name)).transpose();
    let kind = match form {
        Form::Legacy => {
            let kind = inner.first("type").map(|value| value.string()).unwrap_or_default();
            old_types::from_text(&kind).map_or(kind, BString::from)
        }
        Form::Current => text("type")?.unwrap_or_default(),
    };
    let params = layer.all("param").filter_map(|param| param.first("name"));

    Ok(Layer {
        id: layer.id(),
        line: lines.line(layer.range().start),
        name: text("name")?.unwrap_or_default(),
        kind,
        bottoms: blobs(layer, "bottom")?,
        tops: blobs(layer, "top")?,
        params: params.map(|name| name.string()).collect(),
        quant_param: QuantParameter::read(layer, "quant_param"),
        rules,
        states,
    })
}

fn blobs<'a>(message: Field<'a>, name: &'static str) -> Result<Vec<Blob>, WrongValue<'a>> {
    message.all(name).map(|value| Ok(Blob { name: string(value, name)?, id: value.id() })).collect()
}

fn string<'a>(value: Field<'a>, field: &'static str) -> Result<BString, WrongValue<'a>> {
    match value.kind() {
        Kind::String => Ok(value.string()),
        _ => Err(WrongValue { value, field, wanted: "a string in quotes" }),
    }
}
