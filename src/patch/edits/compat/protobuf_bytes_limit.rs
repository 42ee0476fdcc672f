//! `SetTotalBytesLimit(limit, warning_threshold)`, which lost its second argument in protobuf 3.18.

use super::edit::Edit;
use crate::patch::edits::cpp_syntax::open_conditions;
use crate::patch::source_text::Text;

pub(super) const EDIT: Edit = Edit {
    name: "protobuf-bytes-limit",
    reason: "protobuf 3.18 and later give SetTotalBytesLimit one argument",
    paths: &["src/caffe/util/io.cpp"],
    used: &[],
    apply,
};

/// The macro that protobuf defines as its version.
const VERSION: &str = "GOOGLE_PROTOBUF_VERSION";

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
        let comma = text.as_str()[open..close].find(',').map(|at| open + at);
        let is_guarded = open_conditions(text.as_str(), line).iter().any(|condition| condition.contains(VERSION));
        let Some(comma) = comma.filter(|_| !is_guarded) else {
            from = close;
            continue;
        };

        let old = text.as_str()[line..end].replace("\r\n", "\n");
        let new = format!("{});\n", &text.as_str()[line..comma]);
        let both = format!("#if {VERSION} >= 3011000\n{new}#else\n{old}#endif\n");
        text.replace(line..end, &both);
        from = line + both.len();
        edited = true;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "#if GOOGLE_PROTOBUF_VERSION >= 3011000\n  in->SetTotalBytesLimit(kLimit);\n#else\n  \
                        in->SetTotalBytesLimit(kLimit, 536870912);\n#endif\n  x();\n";

    #[test]
    fn only_a_call_with_two_arguments_is_edited() {
        let mut text = Text::from_bytes(b"  in->SetTotalBytesLimit(kLimit, 536870912);\n  x();\n");
        assert!(apply(&mut text));
        assert_eq!(text.as_str(), BOTH);
        let mut modern = Text::from_bytes(b"in->SetTotalBytesLimit(kLimit);\n");
        assert!(!apply(&mut modern));
    }

    #[test]
    fn a_call_that_is_guarded_already_is_left_alone() {
        for guarded in [BOTH.to_owned(), BOTH.replace('\n', "\r\n"), BOTH.replace("3011000", "3002000")] {
            assert!(!apply(&mut Text::from_bytes(guarded.as_bytes())), "{guarded}");
        }
    }
}
