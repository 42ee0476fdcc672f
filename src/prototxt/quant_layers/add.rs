//! Adding Quant layers in front of the layers that the NNIE computes.
//!
//! Each version of a blob and each bit width gets one Quant layer, right in front of its first reader. Only the selected
//! readers are rewired to it; all other readers keep the float blob.

use std::collections::BTreeMap;

use bstr::BString;

use super::changes::{self, Change};
use super::layer_text::Added;
use super::selection::Selection;
use super::{placement, weights};
use crate::prototxt::error::EditError;
use crate::prototxt::net::{Form, Layer, Net};
use crate::prototxt::text::{Document, Edits};

/// What a net is to say of its weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// What it says already.
    #[default]
    AsTheyAre,
    /// Weights are quantised: `weight_quant_param`.
    Quantised,
    /// Weights are quantised with BatchNorm and Scale folded in: `weight_quant_param` with `fold_batch_norm`.
    Folded,
}

/// A document with Quant layers, and an account of what was added.
#[derive(Clone, Debug, Default)]
pub struct Quantised {
    /// The new text.
    pub text: Vec<u8>,
    /// The Quant layers that were added, in the net's order.
    pub added: Vec<Added>,
    /// Whether a `weight_quant_param` was added.
    pub weights: bool,
    /// How many layers got a `quant_param`, because the selection wants their weights otherwise than the net.
    pub own_weights: usize,
    /// How many nets the document holds; 0 for a solver that names its net.
    pub nets: usize,
    /// How many layers are selected.
    pub computed: usize,
    /// The types of the layers that new Quant layers feed, and how many layers of each type.
    pub fed: BTreeMap<BString, usize>,
    /// How many bottoms of the selected layers a Quant layer fed already.
    pub fed_before: usize,
    /// How many existing Quant layers moved in front of an earlier reader.
    pub moved: usize,
    /// What the user should look at.
    pub warnings: Vec<String>,
}

/// Adds a Quant layer in front of every selected layer, and the fields for quantised weights that `weights` asks for: the
/// net's `weight_quant_param`, and a `quant_param` in each layer whose weights shall have another bit width or stay float.
///
/// Adding twice is the same as adding once: a bottom that a Quant layer feeds already stays as it is, and so do these
/// fields.
///
/// # Errors
/// Those of [`Net::all`]; [`EditError::OldLayers`] if a net in the legacy form needs a Quant layer.
pub fn add_quant(document: &Document, selection: &Selection, weights: Weights) -> Result<Quantised, EditError> {
    let nets = Net::all(document)?;
    let mut edits = Edits::default();
    let mut result = Quantised { nets: nets.len(), ..Quantised::default() };

    for net in &nets {
        let placement = placement::place(net, document, selection);
        if let (Form::Legacy, Some(layer)) = (net.form, placement.changes.iter().filter_map(Change::layer).min()) {
            return Err(EditError::OldLayers { line: net.layers[layer].line });
        }

        let mut changes = Vec::new();
        if weights != Weights::AsTheyAre && net.form == Form::Current {
            changes = add_weights(document, net, selection, weights == Weights::Folded, &mut result);
        }
        changes.extend(placement.changes);
        changes::write(document, net, &changes, &mut edits);

        result.computed += placement.computed;
        for layer in placement.fed {
            *result.fed.entry(net.layers[layer].kind.clone()).or_default() += 1;
        }
        result.fed_before += placement.fed_before;
        result.moved += placement.moved;
        result.warnings.extend(placement.warnings);
        result.added.extend(changes.into_iter().filter_map(Change::into_added));
    }

    result.warnings.extend(unused_options(&nets, selection));
    result.text = edits.apply(document.as_bytes());
    Ok(result)
}

/// The fields for quantised weights in one net.
fn add_weights(
    document: &Document,
    net: &Net,
    selection: &Selection,
    is_folded: bool,
    result: &mut Quantised,
) -> Vec<Change> {
    let mut changes = Vec::new();
    if net.weight_quant_param.is_present() {
        result.warnings.extend(weights::differing_weight_param(document, net, selection.bits(), is_folded));
    } else {
        changes.extend(weights::weight_param(document, net, selection.bits(), is_folded));
        result.weights |= !changes.is_empty();
    }

    let of_layers = weights::layer_params(document, net, selection);
    result.own_weights += of_layers.len();
    changes.extend(of_layers);

    result.warnings.extend(weights::types_left_float(net, selection));
    result.warnings.extend(weights::layers_kept_float(net, selection));
    changes
}

/// A warning for each glob and type of the selection that fits no layer: most likely a typing mistake.
fn unused_options(nets: &[Net], selection: &Selection) -> Vec<String> {
    let layers: Vec<&Layer> = nets.iter().flat_map(|net| &net.layers).collect();
    if layers.is_empty() {
        return Vec::new();
    }
    let globs = selection.unused_globs(&layers).into_iter().map(|glob| format!("no layer's name matches `{glob}`"));
    let types = selection.unused_types(&layers).into_iter().map(|kind| format!("no layer is of type `{kind}`"));
    globs.chain(types).collect()
}
