//! What today's compilers and libraries need for Caffe to build at all, each edit under a name of its own.

use std::path::Path;

use crate::patch::source_text::Text;

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
pub const EDITS: &[Edit] = &[
    Edit {
        name: "protobuf-bytes-limit",
        reason: "protobuf 3.18 and later give SetTotalBytesLimit one argument",
        path: "src/caffe/util/io.cpp",
        apply: one_bytes_limit,
    },
    Edit {
        name: "cuda-device-properties",
        reason: "CUDA 13 took properties out of cudaDeviceProp that are only printed",
        path: "src/caffe/common.cpp",
        apply: without_removed_properties,
    },
    Edit {
        name: "cuda-device-properties-test",
        reason: "the same, in a test's listing",
        path: "src/caffe/test/test_platform.cpp",
        apply: without_removed_properties,
    },
];

/// Leaves statements out that name a property which CUDA 13 has no longer.
fn without_removed_properties(text: &mut Text) -> bool {
    const REMOVED: [&str; 3] = [".clockRate", ".deviceOverlap", ".kernelExecTimeoutEnabled"];
    let mut from = 0;
    let mut edited = false;
    while let Some(found) = REMOVED.iter().filter_map(|name| text.as_str()[from..].find(name)).min() {
        let at = from + found;
        let Some(end) = text.as_str()[at..].find(';').map(|semicolon| text.end_of_logical_line(at + semicolon)) else {
            break;
        };
        // The statement begins on the line after the one that ends the last, or that is the preprocessor's.
        let mut start = text.start_of_line(at);
        let mut before = "";
        while start > 0 {
            let previous = text.start_of_line(start - 1);
            before = text.as_str()[previous..start].trim();
            if before.ends_with([';', '{', '}']) || before.starts_with('#') {
                break;
            }
            start = previous;
        }
        if before.starts_with("#if CUDART_VERSION") {
            from = end;
            continue;
        }
        let guarded =
            format!("#if CUDART_VERSION < 13000\n{}#endif\n", text.as_str()[start..end].replace("\r\n", "\n"));
        from = start + guarded.len();
        text.replace(start..end, &guarded);
        edited = true;
    }
    edited
}

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
    fn removed_properties_are_left_out_once() {
        let mut text = Text::from_bytes(
            b"  f(prop.warpSize);\n  LOG(INFO) << \"Overlap: \"\n      << (prop.deviceOverlap ? 1 : 0);\n  f(prop.clockRate);\n  g();\n",
        );
        assert!(without_removed_properties(&mut text));
        let expected = "  f(prop.warpSize);\n#if CUDART_VERSION < 13000\n  LOG(INFO) << \"Overlap: \"\n      << \
                        (prop.deviceOverlap ? 1 : 0);\n#endif\n#if CUDART_VERSION < 13000\n  f(prop.clockRate);\n\
                        #endif\n  g();\n";
        assert_eq!(text.as_str(), expected);
        assert!(!without_removed_properties(&mut text));
    }

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
