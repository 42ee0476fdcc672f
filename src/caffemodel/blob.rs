//! BlobProto: reads shape and values in every encoding that Caffe has written, and encodes new values.

use std::io::{self, Write};

use super::wire::{self, Field, Fields, Value};

/// Field numbers of BlobProto.
mod field {
    pub(super) const NUM: u32 = 1;
    pub(super) const WIDTH: u32 = 4;
    pub(super) const DATA: u32 = 5;
    pub(super) const SHAPE: u32 = 7;
    pub(super) const DOUBLE_DATA: u32 = 8;
    /// BlobShape's only field.
    pub(super) const DIM: u32 = 1;
}

/// The number of values that are converted to bytes and written together.
const CHUNK: usize = 1 << 14;

/// A blob's values, in the precision in which the file stores them.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Single precision, from the field `data`.
    F32(Vec<f32>),
    /// Double precision, from the field `double_data`.
    F64(Vec<f64>),
}

impl Values {
    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values in single precision, converted as Caffe does when it loads a `Net<float>`.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Values::F32(values) => values,
            Values::F64(values) => values.into_iter().map(|value| value as f32).collect(),
        }
    }

    /// The values in double precision.
    pub fn into_f64(self) -> Vec<f64> {
        match self {
            Values::F32(values) => values.into_iter().map(f64::from).collect(),
            Values::F64(values) => values,
        }
    }

    /// Replaces each value by `with(index, value)`, computed in double precision and rounded to the stored one.
    #[must_use]
    pub fn map(self, with: impl Fn(usize, f64) -> f64) -> Values {
        self.map_runs(1, with)
    }

    /// Like [`map`](Values::map), but passes the index of the run of `length` consecutive values that a value is in.
    #[must_use]
    pub fn map_runs(self, length: usize, with: impl Fn(usize, f64) -> f64) -> Values {
        match self {
            Values::F32(mut values) => {
                for (run, values) in values.chunks_mut(length).enumerate() {
                    values.iter_mut().for_each(|value| *value = with(run, f64::from(*value)) as f32);
                }
                Values::F32(values)
            }
            Values::F64(mut values) => {
                for (run, values) in values.chunks_mut(length).enumerate() {
                    values.iter_mut().for_each(|value| *value = with(run, *value));
                }
                Values::F64(values)
            }
        }
    }

    /// The key and length of the field that holds the values; [`Values::write_to`] writes its content.
    pub(super) fn field_header(&self) -> Vec<u8> {
        match self {
            Values::F32(_) => wire::header(field::DATA, self.byte_len()),
            Values::F64(_) => wire::header(field::DOUBLE_DATA, self.byte_len()),
        }
    }

    /// The number of bytes that [`Values::write_to`] writes.
    pub(super) fn byte_len(&self) -> usize {
        match self {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F64(values) => size_of_val(values.as_slice()),
        }
    }

    /// Writes the values as the content of a packed field.
    pub(super) fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Values::F32(values) => write_chunks(values, out, |value| value.to_le_bytes()),
            Values::F64(values) => write_chunks(values, out, |value| value.to_le_bytes()),
        }
    }
}

fn write_chunks<T: Copy, const N: usize>(
    values: &[T],
    out: &mut dyn Write,
    to_bytes: impl Fn(T) -> [u8; N],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK * N);
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        chunk.iter().for_each(|&value| bytes.extend_from_slice(&to_bytes(value)));
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// A BlobProto's shape, and the number of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The lengths of the axes, the outermost first; always four for a blob in the old format (num, channels, height,
    /// width).
    pub shape: Vec<usize>,
    /// The number of values that the message holds.
    pub stored: usize,
}

impl Header {
    /// The number of values that the shape asks for; `None` if it overflows.
    pub(super) fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length))
    }

    /// Reads a BlobProto without decoding its values; `None` if it is malformed.
    pub(super) fn read(message: &[u8]) -> Option<Header> {
        let mut shape = Vec::new();
        let mut legacy: Option<[usize; 4]> = None;
        let (mut floats, mut doubles) = (0, 0);
        for field in Fields::of(message) {
            let field = field.ok()?;
            match (field.number, field.value) {
                (number @ field::NUM..=field::WIDTH, Value::Varint(length)) => {
                    legacy.get_or_insert_default()[number as usize - 1] = usize::try_from(length).ok()?;
                }
                (field::SHAPE, Value::Bytes(message)) => read_shape(message, &mut shape)?,
                (field::DATA, value) => floats += count::<4>(value)?,
                (field::DOUBLE_DATA, value) => doubles += count::<8>(value)?,
                (field::NUM..=field::WIDTH | field::SHAPE, _) => return None,
                _ => {}
            }
        }

        // The precedence of Blob::FromProto: the old axes over a shape, double values over float ones.
        let stored = if doubles > 0 { doubles } else { floats };
        Some(Header { shape: legacy.map_or(shape, |axes| axes.to_vec()), stored })
    }
}

/// Appends the lengths in a BlobShape to `shape`; `None` if it is malformed.
fn read_shape(message: &[u8], shape: &mut Vec<usize>) -> Option<()> {
    for field in Fields::of(message) {
        match field.ok()? {
            Field { number: field::DIM, value: Value::Varint(length), .. } => shape.push(usize::try_from(length).ok()?),
            Field { number: field::DIM, value: Value::Bytes(packed), .. } => {
                for length in wire::unpack_varints(packed)? {
                    shape.push(usize::try_from(length).ok()?);
                }
            }
            Field { number: field::DIM, .. } => return None,
            _ => {}
        }
    }
    Some(())
}

/// The number of values of `N` bytes in a field, packed or single; `None` for another wire type.
fn count<const N: usize>(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Bytes(packed) if packed.len().is_multiple_of(N) => Some(packed.len() / N),
        Value::Fixed32(_) if N == 4 => Some(1),
        Value::Fixed64(_) if N == 8 => Some(1),
        _ => None,
    }
}

/// Decodes the values of a message for which [`Header::read`] has counted `stored` of them.
pub(super) fn read_values(message: &[u8], stored: usize) -> Values {
    let fields = |number| Fields::of(message).filter_map(Result::ok).filter(move |field| field.number == number);
    if fields(field::DOUBLE_DATA).next().is_some_and(|field| field.value != Value::Bytes(&[])) {
        let mut values = Vec::with_capacity(stored);
        fields(field::DOUBLE_DATA).for_each(|field| match field.value {
            Value::Bytes(packed) => values.extend(packed.as_chunks().0.iter().map(|chunk| f64::from_le_bytes(*chunk))),
            Value::Fixed64(bytes) => values.push(f64::from_le_bytes(bytes)),
            _ => {}
        });
        return Values::F64(values);
    }

    let mut values = Vec::with_capacity(stored);
    fields(field::DATA).for_each(|field| match field.value {
        Value::Bytes(packed) => values.extend(packed.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk))),
        Value::Fixed32(bytes) => values.push(f32::from_le_bytes(bytes)),
        _ => {}
    });
    Values::F32(values)
}

/// The start of a new BlobProto of this shape: all but the values, which [`Values::write_to`] writes after it.
pub(super) fn new_prefix(shape: &[usize], values: &Values) -> Vec<u8> {
    let lengths = wire::pack_varints(shape.iter().map(|&length| length as u64));
    let shape = wire::bytes_field(field::SHAPE, &wire::bytes_field(field::DIM, &lengths));
    [shape, values.field_header()].concat()
}

/// The start of a BlobProto that gets other values: all its other fields, and the key and length of the values, which
/// [`Values::write_to`] writes after it.
pub(super) fn replaced_prefix(message: &[u8], values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kept = Fields::of(message)
        .filter_map(Result::ok)
        .filter(|field| !matches!(field.number, field::DATA | field::DOUBLE_DATA));
    kept.for_each(|field| bytes.extend_from_slice(&message[field.range]));
    bytes.extend(values.field_header());
    bytes
}
