//! Which layers see quantised weights, and in how many bits: the choice that WeightQuantizer makes in a Caffe tree.

use bstr::BString;

use super::document::{Document, Field, Kind};
use super::edit::{Edits, Place};
use super::net::{Layer, Net};
use super::select::{COMPUTED, HIGH_PRECISION, Selection, has_weights};
use super::style::Style;
use super::{EditError, QUANT};
use crate::quant::Bits;

/// A layer whose weights are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightBits {
    /// Its number in the net.
    pub layer: usize,
    /// The width.
    pub bits: Bits,
    /// Whether as they are with the BatchNorm and Scale behind them folded in.
    pub is_folded: bool,
}

/// The layers of a net whose weights are quantised: where the net has a `weight_quant_param`, those that Caffe shows
/// quantised weights; a net without one is taken as if it had one of `otherwise` bits.
///
/// # Errors
/// [`EditError::BadBits`] for a width that Caffe would refuse.
pub fn weight_bits(document: &Document, net: &Net, otherwise: Bits) -> Result<Vec<WeightBits>, EditError> {
    let whole = Options::read(document.field(net.id).first("weight_quant_param"));
    let mut found = Vec::new();
    if whole.is_off {
        return Ok(found);
    }
    for (number, layer) in net.layers.iter().enumerate() {
        let message = document.field(layer.id);
        let own = message.first("quant_param");
        let takes_part = layer.kind != QUANT && (own.is_some() || has_weights(&layer.kind));
        let own = Options::read(own);
        if !takes_part || own.is_off {
            continue;
        }
        let bits = own.bits.or(by_name(layer)).or(whole.bits).unwrap_or(otherwise.number());
        let Some(bits) = Bits::from_number(bits) else {
            let line = document.line_starts().line(message.range().start);
            return Err(EditError::BadBits { line, bits });
        };
        let is_folded = own.is_folded.or(whole.is_folded).unwrap_or(false) && has_weights(&layer.kind);
        found.push(WeightBits { layer: number, bits, is_folded });
    }
    Ok(found)
}

/// The width that a layer's name asks for.
fn by_name(layer: &Layer) -> Option<u32> {
    layer.name.ends_with(HIGH_PRECISION).then_some(16)
}

/// Adds the net's `weight_quant_param`, after the net's name or before its first layer; `false` without a layer.
pub(super) fn add_weight_field(document: &Document, net: &Net, bits: Bits, is_folded: bool, edits: &mut Edits) -> bool {
    let message = document.field(net.id);
    let after_name = message.children().skip_while(|field| field.name() != b"name").nth(1);
    let first_layer = message.children().find(|field| field.name() == b"layer");
    let (Some(before), Some(layer)) = (after_name.or(first_layer), net.layers.first()) else { return false };
    let place = Place::before(document, before);
    let style = Style::of(document, document.field(layer.id));
    edits.replace(place.at..place.at, style.weight_field(&place, bits, is_folded));
    true
}

/// Adds a `quant_param` to each layer whose weights the selection has otherwise than the net's `weight_quant_param`, as
/// it is or will be; a layer that has one keeps it. Returns how many were added.
pub(super) fn add_layer_fields(document: &Document, net: &Net, selection: &Selection, edits: &mut Edits) -> usize {
    let whole = Options::read(document.field(net.id).first("weight_quant_param"));
    if whole.is_off {
        return 0;
    }
    let of_net = whole.bits.unwrap_or(selection.bits().number());
    let mut added = 0;
    for layer in net.layers.iter().filter(|layer| has_weights(&layer.kind)) {
        let message = document.field(layer.id);
        let wanted = selection.width_of(layer);
        // As the net has it: a net that has another main width already keeps it, as its Quant layers do.
        let is_main = wanted == Some(selection.bits());
        let is_right = is_main || wanted.is_some_and(|bits| bits.number() == by_name(layer).unwrap_or(of_net));
        if is_right || message.first("quant_param").is_some() {
            continue;
        }
        // In front of the layer's first parameters, where a reader looks for them.
        let parameters = |field: &Field<'_>| field.kind() == Kind::Message && field.name().ends_with(b"_param");
        let Some(before) = message.children().find(parameters).or_else(|| message.children().last()) else { continue };
        let place = Place::before(document, before);
        edits.replace(place.at..place.at, Style::of(document, message).layer_field(&place, wanted));
        added += 1;
    }
    added
}

/// How a net's own `weight_quant_param` differs from the one that is asked for.
pub(super) fn unlike(known: Field<'_>, bits: Bits, is_folded: bool) -> Option<String> {
    let own = Options::read(Some(known));
    if own.is_off {
        return Some("with quant_en: 0, so that weights stay float".to_owned());
    }
    let width = own.width();
    let other_width = (width != bits.number()).then(|| format!("of {width} bit"));
    let not_folded = (is_folded && own.is_folded.is_none()).then(|| "without fold_batch_norm".to_owned());
    other_width.into_iter().chain(not_folded).reduce(|a, b| format!("{a} and {b}"))
}

/// Types that the selection adds: whether they have weights is not known, and Caffe leaves such weights alone.
pub(super) fn left_float(document: &Document, net: &Net, selection: &Selection) -> Vec<String> {
    let mut types: Vec<&BString> = Vec::new();
    for layer in &net.layers {
        let has_own = || document.field(layer.id).first("quant_param").is_some();
        let is_added = selection.has_type(&layer.kind) && !COMPUTED.iter().any(|kind| kind.as_bytes() == layer.kind);
        if is_added && !types.contains(&&layer.kind) && !has_own() {
            types.push(&layer.kind);
        }
    }
    let warning =
        |kind| format!("{kind} layers' weights, if they have any, stay float without a quant_param of their own");
    types.into_iter().map(warning).collect()
}

/// Layers that the selection has quantised and whose own quant_param keeps their weights floats.
pub(super) fn kept_float(document: &Document, net: &Net, selection: &Selection) -> Vec<String> {
    let is_kept = |layer: &&Layer| {
        let own = Options::read(document.field(layer.id).first("quant_param"));
        layer.kind != QUANT && own.is_off && selection.width_of(layer).is_some()
    };
    let warning = |layer: &Layer| format!("layer `{}`: its own quant_param keeps its weights float", layer.name);
    net.layers.iter().filter(is_kept).map(warning).collect()
}

/// A QuantParameter.
#[derive(Default)]
pub(super) struct Options {
    pub is_off: bool,
    pub bits: Option<u32>,
    pub is_folded: Option<bool>,
}

impl Options {
    pub fn read(message: Option<Field<'_>>) -> Options {
        let Some(message) = message else { return Options::default() };
        Options {
            is_off: message.first("quant_en").is_some_and(|value| !value.is_true()),
            bits: message.first("quant_bits").and_then(|value| value.number()),
            is_folded: message.first("fold_batch_norm").map(|value| value.is_true()),
        }
    }

    /// The width; the format's default is 8.
    pub fn width(&self) -> u32 {
        self.bits.unwrap_or(8)
    }
}
