//! `std::max` of a Dtype and 0.0 in the contrastive loss of Caffe before 2016, which is ambiguous for float since C++11.

use super::edit::Edit;
use crate::patch::source_text::Text;

pub(super) const EDIT: Edit = Edit {
    name: "contrastive-max",
    reason: "std::max takes no float beside a double",
    paths: &[
        "src/caffe/layers/contrastive_loss_layer.cpp",
        "src/caffe/layers/contrastive_loss_layer.cu",
        "src/caffe/test/test_contrastive_loss_layer.cpp",
    ],
    used: &[],
    apply,
};

/// Names the type, as later versions of Caffe do: whether `sqrt` of a float is a float depends on the compiler's headers.
fn apply(text: &mut Text) -> bool {
    const CALL: &str = "std::max(";
    let mut from = 0;
    let mut edited = false;
    while let Some(found) = text.as_str()[from..].find(CALL) {
        let call = from + found;
        let open = call + CALL.len();
        from = open;
        let Some(close) = closing(&text.as_str()[open..]).map(|at| open + at) else { break };
        let Some((_, second)) = text.as_str()[open..close].rsplit_once(',') else { continue };
        if second.trim() == "0.0" {
            text.replace(call..open, "std::max<Dtype>(");
            edited = true;
        }
    }
    edited
}

/// The offset of the parenthesis that closes one that is open at the start.
fn closing(rest: &str) -> Option<usize> {
    let mut depth = 0;
    rest.bytes().position(|byte| {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        depth < 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_max_with_a_double_names_its_type() {
        let old = "loss += std::max(margin - d(i), Dtype(0.0));\n\
                   Dtype dist = std::max(margin - sqrt(d(i)),\n    0.0);\nx = std::max(a, 0.0);\n";
        let new = "loss += std::max(margin - d(i), Dtype(0.0));\n\
                   Dtype dist = std::max<Dtype>(margin - sqrt(d(i)),\n    0.0);\n\
                   x = std::max<Dtype>(a, 0.0);\n";
        for (old, new) in [(old.to_owned(), new.to_owned()), (old.replace('\n', "\r\n"), new.replace('\n', "\r\n"))] {
            let mut text = Text::from_bytes(old.as_bytes());
            assert!(apply(&mut text));
            assert_eq!(text.as_str(), new);
            assert!(!apply(&mut text));
        }
    }

    #[test]
    fn later_versions_are_left_alone() {
        let source = b"x = std::max<Dtype>(margin - sqrt(d), 0.0);\ny = std::max(f(a, 0.0), b);\nz = std::max(";
        assert!(!apply(&mut Text::from_bytes(source)));
    }
}
