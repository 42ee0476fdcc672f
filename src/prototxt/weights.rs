//! Which layers see quantised weights, and in how many bits: the choice that WeightQuantizer makes in a Caffe tree.

use super::document::{Document, Field};
use super::net::Net;
use super::select::{HIGH_PRECISION, has_weights};
use super::{EditError, QUANT};
use crate::quant::Bits;

/// A layer whose weights are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightBits {
    /// Its number in the net.
    pub layer: usize,
    /// The width.
    pub bits: Bits,
    /// Whether as they are with the BatchNorm and Scale behind them folded in.
    pub is_folded: bool,
}

/// The layers of a net whose weights are quantised: where the net has a `weight_quant_param`, those that Caffe shows
/// quantised weights; a net without one is taken as if it had one of `otherwise` bits.
///
/// # Errors
/// [`EditError::BadBits`] for a width that Caffe would refuse.
pub fn weight_bits(document: &Document, net: &Net, otherwise: Bits) -> Result<Vec<WeightBits>, EditError> {
    let whole = Options::read(document.field(net.id).first("weight_quant_param"));
    let mut found = Vec::new();
    if whole.is_off {
        return Ok(found);
    }
    for (number, layer) in net.layers.iter().enumerate() {
        let message = document.field(layer.id);
        let own = message.first("quant_param");
        let takes_part = layer.kind != QUANT && (own.is_some() || has_weights(&layer.kind));
        let own = Options::read(own);
        if !takes_part || own.is_off {
            continue;
        }
        let by_name = layer.name.ends_with(HIGH_PRECISION).then_some(16);
        let bits = own.bits.or(by_name).or(whole.bits).unwrap_or(otherwise.number());
        let Some(bits) = Bits::from_number(bits) else {
            let line = document.line_starts().line(message.range().start);
            return Err(EditError::BadBits { line, bits });
        };
        let is_folded = own.is_folded.or(whole.is_folded).unwrap_or(false) && has_weights(&layer.kind);
        found.push(WeightBits { layer: number, bits, is_folded });
    }
    Ok(found)
}

/// A QuantParameter.
#[derive(Default)]
struct Options {
    is_off: bool,
    bits: Option<u32>,
    is_folded: Option<bool>,
}

impl Options {
    fn read(message: Option<Field<'_>>) -> Options {
        let Some(message) = message else { return Options::default() };
        Options {
            is_off: message.first("quant_en").is_some_and(|value| !value.is_true()),
            bits: message.first("quant_bits").and_then(|value| value.number()),
            is_folded: message.first("fold_batch_norm").map(|value| value.is_true()),
        }
    }
}
