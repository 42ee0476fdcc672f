//! What today's compilers and libraries need for Caffe to build at all, each edit under a name of its own.

use std::path::Path;

use super::text::Text;

/// A compatibility edit.
pub struct Edit {
    /// Its name in reports and in the journal.
    pub name: &'static str,
    /// What it is for, in a line.
    pub reason: &'static str,
    /// The file it edits; a tree without it needs no edit.
    pub path: &'static str,
    apply: fn(&mut Text) -> bool,
}

impl Edit {
    /// Edits the text where it needs it, and says whether it did.
    pub fn apply(&self, text: &mut Text) -> bool {
        (self.apply)(text)
    }

    /// The file to edit.
    pub fn path(&self) -> &'static Path {
        Path::new(self.path)
    }
}

/// All of them.
pub const EDITS: &[Edit] = &[Edit {
    name: "protobuf-bytes-limit",
    reason: "protobuf 3.18 and later give SetTotalBytesLimit one argument",
    path: "src/caffe/util/io.cpp",
    apply: one_bytes_limit,
}];

/// Keeps the old call for the protobuf of its time, which had no other.
fn one_bytes_limit(text: &mut Text) -> bool {
    const CALL: &str = "SetTotalBytesLimit(";
    let mut from = 0;
    let mut edited = false;
    while let Some(found) = text.as_str()[from..].find(CALL) {
        let open = from + found + CALL.len();
        let line = text.start_of_line(open);
        let Some(close) = text.as_str()[open..].find(");").map(|at| open + at) else { break };
        let end = text.end_of_logical_line(close);
        let Some(comma) = text.as_str()[open..close].find(',').map(|at| open + at) else {
            from = close;
            continue;
        };
        let old = text.as_str()[line..end].replace("\r\n", "\n");
        let new = format!("{});\n", &text.as_str()[line..comma]);
        let both = format!("#if GOOGLE_PROTOBUF_VERSION >= 3011000\n{new}#else\n{old}#endif\n");
        from = line + both.len();
        text.replace(line..end, &both);
        edited = true;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_argument_goes_once() {
        let mut text = Text::from_bytes(b"  in->SetTotalBytesLimit(kLimit, 536870912);\n  x();\n");
        assert!(one_bytes_limit(&mut text));
        let expected = "#if GOOGLE_PROTOBUF_VERSION >= 3011000\n  in->SetTotalBytesLimit(kLimit);\n#else\n  \
                        in->SetTotalBytesLimit(kLimit, 536870912);\n#endif\n  x();\n";
        assert_eq!(text.as_str(), expected);
        let mut modern = Text::from_bytes(b"in->SetTotalBytesLimit(kLimit);\n");
        assert!(!one_bytes_limit(&mut modern));
    }
}
