//! `SetTotalBytesLimit(limit, warning_threshold)`, which lost its second argument in protobuf 3.18.

use super::edit::Edit;
use crate::patch::source_text::Text;

pub(super) const EDIT: Edit = Edit {
    name: "protobuf-bytes-limit",
    reason: "protobuf 3.18 and later give SetTotalBytesLimit one argument",
    paths: &["src/caffe/util/io.cpp"],
    apply,
};

/// Lets the preprocessor choose between both calls: older versions of protobuf have only the one with two arguments.
fn apply(text: &mut Text) -> bool {
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
    fn only_a_call_with_two_arguments_is_edited() {
        let mut text = Text::from_bytes(b"  in->SetTotalBytesLimit(kLimit, 536870912);\n  x();\n");
        assert!(apply(&mut text));
        let expected = "#if GOOGLE_PROTOBUF_VERSION >= 3011000\n  in->SetTotalBytesLimit(kLimit);\n#else\n  \
                        in->SetTotalBytesLimit(kLimit, 536870912);\n#endif\n  x();\n";
        assert_eq!(text.as_str(), expected);
        let mut modern = Text::from_bytes(b"in->SetTotalBytesLimit(kLimit);\n");
        assert!(!apply(&mut modern));
    }
}
