//! Splices: what a change does to a document's bytes, and whole lines put in and taken out.
//!
//! [`Place`] and [`removal`] are each other's inverse: what is put in at a place is taken out again to the byte. Both
//! look only at what lies around the field, so that taking out needs no memory of putting in.

use std::collections::HashSet;
use std::ops::Range;

use super::document::{Document, Field, Id};
use super::lexer::{BOM, is_space};

/// Changes to a document, each at its own place.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    splices: Vec<(Range<usize>, Vec<u8>)>,
}

impl Edits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    /// Puts `text` in the place of `range`; at an empty range, in front of it, after what was put there before.
    pub fn replace(&mut self, range: Range<usize>, text: impl Into<Vec<u8>>) {
        self.splices.push((range, text.into()));
    }

    /// The changed text. Where two ranges overlap, the bytes of both are gone.
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

/// Where a new field goes in front of another, and what must stand around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub at: usize,
    /// The space that starts the new lines; `None` when the new field must share the line of its neighbours.
    pub indent: Option<Vec<u8>>,
    /// Whether an empty line follows, as one precedes.
    pub blank_after: bool,
}

impl Place {
    /// In front of `field`, and of the comments on the lines directly above it: they speak of it.
    pub fn before(document: &Document, field: Field<'_>) -> Place {
        let source = document.as_bytes();
        let start = field.range().start;
        let gap = Gap::of(source, field.gap());
        let Some(line) = gap.lines.last().cloned().filter(|line| line.is_space(source)) else {
            return Place { at: start, indent: None, blank_after: false };
        };
        let attached = gap.lines.iter().rev().skip(1).take_while(|line| line.is_comment(source)).count();
        let first = gap.lines.len() - 1 - attached;
        let at = gap.lines[first].0.start;
        let blank_after = first > 0 && gap.lines[first - 1].is_blank(source);
        Place { at, indent: Some(source[line.0].to_vec()), blank_after }
    }

    /// The text to splice in at the place, for a `field` without indentation or line end of its own.
    pub fn text(&self, field: &[u8], eol: &[u8]) -> Vec<u8> {
        match &self.indent {
            Some(indent) => {
                let blank = if self.blank_after { eol } else { &[] };
                [indent, field, eol, blank].concat()
            }
            None => [field, b" "].concat(),
        }
    }
}

/// The lines of the space and comments before a field. Only those that begin in it: the rest of a line on which
/// something else stands is not among them.
struct Gap {
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line(Range<usize>);

impl Line {
    fn is_space(&self, source: &[u8]) -> bool {
        source[self.0.clone()].iter().all(|&b| is_space(b))
    }

    fn is_blank(&self, source: &[u8]) -> bool {
        self.is_space(source)
    }

    fn is_comment(&self, source: &[u8]) -> bool {
        source[self.0.clone()].trim_ascii_start().starts_with(b"#")
    }
}

impl Gap {
    fn of(source: &[u8], gap: Range<usize>) -> Gap {
        let mut lines = Vec::new();
        // The first line of the file begins here, after a byte order mark; any other gap begins on someone's line.
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

/// What goes when `field` is taken out: its whole lines where it has them to itself, and the empty line after it where
/// another stands before it; else the field and the space after it.
pub(super) fn removal(document: &Document, field: Field<'_>) -> Range<usize> {
    let source = document.as_bytes();
    let range = field.range();
    let gap = Gap::of(source, field.gap());
    let first_on_line = gap.lines.last().filter(|line| line.is_space(source));
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

/// Takes out layers' text, which may be items of a list.
pub(super) fn remove_layers(document: &Document, net: Field<'_>, layers: &HashSet<Id>, edits: &mut Edits) {
    for field in net.children().filter(|field| field.name() == b"layer") {
        if layers.contains(&field.id()) {
            edits.replace(removal(document, field), Vec::new());
            continue;
        }
        // A list of layers; the last one that stays must not keep a comma.
        let mut last_kept: Option<Field<'_>> = None;
        let mut last_goes = false;
        for item in field.children().take_while(|item| item.name().is_empty()) {
            last_goes = layers.contains(&item.id());
            match last_goes {
                true => edits.replace(removal(document, item), Vec::new()),
                false => last_kept = Some(item),
            }
        }
        if let (true, Some(kept)) = (last_goes, last_kept) {
            // Between the item and its comma there may be a comment, which stays.
            let end = kept.range().end;
            if end > kept.value_range().end {
                edits.replace(end - 1..end, Vec::new());
            }
        }
    }
}
