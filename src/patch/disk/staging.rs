//! The patch's own folder in a tree, `.gfpq`: the journal, the originals of edited files, and files on their way.

use std::io;
use std::path::Path;

use super::{Entry, Root};
use crate::patch::error::Error;
use crate::patch::plan::Plan;

/// The patch's own folder.
pub(crate) const FOLDER: &str = ".gfpq";
/// The originals of edited files, under their paths in the tree.
pub(crate) const ORIGINALS: &str = ".gfpq/original";
/// New files that an apply has written but not yet moved, under their paths in the tree.
pub(crate) const STAGED: &str = ".gfpq/staged";
/// The file that is being restored.
pub(crate) const RESTORING: &str = ".gfpq/restoring";
/// Keeps git from leaving out of a commit what the tree's own `.gitignore` names, so that the folder survives a clone.
const GITIGNORE: &str = ".gfpq/.gitignore";

/// The names that gfpq gives to what it writes into [`FOLDER`].
const OWN_NAMES: [&str; 6] = ["journal.json", "journal.json.new", "original", "staged", "restoring", ".gitignore"];

/// Checks that `.gfpq`, if it is there, is a folder that gfpq made.
///
/// # Errors
/// [`Error::ForeignFolder`].
pub(crate) fn check_folder(root: &Root) -> Result<(), Error> {
    let folder = Path::new(FOLDER);
    let foreign = || Error::ForeignFolder { path: root.path().join(FOLDER) };
    match root.entry(folder) {
        Ok(None) => return Ok(()),
        Ok(Some(Entry::Link(_))) => return Err(foreign()),
        // A folder cannot be read like a file.
        _ => {}
    }
    if !root.is_real_folder(folder).map_err(|error| root.read_error(folder, error))? {
        return Err(foreign());
    }
    let names = root.names(folder).map_err(|error| root.read_error(folder, error))?;
    // `.tmp…` are those of gfpq 1.0.0.
    let is_own = |name: &str| OWN_NAMES.contains(&name) || name.starts_with(".tmp");
    if names.iter().all(|name| is_own(&name.to_string_lossy())) { Ok(()) } else { Err(foreign()) }
}

/// Writes a plan's originals and new files below [`FOLDER`].
///
/// # Errors
/// Those of the operating system.
pub(crate) fn stage(root: &Root, plan: &Plan) -> io::Result<()> {
    root.make_folder(Path::new(STAGED))?;
    root.write_new(&Entry::file(b"!*\n".to_vec()), Path::new(GITIGNORE), Path::new(FOLDER))?;
    for change in &plan.changes {
        root.write_new(&change.after, &Path::new(STAGED).join(&change.path), &change.path)?;
        if let Some(before) = &change.before {
            root.write_new(before, &Path::new(ORIGINALS).join(&change.path), &change.path)?;
        }
    }
    Ok(())
}
