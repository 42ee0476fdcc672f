//! Folding: a layer's weights that do what it and the BatchNorm and Scale behind it did.
//!
//! In TEST both are one affine map per channel, `y = factor x + offset`:
//!
//! - BatchNorm: `factor = 1 / sqrt(variance + eps)`, `offset = -mean factor`, where the stored sums divided by the
//!   stored count (0 where that is 0, as Caffe has it) are mean and variance;
//! - Scale: `factor = gamma`, `offset = beta`.
//!
//! A chain of maps is one map again, and behind `w x + b` it leaves the weights `factor w` and the bias
//! `factor b + offset`. Maps are computed in double. The weights' factor is rounded to their own precision first, as
//! WeightQuantizer in a Caffe tree has it: what it quantises with `fold_batch_norm` is what stands here.

use std::collections::HashSet;

use bstr::BString;

use super::affine::{ChannelMap, ChannelRuns, foldable_maps, unique_layer};
use super::blob::Values;
use super::edit::ModelEdits;
use super::error::Error;
use super::model::Model;
use super::wire;
use crate::prototxt::Document;
use crate::prototxt::fold::{self, Chain, Chains, Unfolded};
use crate::prototxt::net::Net;

/// Field numbers that a layer's own copy in the model needs.
mod field {
    pub const CONVOLUTION_PARAM: u32 = 106;
    pub const INNER_PRODUCT_PARAM: u32 = 117;
    /// In both.
    pub const BIAS_TERM: u32 = 2;
}

/// A layer that others were folded into.
#[derive(Clone, Debug)]
pub struct FoldedLayer {
    /// Its name.
    pub name: BString,
    /// Its type.
    pub kind: BString,
    /// The layers that are gone: name and type.
    pub stages: Vec<(BString, BString)>,
    /// Whether it had no bias before.
    pub bias_added: bool,
    /// The smallest and largest factor's magnitudes, those of 0 left out: what folding does to the weights' spread.
    pub factors: Option<(f64, f64)>,
    /// Channels whose factor is 0: they are constant.
    pub constant: usize,
}

/// A BatchNorm or Scale that stays.
#[derive(Clone, Debug)]
pub struct Left {
    /// Its line in the net.
    pub line: usize,
    /// Its name.
    pub name: BString,
    /// Its type.
    pub kind: BString,
    /// Why it stays.
    pub reason: String,
}

/// A net and its weights, folded.
#[derive(Debug)]
pub struct Folded<'m> {
    /// The net.
    pub net: Vec<u8>,
    /// The weights.
    pub model: ModelEdits<'m>,
    /// What was folded, in the layers' order.
    pub layers: Vec<FoldedLayer>,
    /// What was not.
    pub left: Vec<Left>,
}

/// Folds every BatchNorm and Scale that can be folded into the weights before it.
///
/// # Errors
/// [`Error::Net`] for a document that is no net of today's form; [`Error::OldModel`]; [`Error::WrongNet`] where the
/// model has no layer of the net's.
pub fn fold<'m>(document: &Document, model: &'m Model) -> Result<Folded<'m>, Error> {
    let Chains { net, lines, chains: found, left: mut unfolded } = fold::chains(document)?;
    model.check_editable_for(&net)?;
    let mut edits = ModelEdits::new(model);
    let (mut chains, mut layers) = (Vec::new(), Vec::new());
    for mut chain in found {
        let model_layer = unique_layer(model, &net.layers[chain.layer].name);
        let (maps, reason) = model_layer.as_ref().map_or_else(
            |reason| (Vec::new(), Some(reason.clone())),
            |&model_layer| foldable_maps(model, &net, &chain, model_layer),
        );
        if let Some(reason) = reason {
            let rest = chain.stages[maps.len()..].iter().flat_map(|stage| &stage.layers);
            unfolded.extend(rest.map(|&layer| Unfolded { layer, reason: reason.clone() }));
        }
        let (Ok(model_layer), Some(map)) = (model_layer, maps.iter().cloned().reduce(|map, next| map.then(&next)))
        else {
            continue;
        };
        chain.stages.truncate(maps.len());
        write_weights(model, model_layer, &chain, &map, &mut edits)?;
        layers.push(summary(&net, &chain, &map));
        let (old, new) = (&net.layers[chain.layer].tops[0].name, chain.top(&net));
        if old != new {
            edits.rename_top(model_layer, old, new);
        }
        chains.push(chain);
    }
    remove_model_layers(&net, model, &chains, &mut edits);
    unfolded.sort_by_key(|unfolded| unfolded.layer);
    let left = unfolded.into_iter().map(|Unfolded { layer, reason }| Left {
        line: lines[layer],
        name: net.layers[layer].name.clone(),
        kind: net.layers[layer].kind.clone(),
        reason,
    });
    Ok(Folded { left: left.collect(), net: fold::fold_text(document, &net, &chains), model: edits, layers })
}

/// The new weights and bias.
fn write_weights(
    model: &Model,
    model_layer: usize,
    chain: &Chain,
    map: &ChannelMap,
    edits: &mut ModelEdits<'_>,
) -> Result<(), Error> {
    let channels = map.factor.len();
    let weights = model.values(model_layer, 0)?;
    let is_double = matches!(weights, Values::F64(_));
    let factor = map.factors_for(&weights);
    let shape = model.layers()[model_layer].blobs[0].shape();
    let places = ChannelRuns::new(chain.layout, shape, weights.len(), channels);
    let weights = weights.map_runs(places.run, |run, value| value * factor[places.channel(run)]);
    edits.replace(model_layer, 0, weights);
    if chain.has_bias {
        let bias = model.values(model_layer, 1)?;
        edits.replace(model_layer, 1, bias.map(|channel, value| value * map.factor[channel] + map.offset[channel]));
        return Ok(());
    }
    let bias = match is_double {
        true => Values::F64(map.offset.clone()),
        false => Values::F32(map.offset.iter().map(|&offset| offset as f32).collect()),
    };
    edits.add(model_layer, &[channels], bias);
    let number = match model.layers()[model_layer].kind == "InnerProduct" {
        true => field::INNER_PRODUCT_PARAM,
        false => field::CONVOLUTION_PARAM,
    };
    edits.merge(model_layer, &wire::bytes_field(number, &wire::varint_field(field::BIAS_TERM, 1)));
    Ok(())
}

fn summary(net: &Net, chain: &Chain, map: &ChannelMap) -> FoldedLayer {
    let layer = &net.layers[chain.layer];
    let stages = chain.stages.iter().map(|stage| &net.layers[stage.layers[0]]);
    let magnitudes = map.factor.iter().map(|factor| factor.abs()).filter(|&factor| factor > 0.0);
    FoldedLayer {
        name: layer.name.clone(),
        kind: layer.kind.clone(),
        stages: stages.map(|stage| (stage.name.clone(), stage.kind.clone())).collect(),
        bias_added: !chain.has_bias,
        constant: map.factor.len() - magnitudes.clone().count(),
        factors: magnitudes.map(|factor| (factor, factor)).reduce(|(low, high), (f, _)| (low.min(f), high.max(f))),
    }
}

/// Takes what the model holds for the layers that are gone out of it.
fn remove_model_layers(net: &Net, model: &Model, chains: &[Chain], edits: &mut ModelEdits<'_>) {
    let gone: HashSet<usize> =
        chains.iter().flat_map(|chain| &chain.stages).flat_map(|stage| stage.layers.iter().copied()).collect();
    let (gone, stay): (Vec<_>, Vec<_>) = net.layers.iter().enumerate().partition(|(number, _)| gone.contains(number));
    let stay: HashSet<&BString> = stay.into_iter().map(|(_, layer)| &layer.name).collect();
    let gone: HashSet<&BString> = gone.into_iter().map(|(_, layer)| &layer.name).collect();
    for (number, layer) in model.layers().iter().enumerate() {
        if gone.contains(&layer.name) && !stay.contains(&layer.name) {
            edits.remove(number);
        }
    }
}
