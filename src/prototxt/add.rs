//! Quant layers in front of what the NNIE computes.
//!
//! One Quant for each version of a blob and each width, right before its first reader; only the readers that the NNIE
//! computes are rewired to it. All else keeps the float blob.

use std::collections::BTreeMap;

use bstr::BString;

use super::EditError;
use super::document::Document;
use super::edit::Edits;
use super::net::{Era, Layer, Net, Rules};
use super::plan::Plan;
use super::select::Selection;
use super::weights::{add_layer_fields, add_weight_field, kept_float, left_float, unlike};
use crate::quant::Bits;

/// A Quant layer that was added.
#[derive(Clone, Debug)]
pub struct Added {
    /// Its name.
    pub name: BString,
    /// What it quantises.
    pub blob: BString,
    /// Its width.
    pub bits: Bits,
    /// The layers it feeds: name and type. It stands before the first.
    pub readers: Vec<(BString, BString)>,
    /// The rules it carries.
    pub rules: Rules,
}

/// What the layers that the NNIE computes are to see of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// What the net says already.
    #[default]
    AsTheyAre,
    /// Quantised: a `weight_quant_param`.
    Quantised,
    /// Quantised as they are with BatchNorm and Scale folded in: one with `fold_batch_norm`.
    Folded,
}

/// A document with Quant layers.
#[derive(Clone, Debug)]
pub struct Quantised {
    /// The text.
    pub text: Vec<u8>,
    /// What was added, in the layers' order.
    pub added: Vec<Added>,
    /// Whether `weight_quant_param` was added.
    pub weights: bool,
    /// Layers that got a `quant_param` for their weights, since the selection has them otherwise than the net.
    pub own_weights: usize,
    /// Nets in the document; 0 for a solver that names its net.
    pub nets: usize,
    /// Layers that are to be quantised in front of.
    pub computed: usize,
    /// Types of the layers that new Quant layers feed, and how many there are of each.
    pub fed: BTreeMap<BString, usize>,
    /// Bottoms of theirs that a Quant fed already.
    pub fed_before: usize,
    /// Quant layers that stand before an earlier reader now.
    pub moved: usize,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// Adds a Quant layer in front of every layer selected, and the net's `weight_quant_param` that `weights` asks for, with
/// a `quant_param` in each layer whose weights are to have another width than the net's, or to stay floats.
///
/// A bottom that a Quant layer feeds already is left alone, and so are these fields: done twice is done once.
///
/// # Errors
/// [`EditError::Empty`]; [`EditError::OldLayers`] where there is something to add to a net of `layers`.
pub fn add_quant(document: &Document, selection: &Selection, weights: Weights) -> Result<Quantised, EditError> {
    if document.root().children().next().is_none() {
        return Err(EditError::Empty);
    }
    let nets = Net::all(document)?;
    let mut edits = Edits::default();
    let mut result = Quantised {
        text: Vec::new(),
        added: Vec::new(),
        weights: false,
        own_weights: 0,
        nets: nets.len(),
        computed: 0,
        fed: BTreeMap::new(),
        fed_before: 0,
        moved: 0,
        warnings: Vec::new(),
    };
    for net in &nets {
        let plan = Plan::of(net, document, selection);
        if let (Era::Old, Some(layer)) = (net.era, plan.first_change()) {
            let at = document.field(net.layers[layer].id).range().start;
            return Err(EditError::OldLayers { line: document.line_starts().line(at) });
        }
        if weights != Weights::AsTheyAre && net.era == Era::Today {
            let is_folded = weights == Weights::Folded;
            match document.field(net.id).first("weight_quant_param") {
                None => result.weights |= add_weight_field(document, net, selection.bits(), is_folded, &mut edits),
                Some(known) => {
                    let line = document.line_starts().line(known.value_range().start);
                    let otherwise = unlike(known, selection.bits(), is_folded);
                    result.warnings.extend(
                        otherwise
                            .map(|how| format!("line {line}: the weight_quant_param there is left as it is, {how}")),
                    );
                }
            }
            result.own_weights += add_layer_fields(document, net, selection, &mut edits);
            result.warnings.extend(left_float(document, net, selection));
            result.warnings.extend(kept_float(document, net, selection));
        }
        plan.write(document, &mut edits);
        result.computed += plan.computed;
        for layer in plan.fed() {
            *result.fed.entry(net.layers[layer].kind.clone()).or_default() += 1;
        }
        result.fed_before += plan.fed_before;
        result.moved += plan.moved.len();
        result.warnings.extend(plan.warnings);
        result.added.extend(plan.quants.into_iter().map(|quant| quant.into_added(net)));
    }
    let layers: Vec<&Layer> = nets.iter().flat_map(|net| &net.layers).collect();
    if !layers.is_empty() {
        let globs = selection.idle_globs(&layers).into_iter().map(|glob| format!("no layer's name matches `{glob}`"));
        let types = selection.idle_types(&layers).into_iter().map(|kind| format!("no layer is of type `{kind}`"));
        result.warnings.extend(globs.chain(types));
    }
    result.text = edits.apply(document.as_bytes());
    Ok(result)
}
