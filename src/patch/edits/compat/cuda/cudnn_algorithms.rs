//! The functions that choose a convolution's algorithm, which cuDNN 8 removed.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::edits::cpp_syntax::directive;
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "cudnn-8-algorithms",
    reason: "cuDNN 8 removed the functions that choose a convolution's algorithm within a workspace limit",
    paths: &["include/caffe/util/cudnn.hpp"],
    used: &[
        "cudnnGetConvolutionForwardAlgorithm",
        "cudnnGetConvolutionBackwardFilterAlgorithm",
        "cudnnGetConvolutionBackwardDataAlgorithm",
    ],
    apply,
};

/// The same functions again, over those that cuDNN has since its version 7.
const FUNCTIONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/compat/cudnn_algorithms.hpp"));

/// Declares the functions behind the header's last include.
fn apply(text: &mut Text) -> bool {
    if text.as_str().contains("cudnnGetConvolutionForwardAlgorithm") {
        return false;
    }
    let include = text.lines().filter(|(_, line)| matches!(directive(line), Some(("include", _)))).last();
    let Some((at, _)) = include else { return false };
    let end = text.end_of_logical_line(at);
    text.insert_lines(end, FUNCTIONS);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_functions_are_declared_behind_the_includes() {
        let head = "#ifdef USE_CUDNN\r\n#include <cudnn.h>\r\n#include \"caffe/common.hpp\"\r\n";
        let tail = "\r\nnamespace caffe {}\r\n#endif\r\n";
        let mut text = Text::from_bytes(format!("{head}{tail}").as_bytes());
        assert!(apply(&mut text));
        let result = text.as_str();
        assert!(result.starts_with(&format!("{head}\r\n#if CUDNN_VERSION >= 8000\r\n")), "{result}");
        assert!(result.ends_with(&format!("#endif  // CUDNN_VERSION >= 8000\r\n{tail}")), "{result}");
        for part in ["ForwardAlgorithm_v7(", "BackwardFilterAlgorithm_v7(", "BackwardDataAlgorithm_v7("] {
            assert_eq!(result.matches(part).count(), 1, "{part}");
        }
        assert!(result.lines().all(|line| line.len() <= 80), "{result}");
        assert!(!apply(&mut text));
    }

    #[test]
    fn a_header_without_includes_is_left_alone() {
        assert!(!apply(&mut Text::from_bytes(b"#pragma once\n")));
    }
}
