//! Protobuf's wire format: reads the fields of a message with their byte ranges, and encodes new fields.

use std::ops::Range;

use prost::encoding::{self, DecodeContext, WireType};

/// A field's value, by wire type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Length-delimited: a message, a string, bytes or packed numbers.
    Bytes(&'a [u8]),
    /// A group, deprecated in proto2 and not used by any caffe.proto; skipped.
    Group,
}

/// A field of a message.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// The field's bytes in the message, including the key.
    pub range: Range<usize>,
}

impl Field<'_> {
    /// The range of a [`Value::Bytes`]'s content in the message, without key and length; empty for other values.
    pub(super) fn payload(&self) -> Range<usize> {
        let length = if let Value::Bytes(bytes) = self.value { bytes.len() } else { 0 };
        self.range.end - length..self.range.end
    }
}

/// The bytes cannot be read as the fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    /// The offset in the message at which the unreadable field starts.
    pub at: usize,
}

/// Iterates over a message's fields in their order; ends after the first error.
pub(super) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { message, at: 0 }
    }

    fn read(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let mut rest = &self.message[start..];
        let (number, wire_type) = encoding::decode_key(&mut rest).ok()?;
        let value = match wire_type {
            WireType::Varint => Value::Varint(encoding::decode_varint(&mut rest).ok()?),
            WireType::ThirtyTwoBit => Value::Fixed32(*take_chunk(&mut rest)?),
            WireType::SixtyFourBit => Value::Fixed64(*take_chunk(&mut rest)?),
            WireType::LengthDelimited => {
                let length = usize::try_from(encoding::decode_varint(&mut rest).ok()?).ok()?;
                let (bytes, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Value::Bytes(bytes)
            }
            WireType::StartGroup | WireType::EndGroup => {
                encoding::skip_field(wire_type, number, &mut rest, DecodeContext::default()).ok()?;
                Value::Group
            }
        };
        self.at = self.message.len() - rest.len();
        Some(Field { number, value, range: start..self.at })
    }
}

fn take_chunk<'a, const N: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (chunk, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(chunk)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.message.len() {
            return None;
        }
        let start = self.at;
        Some(self.read().ok_or_else(|| {
            self.at = self.message.len();
            Malformed { at: start }
        }))
    }
}

/// The key and length of a length-delimited field; the caller writes its `length` bytes of content.
pub(super) fn header(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encoding::encode_key(number, WireType::LengthDelimited, &mut bytes);
    encoding::encode_varint(length as u64, &mut bytes);
    bytes
}

/// A length-delimited field with this content.
pub(super) fn bytes_field(number: u32, payload: &[u8]) -> Vec<u8> {
    [header(number, payload.len()).as_slice(), payload].concat()
}

/// A varint field.
pub(super) fn varint_field(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encoding::encode_key(number, WireType::Varint, &mut bytes);
    encoding::encode_varint(value, &mut bytes);
    bytes
}

/// Encodes numbers as the content of a packed field.
pub(super) fn pack_varints(values: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.for_each(|value| encoding::encode_varint(value, &mut bytes));
    bytes
}

/// Decodes the content of a packed field; `None` if it is malformed.
pub(super) fn unpack_varints(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(encoding::decode_varint(&mut bytes).ok()?);
    }
    Some(values)
}
