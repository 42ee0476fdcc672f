//! `QuantParameter`, the message of the fields `quant_param` and `weight_quant_param`.

use crate::prototxt::text::{Field, Id};

/// A `QuantParameter` as far as it is written; every field has its default where the message is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantParameter {
    /// The message in the document; `None` where it is absent.
    pub id: Option<Id>,
    /// Whether `quant_en` switches quantisation off.
    pub is_off: bool,
    /// `quant_bits`. The value may be one that the NNIE does not have.
    pub bits: Option<u32>,
    /// `fold_batch_norm`.
    pub is_folded: Option<bool>,
}

impl QuantParameter {
    /// Reads the field called `name` of a layer or a net. Of several such fields the first counts.
    pub(super) fn read(message: Field<'_>, name: &str) -> QuantParameter {
        let Some(own) = message.first(name) else { return QuantParameter::default() };

        QuantParameter {
            id: Some(own.id()),
            is_off: own.first("quant_en").is_some_and(|value| !value.is_true()),
            bits: own.first("quant_bits").and_then(|value| value.number()),
            is_folded: own.first("fold_batch_norm").map(|value| value.is_true()),
        }
    }

    /// Whether the message is there.
    pub fn is_present(&self) -> bool {
        self.id.is_some()
    }

    /// The bit width; 8 is the default in caffe.proto.
    pub fn width(&self) -> u32 {
        self.bits.unwrap_or(8)
    }
}
