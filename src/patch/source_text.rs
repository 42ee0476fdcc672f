//! A source file as text. Forks of Caffe have comments in any encoding and line ends of any kind: both survive an edit.

use std::ops::Range;

/// A file's bytes decoded as Latin-1, so any encoding round-trips; edits must be ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    content: String,
    /// What ends an inserted line: `\r\n` if the file has any, else `\n`.
    newline: &'static str,
}

impl Text {
    /// Decodes a file's bytes.
    pub fn from_bytes(bytes: &[u8]) -> Text {
        let content: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let newline = if content.contains("\r\n") { "\r\n" } else { "\n" };
        Text { content, newline }
    }

    /// Encodes the text as the file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Every character came from a byte or from an ASCII edit, so none is above U+00FF.
        self.content.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
    }

    /// The content, for searching. All offsets that other methods take or return are byte offsets into this.
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The lines, each with its offset and including its line end.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.split_inclusive('\n').scan(0, |start, line| {
            let at = *start;
            *start += line.len();
            Some((at, line))
        })
    }

    /// The offset behind the line that contains `offset` and the lines that continue it after a `\`.
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

    /// The offset of the start of the line that contains `offset`.
    pub fn start_of_line(&self, offset: usize) -> usize {
        self.content[..offset].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The offset of the first line that matches; the line is given with its end.
    pub fn find_line(&self, matches: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines().find(|(_, line)| matches(line)).map(|(at, _)| at)
    }

    /// Inserts whole lines at the start of a line; each `\n` becomes the file's own line end.
    pub fn insert_lines(&mut self, offset: usize, lines: &str) {
        let mut lines = lines.replace('\n', self.newline);
        if offset > 0 && !self.content[..offset].ends_with('\n') {
            // The file's last line has no line end.
            lines.insert_str(0, self.newline);
        }
        self.content.insert_str(offset, &lines);
    }

    /// Replaces a range; each `\n` in `with` becomes the file's own line end.
    pub fn replace(&mut self, range: Range<usize>, with: &str) {
        self.content.replace_range(range, &with.replace('\n', self.newline));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_round_trips() {
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
