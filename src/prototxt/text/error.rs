//! Errors that show their place: file, line, column, the line itself with a caret, and what was expected.

use std::fmt;

/// How many characters of a long line are shown on each side of the error.
const CONTEXT: usize = 60;

/// Why a text is not a text-format document, or holds a value that Caffe refuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The file's name, as the caller gave it.
    pub file: String,
    /// The line's number, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What was expected, and what was found instead.
    pub message: String,
    /// The part of the line around the error.
    excerpt: String,
    /// Where the caret stands below the excerpt, in characters.
    caret: usize,
}

impl ParseError {
    /// The error at byte `at` of `source`.
    pub(super) fn new(file: &str, source: &[u8], at: usize, message: String) -> ParseError {
        let at = at.min(source.len());
        let start = source[..at].iter().rposition(|&b| b == b'\n').map_or(0, |newline| newline + 1);
        let end = source[at..].iter().position(|&b| b == b'\n').map_or(source.len(), |length| at + length);
        let line = 1 + source[..start].iter().filter(|&&b| b == b'\n').count();
        let before = printable(&source[start..at]);
        let after = printable(source[at..end].trim_ascii_end());
        let column = before.len() + 1;

        let cut = before.len().saturating_sub(CONTEXT);
        let mut excerpt = String::new();
        if cut > 0 {
            excerpt.push('…');
        }
        excerpt.extend(&before[cut..]);
        let caret = excerpt.chars().count();
        excerpt.extend(after.iter().take(CONTEXT));
        if after.len() > CONTEXT {
            excerpt.push('…');
        }

        ParseError { file: file.to_owned(), line, column, message, excerpt, caret }
    }
}

/// Text that a terminal can show: tabs become single spaces, so that the caret stays aligned, and control characters are
/// replaced.
fn printable(bytes: &[u8]) -> Vec<char> {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        writeln!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        writeln!(f, "  {number} | {}", self.excerpt)?;
        write!(f, "  {:width$} | {:caret$}^", "", "", width = number.len(), caret = self.caret)
    }
}
