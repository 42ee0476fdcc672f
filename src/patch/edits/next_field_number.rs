//! The comment in caffe.proto by which Caffe's authors hand on the next free field number:
//! `// LayerParameter next available layer-specific ID: 149 (last added: clip_param)`.

use std::ops::Range;

/// The number in such a comment, and its place.
pub(super) struct NextAvailable {
    pub number: u32,
    /// Byte range in the source: the number, and on to the closing parenthesis if the line has one.
    pub span: Range<usize>,
    /// Whether the span includes the name of the field added last.
    pub names_last: bool,
}

impl NextAvailable {
    /// Finds the comment for a message.
    pub(super) fn find(source: &str, message: &str) -> Option<NextAvailable> {
        let mut offset = 0;
        for line in source.split_inclusive('\n') {
            let comment = line.trim_start();
            // A line above it, which reminds authors to update it, has the same words but no number: `read` skips it.
            if comment.starts_with("//")
                && comment.contains(message)
                && comment.contains("next available")
                && let Some(note) = NextAvailable::read(line, offset)
            {
                return Some(note);
            }
            offset += line.len();
        }
        None
    }

    /// Reads the number of the line that begins at `offset`.
    fn read(line: &str, offset: usize) -> Option<NextAvailable> {
        let colon = line.find("ID:")? + 3;
        let start = colon + (line[colon..].len() - line[colon..].trim_start().len());
        let digits = line[start..].bytes().take_while(u8::is_ascii_digit).count();
        let number = line[start..start + digits].parse().ok()?;
        // If the parenthesis does not close on this line, the text after the number stays as it is.
        let note = line[start..].find(')').map(|at| start + at + 1);
        let span = offset + start..offset + note.unwrap_or(start + digits);
        Some(NextAvailable { number, span, names_last: note.is_some() })
    }
}
