//! Writing entries to disk: staged below `.gfpq` first, on the tree's own file system, so that a rename puts each in
//! its place.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::error::Error;
use super::plan::Plan;
use super::tree::Entry;

/// The patch's own folder, relative to the tree.
pub const FOLDER: &str = ".gfpq";
/// The originals of edited files, under their paths in the tree.
pub const ORIGINALS: &str = ".gfpq/original";
/// New files that an apply has written but not yet moved, under their paths in the tree.
pub const STAGED: &str = ".gfpq/staged";

/// Writes a plan's originals and new files below [`FOLDER`].
pub fn stage(root: &Path, plan: &Plan) -> io::Result<()> {
    fs::create_dir_all(root.join(STAGED))?;
    for change in &plan.changes {
        write_new(&change.after, &root.join(STAGED).join(&change.path))?;
        if let Some(before) = &change.before {
            write_new(before, &root.join(ORIGINALS).join(&change.path))?;
        }
    }
    Ok(())
}

/// Writes an entry where there is none, and the folders it needs.
fn write_new(entry: &Entry, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    match entry {
        Entry::Link(target) => symlink(target, path),
        Entry::File { bytes, mode } => {
            let mut file = fs::File::create(path)?;
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(*mode))?;
            file.sync_all()
        }
    }
}

/// Replaces what stands at `path` by an entry, atomically.
pub fn place(entry: &Entry, root: &Path, path: &Path) -> io::Result<()> {
    let scratch = tempfile::tempdir_in(root.join(FOLDER))?;
    let new = scratch.path().join("entry");
    write_new(entry, &new)?;
    fs::rename(new, path)
}

/// The result of a removal, where it is no error that there was nothing to remove.
pub fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Checks that every file may be written, and so may the folder it is in or will be in.
///
/// # Errors
/// [`Error::ReadOnly`] for the first that may not.
pub fn check_writable<'a>(root: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    let mut folders = vec![root.to_path_buf()];
    for path in paths {
        let path = root.join(path);
        if fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.permissions().readonly()) {
            return Err(Error::ReadOnly { path });
        }
        folders.extend(path.ancestors().skip(1).find(|dir| dir.exists()).map(Path::to_path_buf));
    }
    folders.sort();
    folders.dedup();

    for folder in folders {
        // An unnamed file leaves nothing behind, even if the process is killed here.
        tempfile::tempfile_in(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::ReadOnly { path: folder.clone() }
            }
            _ => Error::Write { path: folder.clone(), source },
        })?;
    }
    Ok(())
}
