//! Writing what an apply needs into the patch's own folder, before the first file of the tree changes.

use std::io;
use std::path::Path;

use super::disk::{Entry, FOLDER, ORIGINALS, PATCHED, Root, STAGED};
use super::plan::{Change, Plan};

/// Keeps git from leaving out of a commit what the tree's own `.gitignore` names, so that the folder survives a clone.
const GITIGNORE: &str = ".gfpq/.gitignore";

/// Writes a plan's originals and new files below [`FOLDER`].
///
/// # Errors
/// Those of the operating system.
pub(super) fn stage(root: &Root, plan: &Plan) -> io::Result<()> {
    root.make_folder(Path::new(STAGED))?;
    root.write_new(&Entry::file(b"!*\n".to_vec()), Path::new(GITIGNORE), Path::new(FOLDER))?;
    for change in &plan.changes {
        root.write_new(&change.after, &Path::new(STAGED).join(&change.path), &change.path)?;
        keep(root, change)?;
    }
    Ok(())
}

/// Keeps what a revert of this change needs: the original, and the patched file.
///
/// # Errors
/// Those of the operating system.
pub(super) fn keep(root: &Root, change: &Change) -> io::Result<()> {
    let Some(original) = change.before.as_ref().or(change.base.as_ref()) else { return Ok(()) };
    for (folder, entry) in [(ORIGINALS, original), (PATCHED, &change.after)] {
        let place = Path::new(folder).join(&change.path);
        root.remove_file(&place)?;
        root.write_new(entry, &place, &change.path)?;
    }
    Ok(())
}
