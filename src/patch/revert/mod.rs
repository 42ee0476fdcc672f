//! Taking the patch out of a tree again, also after an apply or revert that was interrupted.

mod user_edits;

use std::io;
use std::path::{Path, PathBuf};

use crate::patch::disk::{Entry, FOLDER, Lock, MERGED, RESTORING, Root, check_folder};
use crate::patch::error::Error;
use crate::patch::journal::{Found, Journal, Record, State};
use crate::patch::tree::Tree;

/// What a revert did.
#[derive(Debug, Default)]
pub struct Reverted {
    /// The paths restored or removed, relative to the tree.
    pub paths: Vec<PathBuf>,
    /// Those among them that the user had edited: they keep these edits.
    pub kept_edits: Vec<PathBuf>,
}

/// Restores the tree as it was before the apply, byte for byte. Edits that the user has made since, outside of the patch's
/// lines, stay.
///
/// # Errors
/// [`Error::NotPatched`]; [`Error::EditedSince`] for edits of the patch's lines, with nothing changed.
pub fn revert(tree: &Tree) -> Result<Reverted, Error> {
    let root = tree.root();
    let _lock = Lock::exclusive(root)?;
    check_folder(root)?;

    if let Some(journal) = Journal::load(root)? {
        let kept_edits = undo(&journal, root)?;
        return Ok(Reverted { paths: journal.changes.into_iter().map(|record| record.path).collect(), kept_edits });
    }
    // A folder without a journal is left by an apply that was killed before it touched the tree.
    if root.is_real_folder(Path::new(FOLDER)).map_err(|error| root.read_error(Path::new(FOLDER), error))? {
        remove_folder(root)?;
        return Ok(Reverted::default());
    }
    Err(Error::NotPatched { root: root.path().into() })
}

/// Restores what the tree held before the apply, wherever the apply or an earlier undo of it stopped. A file that holds
/// its original already is not touched, so that make does not build it again. Returns the files with the user's edits.
pub(super) fn undo(journal: &Journal, root: &Root) -> Result<Vec<PathBuf>, Error> {
    let (reverting, merged) = keep_edits(journal, root)?;
    // Where a created file is gone, there may be something of the user's by now.
    let mut touched = Vec::new();
    for record in &reverting.changes {
        if record.before.is_some() || record.found(root)? != Found::Missing {
            touched.push(record.path.as_path());
        }
    }
    root.check_writable(touched.into_iter())?;
    if journal.state == State::Applied {
        write_merged(root, &merged).map_err(|source| root.write_error(Path::new(MERGED), source))?;
    }
    // Read every original before the first file changes: a damaged one must leave the tree untouched.
    let originals = reverting.changes.iter().map(|record| record.original(root)).collect::<Result<Vec<_>, _>>()?;
    reverting.store(root)?;

    for (record, original) in reverting.changes.iter().zip(originals) {
        let restore = || -> io::Result<()> {
            root.remove_leftover(&record.path)?;
            let now = root.entry(&record.path).map_err(io::Error::other)?;
            match original {
                _ if now == original => Ok(()),
                None => root.remove_file(&record.path),
                Some(original) => {
                    let restoring = Path::new(RESTORING);
                    root.remove_file(restoring)?;
                    root.write_new(&original, restoring, &record.path)?;
                    root.install(restoring, &record.path)
                }
            }
        };
        restore().map_err(|source| root.write_error(&record.path, source))?;
    }
    for dir in reverting.created_dirs.iter().rev() {
        // If the user has put files there since, the folder stays.
        root.remove_empty_folder(dir).map_err(|source| root.write_error(dir, source))?;
    }
    sync_folders(root, reverting.changes.iter().map(|record| record.path.as_path()))?;
    remove_folder(root)?;
    Ok(merged.into_iter().map(|(path, _)| path).collect())
}

/// Writes the user's edited files without the patch's lines to where a revert takes them from.
fn write_merged(root: &Root, merged: &[(PathBuf, Entry)]) -> io::Result<()> {
    root.remove_folder(Path::new(MERGED))?;
    merged.iter().try_for_each(|(path, entry)| root.write_new(entry, &Path::new(MERGED).join(path), path))
}

/// The journal of the revert that begins, and the user's edited files without the patch's lines.
pub(super) fn keep_edits(journal: &Journal, root: &Root) -> Result<(Journal, Vec<(PathBuf, Entry)>), Error> {
    let mut reverting = Journal { state: State::Reverting, ..journal.clone() };
    let (mut merged, mut conflicts) = (Vec::new(), Vec::new());
    for record in &mut reverting.changes {
        if record.found(root)? != Found::Edited {
            continue;
        }
        // In an interrupted apply or revert an edited file could be based on either of its two states.
        let without = if journal.state == State::Applied { without_patch(record, root)? } else { None };
        match without {
            Some(entry) => {
                record.restore_merged(root, &entry)?;
                merged.push((record.path.clone(), entry));
            }
            None => conflicts.push(record.path.clone()),
        }
    }
    if conflicts.is_empty() { Ok((reverting, merged)) } else { Err(Error::EditedSince { paths: conflicts }) }
}

/// The user's edited file without the patch's lines; `None` if these cannot be told apart.
fn without_patch(record: &Record, root: &Root) -> Result<Option<Entry>, Error> {
    let (Some(kept), Some(current)) = (record.kept(root)?, root.entry(&record.path)?) else {
        return Ok(None);
    };
    let Entry::File { bytes, .. } = &current else { return Ok(None) };
    let without = user_edits::without_patch(&kept.original, &kept.patched, bytes);
    Ok(without.map(|bytes| current.with_bytes(bytes)))
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
