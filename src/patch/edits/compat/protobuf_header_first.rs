//! Rules of a Makefile that may compile a source before protoc has written the header that it includes.

use super::edit::Edit;
use crate::patch::source_text::Text;

pub(super) const EDIT: Edit = Edit {
    name: "protobuf-header-first",
    reason: "a parallel make compiles sources before protoc has written caffe.pb.h",
    paths: &["Makefile"],
    used: &[],
    apply,
};

/// Names the header among the prerequisites of objects, as later versions of Caffe do.
fn apply(text: &mut Text) -> bool {
    const HEADER: &str = "$(PROTO_GEN_HEADER)";
    if !text.as_str().contains("PROTO_GEN_HEADER :=") {
        return false;
    }
    let mut edited = false;
    for source in ["%.o: %.cpp", "%.o: %.cu"] {
        let is_rule = |line: &str| {
            let prerequisites = line.split_once(source).map(|(_, rest)| rest.trim_start());
            line.starts_with("$(BUILD_DIR)/") && prerequisites.is_some_and(|rest| rest.starts_with('|'))
        };
        let Some(at) = text.find_line(is_rule) else {
            // Where the rule for C++ is right, that for CUDA is left as it is, too.
            break;
        };
        let Some(bar) = text.as_str()[at..].find('|').map(|bar| at + bar) else { break };
        text.replace(bar..bar, &format!("{HEADER} "));
        edited = true;
    }
    edited
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "PROTO_GEN_HEADER := $(x)\n";
    const OLD: &str = "$(BUILD_DIR)/%.o: %.cpp | $(ALL_BUILD_DIRS)\n\tc\n$(BUILD_DIR)/cuda/%.o: %.cu | $(DIRS)\n\tc\n";

    #[test]
    fn objects_wait_for_the_header() {
        let mut text = Text::from_bytes(format!("{HEADER}{OLD}").as_bytes());
        assert!(apply(&mut text));
        let new = "$(BUILD_DIR)/%.o: %.cpp $(PROTO_GEN_HEADER) | $(ALL_BUILD_DIRS)\n\tc\n\
                   $(BUILD_DIR)/cuda/%.o: %.cu $(PROTO_GEN_HEADER) | $(DIRS)\n\tc\n";
        assert_eq!(text.as_str(), format!("{HEADER}{new}"));
        assert!(!apply(&mut text));
    }

    #[test]
    fn a_makefile_that_waits_or_has_no_such_header_is_left_alone() {
        let later = format!("{HEADER}{}", OLD.replace("%.cpp |", "%.cpp $(PROTO_GEN_HEADER) |"));
        assert!(!apply(&mut Text::from_bytes(later.as_bytes())));
        assert!(!apply(&mut Text::from_bytes(OLD.as_bytes())));
    }
}
