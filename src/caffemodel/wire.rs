//! Protobuf's wire format: a message's fields as they lie in its bytes, and new fields.

use std::ops::Range;

use prost::encoding::{self, DecodeContext, WireType};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// A message, a string, bytes or packed numbers.
    Bytes(&'a [u8]),
    /// proto2's old groups, which no caffe.proto has.
    Group,
}

/// A field in its message.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// Where the field lies in the message, its key included.
    pub range: Range<usize>,
}

impl Field<'_> {
    /// Where the bytes of a [`Value::Bytes`] lie in the message.
    pub fn payload(&self) -> Range<usize> {
        let length = if let Value::Bytes(bytes) = self.value { bytes.len() } else { 0 };
        self.range.end - length..self.range.end
    }
}

/// Bytes that are not the fields of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where the field starts that does not fit.
    pub at: usize,
}

/// A message's fields in their order. After an error there is no more.
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Fields<'a> {
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

/// The key and length of a field of `length` bytes, which are to follow.
pub fn header(number: u32, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encoding::encode_key(number, WireType::LengthDelimited, &mut bytes);
    encoding::encode_varint(length as u64, &mut bytes);
    bytes
}

/// A field holding `payload`.
pub fn bytes_field(number: u32, payload: &[u8]) -> Vec<u8> {
    [header(number, payload.len()).as_slice(), payload].concat()
}

/// A field holding a number.
pub fn varint_field(number: u32, value: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    encoding::encode_key(number, WireType::Varint, &mut bytes);
    encoding::encode_varint(value, &mut bytes);
    bytes
}

/// Numbers as a packed field holds them.
pub fn varints(values: impl Iterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    values.for_each(|value| encoding::encode_varint(value, &mut bytes));
    bytes
}

/// Reads packed numbers; `None` for bytes that are none.
pub fn read_varints(mut bytes: &[u8]) -> Option<Vec<u64>> {
    let mut values = Vec::new();
    while !bytes.is_empty() {
        values.push(encoding::decode_varint(&mut bytes).ok()?);
    }
    Some(values)
}
