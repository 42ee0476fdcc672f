//! A change shown as `diff -u` shows it.

use std::io::{self, Write};
use std::path::Path;

use similar::TextDiff;

/// Writes the change of one file from `old` to `new`; nothing where there is none. `path` is the file's own.
pub fn print(out: &mut impl Write, path: &Path, old: &[u8], new: &[u8]) -> io::Result<()> {
    let path = path.to_string_lossy();
    let path = path.trim_start_matches('/');
    let diff = TextDiff::from_lines(old, new);
    let mut unified = diff.unified_diff();
    unified.context_radius(3).header(&format!("a/{path}"), &format!("b/{path}")).to_writer(out)
}
