//! Edits to Makefile.config and its example: the library's folders, and the settings for a machine.

use std::path::Path;

use super::make_syntax::{assigns, end_of_statement, sets};
use crate::patch::error::Error;
use crate::patch::host::features::Off;
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

/// Sets the variables of an example for a machine, and returns what the user should know about it. `makefile` is the
/// tree's Makefile: a switch that it does not mention is not set.
pub(crate) fn set_for_machine(text: &mut Text, makefile: &Text, machine: &Machine) -> Vec<String> {
    for (variable, value) in machine.settings() {
        set(text, variable, &value);
    }

    let mut notes = Vec::new();
    for feature in machine.missing() {
        let is_off = match feature.off {
            Off::Value(value) if knows(makefile, feature.switch) => {
                set(text, feature.switch, value);
                true
            }
            Off::Value(_) => false,
            Off::Unset => comment_out(text, feature.switch),
        };
        if is_off {
            notes.push(feature.note());
        }
    }
    notes
}

/// What the user should know about libraries that this machine lacks and the tree's Makefile cannot leave out.
pub(crate) fn note_of_mandatory(makefile: &Text, machine: &Machine) -> Option<String> {
    let links = |library: &str| makefile.as_str().split_whitespace().any(|word| word == library);
    let missing: Vec<String> = machine
        .missing()
        .filter(|feature| links(feature.library) && !knows(makefile, feature.switch))
        .map(|feature| format!("{} ({})", feature.name, feature.package))
        .collect();
    (!missing.is_empty()).then(|| {
        format!(
            "this tree's Makefile cannot leave out what was not found here: {}. Install the packages (Debian's names) \
             before make",
            missing.join(", ")
        )
    })
}

/// Whether a Makefile mentions a variable of Makefile.config.
fn knows(makefile: &Text, variable: &str) -> bool {
    makefile.as_str().contains(variable)
}

/// Puts the lines that set a variable into comments, and returns whether there were any.
fn comment_out(text: &mut Text, variable: &str) -> bool {
    let lines: Vec<usize> =
        text.lines().filter(|(_, line)| assigns(line.trim_start(), variable)).map(|(at, _)| at).collect();
    // From the end of the file to its start, so that the offsets still to come stay valid.
    for &at in lines.iter().rev() {
        text.replace(at..at, "# ");
    }
    !lines.is_empty()
}

/// Whether a tree's Python module needs WITH_PYTHON_LAYER: its python_layer.hpp declares variables that are defined in a
/// build with Python layers only.
pub(crate) fn needs_python_layer(header: &Text) -> bool {
    header.find_line(|line| line.trim_start().starts_with("extern ") && line.contains(';')).is_some()
}

/// Sets WITH_PYTHON_LAYER in a new Makefile.config, and returns what the user should know about it.
pub(crate) fn set_python_layer(text: &mut Text) -> String {
    set(text, PYTHON_LAYER, "1");
    format!("Makefile.config has {PYTHON_LAYER} := 1: without it this tree's Python module has an undefined symbol")
}

/// What the user should know about a Makefile.config without the WITH_PYTHON_LAYER that the tree needs.
pub(crate) fn note_of_python_layer(config: &Text) -> Option<String> {
    (!sets(config, PYTHON_LAYER, "1")).then(|| {
        format!(
            "this tree's Python module needs {PYTHON_LAYER} := 1, which Makefile.config does not set: without it the \
             import fails with an undefined symbol. Set it before make"
        )
    })
}

/// The variable of Makefile.config that builds layers written in Python.
const PYTHON_LAYER: &str = "WITH_PYTHON_LAYER";

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

    /// A Makefile that knows these switches.
    fn makefile(switches: &[&str]) -> Text {
        let lines: String = switches.iter().map(|switch| format!("ifeq ($({switch}), 1)\nendif\n")).collect();
        Text::from_bytes(lines.as_bytes())
    }

    #[test]
    fn what_the_machine_lacks_is_turned_off_and_said() {
        let switches = ["CPU_ONLY", "USE_CUDNN", "USE_NCCL", "USE_OPENCV", "USE_LMDB"];
        let mut text =
            Text::from_bytes(b"USE_CUDNN := 1\r\n# CPU_ONLY := 1\r\n# USE_OPENCV := 0\r\n# USE_NCCL := 1\r\n");
        let machine = Machine { lmdb: true, ..Machine::default() };
        let notes = set_for_machine(&mut text, &makefile(&switches), &machine);
        let start = "# USE_CUDNN := 1\r\nCPU_ONLY := 1\r\nUSE_OPENCV := 0\r\n# USE_NCCL := 1\r\n";
        assert!(text.as_str().starts_with(start), "{}", text.as_str());
        assert!(!text.as_str().contains("USE_LMDB") && !text.as_str().contains("USE_LEVELDB"), "{}", text.as_str());

        let all = notes.join("\n");
        assert_eq!(notes.len(), 3, "{all}");
        for part in ["has CPU_ONLY := 1", "does not set USE_CUDNN", "USE_OPENCV := 0", "install libopencv-dev"] {
            assert!(all.contains(part), "{all}");
        }
    }

    #[test]
    fn what_the_makefile_cannot_leave_out_is_said() {
        let old = Text::from_bytes(b"LIBRARIES += glog leveldb snappy \\\n\tlmdb boost_system \\\n\topencv_core\n");
        let machine = Machine { lmdb: true, ..Machine::default() };
        let note = note_of_mandatory(&old, &machine).unwrap();
        assert!(note.contains("OpenCV (libopencv-dev), LevelDB with Snappy (libleveldb-dev libsnappy-dev)."), "{note}");

        let later = Text::from_bytes(b"ifeq ($(USE_OPENCV), 1)\nLIBRARIES += opencv_core\nendif\n");
        assert_eq!(note_of_mandatory(&later, &machine), None);
    }

    #[test]
    fn a_python_module_that_needs_python_layers_is_said() {
        let (plain, needing) =
            (Text::from_bytes(b"class PythonLayer {};\n"), Text::from_bytes(b"extern boost::mutex m;\n"));
        let (off, on) =
            (Text::from_bytes(b"# WITH_PYTHON_LAYER := 1\n"), Text::from_bytes(b"WITH_PYTHON_LAYER := 1\n"));
        assert!(needs_python_layer(&needing) && !needs_python_layer(&plain));
        assert!(note_of_python_layer(&off).is_some_and(|note| note.contains("WITH_PYTHON_LAYER := 1")));
        assert_eq!(note_of_python_layer(&on), None);
        let mut new = off.clone();
        assert!(set_python_layer(&mut new).contains("WITH_PYTHON_LAYER := 1"));
        assert_eq!(new, on);
    }
}
