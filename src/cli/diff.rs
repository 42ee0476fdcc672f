//! A change shown as `diff -u` shows it.

use std::io::{self, Write};
use std::path::Path;

use similar::TextDiff;

/// Writes the change of one file from `old` to `new`; nothing where there is none. `path` is the file's own.
///
/// The lines are the files' bytes: what is no UTF-8 stays so, and only a newline ends a line, as `patch` has it.
pub fn print(out: &mut impl Write, path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let path = path.to_string_lossy();
    let path = path.trim_start_matches('/');
    let lines = |text| <[u8]>::split_inclusive(text, |&byte| byte == b'\n').collect::<Vec<_>>();
    let diff = TextDiff::from_slices(&lines(old), &lines(new));
    let mut unified = diff.unified_diff();
    for (number, hunk) in unified.context_radius(3).iter_hunks().enumerate() {
        if number == 0 {
            write!(out, "--- a/{path}\n+++ b/{path}\n")?;
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
