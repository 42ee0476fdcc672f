//! Ranges: what a model's values are, what the chip's formats make of them, and what training has stored of its data.

use bstr::BString;

use super::error::Error;
use super::model::Model;
use super::quantise::fold_first_warning;
use crate::prototxt::net::{Net, Producer};
use crate::prototxt::{COMPUTED, Document, QUANT, fold, has_weights, weight_bits};
use crate::quant::{self, Bits, Mode, Param};

/// What a blob's values are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistics {
    /// The smallest value; 0 for none.
    pub min: f32,
    /// The largest.
    pub max: f32,
    /// The largest magnitude.
    pub abs_max: f32,
    /// Octaves from the smallest magnitude that is not 0 to the largest. The 8-bit format has 8, the 16-bit one 11.
    pub octaves: f64,
    /// Values that are 0.
    pub zeros: usize,
    /// NaN and infinities; the others take no notice of them.
    pub not_finite: usize,
}

impl Statistics {
    /// Of these values.
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

/// A scale: the codes of a width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantRange {
    /// The width.
    pub bits: Bits,
    /// The code of the smallest magnitude.
    pub delta: i32,
}

impl QuantRange {
    /// The smallest positive magnitude.
    pub fn smallest(self) -> f64 {
        self.bits.format().value_f64(self.delta)
    }

    /// The largest magnitude.
    pub fn largest(self) -> f64 {
        let format = self.bits.format();
        format.value_f64(self.delta + format.max_code)
    }
}

/// What quantising makes of values by their own range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantisedFit {
    /// The range.
    pub range: QuantRange,
    /// Values that are not 0 and become 0.
    pub flushed: usize,
    /// Values that are more than half a step above the largest magnitude.
    pub saturated: usize,
}

impl QuantisedFit {
    /// Of these values, in `bits`.
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
    /// The axes' lengths.
    pub shape: Vec<usize>,
    /// How many values.
    pub count: usize,
    /// What they are; `None` where the file does not hold as many as the shape asks for.
    pub statistics: Option<Statistics>,
    /// For weights that the NNIE quantises: in 8 and in 16 bit.
    pub fits: Option<[QuantisedFit; 2]>,
}

/// A layer that has blobs.
#[derive(Clone, Debug)]
pub struct LayerInfo {
    /// Its name.
    pub name: BString,
    /// Its type.
    pub kind: BString,
    /// Its blobs.
    pub blobs: Vec<BlobInfo>,
    /// A Quant layer's ranges, one for each of its bottoms; `None` for one that has seen no data.
    pub ranges: Vec<Option<QuantRange>>,
}

/// Looks at every layer that has blobs.
pub fn info(model: &Model) -> Vec<LayerInfo> {
    let layers = model.layers().iter().enumerate().filter(|(_, layer)| !layer.blobs.is_empty());
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

/// A Quant layer's blob has a row (bits, delta) for each bottom; bits is 0 where no range has been seen.
fn stored_ranges(model: &Model, layer: usize) -> Vec<Option<QuantRange>> {
    let values = model.values(layer, 0).map(|values| values.into_f32()).unwrap_or_default();
    let rows = values.as_chunks::<2>().0.iter();
    rows.map(|&[bits, delta]| {
        let bits = Bits::from_number(bits as u32)?;
        Some(QuantRange { bits, delta: delta as i32 }).filter(|range| bits.format().contains(range.delta))
    })
    .collect()
}

/// The range of what an NNIE layer reads.
#[derive(Clone, Debug)]
pub struct DataRange {
    /// The Quant layer.
    pub quant: BString,
    /// The blob that it quantises: what the net for the compiler has in its place.
    pub blob: BString,
    /// What training has stored; `None` where it has not.
    pub range: Option<QuantRange>,
    /// The NNIE layers that read it.
    pub feeds: Vec<BString>,
}

/// The range of a layer's weights.
#[derive(Clone, Debug)]
pub struct WeightRange {
    /// The layer.
    pub layer: BString,
    /// Its type.
    pub kind: BString,
    /// Where the chip puts them.
    pub range: QuantRange,
    /// What they are.
    pub statistics: Statistics,
}

/// The parameters of a net's quantisation.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Of data, in the order of the Quant layers.
    pub data: Vec<DataRange>,
    /// Of weights, in the order of the layers.
    pub weights: Vec<WeightRange>,
    /// What a user should look at.
    pub warnings: Vec<String>,
}

/// Reads the stored ranges of a net's Quant layers, and takes those of its weights.
///
/// # Errors
/// [`Error::Net`] for a document that is no net of today's form; [`Error::WrongNet`]; [`Error::Blob`] for weights
/// that cannot be read.
pub fn parameters(document: &Document, model: &Model, otherwise: Bits) -> Result<Parameters, Error> {
    let found = fold::chains(document)?;
    let net = &found.net;
    model.check_matches(net)?;
    let mut result = Parameters { data: data_ranges(net, model), weights: Vec::new(), warnings: Vec::new() };
    let choices = weight_bits(document, net, otherwise)?;
    result.warnings.extend(fold_first_warning(&found, choices.iter().map(|choice| choice.layer)));
    for choice in choices {
        let layer = &net.layers[choice.layer];
        if result.weights.iter().any(|known| known.layer == layer.name) {
            continue;
        }
        let Some(model_layer) = model.with_blobs(&layer.name).last() else {
            result.warnings.push(format!("the weights file has nothing for `{}`", layer.name));
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
        result.warnings.push("the net has no Quant layers, so there are no ranges of data".to_owned());
    }
    Ok(result)
}

fn data_ranges(net: &Net, model: &Model) -> Vec<DataRange> {
    let wiring = net.wiring();
    let mut found: Vec<DataRange> = Vec::new();
    for (number, layer) in net.layers.iter().enumerate().filter(|(_, layer)| layer.kind == QUANT) {
        let model_layer = model.with_blobs(&layer.name).last();
        let stored = model_layer.map(|model_layer| stored_ranges(model, model_layer)).unwrap_or_default();
        for (pair, blob) in layer.bottoms.iter().enumerate() {
            let readers = wiring.readers(Producer::Top { layer: number, top: pair }).iter();
            let readers = readers.map(|&(reader, _)| &net.layers[reader]);
            let mut feeds: Vec<BString> = readers
                .filter(|reader| COMPUTED.iter().any(|kind| reader.kind == *kind))
                .map(|reader| reader.name.clone())
                .collect();
            feeds.dedup();
            // Quants of one name in different phases share their range.
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
    fn a_spread_passes_over_what_is_not_finite() {
        let statistics = Statistics::of(&[0.5, f32::NAN, -4.0, 0.0, f32::INFINITY, 0.25]);
        let expected = Statistics { min: -4.0, max: 0.5, abs_max: 4.0, octaves: 4.0, zeros: 1, not_finite: 2 };
        assert_eq!(statistics, expected);
        assert_eq!(Statistics::of(&[f32::NAN]), Statistics { not_finite: 1, ..Statistics::default() });
        assert_eq!(Statistics::of(&[0.0, 0.0]), Statistics { zeros: 2, ..Statistics::default() });
        assert_eq!(Statistics::of(&[]), Statistics::default());
    }

    #[test]
    fn a_use_counts_what_the_format_cannot_hold() {
        // The top step is 8; of the magnitudes 2^(q/16) it takes what is under 8 * 2^(1/32), and 8.3 is above.
        let found = QuantisedFit::of(&[8.3, -8.1, 8.0, 0.03, 1e-9, -1e-9, 0.0], Bits::Eight);
        assert_eq!((found.range.delta, found.flushed, found.saturated), (48 - 127, 2, 1));
        assert_eq!((found.range.largest(), found.range.smallest()), (8.0, (-79f64 / 16.0).exp2()));
        let fine = QuantisedFit::of(&[8.3, -8.1, 8.0, 0.03, 1e-9], Bits::Sixteen);
        assert_eq!((fine.flushed, fine.saturated), (1, 1));
    }
}
