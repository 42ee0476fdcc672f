//! A source file as text whose every byte comes back: forks hold comments in any encoding, and line ends of any kind.

use std::ops::Range;

/// A file's content, each byte a character of the same number (so any encoding survives), to be edited with ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content: String,
    newline: &'static str,
}

impl Text {
    /// The text of a file's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Text {
        let content: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let newline = if content.contains("\r\n") { "\r\n" } else { "\n" };
        Text { content, newline }
    }

    /// The bytes it stands for.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Every character came from a byte, or from an edit's ASCII.
        self.content.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
    }

    /// The characters, for searching. Offsets below are offsets into this.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// Lines with their offsets, line ends included.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.split_inclusive('\n').scan(0, |start, line| {
            let at = *start;
            *start += line.len();
            Some((at, line))
        })
    }

    /// The offset just after the line that holds `offset`, its continuation lines (`\` at the end) included.
    pub fn end_of_logical_line(&self, offset: usize) -> usize {
        let mut end = offset;
        for line in self.content[offset..].split_inclusive('\n') {
            end += line.len();
            if !line.trim_end().ends_with('\\') {
                break;
            }
        }
        end
    }

    /// The offset of the start of the line that holds `offset`.
    pub fn start_of_line(&self, offset: usize) -> usize {
        self.content[..offset].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The offset of the first line that matches.
    pub fn find_line(&self, matches: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines().find(|(_, line)| matches(line)).map(|(at, _)| at)
    }

    /// Inserts whole lines, written with `\n`, at the start of a line.
    pub fn insert_lines(&mut self, offset: usize, lines: &str) {
        let mut lines = lines.replace('\n', self.newline);
        if offset > 0 && !self.content[..offset].ends_with('\n') {
            // The file's last line lacked its end.
            lines.insert_str(0, self.newline);
        }
        self.content.insert_str(offset, &lines);
    }

    /// Replaces a range, `with` written with `\n`.
    pub fn replace(&mut self, range: Range<usize>, with: &str) {
        self.content.replace_range(range, &with.replace('\n', self.newline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let bytes: Vec<u8> = (0..=255).chain(*b"a\r\nb").collect();
        assert_eq!(Text::from_bytes(&bytes).to_bytes(), bytes);
    }

    #[test]
    fn edits_follow_the_files_line_ends() {
        let mut text = Text::from_bytes(b"A := \\\r\n  1\r\nB := 2");
        let end = text.end_of_logical_line(0);
        text.insert_lines(end, "C := 3\n");
        let last = text.as_str().len();
        text.insert_lines(last, "D := 4\n");
        assert_eq!(text.to_bytes(), b"A := \\\r\n  1\r\nC := 3\r\nB := 2\r\nD := 4\r\n");
    }
}
