//! Changes as unified diffs.

use std::io::{self, Write};

use similar::TextDiff;

use super::plan::{Change, Plan};
use super::tree::Entry;

/// The plan's changes as `patch -p1` reads them; binary files and links are named only. The bytes are those of the files.
pub fn unified_diff(plan: &Plan) -> Vec<u8> {
    plan.changes.iter().flat_map(diff_one).collect()
}

fn diff_one(change: &Change) -> Vec<u8> {
    let path = change.path.display();
    let new = match &change.after {
        Entry::File { bytes, .. } if !bytes.contains(&0) => bytes,
        Entry::File { bytes, .. } => {
            return format!("Binary file {path} would be new: {} bytes\n", bytes.len()).into_bytes();
        }
        Entry::Link(target) => return format!("Link {path} would point to {}\n", target.display()).into_bytes(),
    };
    let (old_name, old) = match &change.before {
        Some(Entry::File { bytes, .. }) => (format!("a/{path}"), bytes.as_slice()),
        _ => ("/dev/null".to_owned(), [].as_slice()),
    };
    let mut text = Vec::new();
    // A Vec takes everything.
    let _ = write_unified(&mut text, &old_name, &format!("b/{path}"), old, new);
    text
}

/// Writes the change of one file from `old` to `new` as `patch` reads it; nothing where there is none.
///
/// The lines are the files' bytes: what is no UTF-8 stays so, and only a newline ends a line.
///
/// # Errors
/// Those of `out`.
pub fn write_unified(out: &mut impl Write, old_name: &str, new_name: &str, old: &[u8], new: &[u8]) -> io::Result<()> {
    let lines = |text| <[u8]>::split_inclusive(text, |&byte| byte == b'\n').collect::<Vec<_>>();
    let diff = TextDiff::from_slices(&lines(old), &lines(new));
    let mut unified = diff.unified_diff();
    for (number, hunk) in unified.context_radius(3).iter_hunks().enumerate() {
        if number == 0 {
            write!(out, "--- {old_name}\n+++ {new_name}\n")?;
        }
        writeln!(out, "{}", hunk.header())?;
        for change in hunk.iter_changes() {
            write!(out, "{}", change.tag())?;
            out.write_all(change.value())?;
            if !change.value().ends_with(b"\n") {
                out.write_all(b"\n\\ No newline at end of file\n")?;
            }
        }
    }
    Ok(())
}
