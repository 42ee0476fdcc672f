//! The nodes of a parsed document: a flat list of places in its source.

use std::ops::Range;

/// The form in which a field's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{ … }`, `< … >`, or the document itself.
    Message,
    /// `[ … ]`
    List,
    /// One string literal, or several adjacent ones.
    String,
    /// A number, or a signed name such as `-inf`.
    Number,
    /// A name without quotes: `true`, `MAX`, `inf`.
    Identifier,
}

/// The number of a field in its document. It stays valid as long as the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub(super) usize);

/// A range of bytes in the source. 32 bits keep a node small, since a document may have a node for every four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    pub(super) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A field, or an item of a list. Nodes are stored in the order of their text, a parent before its children.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// Where the token before this node ends. Between here and the name there are only spaces and comments.
    pub gap: u32,
    /// The field's name; empty for an item of a list.
    pub name: Span,
    pub value: Span,
    /// The end of the separator behind the value, or of the value where there is no separator.
    pub end: u32,
    /// The index of the first node that is not inside this one.
    pub last: u32,
}

impl Node {
    /// A node whose value has not been read yet.
    pub(super) fn pending(gap: usize, name: Span) -> Node {
        let at = name.end as usize;
        Node { kind: Kind::Identifier, gap: gap as u32, name, value: Span::new(at, at), end: name.end, last: 0 }
    }
}
