//! Unified diffs of one file's bytes, as `patch(1)` reads them.

use std::io::{self, Write};

use similar::TextDiff;

/// Writes the change of one file from `old` to `new` as a unified diff; writes nothing if the two are equal.
///
/// The lines are the files' bytes: they need not be UTF-8, and only `\n` ends a line.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write_unified(
    out: &mut impl Write,
    old_name: &str,
    new_name: &str,
    old: &[u8],
    new: &[u8],
) -> io::Result<()> {
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
