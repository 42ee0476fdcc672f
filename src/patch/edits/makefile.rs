//! Edits to Makefile: link the library, and copy it beside Caffe's own.

use std::path::Path;

use super::make_syntax::{appends, assigns, unconditional};
use crate::patch::error::Error;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Plans all edits of Makefile.
///
/// # Errors
/// When a place the edits attach to is not found.
pub fn edit(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };

    // `LIBRARIES += glog …`, the first that holds for every configuration, and none that sets it anew behind ours.
    let libraries = unconditional(text, |line| assigns(line, "LIBRARIES"))
        .into_iter()
        .reduce(|first, at| if appends(&text.as_str()[at..]) { first } else { at })
        .ok_or_else(|| missing("a LIBRARIES line outside of any ifeq"))?;
    let at = text.end_of_logical_line(libraries);
    text.insert_lines(at, &template::render("Makefile/libraries.mk", &[])?);

    let rule =
        unconditional(text, |line| line.starts_with("$(DYNAMIC_NAME)") && line[15..].trim_start().starts_with(':'))
            .first()
            .copied()
            .ok_or_else(|| missing("the rule of $(DYNAMIC_NAME)"))?;
    text.insert_lines(rule, &template::render("Makefile/copy_library.mk", &[])?);

    // Older trees may lack the next two, and build all the same.
    let install = text.find_line(|line| {
        let copies = line.starts_with("\tinstall ") || line.starts_with("\tcp ");
        copies && line.contains("$(DYNAMIC_NAME)") && line.contains("$(DISTRIBUTE_DIR)")
    });
    if let Some(install) = install {
        let at = text.end_of_logical_line(install);
        text.insert_lines(at, &template::render("Makefile/distribute.mk", &[])?);
    }
    keep_from_superclean(text);
    Ok(())
}

/// `make superclean` deletes every .so and .a outside of ./data: also spare the library's own folder.
fn keep_from_superclean(text: &mut Text) {
    const SPARED: &str = "-not -path './data/*'";
    if let Some(at) = text.as_str().find(SPARED) {
        text.replace(at..at + SPARED.len(), "-not -path './data/*' -not -path './GFPQLibs/*'");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unconditional_libraries_line_is_taken() {
        let source = "ifneq ($(CPU_ONLY), 1)\n\tLIBRARIES := cudart\nLIBRARIES := x\nendif\nLIBRARIES += glog \\\n\tm\n\
                      X := 1\n$(DYNAMIC_NAME): $(OBJS) | $(LIB_BUILD_DIR)\n\tld\n";
        let mut text = Text::from_bytes(source.as_bytes());
        edit(Path::new("Makefile"), &mut text).unwrap();
        let result = text.as_str();
        assert!(result.contains("glog \\\n\tm\n# The GFPQ quantizer"), "{result}");
        assert!(result.find("$(GFPQ_LIB): GFPQLibs").unwrap() < result.find("$(DYNAMIC_NAME): $(OBJS)").unwrap());
    }

    #[test]
    fn without_a_place_nothing_is_edited() {
        let mut text = Text::from_bytes(b"all:\n");
        let error = edit(Path::new("Makefile"), &mut text).unwrap_err();
        assert!(error.to_string().contains("LIBRARIES"), "{error}");
    }
}
