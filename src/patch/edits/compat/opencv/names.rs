//! The C names of OpenCV that version 4 moved into headers of their own, or removed.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::edits::cpp_syntax::{directive, open_conditions, tokens};
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "opencv4-names",
    reason: "OpenCV 4 moved CV_LOAD_IMAGE_COLOR and its other C names into headers of their own",
    paths: &["include/caffe", "src/caffe", "tools", "examples", "python/caffe"],
    used: &[],
    apply,
};

/// Names, and what declares them in OpenCV 4.
struct Home {
    /// What a file holds that has them declared already.
    sign: &'static str,
    lines: &'static str,
    has: fn(&str) -> bool,
}

const HOMES: &[Home] = &[
    Home {
        sign: "opencv2/imgcodecs/legacy/constants_c.h",
        lines: "#include <opencv2/imgcodecs/legacy/constants_c.h>\n",
        has: |name| starts(name, &["CV_LOAD_IMAGE_", "CV_IMWRITE_"]),
    },
    Home {
        sign: "opencv2/imgproc/types_c.h",
        lines: "#include <opencv2/imgproc/types_c.h>\n",
        has: |name| {
            const PREFIXES: [&str; 11] = [
                "CV_INTER_",
                "CV_WARP_",
                "CV_THRESH_",
                "CV_ADAPTIVE_",
                "CV_RETR_",
                "CV_CHAIN_",
                "CV_SHAPE_",
                "CV_DIST_",
                "CV_TM_",
                "CV_GAUSSIAN",
                "CV_HOUGH_",
            ];
            is_colour_conversion(name) || starts(name, &PREFIXES)
        },
    },
    Home {
        sign: "opencv2/videoio/legacy/constants_c.h",
        lines: "#include <opencv2/videoio.hpp>\n#include <opencv2/videoio/legacy/constants_c.h>\n",
        has: |name| starts(name, &["CV_CAP_"]),
    },
    Home {
        sign: "opencv2/highgui/highgui_c.h",
        lines: "#include <opencv2/highgui/highgui_c.h>\n",
        has: |name| starts(name, &["CV_WINDOW_"]),
    },
    Home {
        sign: "opencv2/imgproc/imgproc_c.h",
        lines: "#include <opencv2/imgproc/imgproc_c.h>\n",
        has: |name| starts(name, &["CV_FONT_"]),
    },
    Home {
        sign: "define CV_FILLED",
        lines: "#include <opencv2/imgproc/imgproc.hpp>\n#ifndef CV_FILLED\n#define CV_FILLED cv::FILLED\n#endif\n",
        has: |name| name == "CV_FILLED",
    },
    Home {
        sign: "define CV_AA",
        lines: "#include <opencv2/imgproc/imgproc.hpp>\n#ifndef CV_AA\n#define CV_AA cv::LINE_AA\n#endif\n",
        has: |name| name == "CV_AA",
    },
    Home {
        sign: "define CV_FOURCC",
        lines: "#include <opencv2/videoio.hpp>\n#ifndef CV_FOURCC\n#define CV_FOURCC cv::VideoWriter::fourcc\n#endif\n",
        has: |name| name == "CV_FOURCC",
    },
];

fn starts(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a name is like CV_BGR2GRAY.
fn is_colour_conversion(name: &str) -> bool {
    let Some((from, to)) = name.strip_prefix("CV_").and_then(|rest| rest.split_once('2')) else { return false };
    let is_word = |word: &str| word.starts_with(|c: char| c.is_ascii_alphabetic());
    is_word(from) && is_word(to) && !from.contains('_')
}

/// Includes what declares the names that a file uses, from OpenCV 4 on.
fn apply(text: &mut Text) -> bool {
    let source = text.as_str();
    if !source.contains("CV_") {
        return false;
    }
    let names: Vec<&str> = tokens(source).map(|(_, token)| token).filter(|token| token.starts_with("CV_")).collect();
    let mut lines = String::new();
    for home in HOMES.iter().filter(|home| names.iter().any(|name| (home.has)(name)) && !source.contains(home.sign)) {
        let new = home.lines.split_inclusive('\n').skip_while(|line| lines.contains(line));
        lines.extend(new.collect::<Vec<_>>());
    }
    let Some(place) = Place::find(text).filter(|_| !lines.is_empty()) else { return false };

    if place.has_quotes {
        lines = lines.replace(['<', '>'], "\"");
    }
    // The major version in OpenCV 2.4 is CV_VERSION_EPOCH, and its CV_VERSION_MAJOR is 4.
    lines = format!("#if CV_MAJOR_VERSION >= 4\n{lines}#endif\n");
    let core =
        if place.has_quotes { "#include \"opencv2/core/core.hpp\"\n" } else { "#include <opencv2/core/core.hpp>\n" };
    match place.include {
        Include::Core => text.insert_lines(place.end, &lines),
        Include::Other => {
            text.insert_lines(place.end, &lines);
            text.insert_lines(place.start, core);
        }
        Include::None { guard: false } => text.insert_lines(place.end, &format!("{core}{lines}")),
        Include::None { guard: true } => {
            text.insert_lines(place.end, &format!("#ifdef USE_OPENCV\n{core}{lines}#endif  // USE_OPENCV\n"));
        }
    }
    true
}

/// The include at which the new ones go.
struct Place {
    /// The start of its line.
    start: usize,
    /// The offset behind its line.
    end: usize,
    /// Whether it has quotes, as Caffe's linter wants it of all that follow, too.
    has_quotes: bool,
    include: Include,
}

/// What is included at a place.
enum Include {
    /// The core of OpenCV, which defines its version.
    Core,
    /// Another header of OpenCV.
    Other,
    /// No header of OpenCV; `guard` if the place is compiled in a build without OpenCV, too.
    None { guard: bool },
}

impl Place {
    /// Behind the include of OpenCV's core or, in a file without it, the first include of OpenCV, and so before macros of
    /// the file's own for the same names; in a file that includes OpenCV through other headers behind its last include.
    /// `None` if there is no include.
    fn find(text: &Text) -> Option<Place> {
        let source = text.as_str();
        let includes: Vec<(usize, usize, &str)> = text
            .lines()
            .filter_map(|(at, line)| match directive(line)? {
                // Not a comment in Python.
                ("include", header) if header.starts_with(['<', '"']) => {
                    Some((at, open_conditions(source, at).len(), header))
                }
                _ => None,
            })
            .collect();

        // An include under a further condition, such as OpenCV's version, is no place.
        let is_opencv = |header: &str| header.contains("opencv2/") || header.contains("opencv/");
        let opencv = || includes.iter().filter(|(.., header)| is_opencv(header));
        let shallowest = opencv().map(|&(_, depth, _)| depth).min();
        let usable = || opencv().filter(|&&(_, depth, _)| Some(depth) == shallowest);
        let first = usable().find(|(.., header)| defines_version(header)).or_else(|| usable().next());

        let depth = includes.first()?.1;
        let last = || includes.iter().rfind(|&&(_, other, _)| other == depth);
        let &(at, _, header) = first.or_else(last)?;
        let include = match first {
            Some((.., header)) if defines_version(header) => Include::Core,
            Some(_) => Include::Other,
            None => {
                let is_guard = |condition: &&str| condition.contains("USE_OPENCV");
                let guarded = open_conditions(source, at).iter().any(is_guard);
                Include::None { guard: source.contains("USE_OPENCV") && !guarded }
            }
        };
        let has_quotes = first.is_some() && header.starts_with('"');
        Some(Place { start: at, end: text.end_of_logical_line(at), has_quotes, include })
    }
}

/// Whether a header defines OpenCV's version.
fn defines_version(header: &str) -> bool {
    header.contains("opencv2/core") || header.contains("opencv2/opencv.hpp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(source: &str) -> Option<String> {
        let mut text = Text::from_bytes(source.as_bytes());
        let edited = apply(&mut text);
        let once = text.clone();
        assert!(!apply(&mut text) && text == once, "a second call changes {source:?}");
        edited.then(|| String::from_utf8(text.to_bytes()).unwrap())
    }

    const CODECS: &str = "#if CV_MAJOR_VERSION >= 4\n#include <opencv2/imgcodecs/legacy/constants_c.h>\n#endif\n";

    #[test]
    fn the_headers_stand_behind_the_first_include_of_opencv() {
        let head = "#include <x.h>\n#ifdef USE_OPENCV\n#include <opencv2/core/core.hpp>\n";
        let tail = "#include <opencv2/highgui/highgui.hpp>\n#endif\nint i = CV_LOAD_IMAGE_COLOR;\n";
        assert_eq!(edited(&format!("{head}{tail}")), Some(format!("{head}{CODECS}{tail}")));
        let crlf = |text: String| text.replace('\n', "\r\n");
        assert_eq!(edited(&crlf(format!("{head}{tail}"))), Some(crlf(format!("{head}{CODECS}{tail}"))));
    }

    #[test]
    fn the_headers_stand_behind_the_core_of_opencv_where_it_is_not_the_first() {
        let head = "#include <opencv2/highgui/highgui_c.h>\n\n#include \"opencv2/core/core.hpp\"\n";
        let tail = "#include \"opencv2/imgproc/imgproc.hpp\"\nint i = CV_LOAD_IMAGE_COLOR;\n";
        let quoted = "#if CV_MAJOR_VERSION >= 4\n#include \"opencv2/imgcodecs/legacy/constants_c.h\"\n#endif\n";
        assert_eq!(edited(&format!("{head}{tail}")), Some(format!("{head}{quoted}{tail}")));
    }

    #[test]
    fn macros_of_the_file_for_the_same_names_stay_behind_the_headers() {
        let head = "#ifdef USE_OPENCV\n#include <opencv2/highgui/highgui.hpp>\n";
        let tail = "#if CV_VERSION_MAJOR == 3\n#include <opencv2/imgcodecs/imgcodecs.hpp>\n\
                    #define CV_LOAD_IMAGE_COLOR cv::IMREAD_COLOR\n#endif\n#endif\n\
                    int i = CV_LOAD_IMAGE_COLOR;\n";
        let head_with_core = head.replace("V\n", "V\n#include <opencv2/core/core.hpp>\n");
        let expected = format!("{head_with_core}{CODECS}{tail}");
        assert_eq!(edited(&format!("{head}{tail}")), Some(expected));
    }

    #[test]
    fn a_file_without_an_include_of_opencv_gets_one() {
        let head = "#include <set>\n\n#include \"caffe/util/bbox_util.hpp\"\n";
        let tail = "#ifdef USE_OPENCV\nf(CV_FILLED, CV_AA, CV_FOURCC('a', 'b', 'c', 'd'));\n#endif\n";
        let result = edited(&format!("{head}{tail}")).unwrap();
        let start = format!("{head}#ifdef USE_OPENCV\n#include <opencv2/core/core.hpp>\n#if CV_MAJOR_VERSION >= 4\n");
        assert!(result.starts_with(&start), "{result}");
        assert!(result.ends_with(&format!("#endif\n#endif\n#endif  // USE_OPENCV\n{tail}")), "{result}");
        assert_eq!(result.matches("#include <opencv2/imgproc/imgproc.hpp>").count(), 1, "{result}");

        let old = edited("#include \"caffe/common.hpp\"\nint i = CV_BGR2GRAY;\n").unwrap();
        assert!(old.contains("#include <opencv2/imgproc/types_c.h>") && !old.contains("USE_OPENCV"), "{old}");
    }

    #[test]
    fn files_that_need_nothing_are_left_alone() {
        for source in [
            "#include <opencv2/core/core.hpp>\nint i = CV_8UC3 + CV_32FC1; // CV_LOAD_IMAGE_COLOR\n",
            "#include <opencv2/core/core.hpp>\n#include <opencv2/imgcodecs/legacy/constants_c.h>\n\
             int i = CV_LOAD_IMAGE_COLOR;\n",
            "#include <opencv2/core/core.hpp>\nint i = cv::IMREAD_COLOR;\n",
            "# include all images\nimport cv2\nx = cv2.cv.CV_LOAD_IMAGE_COLOR\n",
        ] {
            assert_eq!(edited(source), None, "{source}");
        }
    }

    #[test]
    fn a_name_with_two_between_words_is_a_colour_conversion() {
        assert!(["CV_BGR2GRAY", "CV_HSV2BGR_FULL", "CV_YCrCb2BGR"].iter().all(|name| is_colour_conversion(name)));
        assert!(!["CV_8UC1", "CV_SSE2", "CV_DIST_L2", "CV_L2"].iter().any(|name| is_colour_conversion(name)));
    }
}
