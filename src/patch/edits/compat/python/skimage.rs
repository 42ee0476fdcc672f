//! `as_grey`, an argument of scikit-image's imread that is called `as_gray` since its version 0.14.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "skimage-as-gray",
    reason: "scikit-image calls the argument as_grey of imread as_gray",
    paths: &["python/caffe/io.py"],
    used: &[],
    apply,
};

/// Passes a second argument of imread by its place, where all versions take it, and renames any other.
fn apply(text: &mut Text) -> bool {
    const KEYWORD: &str = "as_grey=";
    let mut edited = false;
    while let Some(at) = text.as_str().find(KEYWORD) {
        let before = &text.as_str()[..at];
        let arguments = before.rfind("imread(").map_or("", |call| &before[call..]);
        let is_second = arguments.matches(',').count() == 1 && arguments.matches(['(', ')']).count() == 1;
        text.replace(at..at + KEYWORD.len(), if is_second { "" } else { "as_gray=" });
        edited = true;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imread_gets_its_second_argument_by_place() {
        let mut text = Text::from_bytes(
            b"img = skimage.img_as_float(skimage.io.imread(filename, as_grey=not color)).astype(np.float32)\r\n",
        );
        assert!(apply(&mut text));
        let expected = "img = skimage.img_as_float(skimage.io.imread(filename, not color)).astype(np.float32)\r\n";
        assert_eq!(text.as_str(), expected);
        assert!(!apply(&mut text));
    }

    #[test]
    fn another_argument_keeps_a_name() {
        let mut text = Text::from_bytes(b"imread(f(a), as_grey=x)\nread(a, as_grey=b)\n");
        assert!(apply(&mut text));
        assert_eq!(text.as_str(), "imread(f(a), as_gray=x)\nread(a, as_gray=b)\n");
        assert!(!apply(&mut Text::from_bytes(b"imread(f, as_gray=not color)\n")));
    }
}
