//! Edits to Makefile.config and its example: the library's folders, and the settings for a machine.

use std::path::Path;

use super::make_syntax::{assigns, end_of_statement, sets};
use crate::patch::error::Error;
use crate::patch::host::machine::Machine;
use crate::patch::source_text::Text;
use crate::patch::template;

/// Adds the library's folders to LIBRARY_DIRS and INCLUDE_DIRS.
///
/// # Errors
/// When no line sets LIBRARY_DIRS.
pub(crate) fn add_directories(path: &Path, text: &mut Text) -> Result<(), Error> {
    // The added lines append to both variables, so they go behind the last line that sets one of them, and behind the
    // conditional that this line may be in.
    let mut at = None;
    for variable in ["LIBRARY_DIRS", "INCLUDE_DIRS"] {
        let set = |line: &str| assigns(line.trim_start(), variable) && !line.contains("+=");
        let last = text.lines().filter(|(_, line)| set(line)).map(|(at, _)| at).last();
        if variable == "LIBRARY_DIRS" && last.is_none() {
            return Err(Error::NoPlace { path: path.into(), wanted: "a line that sets LIBRARY_DIRS".into() });
        }
        at = at.max(last.map(|offset| end_of_statement(text, offset)));
    }
    let lines = template::render("Makefile.config/directories.mk", &[])?;
    text.insert_lines(at.unwrap_or(0), &lines);
    Ok(())
}

/// Whether the file chooses a C++ compiler for nvcc, or builds without nvcc.
pub(crate) fn chooses_compiler(text: &Text) -> bool {
    sets(text, "CPU_ONLY", "1") || text.find_line(|line| assigns(line.trim_start(), "CUSTOM_CXX")).is_some()
}

/// Sets the variables of an example for a machine.
pub(crate) fn set_for_machine(text: &mut Text, machine: &Machine) {
    for (variable, value) in machine.settings() {
        set(text, variable, &value);
    }
}

/// Sets a variable: in the line that sets it, else in the comment that suggests it, else in a new line at the end.
fn set(text: &mut Text, variable: &str, value: &str) {
    let line = format!("{variable} := {value}\n");
    let place = text.find_line(|line| assigns(line, variable) && !line.contains("+=")).or_else(|| {
        text.find_line(|line| line.strip_prefix('#').is_some_and(|rest| assigns(rest.trim_start(), variable)))
    });
    match place {
        Some(at) => {
            let end = text.end_of_logical_line(at);
            text.replace(at..end, &line);
        }
        None => text.insert_lines(text.as_str().len(), &line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_replaces_the_line_or_comment_for_it() {
        let mut text =
            Text::from_bytes(b"# CPU_ONLY := 1\nPYTHON_INCLUDE := a \\\n\tb\n# PYTHON_INCLUDE := c\nX += 1\n");
        set(&mut text, "CPU_ONLY", "1");
        set(&mut text, "PYTHON_INCLUDE", "d");
        set(&mut text, "BLAS", "open");
        let expected = "CPU_ONLY := 1\nPYTHON_INCLUDE := d\n# PYTHON_INCLUDE := c\nX += 1\nBLAS := open\n";
        assert_eq!(text.as_str(), expected);
    }

    #[test]
    fn the_folders_are_added_behind_both_variables() {
        let mut text = Text::from_bytes(b"LIBRARY_DIRS := a\nINCLUDE_DIRS := b \\\n\tc\nLIBRARY_DIRS += d\n");
        add_directories(Path::new("Makefile.config"), &mut text).unwrap();
        assert!(text.as_str().contains("c\n\n# The GFPQ"), "{}", text.as_str());
    }

    #[test]
    fn the_folders_are_added_behind_the_whole_conditional() {
        let source =
            b"INCLUDE_DIRS := a\nifeq ($(HOST), lab)\n  LIBRARY_DIRS := b\nelse\n\tifdef X\n\tLIBRARY_DIRS := c\n\
                       \tendif\nendif\nX := 1\n";
        let mut text = Text::from_bytes(source);
        add_directories(Path::new("Makefile.config"), &mut text).unwrap();
        assert!(text.as_str().contains("\tendif\nendif\n\n# The GFPQ"), "{}", text.as_str());
    }
}
