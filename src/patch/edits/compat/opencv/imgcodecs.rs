//! The libraries into which OpenCV 3 moved `imread` and `VideoCapture`, in a Makefile that was written before.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::edits::make_syntax::{assigns, unconditional};
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "opencv-imgcodecs",
    reason: "OpenCV 3 and later have imread and VideoCapture in libraries of their own",
    paths: &["Makefile"],
    used: &[],
    apply,
};

/// Links them under the condition that later Makefiles of Caffe have.
fn apply(text: &mut Text) -> bool {
    if text.as_str().contains("opencv_imgcodecs") {
        return false;
    }
    let fixed_list = unconditional(text, |line| assigns(line, "LIBRARIES"))
        .into_iter()
        .find(|&at| text.as_str()[at..text.end_of_logical_line(at)].contains("opencv_highgui"));
    let Some(at) = fixed_list else { return false };
    let end = text.end_of_logical_line(at);
    text.insert_lines(end, "ifeq ($(OPENCV_VERSION), 3)\n\tLIBRARIES += opencv_imgcodecs opencv_videoio\nendif\n");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_list_of_libraries_gets_those_of_opencv_3() {
        let old = "LIBRARIES += glog lmdb \\\n\topencv_core opencv_highgui opencv_imgproc\nX := 1\n";
        let new = "LIBRARIES += glog lmdb \\\n\topencv_core opencv_highgui opencv_imgproc\n\
                   ifeq ($(OPENCV_VERSION), 3)\n\tLIBRARIES += opencv_imgcodecs opencv_videoio\nendif\nX := 1\n";
        for (old, new) in [(old.to_owned(), new.to_owned()), (old.replace('\n', "\r\n"), new.replace('\n', "\r\n"))] {
            let mut text = Text::from_bytes(old.as_bytes());
            assert!(apply(&mut text));
            assert_eq!(text.as_str(), new);
            assert!(!apply(&mut text));
        }
    }

    #[test]
    fn a_makefile_that_knows_them_or_has_no_opencv_is_left_alone() {
        for source in [
            "ifeq ($(USE_OPENCV), 1)\n\tLIBRARIES += opencv_core opencv_highgui\n\
             \tifeq ($(OPENCV_VERSION), 3)\n\t\tLIBRARIES += opencv_imgcodecs\n\tendif\nendif\n",
            "LIBRARIES += glog\n",
        ] {
            assert!(!apply(&mut Text::from_bytes(source.as_bytes())), "{source}");
        }
    }
}
