//! A text-format document: a tree of fields over its own source.
//!
//! Nodes hold places in the source, never copies of it, so that a document prints as the bytes it was read from: comments,
//! spacing, separators and unknown fields are kept. A change is a list of splices ([`super::Edits`]).

use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};

use super::error::ParseError;
use super::node::{Id, Kind, Node};
use super::{literal, parser};

/// A parsed text that prints as the bytes it was read from.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file's name in errors.
    file: String,
    source: Vec<u8>,
    nodes: Vec<Node>,
}

impl Document {
    /// Parses protobuf's text format; no schema is needed. Errors call the text `file`.
    ///
    /// # Errors
    /// [`ParseError`] at the first byte that is not text format.
    pub fn parse(source: impl Into<Vec<u8>>, file: &str) -> Result<Document, ParseError> {
        let source = source.into();
        if u32::try_from(source.len()).is_err() {
            let message = "expected a text of less than 4 GiB".to_owned();
            return Err(ParseError::new(file, &[], 0, message));
        }
        match parser::parse(&source) {
            Ok(nodes) => Ok(Document { file: file.to_owned(), source, nodes }),
            Err((at, message)) => {
                let message = match source.as_slice() {
                    [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "expected a text in UTF-8: this is UTF-16".to_owned(),
                    text if text.contains(&0) => {
                        "expected a text: this is binary data (a .caffemodel? give the net's .prototxt)".to_owned()
                    }
                    _ => message,
                };
                Err(ParseError::new(file, &source, at, message))
            }
        }
    }

    /// The bytes that the document was parsed from.
    pub fn as_bytes(&self) -> &[u8] {
        &self.source
    }

    /// The whole document as a message, whose children are the file's top-level fields.
    pub fn root(&self) -> Field<'_> {
        Field { document: self, index: 0 }
    }

    /// An error about a field's value, which shows the line where the value stands.
    pub(crate) fn error_at(&self, field: Field<'_>, message: String) -> ParseError {
        ParseError::new(&self.file, &self.source, field.value_range().start, message)
    }

    /// An index for many look-ups of line numbers.
    pub fn line_starts(&self) -> LineIndex {
        let after_newline = self.source.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
        LineIndex { starts: std::iter::once(0).chain(after_newline).collect() }
    }

    /// Whether the document holds no field at all.
    pub fn is_empty(&self) -> bool {
        self.root().children().next().is_none()
    }

    /// The field with a number that this document gave.
    pub fn field(&self, id: Id) -> Field<'_> {
        Field { document: self, index: id.0 }
    }
}

/// Where each line of a document starts.
#[derive(Clone, Debug)]
pub struct LineIndex {
    starts: Vec<usize>,
}

impl LineIndex {
    /// The number of the line that holds byte `at`, counted from 1.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at)
    }
}

/// A field, or an item of a list, in its document.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    document: &'a Document,
    index: usize,
}

impl<'a> Field<'a> {
    fn node(&self) -> &'a Node {
        &self.document.nodes[self.index]
    }

    /// This field's number.
    pub fn id(&self) -> Id {
        Id(self.index)
    }

    /// The name as written: an extension's with its brackets; an item of a list has an empty name.
    pub fn name(&self) -> &'a [u8] {
        &self.document.source[self.node().name.range()]
    }

    /// The form of the value.
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// The value as written.
    pub fn value_text(&self) -> &'a [u8] {
        &self.document.source[self.value_range()]
    }

    /// The bytes of the value in the source.
    pub fn value_range(&self) -> Range<usize> {
        self.node().value.range()
    }

    /// The field as written, from its name to its value.
    pub fn text(&self) -> &'a [u8] {
        &self.document.source[self.node().name.start as usize..self.value_range().end]
    }

    /// The bytes of the field in the source, from its name to its value or the separator after it.
    pub fn range(&self) -> Range<usize> {
        self.node().name.start as usize..self.node().end as usize
    }

    /// The bytes of the spaces and comments before the field.
    pub fn gap(&self) -> Range<usize> {
        self.node().gap as usize..self.node().name.start as usize
    }

    /// The fields of a message, or the items of a list, in the order of the text; nothing for a scalar.
    pub fn children(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let Field { document, index } = *self;
        let end = document.nodes[index].last as usize;
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let child = (next < end).then_some(Field { document, index: next })?;
            next = child.node().last as usize;
            Some(child)
        })
    }

    /// The values of all fields called `name`; the items of a list come one by one.
    pub fn all<'n>(&self, name: &'n str) -> impl Iterator<Item = Field<'a>> + use<'a, 'n> {
        self.children().filter(move |field| field.name() == name.as_bytes()).flat_map(|field| {
            let is_list = field.kind() == Kind::List;
            let alone = (!is_list).then_some(field);
            let items = is_list.then(|| field.children()).into_iter().flatten();
            alone.into_iter().chain(items)
        })
    }

    /// The first value called `name`.
    pub fn first(&self, name: &str) -> Option<Field<'a>> {
        self.all(name).next()
    }

    /// The decoded value of a string; the text of any other value.
    pub fn string(&self) -> BString {
        match self.kind() {
            Kind::String => literal::decode(self.value_text()),
            _ => BString::from(self.value_text()),
        }
    }

    /// The value as a number; `None` where its text is not one.
    pub fn number<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.value_text()).ok()?.trim_end_matches(['f', 'F']).parse().ok()
    }

    /// Whether the value is one of the text format's spellings of `true`.
    pub fn is_true(&self) -> bool {
        matches!(self.value_text(), b"true" | b"True" | b"t" | b"1")
    }

    /// The value's text, for values of one word.
    pub fn word(&self) -> &'a BStr {
        self.value_text().as_bstr()
    }
}
