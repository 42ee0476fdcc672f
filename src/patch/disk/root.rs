//! A tree's folder, opened so that no path leads out of it.
//!
//! Every path here is relative to the tree. `..`, an absolute path, or a symbolic link that leads out of the tree is
//! refused by the library cap-std, which resolves each path beneath the open folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use rustix::fs::{Access, AtFlags, Gid, OFlags, Uid, accessat, chownat};

use super::Entry;
use crate::patch::error::Error;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// The permission bits that are kept: not those by which a program runs as its owner.
const MODE: u32 = 0o777;

/// A tree's folder, opened so that no path leads out of it.
#[derive(Clone, Debug)]
pub struct Root {
    path: PathBuf,
    dir: Arc<Dir>,
}

/// The user and the group that a file belongs to.
#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

impl Root {
    /// Opens a tree's folder.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn open(path: &Path) -> Result<Root, Error> {
        match Dir::open_ambient_dir(path, ambient_authority()) {
            Ok(dir) => Ok(Root { path: path.into(), dir: Arc::new(dir) }),
            Err(source) => Err(Error::Read { path: path.into(), source }),
        }
    }

    /// The folder's path, as the user gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself as a file, to lock it.
    pub(super) fn folder(&self) -> Result<File, Error> {
        // A lock belongs to an open file, so the folder is opened anew for each.
        self.open_folder(Path::new("")).map_err(|error| self.read_error(Path::new(""), error))
    }

    /// What a path holds, without following a link; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Read`].
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, Error> {
        let read = || -> io::Result<Entry> {
            if self.dir.symlink_metadata(path)?.is_symlink() {
                return Ok(Entry::Link(self.dir.read_link_contents(path)?));
            }
            let (bytes, mode) = self.read(path, OFlags::NOFOLLOW)?;
            Ok(Entry::File { bytes, mode })
        };
        self.if_there(path, read())
    }

    /// A file's bytes, following links that stay in the tree; `None` if there is no file.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Read`].
    pub fn bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        self.if_there(path, self.read(path, OFlags::empty()).map(|(bytes, _)| bytes))
    }

    /// The bytes and the permission bits of a regular file, both of the same open file: a path could be another file's a
    /// moment later. Pipes and devices are refused without waiting for them.
    fn read(&self, path: &Path, flags: OFlags) -> io::Result<(Vec<u8>, u32)> {
        let flags = flags | OFlags::NONBLOCK;
        let file = self.dir.open_with(path, OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a link nor a file of less than 1 GiB"));
        }
        let mut bytes = Vec::new();
        file.take(LARGEST).read_to_end(&mut bytes)?;
        Ok((bytes, metadata.permissions().mode() & MODE))
    }

    fn if_there<T>(&self, path: &Path, result: io::Result<T>) -> Result<Option<T>, Error> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(self.read_error(path, error)),
        }
    }

    /// The error for a path that could not be read.
    pub fn read_error(&self, path: &Path, source: io::Error) -> Error {
        let full = self.path.join(path);
        if leads_outside(&source) { Error::Outside { path: full } } else { Error::Read { path: full, source } }
    }

    /// The error for a path that could not be written.
    pub fn write_error(&self, path: &Path, source: io::Error) -> Error {
        let full = self.path.join(path);
        if leads_outside(&source) { Error::Outside { path: full } } else { Error::Write { path: full, source } }
    }

    /// Whether a path holds a folder itself, not a link to one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn is_real_folder(&self, path: &Path) -> io::Result<bool> {
        is_folder(self.dir.symlink_metadata(path))
    }

    /// Whether there is anything at a path, a link that leads nowhere included.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(in crate::patch) fn is_there(&self, path: &Path) -> io::Result<bool> {
        match self.dir.symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a path holds a folder, or a link to one that stays in the tree.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn is_folder(&self, path: &Path) -> io::Result<bool> {
        is_folder(self.dir.metadata(path))
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn names(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.dir.read_dir(folder)?.map(|entry| Ok(entry?.file_name().into())).collect()
    }

    /// Writes an entry where there is none, and makes the folders it needs. It gets the owner of `like`, or of the
    /// nearest folder above it: a tree that root patches stays its user's.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn write_new(&self, entry: &Entry, path: &Path, like: &Path) -> io::Result<()> {
        let owner = self.owner(like);
        self.make_folder(path.parent().unwrap_or(Path::new("")))?;
        match entry {
            Entry::Link(target) => {
                self.dir.symlink_contents(target, path)?;
                if let (Some(owner), Some(name)) = (owner, path.file_name()) {
                    let folder = self.open_folder(path.parent().unwrap_or(Path::new("")))?;
                    let (user, group) = (Uid::from_raw(owner.user), Gid::from_raw(owner.group));
                    // Only root may give files away. Other users' new files are their own already.
                    let _ = chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
                }
                Ok(())
            }
            Entry::File { bytes, mode } => {
                let mut file = self.dir.open_with(path, OpenOptions::new().write(true).create_new(true))?;
                file.write_all(bytes)?;
                let file = file.into_std();
                if let Some(owner) = owner {
                    give_to(&file, owner);
                }
                // After the owner: giving a file away clears its setuid and setgid bits.
                file.set_permissions(std::fs::Permissions::from_mode(*mode))?;
                file.sync_all()
            }
        }
    }

    /// Makes a folder and those above it, each with the owner of the one above.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn make_folder(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || self.is_folder(path)? {
            return Ok(());
        }
        let above = path.parent().unwrap_or(Path::new(""));
        self.make_folder(above)?;
        self.dir.create_dir(path)?;
        if let Some(owner) = self.owner(above) {
            give_to(&self.open_folder(path)?, owner);
        }
        Ok(())
    }

    /// Moves an entry to its place and replaces what is there, atomically.
    ///
    /// The place may be on another file system, if a folder of the tree is a mount point. Then the entry is copied
    /// beside its place first.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn install(&self, from: &Path, path: &Path) -> io::Result<()> {
        self.make_folder(path.parent().unwrap_or(Path::new("")))?;
        match self.dir.rename(from, &self.dir, path) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                let entry = self.entry(from).ok().flatten().ok_or(error)?;
                let beside = beside(path);
                self.remove_file(&beside)?;
                self.write_new(&entry, &beside, path)?;
                self.dir.rename(&beside, &self.dir, path)?;
                self.remove_file(from)
            }
            other => other,
        }
    }

    /// Removes a file or link, if there is one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        no_error_if_missing(self.dir.remove_file(path))
    }

    /// Removes what a killed [`Root::install`] may have left beside a path.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove_leftover(&self, path: &Path) -> io::Result<()> {
        self.remove_file(&beside(path))
    }

    /// Removes a folder, unless something is in it or it is gone.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove_empty_folder(&self, path: &Path) -> io::Result<()> {
        match self.dir.remove_dir(path) {
            // It holds something of the user's by now, or something is mounted on it.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy) => {
                Ok(())
            }
            other => no_error_if_missing(other),
        }
    }

    /// Removes a folder with all that is in it, if there is one.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn remove_folder(&self, path: &Path) -> io::Result<()> {
        no_error_if_missing(self.dir.remove_dir_all(path))
    }

    /// Makes sure that the names in a folder survive a power failure.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn sync_folder(&self, path: &Path) -> io::Result<()> {
        match self.open_folder(path)?.sync_all() {
            // Some file systems cannot, and need not.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    /// Checks that every file may be written, and so may the folder it is in or will be in.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for the first that may not; [`Error::Outside`] for one that leads out of the tree.
    pub fn check_writable<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
        let mut folders = vec![PathBuf::from(".")];
        for path in paths {
            let metadata = self.if_there(path, self.dir.symlink_metadata(path))?;
            if metadata.is_some_and(|file| file.is_file() && file.permissions().readonly()) {
                return Err(Error::ReadOnly { path: self.path.join(path) });
            }
            for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                if self.is_folder(folder).map_err(|error| self.read_error(folder, error))? {
                    folders.push(folder.into());
                    break;
                }
                if self.is_there(folder).map_err(|error| self.read_error(folder, error))? {
                    return Err(Error::InTheWay { path: self.path.join(folder) });
                }
            }
        }
        folders.sort();
        folders.dedup();

        for folder in folders {
            let may_write = || -> io::Result<()> {
                Ok(accessat(self.open_folder(&folder)?, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::empty())?)
            };
            may_write().map_err(|source| match source.kind() {
                _ if leads_outside(&source) => Error::Outside { path: self.path.join(&folder) },
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Error::ReadOnly { path: self.path.join(&folder) }
                }
                _ => Error::Write { path: self.path.join(&folder), source },
            })?;
        }
        Ok(())
    }

    fn open_folder(&self, path: &Path) -> io::Result<File> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        // Not open_dir, whose descriptor can neither be locked nor synced.
        Ok(self.dir.open(path)?.into_std())
    }

    /// The owner of what a path holds, or of the nearest folder above it.
    fn owner(&self, path: &Path) -> Option<Owner> {
        let metadata = path.ancestors().find_map(|path| match path.as_os_str().is_empty() {
            true => self.dir.dir_metadata().ok(),
            false => self.dir.symlink_metadata(path).ok(),
        })?;
        Some(Owner { user: metadata.uid(), group: metadata.gid() })
    }
}

/// Gives a file to an owner as far as the process may: root may do both, others may choose among their groups.
fn give_to(file: &File, owner: Owner) {
    if fchown(file, Some(owner.user), Some(owner.group)).is_err() {
        let _ = fchown(file, None, Some(owner.group));
    }
}

/// The name under which an entry waits beside its place.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.gfpq-new"))
}

/// Whether there is something, and it is a folder.
fn is_folder(metadata: io::Result<cap_std::fs::Metadata>) -> io::Result<bool> {
    match metadata {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(error) if is_missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an error is cap-std's for a path that leads out of the folder: it has no number of the operating system's.
fn leads_outside(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// The result of a removal, where it is no error that there was nothing to remove.
fn no_error_if_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

/// Whether there is nothing at a path: it, or a folder above it, is missing or no folder.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
