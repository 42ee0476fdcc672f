//! Taking the patch out of a tree again, also after an apply or revert that was interrupted.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{FOLDER, Lock, RESTORING, Root, check_folder};
use super::error::Error;
use super::journal::{Journal, State};
use super::tree::Tree;

/// Restores the tree as it was before the apply, byte for byte. Returns the paths restored or removed.
///
/// # Errors
/// [`Error::NotPatched`]; [`Error::EditedSince`], with nothing changed.
pub fn revert(tree: &Tree) -> Result<Vec<PathBuf>, Error> {
    let root = tree.root();
    let _lock = Lock::exclusive(root)?;
    check_folder(root)?;

    if let Some(journal) = Journal::load(root)? {
        undo(&journal, root)?;
        return Ok(journal.changes.into_iter().map(|record| record.path).collect());
    }
    // A folder without a journal is left by an apply that was killed before it touched the tree.
    if root.is_real_folder(Path::new(FOLDER)).map_err(|error| root.read_error(Path::new(FOLDER), error))? {
        remove_folder(root)?;
        return Ok(Vec::new());
    }
    Err(Error::NotPatched { root: root.path().into() })
}

/// Restores what the tree held before the apply, wherever the apply or an earlier undo of it stopped. A file that holds
/// its original already is not touched, so that make does not build it again.
pub(super) fn undo(journal: &Journal, root: &Root) -> Result<(), Error> {
    let edited = journal.edited(root)?;
    if !edited.is_empty() {
        return Err(Error::EditedSince { paths: edited });
    }
    root.check_writable(journal.changes.iter().map(|record| record.path.as_path()))?;
    // Read every original before the first file changes: a damaged one must leave the tree untouched.
    let originals = journal.changes.iter().map(|record| record.original(root)).collect::<Result<Vec<_>, _>>()?;

    Journal { state: State::Reverting, ..journal.clone() }.store(root)?;
    for (record, original) in journal.changes.iter().zip(originals) {
        let restore = || -> io::Result<()> {
            root.remove_leftover(&record.path)?;
            let now = root.entry(&record.path).map_err(io::Error::other)?;
            match original {
                _ if now == original => Ok(()),
                None => root.remove_file(&record.path),
                Some(original) => {
                    let restoring = Path::new(RESTORING);
                    root.remove_file(restoring)?;
                    root.write_new(&original, restoring, &record.original_path())?;
                    root.install(restoring, &record.path)
                }
            }
        };
        restore().map_err(|source| root.write_error(&record.path, source))?;
    }
    for dir in journal.created_dirs.iter().rev() {
        // If the user has put files there since, the folder stays.
        root.remove_empty_folder(dir).map_err(|source| root.write_error(dir, source))?;
    }
    sync_folders(root, journal.changes.iter().map(|record| record.path.as_path()))?;
    remove_folder(root)
}

/// Removes the patch's own folder. The journal goes first: a folder without one counts as leftovers, should the removal
/// be interrupted.
fn remove_folder(root: &Root) -> Result<(), Error> {
    let folder = Path::new(FOLDER);
    Journal::remove(root).and_then(|()| root.remove_folder(folder)).map_err(|source| root.write_error(folder, source))
}

/// Makes the changed names in all folders of these paths survive a power failure.
pub(super) fn sync_folders<'a>(root: &Root, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    let mut folders: Vec<&Path> = paths.filter_map(Path::parent).collect();
    folders.sort();
    folders.dedup();
    for folder in folders {
        let sync = || if root.is_folder(folder)? { root.sync_folder(folder) } else { Ok(()) };
        sync().map_err(|source| root.write_error(folder, source))?;
    }
    Ok(())
}
