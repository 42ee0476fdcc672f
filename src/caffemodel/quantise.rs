//! Quantises the weights in a file to the values that WeightQuantizer gives each layer in a patched Caffe.

use std::collections::HashMap;

use bstr::BString;

use super::affine::{ChannelRuns, foldable_maps, unique_layer};
use super::blob::Values;
use super::edit::ModelEdits;
use super::error::Error;
use super::model::Model;
use crate::prototxt::fold::{self, Chain, Chains};
use crate::prototxt::net::Net;
use crate::prototxt::{Document, WeightBits, weight_bits};
use crate::quant::{self, Bits, Mode, Param};

/// A layer whose weights were quantised.
#[derive(Clone, Debug)]
pub struct QuantisedLayer {
    /// The layer's name.
    pub name: BString,
    /// The layer's type.
    pub kind: BString,
    /// The bit width of the weights.
    pub bits: Bits,
    /// The weights' range, as the code (delta) of the smallest magnitude.
    pub delta: i32,
    /// Whether the BatchNorm and Scale layers that follow were folded in before quantising, and divided out again after.
    pub is_folded: bool,
}

/// A model with quantised weights.
#[derive(Debug)]
pub struct QuantisedModel<'m> {
    /// The model with the quantised weights.
    pub model: ModelEdits<'m>,
    /// The quantised layers, in the net's order.
    pub layers: Vec<QuantisedLayer>,
    /// Messages for the user.
    pub warnings: Vec<String>,
}

/// Quantises the weights of the layers that [`weight_bits`] selects, each blob by its own range. Biases are not changed.
///
/// `default_bits` is the bit width where the net's `weight_quant_param` does not set one. Values in double precision are
/// rounded to single precision first, as Caffe does when it loads them.
///
/// # Errors
/// [`Error::Net`] if the document is not a net in Caffe's current format; [`Error::OldModel`]; [`Error::WrongNet`];
/// [`Error::Blob`] for weights that cannot be read; [`Error::TwoWidths`].
pub fn quantise<'m>(document: &Document, model: &'m Model, default_bits: Bits) -> Result<QuantisedModel<'m>, Error> {
    let found = fold::chains(document)?;
    let net = &found.net;
    model.check_editable_for(net)?;
    let chosen = weight_bits(net, default_bits)?;

    let mut result = QuantisedModel { model: ModelEdits::new(model), layers: Vec::new(), warnings: Vec::new() };
    if chosen.iter().any(|choice| choice.is_folded) {
        result.warnings.extend(found.left.iter().map(|left| not_folded_warning(net, left.layer, &left.reason)));
    }
    let not_folded = chosen.iter().filter(|choice| !choice.is_folded).map(|choice| choice.layer);
    result.warnings.extend(fold_first_warning(&found, not_folded));

    let mut done: HashMap<&BString, Bits> = HashMap::new();
    for WeightBits { layer: number, bits, is_folded } in chosen {
        let layer = &net.layers[number];
        // Layers of the same name, in different phases, share one layer of the model.
        match done.insert(&layer.name, bits) {
            None => {}
            Some(earlier) if earlier == bits => continue,
            Some(_) => return Err(Error::TwoWidths(layer.name.clone())),
        }

        let model_layers: Vec<usize> = model.with_blobs(&layer.name).collect();
        if model_layers.is_empty() {
            result.warnings.push(format!("the weights file has no blobs for `{}`", layer.name));
        }

        let chain = found.chains.iter().find(|chain| is_folded && chain.layer == number);
        for model_layer in model_layers {
            let factors = chain.and_then(|chain| match factors(model, net, chain) {
                Ok(factors) => Some(factors),
                Err(reason) => {
                    result.warnings.push(not_folded_warning(net, chain.stages[0].layers[0], &reason));
                    None
                }
            });
            let (weights, delta) = quantise_blob(model, model_layer, bits, factors.as_ref())?;
            result.model.replace(model_layer, 0, weights);
            let (name, kind) = (layer.name.clone(), layer.kind.clone());
            result.layers.push(QuantisedLayer { name, kind, bits, delta, is_folded: factors.is_some() });
        }
    }
    result.warnings.extend(unequal_sharing_warnings(net, &done));
    Ok(result)
}

/// The factors by which a chain multiplies the weights of its layer.
struct Factors {
    /// The factors, by output channel.
    factors: Vec<f32>,
    /// Which weights belong to which channel.
    runs: ChannelRuns,
}

/// A warning if some of `layers`, whose weights are taken as stored, have BatchNorm or Scale layers to fold in: the NNIE
/// compiler folds these before it quantises, so the chip will have other weights.
pub(super) fn fold_first_warning(found: &Chains, layers: impl IntoIterator<Item = usize>) -> Option<String> {
    let names: Vec<String> = layers
        .into_iter()
        .filter(|&layer| found.chains.iter().any(|chain| chain.layer == layer))
        .map(|layer| format!("`{}`", found.net.layers[layer].name))
        .collect();
    let first = names.first()?;
    let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
    Some(format!(
        "the weights of {first}{more} are taken as stored, but on the chip BatchNorm and Scale are folded into them: run \
         `gfpq model fold` first, and use its output"
    ))
}

/// The warning for a layer that the net asks to fold in, but that cannot be: the weights are then quantised without it.
fn not_folded_warning(net: &Net, layer: usize, reason: &str) -> String {
    format!("`{}` is not folded in: {reason}", net.layers[layer].name)
}

/// The factors of a chain, or the reason why Caffe would not fold it with these statistics.
fn factors(model: &Model, net: &Net, chain: &Chain) -> Result<Factors, String> {
    let model_layer = unique_layer(model, &net.layers[chain.layer].name)?;
    let (maps, reason) = foldable_maps(model, net, chain, model_layer);
    if let Some(reason) = reason {
        return Err(reason);
    }
    let map = maps.into_iter().reduce(|map, next| map.then(&next)).filter(|map| map.is_trained);
    let map = map.ok_or("its BatchNorm statistics are not trained yet")?;

    let blob = &model.layers()[model_layer].blobs[0];
    let runs = ChannelRuns::new(chain.layout, blob.shape(), blob.count(), map.factor.len());
    Ok(Factors { factors: map.factor.iter().map(|&factor| factor as f32).collect(), runs })
}

/// Quantises the weights of a model's layer, and returns them with their range (delta). With `folding` the weights are
/// multiplied by the factors, quantised, and divided by them again.
fn quantise_blob(
    model: &Model,
    model_layer: usize,
    bits: Bits,
    folding: Option<&Factors>,
) -> Result<(Values, i32), Error> {
    let stored = model.values(model_layer, 0)?;
    let is_double = matches!(stored, Values::F64(_));
    let mut weights = stored.into_f32();

    let mut param = Param::default();
    match folding {
        None => quant::quantise(&mut weights, bits, Mode::Init, &mut param),
        Some(Factors { factors, runs }) => {
            let mut folded = weights.clone();
            for (run, folded) in folded.chunks_mut(runs.length).enumerate() {
                let factor = factors[runs.channel(run)];
                folded.iter_mut().for_each(|weight| *weight *= factor);
            }

            quant::quantise(&mut folded, bits, Mode::Init, &mut param);
            for (run, (weights, folded)) in weights.chunks_mut(runs.length).zip(folded.chunks(runs.length)).enumerate()
            {
                let factor = factors[runs.channel(run)];
                // A filter whose factor is 0 cannot be divided again, and keeps its stored weights.
                if factor != 0.0 {
                    weights.iter_mut().zip(folded).for_each(|(weight, folded)| *weight = folded / factor);
                }
            }
        }
    }

    let values = match is_double {
        true => Values::F64(weights.into_iter().map(f64::from).collect()),
        false => Values::F32(weights),
    };
    Ok((values, param.delta))
}

/// Warnings for layers that share their weights through a parameter's name but are quantised differently: the file holds
/// the weights once for each layer, and Caffe uses those that it loads last.
fn unequal_sharing_warnings(net: &Net, done: &HashMap<&BString, Bits>) -> Vec<String> {
    let mut by_param: HashMap<&BString, &BString> = HashMap::new();
    let mut warnings = Vec::new();
    for layer in &net.layers {
        let Some(param) = layer.params.first().filter(|param| !param.is_empty()) else { continue };
        let first = *by_param.entry(param).or_insert(&layer.name);
        if done.get(first) != done.get(&layer.name) {
            let name = &layer.name;
            warnings
                .push(format!("`{first}` and `{name}` share their weights `{param}` but are quantised differently: Caffe uses those of the later layer"));
        }
    }
    warnings
}
