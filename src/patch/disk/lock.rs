//! One process at a time: a lock on the tree's folder.
//!
//! The lock is the kernel's (`flock`), so it ends with the process, however that ends, and leaves nothing in the tree.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};

use super::Root;
use crate::patch::error::Error;

/// How long to wait for another process. An apply takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lock on a tree, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _folder: File,
}

impl Lock {
    /// Waits until no other process reads or writes the tree.
    ///
    /// # Errors
    /// [`Error::Busy`] if another process holds the tree for longer than ten seconds.
    pub(crate) fn exclusive(root: &Root) -> Result<Lock, Error> {
        Lock::wait(root, File::try_lock)
    }

    /// Waits until no other process writes the tree.
    ///
    /// # Errors
    /// As for [`Lock::exclusive`].
    pub(crate) fn shared(root: &Root) -> Result<Lock, Error> {
        Lock::wait(root, File::try_lock_shared)
    }

    fn wait(root: &Root, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> Result<Lock, Error> {
        let folder = root.folder()?;
        let start = Instant::now();
        loop {
            match try_lock(&folder) {
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(20)),
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy { root: root.path().into(), holder: holder(&folder) });
                }
                // Some network file systems cannot lock a folder. There the user must take care, as before.
                Err(TryLockError::Error(_)) | Ok(()) => return Ok(Lock { _folder: folder }),
            }
        }
    }
}

/// The process that holds a lock on this folder, if the kernel tells: a line of `/proc/locks` is
/// `1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`.
fn holder(folder: &File) -> Option<u32> {
    let inode = folder.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_ours = words.get(1) == Some(&"FLOCK") && words.get(5)?.rsplit(':').next() == Some(&inode);
        is_ours.then(|| words[4].parse().ok())?
    })
}
