//! Changes to a document's bytes: fields put in, taken out, and given another string.
//!
//! [`Place`] and [`removal`] are inverse: a field put in at a place and then removed leaves the bytes that were there
//! before. Both look only at the text around the field, so that a removal needs no record of the insertion. The same
//! holds for [`renamed`] and a renaming back.

use std::ops::Range;

use super::document::{Document, Field};
use super::lexer::{BOM, is_space};
use super::literal;

/// A list of changes to a document's bytes, which [`Edits::apply`] makes all at once.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Ranges of the source, and the bytes that replace each.
    splices: Vec<(Range<usize>, Vec<u8>)>,
}

impl Edits {
    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    /// Inserts `text` in front of byte `at`, behind earlier insertions at the same place.
    pub fn insert(&mut self, at: usize, text: impl Into<Vec<u8>>) {
        self.replace(at..at, text);
    }

    /// Replaces `range` by `text`.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<Vec<u8>>) {
        self.splices.push((range, text.into()));
    }

    /// The changed text. Where two ranges overlap, the bytes of both are removed.
    pub fn apply(mut self, source: &[u8]) -> Vec<u8> {
        self.splices.sort_by_key(|(range, _)| (range.start, range.end));
        let grown: usize = self.splices.iter().map(|(_, text)| text.len()).sum();
        let mut out = Vec::with_capacity(source.len() + grown);
        let mut done = 0;
        for (range, text) in self.splices {
            if range.start > done {
                out.extend_from_slice(&source[done..range.start]);
            }
            out.extend_from_slice(&text);
            done = done.max(range.end);
        }
        out.extend_from_slice(&source[done..]);
        out
    }
}

/// Where a new field is inserted in front of another one, and the white space it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub at: usize,
    /// The indentation of the new lines; `None` where the new field shares a line with its neighbours.
    pub indent: Option<Vec<u8>>,
    /// Whether an empty line follows the new field, because one precedes it.
    pub blank_after: bool,
}

impl Place {
    /// The place in front of `field` and of the comments on the lines directly above it, which belong to the field.
    pub(crate) fn before(document: &Document, field: Field<'_>) -> Place {
        let source = document.as_bytes();
        let start = field.range().start;
        let gap = Gap::of(source, field.gap());
        let Some(line) = gap.lines.last().cloned().filter(|line| line.is_blank(source)) else {
            return Place { at: start, indent: None, blank_after: false };
        };
        let attached = gap.lines.iter().rev().skip(1).take_while(|line| line.is_comment(source)).count();
        let first = gap.lines.len() - 1 - attached;
        let at = gap.lines[first].0.start;
        let blank_after = first > 0 && gap.lines[first - 1].is_blank(source);
        Place { at, indent: Some(source[line.0].to_vec()), blank_after }
    }

    /// The text to insert at this place, for a `field` without indentation and line end.
    pub(crate) fn text(&self, field: &[u8], eol: &[u8]) -> Vec<u8> {
        match &self.indent {
            Some(indent) => {
                let blank = if self.blank_after { eol } else { &[] };
                [indent, field, eol, blank].concat()
            }
            None => [field, b" "].concat(),
        }
    }
}

/// The lines of spaces and comments before a field: only whole lines, not the rest of the line on which the token before
/// stands.
struct Gap {
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line(Range<usize>);

impl Line {
    fn is_blank(&self, source: &[u8]) -> bool {
        source[self.0.clone()].iter().all(|&b| is_space(b))
    }

    fn is_comment(&self, source: &[u8]) -> bool {
        source[self.0.clone()].trim_ascii_start().starts_with(b"#")
    }
}

impl Gap {
    fn of(source: &[u8], gap: Range<usize>) -> Gap {
        let mut lines = Vec::new();
        // At the start of the file the gap begins with a line of its own. Any other gap begins in the middle of a line.
        let mut start = match gap.start {
            0 if source.starts_with(BOM) => Some(BOM.len()),
            0 => Some(0),
            _ => None,
        };
        for at in gap.clone() {
            if source[at] == b'\n' {
                if let Some(start) = start {
                    lines.push(Line(start..at + 1));
                }
                start = Some(at + 1);
            }
        }
        if let Some(start) = start {
            lines.push(Line(start..gap.end));
        }
        Gap { lines }
    }
}

/// The bytes to remove with `field`. Where the field has its lines to itself, these lines, and the empty line after them if
/// there is also one before them; otherwise the field and one space after it.
pub(crate) fn removal(document: &Document, field: Field<'_>) -> Range<usize> {
    let source = document.as_bytes();
    let range = field.range();
    let gap = Gap::of(source, field.gap());
    let first_on_line = gap.lines.last().filter(|line| line.is_blank(source));
    let rest = &source[range.end..];
    let spaces = rest.iter().take_while(|&&b| is_space(b) && b != b'\n').count();
    let line_end = match rest.get(spaces) {
        None => Some(range.end + spaces),
        Some(b'\n') => Some(range.end + spaces + 1),
        Some(_) => None,
    };
    match (first_on_line, line_end) {
        (Some(line), Some(end)) => {
            let before = gap.lines.len().checked_sub(2).map(|i| &gap.lines[i]);
            let blank_before = before.is_some_and(|line| line.is_blank(source));
            let after = &source[end..];
            let next_line = after.iter().take_while(|&&b| is_space(b) && b != b'\n').count();
            let blank_after = after.get(next_line) == Some(&b'\n');
            line.0.start..if blank_before && blank_after { end + next_line + 1 } else { end }
        }
        _ => range.start..range.end + usize::from(rest.first() == Some(&b' ')),
    }
}

/// The text of a string field with another value. As much of the field's own text as possible stays: its quotes, escapes
/// and adjacent literals, where one value begins with the other.
pub(crate) fn renamed(field: Field<'_>, value: &[u8]) -> Vec<u8> {
    let (old, text) = (field.string(), field.value_text());

    lengthened(text, &old, value)
        .or_else(|| shortened(text, &old, value))
        .unwrap_or_else(|| literal::encode(value, text[0]))
}

/// Appends to the last literal of `text` what `value` has more than `old`.
fn lengthened(text: &[u8], old: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (&quote, inside) = text.split_last()?;
    let mut longer = inside.to_vec();
    literal::encode_inside(value.strip_prefix(old)?, quote, &mut longer);
    longer.push(quote);
    Some(longer)
}

/// Cuts from the last literal of `text` what `old` has more than `value`.
fn shortened(text: &[u8], old: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let &quote = text.last()?;
    let mut end = Vec::new();
    literal::encode_inside(old.strip_prefix(value)?, quote, &mut end);
    end.push(quote);

    let shorter = [text.strip_suffix(end.as_slice())?, &[quote]].concat();
    (literal::decode(&shorter) == value).then_some(shorter)
}
