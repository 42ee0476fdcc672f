//! Edits to Makefile: link the GFPQ library, and copy it beside Caffe's own.

use std::path::Path;

use super::make_syntax::{appends, assigns, unconditional};
use crate::patch::error::Error;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Makes all edits of Makefile.
///
/// # Errors
/// When the LIBRARIES line or the rule of $(DYNAMIC_NAME) is not found.
pub(crate) fn edit(path: &Path, text: &mut Text) -> Result<(), Error> {
    let missing = |wanted: &str| Error::NoPlace { path: path.into(), wanted: wanted.into() };

    // Behind the first `LIBRARIES += glog …` that is outside of any conditional, but not before a line that overwrites
    // the variable.
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

    // Older trees may lack what the next two edits attach to; they build without these edits.
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

/// Exempts the library's folder from `make superclean`, which deletes every .so and .a outside of ./data.
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
    fn the_library_is_linked_behind_the_unconditional_libraries_line() {
        let source = "ifneq ($(CPU_ONLY), 1)\n\tLIBRARIES := cudart\nLIBRARIES := x\nendif\nLIBRARIES += glog \\\n\tm\n\
                      X := 1\n$(DYNAMIC_NAME): $(OBJS) | $(LIB_BUILD_DIR)\n\tld\n";
        let mut text = Text::from_bytes(source.as_bytes());
        edit(Path::new("Makefile"), &mut text).unwrap();
        let result = text.as_str();
        assert!(result.contains("glog \\\n\tm\n# The GFPQ quantizer"), "{result}");
        assert!(result.find("$(GFPQ_LIB): GFPQLibs").unwrap() < result.find("$(DYNAMIC_NAME): $(OBJS)").unwrap());
    }

    #[test]
    fn a_makefile_without_a_libraries_line_is_refused() {
        let mut text = Text::from_bytes(b"all:\n");
        let error = edit(Path::new("Makefile"), &mut text).unwrap_err();
        assert!(error.to_string().contains("LIBRARIES"), "{error}");
    }
}
