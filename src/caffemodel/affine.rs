//! The affine map per channel that the BatchNorm and Scale layers of a chain compute, read from the model.

use bstr::BString;

use super::blob::Values;
use super::model::Model;
use crate::prototxt::fold::{Affine, Chain, Layout};
use crate::prototxt::net::Net;

/// `y = factor x + offset`, with a factor and an offset for each channel.
#[derive(Clone, Debug)]
pub(super) struct ChannelMap {
    /// The factors, by channel.
    pub factor: Vec<f64>,
    /// The offsets, by channel.
    pub offset: Vec<f64>,
    /// False if a BatchNorm in it has not accumulated the statistics of any batch.
    pub is_trained: bool,
}

impl ChannelMap {
    /// The composition: this map, followed by `next`.
    pub(super) fn then(mut self, next: &ChannelMap) -> ChannelMap {
        self.is_trained &= next.is_trained;
        for (channel, (factor, offset)) in next.factor.iter().zip(&next.offset).enumerate() {
            self.factor[channel] *= factor;
            self.offset[channel] = self.offset[channel] * factor + offset;
        }
        self
    }

    /// The factors, rounded to the precision of these weights.
    pub(super) fn factors_for(&self, weights: &Values) -> Vec<f64> {
        match weights {
            Values::F32(_) => self.factor.iter().map(|&factor| f64::from(factor as f32)).collect(),
            Values::F64(_) => self.factor.clone(),
        }
    }
}

/// Which weights belong to which output channel. Seen as (groups, outer, channels of a group, inner), a blob of weights
/// is a sequence of runs of `inner` consecutive weights that belong to the same channel.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelRuns {
    /// The number of weights in a run.
    pub length: usize,
    /// The number of runs in a group.
    runs_per_group: usize,
    /// The number of output channels of a group.
    channels_per_group: usize,
}

impl ChannelRuns {
    /// The runs of a blob of `count` weights whose `shape` has passed [`channels`].
    pub(super) fn new(layout: Layout, shape: &[usize], count: usize, channels: usize) -> ChannelRuns {
        let (groups, channels_per_group, length) = match layout {
            Layout::Outermost => (1, channels, count / channels),
            Layout::Innermost => (1, channels, 1),
            Layout::Deconvolution { groups } => (groups, shape[1], count / (shape[0] * shape[1])),
        };
        ChannelRuns { length, runs_per_group: count / groups / length, channels_per_group }
    }

    /// The output channel of the run with this index.
    pub(super) fn channel(self, run: usize) -> usize {
        run / self.runs_per_group * self.channels_per_group + run % self.channels_per_group
    }
}

/// The index of the model's only layer with this name and blobs; an error says why there is not exactly one.
pub(super) fn unique_layer(model: &Model, name: &BString) -> Result<usize, String> {
    let mut matching = model.with_blobs(name);
    match (matching.next(), matching.next()) {
        (Some(model_layer), None) => Ok(model_layer),
        (None, _) => Err(format!("the weights file has no blobs for `{name}`")),
        _ => Err(format!("the weights file has several layers named `{name}`")),
    }
}

/// The maps of the chain's stages up to the first stage that cannot be folded, and the reason why it cannot.
pub(super) fn foldable_maps(
    model: &Model,
    net: &Net,
    chain: &Chain,
    model_layer: usize,
) -> (Vec<ChannelMap>, Option<String>) {
    let channels = match channels(model, chain, model_layer) {
        Ok(channels) => channels,
        Err(reason) => return (Vec::new(), Some(reason)),
    };

    let mut maps = Vec::new();
    for stage in &chain.stages {
        let map = map_of(model, &net.layers[stage.layers[0]].name, stage.affine).and_then(|map| {
            let values = || map.factor.iter().chain(&map.offset);
            if map.factor.len() != channels {
                return Err(format!("it has {} channels, but the weights have {channels}", map.factor.len()));
            }
            if !values().all(|&value| (value as f32).is_finite()) {
                return Err("its values give a factor or offset that is not finite".to_owned());
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

/// The number of the layer's output channels; an error says where its blobs do not fit the net.
pub(super) fn channels(model: &Model, chain: &Chain, model_layer: usize) -> Result<usize, String> {
    let layer = &model.layers()[model_layer];
    let name = &layer.name;
    let blobs = layer.blobs.len();
    let wanted = 1 + usize::from(chain.has_bias);
    if blobs != wanted {
        return Err(format!("the weights file has {blobs} blobs for `{name}`, but the net asks for {wanted}"));
    }

    let weights = &layer.blobs[0];
    let shape = weights.shape();
    let unfit = || Err(format!("the weights of `{name}` have the shape {shape:?}, which is not what the net asks for"));
    let channels = match (chain.layout, shape) {
        (Layout::Deconvolution { groups }, [inputs, outputs, ..]) if groups > 0 && inputs.is_multiple_of(groups) => {
            outputs * groups
        }
        (Layout::Deconvolution { .. }, _) => return unfit(),
        // The weights of an InnerProduct in the old format have the axes (1, 1, outputs, inputs).
        _ => chain.outputs.or(shape.first().copied()).unwrap_or(0),
    };

    let fits = weights.is_whole() && channels > 0 && weights.count().is_multiple_of(channels) && weights.count() > 0;
    if !fits || chain.outputs.is_some_and(|outputs| outputs != channels) {
        return unfit();
    }
    match layer.blobs.get(1) {
        Some(bias) if !bias.is_whole() || bias.count() != channels => {
            Err(format!("the bias of `{name}` has the shape {:?}, but the layer has {channels} outputs", bias.shape()))
        }
        _ => Ok(channels),
    }
}

/// The map of a BatchNorm or Scale layer, from its blobs. Caffe's BatchNorm stores sums of means and variances, and the
/// count by which to divide them.
fn map_of(model: &Model, name: &BString, affine: Affine) -> Result<ChannelMap, String> {
    let model_layer = unique_layer(model, name)?;
    let blobs = model.layers()[model_layer].blobs.len();
    let values =
        |blob| model.values(model_layer, blob).map(|values| values.into_f64()).map_err(|error| error.to_string());

    let wanted = match affine {
        Affine::BatchNorm { .. } => 3,
        Affine::Scale { bias } => 1 + usize::from(bias),
    };
    if blobs != wanted {
        return Err(format!("the weights file has {blobs} blobs for it, but Caffe's layer has {wanted}"));
    }

    let (factor, offset, is_trained) = match affine {
        Affine::Scale { bias } => {
            let factor = values(0)?;
            let offset = if bias { values(1)? } else { vec![0.0; factor.len()] };
            (factor, offset, true)
        }
        Affine::BatchNorm { eps } => {
            let (mean, variance, count) = (values(0)?, values(1)?, values(2)?);
            let &[count] = count.as_slice() else {
                return Err("its third blob, the batch count, does not hold exactly one value".to_owned());
            };
            let scale = if count == 0.0 { 0.0 } else { 1.0 / count };
            let factor: Vec<f64> = variance.iter().map(|sum| 1.0 / (sum * scale + f64::from(eps)).sqrt()).collect();
            let offset = mean.iter().zip(&factor).map(|(sum, factor)| -sum * scale * factor).collect();
            (factor, offset, count != 0.0)
        }
    };

    match factor.len() == offset.len() {
        true => Ok(ChannelMap { factor, offset, is_trained }),
        false => Err(format!("its blobs differ in length: {} and {} values", factor.len(), offset.len())),
    }
}
