//! Folding: a layer's weights that do what it and the BatchNorm and Scale behind it did.
//!
//! In TEST both are one affine map per channel, `y = factor x + offset`:
//!
//! - BatchNorm: `factor = 1 / sqrt(variance + eps)`, `offset = -mean factor`, where the stored sums divided by the
//!   stored count (0 where that is 0, as Caffe has it) are mean and variance;
//! - Scale: `factor = gamma`, `offset = beta`.
//!
//! A chain of maps is one map again, and behind `w x + b` it leaves the weights `factor w` and the bias
//! `factor b + offset`. All of it is computed in double and rounded once.

use std::collections::HashSet;

use bstr::BString;

use super::blob::Values;
use super::edit::ModelEdits;
use super::model::Model;
use super::{Error, wire};
use crate::prototxt::Document;
use crate::prototxt::fold::{self, Affine, Chain, Chains, Layout, Unfolded};
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
/// [`Error::Net`] for a document that is no net of today's form; [`Error::OldModel`]; [`Error::Strangers`] where the
/// model has no layer of the net's.
pub fn fold<'m>(document: &Document, model: &'m Model) -> Result<Folded<'m>, Error> {
    let Chains { net, lines, chains: found, left: mut unfolded } = fold::chains(document)?;
    model.is_for(&net)?;
    let mut edits = ModelEdits::new(model);
    let (mut chains, mut layers) = (Vec::new(), Vec::new());
    for mut chain in found {
        let record = the_record(model, &net.layers[chain.layer].name);
        let (maps, reason) = record.as_ref().map_or_else(
            |reason| (Vec::new(), Some(reason.clone())),
            |&record| usable_maps(model, &net, &chain, record),
        );
        if let Some(reason) = reason {
            let rest = chain.stages[maps.len()..].iter().flat_map(|stage| &stage.layers);
            unfolded.extend(rest.map(|&layer| Unfolded { layer, reason: reason.clone() }));
        }
        let (Ok(record), Some(map)) = (record, maps.iter().cloned().reduce(|map, next| map.then(&next))) else {
            continue;
        };
        chain.stages.truncate(maps.len());
        write_weights(model, record, &chain, &map, &mut edits)?;
        layers.push(account(&net, &chain, &map));
        let (old, new) = (&net.layers[chain.layer].tops[0].name, chain.top(&net));
        if old != new {
            edits.rename_top(record, old, new);
        }
        chains.push(chain);
    }
    remove_records(&net, model, &chains, &mut edits);
    unfolded.sort_by_key(|unfolded| unfolded.layer);
    let left = unfolded.into_iter().map(|Unfolded { layer, reason }| Left {
        line: lines[layer],
        name: net.layers[layer].name.clone(),
        kind: net.layers[layer].kind.clone(),
        reason,
    });
    Ok(Folded { left: left.collect(), net: fold::fold_text(document, &net, &chains), model: edits, layers })
}

/// One map per channel.
#[derive(Clone, Debug)]
struct Map {
    factor: Vec<f64>,
    offset: Vec<f64>,
}

impl Map {
    /// This map, then `next`.
    fn then(mut self, next: &Map) -> Map {
        for (channel, (factor, offset)) in next.factor.iter().zip(&next.offset).enumerate() {
            self.factor[channel] *= factor;
            self.offset[channel] = self.offset[channel] * factor + offset;
        }
        self
    }
}

/// The model's one layer of a name.
fn the_record(model: &Model, name: &BString) -> Result<usize, String> {
    let mut records = model.with_blobs(name);
    match (records.next(), records.next()) {
        (Some(record), None) => Ok(record),
        (None, _) => Err(format!("the weights file has nothing for `{name}`")),
        _ => Err(format!("the weights file has `{name}` more than once")),
    }
}

/// The maps of the chain's stages up to the first that cannot be folded, and why that one cannot.
fn usable_maps(model: &Model, net: &Net, chain: &Chain, record: usize) -> (Vec<Map>, Option<String>) {
    let channels = match channels(model, chain, record) {
        Ok(channels) => channels,
        Err(reason) => return (Vec::new(), Some(reason)),
    };
    let mut maps = Vec::new();
    for stage in &chain.stages {
        let map = map_of(model, &net.layers[stage.layers[0]].name, stage.affine).and_then(|map| {
            let values = || map.factor.iter().chain(&map.offset);
            if map.factor.len() != channels {
                return Err(format!("it has {} channels, and the weights {channels}", map.factor.len()));
            }
            if !values().all(|value| value.is_finite()) {
                return Err("its values make a factor or offset that is not finite".to_owned());
            }
            Ok(map)
        });
        match map {
            Ok(map) => maps.push(map),
            Err(reason) => return (maps, Some(reason)),
        }
    }
    (maps, None)
}

/// The layer's output channels, where its blobs are what the net says.
fn channels(model: &Model, chain: &Chain, record: usize) -> Result<usize, String> {
    let layer = &model.layers()[record];
    let name = &layer.name;
    let blobs = layer.blobs.len();
    let wanted = 1 + usize::from(chain.has_bias);
    if blobs != wanted {
        return Err(format!("the weights file has {blobs} blobs for `{name}`, and the net asks for {wanted}"));
    }
    let weights = &layer.blobs[0];
    let shape = weights.shape();
    let unfit = || Err(format!("the weights of `{name}` have the shape {shape:?}, which is not what the net asks for"));
    let channels = match (chain.layout, shape) {
        (Layout::Deconvolution { groups }, [inputs, outputs, ..]) if groups > 0 && inputs.is_multiple_of(groups) => {
            outputs * groups
        }
        (Layout::Deconvolution { .. }, _) => return unfit(),
        // Inner products of old files have the axes (1, 1, outputs, inputs).
        _ => chain.outputs.or(shape.first().copied()).unwrap_or(0),
    };
    let fits = weights.is_whole() && channels > 0 && weights.count().is_multiple_of(channels) && weights.count() > 0;
    if !fits || chain.outputs.is_some_and(|outputs| outputs != channels) {
        return unfit();
    }
    match layer.blobs.get(1) {
        Some(bias) if !bias.is_whole() || bias.count() != channels => {
            Err(format!("the bias of `{name}` has the shape {:?}, and there are {channels} outputs", bias.shape()))
        }
        _ => Ok(channels),
    }
}

/// What a BatchNorm or Scale does, from its blobs.
fn map_of(model: &Model, name: &BString, affine: Affine) -> Result<Map, String> {
    let record = the_record(model, name)?;
    let blobs = model.layers()[record].blobs.len();
    let values = |blob| model.values(record, blob).map(|values| values.to_f64()).map_err(|error| error.to_string());
    let wanted = match affine {
        Affine::BatchNorm { .. } => 3,
        Affine::Scale { bias } => 1 + usize::from(bias),
    };
    if blobs != wanted {
        return Err(format!("the weights file has {blobs} blobs for it, and Caffe's {wanted}"));
    }
    let factor;
    let offset;
    match affine {
        Affine::Scale { bias } => {
            factor = values(0)?;
            offset = if bias { values(1)? } else { vec![0.0; factor.len()] };
        }
        Affine::BatchNorm { eps } => {
            let (mean, variance, count) = (values(0)?, values(1)?, values(2)?);
            let &[count] = count.as_slice() else { return Err("its count of batches is no single number".to_owned()) };
            let of_sums = if count == 0.0 { 0.0 } else { 1.0 / count };
            factor = variance.iter().map(|sum| 1.0 / (sum * of_sums + f64::from(eps)).sqrt()).collect();
            offset = mean.iter().zip(&factor).map(|(sum, factor): (_, &f64)| -sum * of_sums * factor).collect();
        }
    }
    match factor.len() == offset.len() {
        true => Ok(Map { factor, offset }),
        false => Err(format!("its blobs have {} and {} values", factor.len(), offset.len())),
    }
}

/// The new weights and bias.
fn write_weights(
    model: &Model,
    record: usize,
    chain: &Chain,
    map: &Map,
    edits: &mut ModelEdits<'_>,
) -> Result<(), Error> {
    let Map { factor, offset } = map;
    let channels = factor.len();
    let weights = model.values(record, 0)?;
    let is_double = matches!(weights, Values::F64(_));
    let per_channel = weights.len() / channels;
    let shape = model.layers()[record].blobs[0].shape();
    let weights = match chain.layout {
        Layout::Outermost => weights.map(|at, value| value * factor[at / per_channel]),
        Layout::Innermost => weights.map(|at, value| value * factor[at % channels]),
        Layout::Deconvolution { groups } => {
            let (inputs, outputs) = (shape[0] / groups, shape[1]);
            let kernel = per_channel / inputs;
            weights.map(|at, value| {
                let (input, output) = (at / (outputs * kernel), at / kernel % outputs);
                value * factor[input / inputs * outputs + output]
            })
        }
    };
    edits.replace(record, 0, weights);
    if chain.has_bias {
        let bias = model.values(record, 1)?;
        edits.replace(record, 1, bias.map(|channel, value| value * factor[channel] + offset[channel]));
        return Ok(());
    }
    let bias = match is_double {
        true => Values::F64(offset.clone()),
        false => Values::F32(offset.iter().map(|&offset| offset as f32).collect()),
    };
    edits.add(record, &[channels], &bias);
    let number = match model.layers()[record].kind == "InnerProduct" {
        true => field::INNER_PRODUCT_PARAM,
        false => field::CONVOLUTION_PARAM,
    };
    edits.merge(record, &wire::bytes_field(number, &wire::varint_field(field::BIAS_TERM, 1)));
    Ok(())
}

fn account(net: &Net, chain: &Chain, map: &Map) -> FoldedLayer {
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
fn remove_records(net: &Net, model: &Model, chains: &[Chain], edits: &mut ModelEdits<'_>) {
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
