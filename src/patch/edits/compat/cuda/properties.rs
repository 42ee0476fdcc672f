//! Members of `cudaDeviceProp` that CUDA 13 removed. Caffe only prints them.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::edits::cpp_syntax::open_conditions;
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "cuda-device-properties",
    reason: "CUDA 13 took properties out of cudaDeviceProp that are only printed",
    paths: &["src/caffe/common.cpp"],
    used: &[],
    apply,
};

/// The same edit of the test that prints them, under a name of its own.
pub(in crate::patch::edits::compat) const TEST_EDIT: Edit = Edit {
    name: "cuda-device-properties-test",
    reason: "the same, in a test's listing",
    paths: &["src/caffe/test/test_platform.cpp"],
    used: &[],
    apply,
};

/// Puts each statement that uses a removed member under `#if CUDART_VERSION < 13000`.
fn apply(text: &mut Text) -> bool {
    const REMOVED: [&str; 3] = [".clockRate", ".deviceOverlap", ".kernelExecTimeoutEnabled"];
    let mut from = 0;
    let mut edited = false;
    while let Some(found) = REMOVED.iter().filter_map(|name| text.as_str()[from..].find(name)).min() {
        let at = from + found;
        let Some(end) = text.as_str()[at..].find(';').map(|semicolon| text.end_of_logical_line(at + semicolon)) else {
            break;
        };
        let is_guard = |condition: &&str| condition.contains("CUDART_VERSION") && condition.contains("13000");
        if open_conditions(text.as_str(), at).iter().any(is_guard) {
            from = end;
            continue;
        }

        // The statement begins on the line after the previous statement's last one, or after a preprocessor line.
        let mut start = text.start_of_line(at);
        while start > 0 {
            let previous = text.start_of_line(start - 1);
            let before = text.as_str()[previous..start].trim();
            if before.ends_with([';', '{', '}']) || before.starts_with('#') {
                break;
            }
            start = previous;
        }

        let guarded =
            format!("#if CUDART_VERSION < 13000\n{}#endif\n", text.as_str()[start..end].replace("\r\n", "\n"));
        from = start + guarded.len();
        text.replace(start..end, &guarded);
        edited = true;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_with_removed_members_are_guarded_once() {
        let mut text = Text::from_bytes(
            b"  f(prop.warpSize);\n  LOG(INFO) << \"Overlap: \"\n      << (prop.deviceOverlap ? 1 : 0);\n  f(prop.clockRate);\n  g();\n",
        );
        assert!(apply(&mut text));
        let expected = "  f(prop.warpSize);\n#if CUDART_VERSION < 13000\n  LOG(INFO) << \"Overlap: \"\n      << \
                        (prop.deviceOverlap ? 1 : 0);\n#endif\n#if CUDART_VERSION < 13000\n  f(prop.clockRate);\n\
                        #endif\n  g();\n";
        assert_eq!(text.as_str(), expected);
        assert!(!apply(&mut text));
    }

    #[test]
    fn several_statements_under_one_guard_are_left_alone() {
        let source = b"#if CUDART_VERSION < 13000\n  f(prop.clockRate);\n  f(prop.deviceOverlap);\n#endif\n";
        assert!(!apply(&mut Text::from_bytes(source)));
    }
}
