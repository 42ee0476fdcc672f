//! A text-format document: a tree laid over its own source.
//!
//! Nodes hold places in the source, never copies of it, so that printing a document gives back its bytes whatever they
//! were: comments, spacing, separators, fields nobody here knows. A change is a list of splices ([`super::edit`]).

use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};

use super::error::ParseError;
use super::{literal, parser};

/// What a node's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{ … }`, `< … >`, or the document itself.
    Message,
    /// `[ … ]`
    List,
    /// One literal, or several adjacent ones.
    String,
    /// A number, or a signed name such as `-inf`.
    Number,
    /// `true`, `MAX`, `inf`
    Identifier,
}

/// A place in the source. 32 bits keep a node small: a document may have one for every four bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A field, or an item of a list. Nodes lie in the order of their text, a parent before its children.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// Where the token before this node ends: from here to the name there is only space and comments.
    pub gap: u32,
    /// Empty for an item.
    pub name: Span,
    pub value: Span,
    /// After the value, or after the separator where there is one.
    pub end: u32,
    /// The number of the first node that is not inside this one.
    pub last: u32,
}

impl Node {
    pub fn pending(gap: usize, name: Span) -> Node {
        let at = name.end as usize;
        Node { kind: Kind::Identifier, gap: gap as u32, name, value: Span::new(at, at), end: name.end, last: 0 }
    }
}

/// A parsed text that prints as it was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// As errors name it.
    file: String,
    source: Vec<u8>,
    nodes: Vec<Node>,
}

impl Document {
    /// Parses protobuf's text format; no schema is needed.
    ///
    /// `file` is the name that errors give.
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

    /// The document as text: the bytes it was parsed from.
    pub fn as_bytes(&self) -> &[u8] {
        &self.source
    }

    /// The document as a message: its children are the fields of the file.
    pub fn root(&self) -> Field<'_> {
        Field { document: self, index: 0 }
    }

    /// What is wrong at a field's value, shown where it is.
    pub(super) fn error_at(&self, field: Field<'_>, message: String) -> ParseError {
        ParseError::new(&self.file, &self.source, field.value_range().start, message)
    }

    /// The start of every line, for finding line numbers.
    pub fn line_starts(&self) -> LineIndex {
        let after_newline = self.source.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1);
        LineIndex { starts: std::iter::once(0).chain(after_newline).collect() }
    }

    /// The field of a number that this document gave.
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
    /// The number of the line that byte `at` is on, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start <= at)
    }
}

/// A field's number in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(usize);

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

    /// The name as written; an extension's with its brackets, an item's empty.
    pub fn name(&self) -> &'a [u8] {
        &self.document.source[self.node().name.range()]
    }

    /// What the value is.
    pub fn kind(&self) -> Kind {
        self.node().kind
    }

    /// The value as written.
    pub fn value_text(&self) -> &'a [u8] {
        &self.document.source[self.value_range()]
    }

    /// Where the value lies.
    pub fn value_range(&self) -> Range<usize> {
        self.node().value.range()
    }

    /// The field as written, from its name to its value.
    pub fn text(&self) -> &'a [u8] {
        &self.document.source[self.node().name.start as usize..self.value_range().end]
    }

    /// Where the field lies, from its name to its value or the separator after it.
    pub fn range(&self) -> Range<usize> {
        self.node().name.start as usize..self.node().end as usize
    }

    /// The space and comments before the field.
    pub fn gap(&self) -> Range<usize> {
        self.node().gap as usize..self.node().name.start as usize
    }

    /// The fields of a message, or the items of a list, in their order; none for a scalar.
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

    /// The values of the fields called `name`, a list's items one by one.
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

    /// What a string says; of any other value, its text.
    pub fn string(&self) -> BString {
        match self.kind() {
            Kind::String => literal::decode(self.value_text()),
            _ => BString::from(self.value_text()),
        }
    }

    /// A number, as the text format writes it.
    pub fn number<T: std::str::FromStr>(&self) -> Option<T> {
        std::str::from_utf8(self.value_text()).ok()?.trim_end_matches(['f', 'F']).parse().ok()
    }

    /// Whether it is a bool that is true.
    pub fn is_true(&self) -> bool {
        matches!(self.value_text(), b"true" | b"True" | b"t" | b"1")
    }

    /// The value's text where it is one word.
    pub fn word(&self) -> &'a BStr {
        self.value_text().as_bstr()
    }
}
