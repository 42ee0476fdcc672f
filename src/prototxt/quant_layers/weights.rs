//! Which layers see quantised weights, and in how many bits: the same choice as `WeightQuantizer` makes in a Caffe tree;
//! and the fields that express what the user selected.

use bstr::BString;

use super::changes::Change;
use super::selection::Selection;
use crate::prototxt::error::EditError;
use crate::prototxt::net::{Layer, Net};
use crate::prototxt::nnie::{self, QUANT, has_weights};
use crate::prototxt::text::{Document, Field, Kind};
use crate::quant::Bits;

/// A layer whose weights are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightBits {
    /// The layer's number in the net.
    pub layer: usize,
    /// The bit width of its weights.
    pub bits: Bits,
    /// Whether its weights are quantised with the BatchNorm and Scale layers behind it folded in.
    pub is_folded: bool,
}

/// The layers of a net whose weights are quantised. A net without `weight_quant_param` is treated as if it had one of
/// `otherwise` bits.
///
/// # Errors
/// [`EditError::BadBits`] for a bit width that Caffe would refuse.
pub fn weight_bits(net: &Net, otherwise: Bits) -> Result<Vec<WeightBits>, EditError> {
    let of_net = net.weight_quant_param;
    let mut found = Vec::new();
    if of_net.is_off {
        return Ok(found);
    }

    for (number, layer) in net.layers.iter().enumerate() {
        let own = layer.quant_param;
        let takes_part = layer.kind != QUANT && (own.is_present() || has_weights(&layer.kind));
        if !takes_part || own.is_off {
            continue;
        }

        let bits = own.bits.or(width_by_name(layer)).or(of_net.bits).unwrap_or(otherwise.number());
        let bits = Bits::from_number(bits).ok_or(EditError::BadBits { line: layer.line, bits })?;
        let is_folded = own.is_folded.or(of_net.is_folded).unwrap_or(false) && has_weights(&layer.kind);
        found.push(WeightBits { layer: number, bits, is_folded });
    }
    Ok(found)
}

/// The bit width that a layer's name asks for.
fn width_by_name(layer: &Layer) -> Option<u32> {
    nnie::is_high_precision(layer).then_some(16)
}

/// The net's new `weight_quant_param`, behind the net's name or in front of its first layer; `None` for a net without
/// layers.
pub(super) fn weight_param(document: &Document, net: &Net, bits: Bits, is_folded: bool) -> Option<Change> {
    let message = document.field(net.id);
    let after_name = message.children().skip_while(|field| field.name() != b"name").nth(1);
    let first_layer = message.children().find(|field| field.name() == b"layer");
    let before = after_name.or(first_layer).filter(|_| !net.layers.is_empty())?;
    Some(Change::AddWeightParam { before: before.id(), bits, is_folded })
}

/// A `quant_param` for each layer whose weights the selection wants in another bit width than the net's
/// `weight_quant_param`, as it is or will be. A layer that has a `quant_param` keeps it.
pub(super) fn layer_params(document: &Document, net: &Net, selection: &Selection) -> Vec<Change> {
    let of_net = net.weight_quant_param;
    if of_net.is_off {
        return Vec::new();
    }

    let main = selection.bits();
    let width_of_net = of_net.bits.unwrap_or(main.number());
    let differs = |layer: &Layer| {
        let wanted = selection.width_of(layer);
        // If the net has another main width than the selection, the net's is kept, as it is for its Quant layers.
        let is_main = wanted == Some(main);
        let by_net = width_by_name(layer).unwrap_or(width_of_net);
        !is_main && wanted.is_none_or(|bits| bits.number() != by_net)
    };

    let mut changes = Vec::new();
    for (number, layer) in net.layers.iter().enumerate() {
        if !has_weights(&layer.kind) || layer.quant_param.is_present() || !differs(layer) {
            continue;
        }
        // In front of the layer's first parameters, where a reader of the file looks for them.
        let message = document.field(layer.id);
        let is_parameter = |field: &Field<'_>| field.kind() == Kind::Message && field.name().ends_with(b"_param");
        let Some(before) = message.children().find(is_parameter).or_else(|| message.children().last()) else {
            continue;
        };
        changes.push(Change::AddLayerParam { layer: number, before: before.id(), bits: selection.width_of(layer) });
    }
    changes
}

/// A warning if the net's present `weight_quant_param` differs from the one that is asked for.
pub(super) fn differing_weight_param(document: &Document, net: &Net, bits: Bits, is_folded: bool) -> Option<String> {
    let own = net.weight_quant_param;
    let difference = if own.is_off {
        "with quant_en: 0, so that weights stay float".to_owned()
    } else {
        let width = own.width();
        let other_width = (width != bits.number()).then(|| format!("of {width} bit"));
        let not_folded = (is_folded && own.is_folded.is_none()).then(|| "without fold_batch_norm".to_owned());
        other_width.into_iter().chain(not_folded).reduce(|a, b| format!("{a} and {b}"))?
    };
    let line = document.line_starts().line(document.field(own.id?).value_range().start);
    Some(format!("line {line}: the weight_quant_param there is left as it is, {difference}"))
}

/// A warning for each selected type besides the NNIE's own: it is not known whether such layers have weights, and Caffe
/// leaves these weights float.
pub(super) fn types_left_float(net: &Net, selection: &Selection) -> Vec<String> {
    let mut types: Vec<&BString> = Vec::new();
    for layer in &net.layers {
        let is_added = selection.has_type(&layer.kind) && !nnie::is_computed(&layer.kind);
        if is_added && !types.contains(&&layer.kind) && !layer.quant_param.is_present() {
            types.push(&layer.kind);
        }
    }
    let warning =
        |kind| format!("{kind} layers' weights, if they have any, stay float without a quant_param of their own");
    types.into_iter().map(warning).collect()
}

/// A warning for each selected layer whose own `quant_param` keeps its weights float.
pub(super) fn layers_kept_float(net: &Net, selection: &Selection) -> Vec<String> {
    let is_kept =
        |layer: &&Layer| layer.kind != QUANT && layer.quant_param.is_off && selection.width_of(layer).is_some();
    let warning = |layer: &Layer| format!("layer `{}`: its own quant_param keeps its weights float", layer.name);
    net.layers.iter().filter(is_kept).map(warning).collect()
}
