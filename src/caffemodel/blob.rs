//! BlobProto: a shape and values, in any of the forms that Caffe has written them.

use std::io::{self, Write};

use super::wire::{self, Field, Fields, Value};

/// Field numbers of BlobProto.
mod field {
    pub const NUM: u32 = 1;
    pub const WIDTH: u32 = 4;
    pub const DATA: u32 = 5;
    pub const SHAPE: u32 = 7;
    pub const DOUBLE_DATA: u32 = 8;
    /// BlobShape's only field.
    pub const DIM: u32 = 1;
}

/// Values that are written at once.
const CHUNK: usize = 1 << 14;

/// A blob's values, in the precision in which the file holds them.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// `data`
    F32(Vec<f32>),
    /// `double_data`
    F64(Vec<f64>),
}

impl Values {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as Caffe's float nets load them.
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

    /// Computes new values, rounding to the precision that the file holds; `index` counts the values.
    #[must_use]
    pub fn map(self, with: impl Fn(usize, f64) -> f64) -> Values {
        self.map_runs(1, with)
    }

    /// Computes new values; `run` counts runs of `length` values.
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

    /// The start of a field that holds the values, which are to follow.
    pub(super) fn header(&self) -> Vec<u8> {
        match self {
            Values::F32(_) => wire::header(field::DATA, self.size()),
            Values::F64(_) => wire::header(field::DOUBLE_DATA, self.size()),
        }
    }

    /// How many bytes [`Values::write_to`] writes.
    pub(super) fn size(&self) -> usize {
        match self {
            Values::F32(values) => size_of_val(values.as_slice()),
            Values::F64(values) => size_of_val(values.as_slice()),
        }
    }

    /// Writes the values as a packed field holds them.
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

/// What a blob's message says besides its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The axes' lengths; four of them in a blob written before Caffe had shapes.
    pub shape: Vec<usize>,
    /// How many values are there.
    pub stored: usize,
}

impl Header {
    /// How many values the shape asks for; `None` where that is beyond any memory.
    pub fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |count, &length| count.checked_mul(length))
    }

    /// Reads a BlobProto's message; `None` where it is none.
    pub fn read(message: &[u8]) -> Option<Header> {
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
        // As Blob::FromProto has it: the old axes come before a shape, double values before float ones.
        let stored = if doubles > 0 { doubles } else { floats };
        Some(Header { shape: legacy.map_or(shape, |axes| axes.to_vec()), stored })
    }
}

fn read_shape(message: &[u8], shape: &mut Vec<usize>) -> Option<()> {
    for field in Fields::of(message) {
        match field.ok()? {
            Field { number: field::DIM, value: Value::Varint(length), .. } => shape.push(usize::try_from(length).ok()?),
            Field { number: field::DIM, value: Value::Bytes(packed), .. } => {
                for length in wire::read_varints(packed)? {
                    shape.push(usize::try_from(length).ok()?);
                }
            }
            Field { number: field::DIM, .. } => return None,
            _ => {}
        }
    }
    Some(())
}

/// How many values of `N` bytes a field holds, packed or alone.
fn count<const N: usize>(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Bytes(packed) if packed.len().is_multiple_of(N) => Some(packed.len() / N),
        Value::Fixed32(_) if N == 4 => Some(1),
        Value::Fixed64(_) if N == 8 => Some(1),
        _ => None,
    }
}

/// Reads the values of a message that [`Header::read`] has taken.
pub fn read_values(message: &[u8], stored: usize) -> Values {
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

/// The start of a BlobProto of this shape, behind which [`Values::write_to`] writes its end.
pub fn new(shape: &[usize], values: &Values) -> Vec<u8> {
    let lengths = wire::varints(shape.iter().map(|&length| length as u64));
    let shape = wire::bytes_field(field::SHAPE, &wire::bytes_field(field::DIM, &lengths));
    [shape, values.header()].concat()
}

/// The message without its values and with the start of other ones, everything else in it kept.
pub fn with_values(message: &[u8], values: &Values) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kept = Fields::of(message)
        .filter_map(Result::ok)
        .filter(|field| !matches!(field.number, field::DATA | field::DOUBLE_DATA));
    kept.for_each(|field| bytes.extend_from_slice(&message[field.range]));
    bytes.extend(values.header());
    bytes
}
