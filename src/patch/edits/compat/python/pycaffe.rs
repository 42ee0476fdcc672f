//! Python 2 in pycaffe: methods of dict that Python 3 lacks, `xrange`, and `/` where a whole number is needed.

use crate::patch::edits::compat::edit::Edit;
use crate::patch::source_text::Text;

pub(in crate::patch::edits::compat) const EDIT: Edit = Edit {
    name: "pycaffe-python3",
    reason: "Python 3 has no iteritems, itervalues and xrange, and / gives a float",
    paths: &["python/caffe"],
    used: &[],
    apply,
};

/// Writes each in a way that both Pythons understand.
fn apply(text: &mut Text) -> bool {
    let before = text.clone();
    take_first_value(text);
    for (old, new) in [(".iteritems()", ".items()"), (".itervalues()", ".values()"), (".iterkeys()", ".keys()")] {
        replace_all(text, old, new);
    }
    rename_xrange(text);
    divide_whole_numbers(text);
    *text != before
}

fn replace_all(text: &mut Text, old: &str, new: &str) {
    while let Some(at) = text.as_str().find(old) {
        text.replace(at..at + old.len(), new);
    }
}

/// `a.b.itervalues().next()` becomes `next(iter(a.b.values()))`; a call on anything but a plain name stays.
fn take_first_value(text: &mut Text) {
    const CALL: &str = ".itervalues().next()";
    while let Some(at) = text.as_str().find(CALL) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let start = text.as_str()[..at].rfind(|c| !is_name(c)).map_or(0, |before| before + 1);
        let name = &text.as_str()[start..at];
        if name.is_empty() {
            return;
        }
        let new = format!("next(iter({name}.values()))");
        text.replace(start..at + CALL.len(), &new);
    }
}

/// `xrange` becomes `range`, unless the file imports a function of this name.
fn rename_xrange(text: &mut Text) {
    const NAME: &str = "xrange(";
    let source = text.as_str();
    if source.contains("import xrange") || source.contains("xrange =") {
        return;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let all: Vec<usize> =
        source.match_indices(NAME).map(|(at, _)| at).filter(|&at| !source[..at].ends_with(is_name)).collect();
    // From the end of the file to its start, so that the offsets still to come stay valid.
    for at in all.into_iter().rev() {
        text.replace(at..at + 1, "");
    }
}

/// The number of batches, and the first dimension for a reshape, are whole numbers.
fn divide_whole_numbers(text: &mut Text) {
    const DIVISION: &str = " / ";
    let counts = |line: &str| line.trim_start().starts_with("num_batches =") || line.contains("reshape((len(");
    let all: Vec<usize> = text
        .lines()
        .filter(|(_, line)| counts(line) && line.matches(DIVISION).count() == 1)
        .filter_map(|(at, line)| Some(at + line.find(DIVISION)?))
        .collect();
    for at in all.into_iter().rev() {
        text.replace(at..at + DIVISION.len(), " // ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(source: &str) -> Option<String> {
        let mut text = Text::from_bytes(source.as_bytes());
        let edited = apply(&mut text);
        assert!(!apply(&mut text), "a second call changes {source:?}");
        edited.then(|| String::from_utf8(text.to_bytes()).unwrap())
    }

    #[test]
    fn idioms_of_python_2_become_those_of_both() {
        for (old, new) in [
            ("for k, v in kwargs.iteritems():\r\n", "for k, v in kwargs.items():\r\n"),
            (
                "pad = len(all_outs.itervalues().next()) - len(kwargs.itervalues().next())\n",
                "pad = len(next(iter(all_outs.values()))) - len(next(iter(kwargs.values())))\n",
            ),
            ("n = self.blobs.itervalues().next().num\n", "n = next(iter(self.blobs.values())).num\n"),
            ("for v in d.itervalues():\n", "for v in d.values():\n"),
            ("    num_batches = num / batch_size\n", "    num_batches = num // batch_size\n"),
            ("p = p.reshape((len(p) / 10, 10, -1))\n", "p = p.reshape((len(p) // 10, 10, -1))\n"),
            ("for i in xrange(0, num):\n", "for i in range(0, num):\n"),
        ] {
            assert_eq!(edited(old).as_deref(), Some(new));
        }
    }

    #[test]
    fn files_that_run_with_python_3_are_left_alone() {
        for source in [
            "for k, v in six.iteritems(kwargs):\n    x = six.next(six.itervalues(blobs))\n",
            "from six.moves import xrange\nfor i in xrange(3):\n    pass\n",
            "num_batches = num // batch_size\nhalf = crop_dims / 2.0\nfor i in np.xrange(2): pass\n",
        ] {
            assert_eq!(edited(source), None);
        }
    }
}
