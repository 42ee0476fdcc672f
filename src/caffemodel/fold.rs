//! Folds the BatchNorm and Scale layers that follow a layer with weights into its weights and bias.
//!
//! In phase TEST each of them is an affine map per channel, `y = factor x + offset`:
//!
//! - BatchNorm: `factor = 1 / sqrt(variance + eps)`, `offset = -mean factor`, where mean and variance are the stored sums
//!   divided by the stored count (both are 0 if the count is 0, as in Caffe);
//! - Scale: `factor = gamma`, `offset = beta`.
//!
//! A chain of such maps is again one map. Applied to `w x + b`, it gives the weights `factor w` and the bias
//! `factor b + offset`. Maps are computed in double precision. The factor is rounded to the weights' precision before
//! they are multiplied, like WeightQuantizer in a patched Caffe: what it quantises with `fold_batch_norm` are exactly the
//! weights written here.

use std::collections::HashSet;

use bstr::BString;

use super::affine::{ChannelMap, ChannelRuns, foldable_maps, unique_layer};
use super::blob::Values;
use super::edit::ModelEdits;
use super::error::Error;
use super::model::Model;
use super::wire;
use crate::prototxt::Document;
use crate::prototxt::fold::{self, Chain, Chains, NotFolded};
use crate::prototxt::net::Net;

/// Field numbers of LayerParameter, to set `bias_term` in the model's own copy of a layer.
mod field {
    pub(super) const CONVOLUTION_PARAM: u32 = 106;
    pub(super) const INNER_PRODUCT_PARAM: u32 = 117;
    /// The same number in ConvolutionParameter and InnerProductParameter.
    pub(super) const BIAS_TERM: u32 = 2;
}

/// A layer into which others were folded.
#[derive(Clone, Debug)]
pub struct FoldedLayer {
    /// The layer's name.
    pub name: BString,
    /// The layer's type.
    pub kind: BString,
    /// Name and type of the layers that were folded into it.
    pub stages: Vec<(BString, BString)>,
    /// Whether the layer had no bias and got one.
    pub bias_added: bool,
    /// The smallest and largest magnitude of the factors that are not 0: their ratio is how much folding can widen the
    /// range of the weights. `None` if all factors are 0.
    pub factors: Option<(f64, f64)>,
    /// The number of channels whose factor is 0, so that their output is constant.
    pub constant: usize,
}

/// A net and its weights, folded.
#[derive(Debug)]
pub struct Folded<'m> {
    /// The folded net's prototxt.
    pub net: Vec<u8>,
    /// The folded weights.
    pub model: ModelEdits<'m>,
    /// The layers that others were folded into, in the net's order.
    pub layers: Vec<FoldedLayer>,
    /// The BatchNorm and Scale layers that were not folded, in the net's order.
    pub left: Vec<NotFolded>,
}

/// Folds every BatchNorm and Scale layer that can be folded into the weights of the layer before it.
///
/// # Errors
/// [`Error::Net`] if the document is not a net in Caffe's current format; [`Error::OldModel`]; [`Error::WrongNet`];
/// [`Error::Blob`] for weights that cannot be read.
pub fn fold<'m>(document: &Document, model: &'m Model) -> Result<Folded<'m>, Error> {
    let Chains { net, chains: found, mut left } = fold::chains(document)?;
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
            left.extend(rest.map(|&layer| NotFolded::of(&net, layer, reason.clone())));
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

    left.sort_by_key(|layer| layer.layer);
    Ok(Folded { left, net: fold::fold_text(document, &net, &chains), model: edits, layers })
}

/// Replaces the weights and the bias of the chain's layer by the folded ones; adds a bias if there was none.
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
    let runs = ChannelRuns::new(chain.layout, shape, weights.len(), channels);
    let weights = weights.map_runs(runs.length, |run, value| value * factor[runs.channel(run)]);
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

/// What was folded into the chain's layer.
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

/// Removes the model's layers that were folded; a name that another layer of the net also has is kept.
fn remove_model_layers(net: &Net, model: &Model, chains: &[Chain], edits: &mut ModelEdits<'_>) {
    let folded: HashSet<usize> = chains.iter().flat_map(Chain::folded_layers).collect();
    let (folded, kept): (Vec<_>, Vec<_>) =
        net.layers.iter().enumerate().partition(|(number, _)| folded.contains(number));
    let kept: HashSet<&BString> = kept.into_iter().map(|(_, layer)| &layer.name).collect();
    let folded: HashSet<&BString> = folded.into_iter().map(|(_, layer)| &layer.name).collect();

    for (number, layer) in model.layers().iter().enumerate() {
        if folded.contains(&layer.name) && !kept.contains(&layer.name) {
            edits.remove(number);
        }
    }
}
