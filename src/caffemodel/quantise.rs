//! The weights as the chip has them: what WeightQuantizer in a Caffe tree shows each layer, in a file.

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
    /// Its name.
    pub name: BString,
    /// Its type.
    pub kind: BString,
    /// The width.
    pub bits: Bits,
    /// The scale of its weights.
    pub delta: i32,
    /// Whether the BatchNorm and Scale behind it were folded in for it.
    pub is_folded: bool,
}

/// A model with quantised weights.
#[derive(Debug)]
pub struct QuantisedModel<'m> {
    /// The weights.
    pub model: ModelEdits<'m>,
    /// What was quantised, in the net's order.
    pub layers: Vec<QuantisedLayer>,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// Quantises the weights that [`weight_bits`] names, each blob by its own range. Biases stay as they are.
///
/// Values of double precision are rounded to single first, as Caffe does when it loads them.
///
/// # Errors
/// [`Error::Net`] for a document that is no net of today's form; [`Error::OldModel`], [`Error::WrongNet`];
/// [`Error::Blob`] for weights that cannot be read; [`Error::TwoWidths`].
pub fn quantise<'m>(document: &Document, model: &'m Model, otherwise: Bits) -> Result<QuantisedModel<'m>, Error> {
    let found = fold::chains(document)?;
    let net = &found.net;
    model.check_editable_for(net)?;
    let chosen = weight_bits(document, net, otherwise)?;
    let mut result = QuantisedModel { model: ModelEdits::new(model), layers: Vec::new(), warnings: Vec::new() };
    if chosen.iter().any(|choice| choice.is_folded) {
        result.warnings.extend(found.left.iter().map(|left| not_folded_warning(net, left.layer, &left.reason)));
    }
    let as_they_are = chosen.iter().filter(|choice| !choice.is_folded).map(|choice| choice.layer);
    result.warnings.extend(fold_first_warning(&found, as_they_are));
    let mut done: HashMap<&BString, Bits> = HashMap::new();
    for WeightBits { layer: number, bits, is_folded } in chosen {
        let layer = &net.layers[number];
        // Layers of one name in different phases have one model's layer.
        match done.insert(&layer.name, bits) {
            None => {}
            Some(before) if before == bits => continue,
            Some(_) => return Err(Error::TwoWidths(layer.name.clone())),
        }
        let model_layers: Vec<usize> = model.with_blobs(&layer.name).collect();
        if model_layers.is_empty() {
            result.warnings.push(format!("the weights file has nothing for `{}`", layer.name));
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

/// The factor of each channel, and which weights are its.
struct Factors {
    factors: Vec<f32>,
    places: ChannelRuns,
}

/// The NNIE's compiler folds what there is to fold before it quantises weights: where some of `layers` have such chains,
/// their weights are not those that the chip will have.
pub fn fold_first_warning(found: &Chains, layers: impl IntoIterator<Item = usize>) -> Option<String> {
    let names: Vec<String> = layers
        .into_iter()
        .filter(|&layer| found.chains.iter().any(|chain| chain.layer == layer))
        .map(|layer| format!("`{}`", found.net.layers[layer].name))
        .collect();
    let first = names.first()?;
    let more = if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { String::new() };
    Some(format!(
        "the weights of {first}{more} are taken as they are, and the chip has them with BatchNorm and Scale folded in: \
         give what `gfpq model fold` writes"
    ))
}

/// Weights are quantised as they are where a net asks for more.
fn not_folded_warning(net: &Net, layer: usize, reason: &str) -> String {
    format!("`{}` is not folded in: {reason}", net.layers[layer].name)
}

/// The factors of a chain, where Caffe would fold it now.
fn factors(model: &Model, net: &Net, chain: &Chain) -> Result<Factors, String> {
    let model_layer = unique_layer(model, &net.layers[chain.layer].name)?;
    let (maps, reason) = foldable_maps(model, net, chain, model_layer);
    if let Some(reason) = reason {
        return Err(reason);
    }
    let map = maps.into_iter().reduce(|map, next| map.then(&next)).filter(|map| map.is_trained);
    let map = map.ok_or("its statistics are not trained")?;
    let blob = &model.layers()[model_layer].blobs[0];
    let places = ChannelRuns::new(chain.layout, blob.shape(), blob.count(), map.factor.len());
    Ok(Factors { factors: map.factor.iter().map(|&factor| factor as f32).collect(), places })
}

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
        Some(Factors { factors, places }) => {
            let mut folded = weights.clone();
            for (run, folded) in folded.chunks_mut(places.run).enumerate() {
                let factor = factors[places.channel(run)];
                folded.iter_mut().for_each(|weight| *weight *= factor);
            }
            quant::quantise(&mut folded, bits, Mode::Init, &mut param);
            for (run, (weights, folded)) in weights.chunks_mut(places.run).zip(folded.chunks(places.run)).enumerate() {
                let factor = factors[places.channel(run)];
                // A filter whose factor is 0 is shown as it is.
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

/// Layers that share their weights by a parameter's name, of which some are quantised otherwise than others: a file
/// has them once for each layer, and Caffe takes the last.
fn unequal_sharing_warnings(net: &Net, done: &HashMap<&BString, Bits>) -> Vec<String> {
    let mut by_param: HashMap<&BString, &BString> = HashMap::new();
    let mut warnings = Vec::new();
    for layer in &net.layers {
        let Some(param) = layer.params.first().filter(|param| !param.is_empty()) else { continue };
        let first = *by_param.entry(param).or_insert(&layer.name);
        if done.get(first) != done.get(&layer.name) {
            let name = &layer.name;
            warnings
                .push(format!("`{first}` and `{name}` share `{param}`, of which Caffe takes the later: they differ"));
        }
    }
    warnings
}
