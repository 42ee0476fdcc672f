//! Statistics of a model's values, the loss when they are quantised, and the ranges of weights and of data; the latter
//! were stored in the Quant layers by training.

use bstr::BString;
use rayon::prelude::*;

use super::error::Error;
use super::model::Model;
use super::quantise::fold_first_warning;
use crate::prototxt::net::{Net, Producer};
use crate::prototxt::{Document, QUANT, fold, has_weights, is_computed, weight_bits};
use crate::quant::{self, Bits, Mode, Param};

/// Statistics of a blob's values. All but `not_finite` are of the finite values alone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The smallest value; 0 if there are no finite values.
    pub min: f32,
    /// The largest value; 0 if there are no finite values.
    pub max: f32,
    /// The largest magnitude.
    pub abs_max: f32,
    /// The dynamic range in octaves: log2 of the largest magnitude over the smallest that is not 0. The 8-bit format
    /// spans 8 octaves, the 16-bit format 11.
    pub octaves: f64,
    /// The number of values that are 0.
    pub zeros: usize,
    /// The number of NaNs and infinities.
    pub not_finite: usize,
}

impl Statistics {
    /// The statistics of these values.
    pub fn of(values: &[f32]) -> Statistics {
        let mut statistics = Statistics::default();
        let mut finite = values.iter().copied().filter(|value| value.is_finite()).peekable();
        let Some(&first) = finite.peek() else { return Statistics { not_finite: values.len(), ..statistics } };
        (statistics.min, statistics.max) = (first, first);

        let mut smallest = f32::INFINITY;
        let mut count = 0;
        for value in finite {
            count += 1;
            statistics.min = statistics.min.min(value);
            statistics.max = statistics.max.max(value);
            if value == 0.0 {
                statistics.zeros += 1;
            } else {
                smallest = smallest.min(value.abs());
            }
        }

        statistics.not_finite = values.len() - count;
        statistics.abs_max = statistics.max.max(-statistics.min);
        if statistics.abs_max > 0.0 {
            statistics.octaves = (f64::from(statistics.abs_max) / f64::from(smallest)).log2();
        }
        statistics
    }
}

/// The range of magnitudes that a quantised blob can represent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantRange {
    /// The bit width.
    pub bits: Bits,
    /// The code of the smallest positive magnitude.
    pub delta: i32,
}

impl QuantRange {
    /// The smallest positive magnitude in the range.
    pub fn smallest(self) -> f64 {
        self.bits.format().value_f64(self.delta)
    }

    /// The largest magnitude in the range.
    pub fn largest(self) -> f64 {
        let format = self.bits.format();
        format.value_f64(self.delta + format.max_code)
    }
}

/// How well a bit width fits a blob of values that is quantised by its own range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantisedFit {
    /// The range that the values have in this bit width.
    pub range: QuantRange,
    /// The number of values that are not 0 and become 0.
    pub flushed: usize,
    /// The number of values that saturate: their magnitude is more than half a step above the largest of the range.
    pub saturated: usize,
}

impl QuantisedFit {
    /// Quantises a copy of these values in `bits`.
    pub fn of(values: &[f32], bits: Bits) -> QuantisedFit {
        let mut param = Param::default();
        let mut quantised = values.to_vec();
        quant::quantise(&mut quantised, bits, Mode::Init, &mut param);
        let range = QuantRange { bits, delta: param.delta };

        let half_a_step = (0.5 / f64::from(bits.format().steps())).exp2();
        let limit = range.largest() * half_a_step;
        let flushed = values.iter().zip(&quantised).filter(|(value, code)| **value != 0.0 && **code == 0.0).count();
        let saturated = values.iter().filter(|value| f64::from(value.abs()) > limit).count();
        QuantisedFit { range, flushed, saturated }
    }
}

/// A blob of a layer.
#[derive(Clone, Debug)]
pub struct BlobInfo {
    /// The lengths of the axes, the outermost first.
    pub shape: Vec<usize>,
    /// The number of values that the file holds.
    pub count: usize,
    /// Statistics of the values; `None` if the file does not hold as many as the shape asks for.
    pub statistics: Option<Statistics>,
    /// For weights that the NNIE quantises, how well 8 and 16 bit fit them; `None` for other blobs.
    pub fits: Option<[QuantisedFit; 2]>,
}

/// A layer that has blobs.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    /// The layer's name.
    pub name: BString,
    /// The layer's type.
    pub kind: BString,
    /// The layer's blobs.
    pub blobs: Vec<BlobInfo>,
    /// A Quant layer's ranges, one for each of its bottoms; `None` for a bottom that has seen no data yet.
    pub ranges: Vec<Option<QuantRange>>,
}

/// Decodes and measures every layer that has blobs.
pub fn info(model: &Model) -> Vec<LayerInfo> {
    // Quantising the weights in both widths takes most of the time, and layers do not depend on each other.
    let layers = model.layers().par_iter().enumerate().filter(|(_, layer)| !layer.blobs.is_empty());
    layers
        .map(|(number, layer)| {
            let has_weights = has_weights(&layer.kind);
            let blobs = layer.blobs.iter().enumerate().map(|(index, blob)| {
                let values = model.values(number, index).ok().map(|values| values.into_f32());
                let weights = values.as_deref().filter(|_| has_weights && index == 0);
                BlobInfo {
                    shape: blob.shape().to_vec(),
                    count: blob.count(),
                    statistics: values.as_deref().map(Statistics::of),
                    fits: weights.map(|values| [Bits::Eight, Bits::Sixteen].map(|bits| QuantisedFit::of(values, bits))),
                }
            });
            let ranges = if layer.kind == QUANT { stored_ranges(model, number) } else { Vec::new() };
            LayerInfo { name: layer.name.clone(), kind: layer.kind.clone(), blobs: blobs.collect(), ranges }
        })
        .collect()
}

/// The ranges that a Quant layer has stored, one for each bottom. Its blob has a row (bits, delta) for each bottom; bits
/// is 0 if the bottom has seen no data yet.
fn stored_ranges(model: &Model, layer: usize) -> Vec<Option<QuantRange>> {
    let values = model.values(layer, 0).map(|values| values.into_f32()).unwrap_or_default();
    let rows = values.as_chunks::<2>().0.iter();
    rows.map(|&[bits, delta]| {
        let bits = Bits::from_number(bits as u32)?;
        Some(QuantRange { bits, delta: delta as i32 }).filter(|range| bits.format().contains(range.delta))
    })
    .collect()
}

/// The range of a data blob that NNIE layers read.
#[derive(Clone, Debug)]
pub struct DataRange {
    /// The Quant layer that quantises the blob.
    pub quant: BString,
    /// The Quant layer's bottom, which the NNIE layers read directly in the net without Quant layers.
    pub blob: BString,
    /// The range that training has stored; `None` if it has stored none yet.
    pub range: Option<QuantRange>,
    /// The NNIE layers that read the quantised blob.
    pub feeds: Vec<BString>,
}

/// The range of a layer's weights.
#[derive(Clone, Debug)]
pub struct WeightRange {
    /// The layer's name.
    pub layer: BString,
    /// The layer's type.
    pub kind: BString,
    /// The range that quantising the weights gives.
    pub range: QuantRange,
    /// Statistics of the weights before they are quantised.
    pub statistics: Statistics,
}

/// The ranges of a net's data and weights.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// The ranges of data, in the order of the Quant layers.
    pub data: Vec<DataRange>,
    /// The ranges of weights, in the order of the layers.
    pub weights: Vec<WeightRange>,
    /// Messages for the user.
    pub warnings: Vec<String>,
}

/// Reads the ranges that a net's Quant layers have stored, and computes those of its weights.
///
/// `default_bits` is the bit width of weights where the net's `weight_quant_param` does not set one.
///
/// # Errors
/// [`Error::Net`] if the document is not a net in Caffe's current format; [`Error::WrongNet`]; [`Error::Blob`] for
/// weights that cannot be read.
pub fn parameters(document: &Document, model: &Model, default_bits: Bits) -> Result<Parameters, Error> {
    let found = fold::chains(document)?;
    let net = &found.net;
    model.check_matches(net)?;

    let mut result = Parameters { data: data_ranges(net, model), weights: Vec::new(), warnings: Vec::new() };
    let choices = weight_bits(net, default_bits)?;
    result.warnings.extend(fold_first_warning(&found, choices.iter().map(|choice| choice.layer)));

    for choice in choices {
        let layer = &net.layers[choice.layer];
        if result.weights.iter().any(|known| known.layer == layer.name) {
            continue;
        }
        let Some(model_layer) = model.with_blobs(&layer.name).last() else {
            result.warnings.push(format!("the weights file has no blobs for `{}`", layer.name));
            continue;
        };

        let values = model.values(model_layer, 0)?.into_f32();
        let delta = quant::delta_of(&values, choice.bits);
        result.weights.push(WeightRange {
            layer: layer.name.clone(),
            kind: layer.kind.clone(),
            range: QuantRange { bits: choice.bits, delta },
            statistics: Statistics::of(&values),
        });
    }

    let unseen = result.data.iter().filter(|data| data.range.is_none());
    let unseen: Vec<String> =
        unseen.map(|data| format!("Quant layer `{}` has no range for `{}` yet", data.quant, data.blob)).collect();
    result.warnings.extend(unseen);
    if result.data.is_empty() {
        result.warnings.push("the net has no Quant layers, so it has no ranges of data".to_owned());
    }
    Ok(result)
}

/// The ranges of data that a net's Quant layers have stored.
fn data_ranges(net: &Net, model: &Model) -> Vec<DataRange> {
    let wiring = net.wiring();
    let mut found: Vec<DataRange> = Vec::new();
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
        let model_layer = model.with_blobs(&layer.name).last();
        let stored = model_layer.map(|model_layer| stored_ranges(model, model_layer)).unwrap_or_default();
        for (pair, blob) in layer.bottoms.iter().enumerate() {
            let readers = wiring.readers(Producer::Top { layer: number, top: pair }).iter();
            let readers = readers.map(|&(reader, _)| &net.layers[reader]);
            let mut feeds: Vec<BString> =
                readers.filter(|reader| is_computed(&reader.kind)).map(|reader| reader.name.clone()).collect();
            feeds.dedup();

            // Quant layers of the same name, in different phases, share their range.
            match found.iter_mut().find(|known| known.quant == layer.name && known.blob == blob.name) {
                Some(known) => {
                    feeds.retain(|layer| !known.feeds.contains(layer));
                    known.feeds.extend(feeds);
                }
                None => {
                    let range = stored.get(pair).copied().flatten();
                    found.push(DataRange { quant: layer.name.clone(), blob: blob.name.clone(), range, feeds });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_ignore_values_that_are_not_finite() {
        let statistics = Statistics::of(&[0.5, f32::NAN, -4.0, 0.0, f32::INFINITY, 0.25]);
        let expected = Statistics { min: -4.0, max: 0.5, abs_max: 4.0, octaves: 4.0, zeros: 1, not_finite: 2 };
        assert_eq!(statistics, expected);
        assert_eq!(Statistics::of(&[f32::NAN]), Statistics { not_finite: 1, ..Statistics::default() });
        assert_eq!(Statistics::of(&[0.0, 0.0]), Statistics { zeros: 2, ..Statistics::default() });
        assert_eq!(Statistics::of(&[]), Statistics::default());
    }

    #[test]
    fn a_fit_counts_values_that_the_format_cannot_hold() {
        // The magnitudes are 2^(q/16), the largest is 8: it takes values up to 8 * 2^(1/32), and 8.3 is above that.
        let found = QuantisedFit::of(&[8.3, -8.1, 8.0, 0.03, 1e-9, -1e-9, 0.0], Bits::Eight);
        assert_eq!((found.range.delta, found.flushed, found.saturated), (48 - 127, 2, 1));
        assert_eq!((found.range.largest(), found.range.smallest()), (8.0, (-79f64 / 16.0).exp2()));
        let fine = QuantisedFit::of(&[8.3, -8.1, 8.0, 0.03, 1e-9], Bits::Sixteen);
        assert_eq!((fine.flushed, fine.saturated), (1, 1));
    }
}
