//! The patch's own folder in a tree, `.gfpq`: the journal, the originals of edited files, and files on their way.

use std::path::{Component, Path};

use super::Root;
use crate::patch::error::Error;

/// The patch's own folder.
pub(crate) const FOLDER: &str = ".gfpq";
/// The record of what an apply did.
pub(crate) const JOURNAL: &str = ".gfpq/journal.json";
/// The next journal, until it takes the place of the one before.
pub(crate) const NEXT_JOURNAL: &str = ".gfpq/journal.json.new";
/// The originals of edited files, under their paths in the tree.
pub(crate) const ORIGINALS: &str = ".gfpq/original";
/// New files that an apply has written but not yet moved, under their paths in the tree.
pub(crate) const STAGED: &str = ".gfpq/staged";
/// Edited files as the patch left them, under their paths in the tree: with them the user's later edits can be told apart.
pub(crate) const PATCHED: &str = ".gfpq/patched";
/// Files that a revert restores with the user's edits, under their paths in the tree.
pub(crate) const MERGED: &str = ".gfpq/merged";
/// The file that is being restored.
pub(crate) const RESTORING: &str = ".gfpq/restoring";
/// The names that gfpq gives to what it writes into [`FOLDER`].
const OWN_NAMES: [&str; 8] =
    ["journal.json", "journal.json.new", "original", "patched", "merged", "staged", "restoring", ".gitignore"];

/// Checks that `.gfpq`, if it is there, is a folder that gfpq made.
///
/// # Errors
/// [`Error::ForeignFolder`].
pub(crate) fn check_folder(root: &Root) -> Result<(), Error> {
    let folder = Path::new(FOLDER);
    let foreign = || Error::ForeignFolder { path: root.path().join(FOLDER) };
    let looked = |result: std::io::Result<bool>| result.map_err(|error| root.read_error(folder, error));
    if !looked(root.is_there(folder))? {
        return Ok(());
    }
    if !looked(root.is_real_folder(folder))? {
        return Err(foreign());
    }
    let names = root.names(folder).map_err(|error| root.read_error(folder, error))?;
    // `.tmp…` are those of gfpq 1.0.0.
    let is_own = |name: &str| OWN_NAMES.contains(&name) || name.starts_with(".tmp");
    if names.iter().all(|name| is_own(&name.to_string_lossy())) { Ok(()) } else { Err(foreign()) }
}

/// Whether a path is a plain one beneath the tree, outside of gfpq's own folder.
pub(crate) fn is_plain(path: &Path) -> bool {
    let is_normal = path.components().all(|component| matches!(component, Component::Normal(_)));
    is_normal && !path.as_os_str().is_empty() && !path.starts_with(FOLDER)
}
