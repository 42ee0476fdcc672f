//! A reader of `.proto` text: a message's fields with their numbers and places.

use std::collections::BTreeSet;
use std::ops::Range;

use super::cpp_syntax::tokens;

/// A field of a message, such as `optional Type name = 3 [default = 1];`.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub name: &'a str,
    pub number: u32,
    /// Byte range in the source, from the label to the semicolon.
    pub span: Range<usize>,
}

/// A message definition.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Byte range in the source, from `message` to the closing brace.
    pub span: Range<usize>,
    /// In the order of the source; those of a `oneof` are the message's own.
    pub fields: Vec<Field<'a>>,
    /// Numbers that fields, `reserved` and `extensions` take.
    pub taken: BTreeSet<u32>,
}

/// Reads the top-level message `name`; `None` if there is none or it does not end.
pub(super) fn message<'a>(source: &'a str, name: &str) -> Option<Message<'a>> {
    let mut tokens = tokens(source).peekable();
    let mut depth = 0;
    let start = loop {
        let (at, token) = tokens.next()?;
        match token {
            "{" => depth += 1,
            "}" => depth -= 1,
            "message" if depth == 0 && tokens.peek().is_some_and(|&(_, next)| next == name) => break at,
            _ => {}
        }
    };
    tokens.find(|&(_, token)| token == "{")?;

    let mut message = Message { span: start..start, fields: Vec::new(), taken: BTreeSet::new() };
    let mut statement: Vec<(usize, &str)> = Vec::new();
    // For each open brace, whether a oneof opened it: only fields directly in the message or in a oneof count.
    let mut blocks: Vec<bool> = Vec::new();
    for (at, token) in tokens {
        match token {
            "{" => {
                blocks.push(statement.first().is_some_and(|&(_, word)| word == "oneof"));
                statement.clear();
            }
            "}" if blocks.is_empty() => {
                message.span.end = at + 1;
                return Some(message);
            }
            "}" => {
                blocks.pop();
                statement.clear();
            }
            ";" => {
                if blocks.iter().all(|&is_oneof| is_oneof) {
                    message.read_statement(&statement, at + 1);
                }
                statement.clear();
            }
            _ => statement.push((at, token)),
        }
    }
    None
}

impl<'a> Message<'a> {
    /// Adds what one statement of the body declares; `end` is the offset behind its semicolon.
    fn read_statement(&mut self, statement: &[(usize, &'a str)], end: usize) {
        let Some(&(start, first)) = statement.first() else { return };
        let words: Vec<&str> = statement.iter().map(|&(_, token)| token).collect();
        match first {
            "option" => {}
            "reserved" | "extensions" => self.take_ranges(&words[1..]),
            _ => {
                let Some(equals) = words.iter().position(|&word| word == "=") else { return };
                let (Some(&name), Some(Ok(number))) =
                    (words[..equals].last(), words.get(equals + 1).map(|w| w.parse()))
                else {
                    return;
                };
                self.taken.insert(number);
                self.fields.push(Field { name, number, span: start..end });
            }
        }
    }

    /// Takes numbers as `2, 15, 9 to 11, 100 to max` lists them. Of a range to `max` only the start is taken, or no
    /// number above it would be left.
    fn take_ranges(&mut self, words: &[&str]) {
        for range in words.split(|&word| word == ",") {
            match range {
                [one] => self.taken.extend(one.parse::<u32>()),
                [from, "to", to] => {
                    if let (Ok(from), Ok(to)) = (from.parse::<u32>(), to.parse::<u32>()) {
                        self.taken.extend(from..=to.min(from.saturating_add(100_000)));
                    } else {
                        self.taken.extend(from.parse::<u32>());
                    }
                }
                _ => {}
            }
        }
    }
}
