//! Parsers of option values that several commands take.

use crate::quant::Bits;

/// Parses a bit width, 8 or 16.
pub(super) fn bits(text: &str) -> Result<Bits, String> {
    text.parse().ok().and_then(Bits::from_number).ok_or_else(|| "give 8 or 16".to_owned())
}
