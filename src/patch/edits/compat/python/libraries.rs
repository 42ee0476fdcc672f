//! A Makefile that sets PYTHON_LIBRARIES behind the user's Makefile.config, whose setting is lost.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::edits::make_syntax::{assigns, unconditional};
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "python-libraries",
    reason: "the Makefile overwrites the PYTHON_LIBRARIES of Makefile.config",
    paths: &["Makefile"],
    used: &[],
    apply,
};

/// Makes it a default.
fn apply(text: &mut Text) -> bool {
    const NAME: &str = "PYTHON_LIBRARIES";
    let sets = |line: &str| {
        let operator = line[NAME.len().min(line.len())..].trim_start();
        assigns(line, NAME) && (operator.starts_with(":=") || operator.starts_with('='))
    };
    let Some(&at) = unconditional(text, sets).first() else { return false };
    let operator = at + NAME.len();
    let Some(equals) = text.as_str()[operator..].find('=') else { return false };
    text.replace(operator..operator + equals + 1, " ?=");
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_becomes_a_default() {
        for old in ["PYTHON_LIBRARIES := boost_python python2.7\r\n", "PYTHON_LIBRARIES= boost_python python2.7\r\n"] {
            let mut text = Text::from_bytes(format!("X := 1\r\n{old}").as_bytes());
            assert!(apply(&mut text));
            assert_eq!(text.as_str(), "X := 1\r\nPYTHON_LIBRARIES ?= boost_python python2.7\r\n");
            assert!(!apply(&mut text));
        }
    }

    #[test]
    fn a_default_or_an_addition_is_left_alone() {
        for source in [
            "PYTHON_LIBRARIES ?= boost_python\nPYTHON_LIBRARIES += x\n",
            "ifeq ($(LINUX), 1)\nPYTHON_LIBRARIES := boost_python\nendif\n",
            "PYTHON_LIBRARIES_EXTRA := x\n",
            "P\n",
        ] {
            assert!(!apply(&mut Text::from_bytes(source.as_bytes())), "{source}");
        }
    }
}
