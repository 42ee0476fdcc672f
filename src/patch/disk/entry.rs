//! What a path holds: a file or a symbolic link.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::patch::error::Error;

/// What a path holds: a file or a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// The whole content.
        bytes: Vec<u8>,
        /// The permission bits, 0o777 at most.
        mode: u32,
    },
    /// A symbolic link to this target.
    Link(PathBuf),
}

impl Entry {
    /// A regular file with mode 0644.
    pub fn file(bytes: Vec<u8>) -> Entry {
        Entry::File { bytes, mode: 0o644 }
    }

    /// Reads what a path outside of any tree holds, without following a link; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn read(path: &Path) -> Result<Option<Entry>, Error> {
        let read = || -> io::Result<Entry> {
            let metadata = fs::symlink_metadata(path)?;
            if metadata.is_symlink() {
                return Ok(Entry::Link(fs::read_link(path)?));
            }
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a link"));
            }
            Ok(Entry::File { bytes: fs::read(path)?, mode: metadata.permissions().mode() & 0o777 })
        };
        match read() {
            Ok(entry) => Ok(Some(entry)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path: path.into(), source }),
        }
    }

    /// A file with this content and the entry's permissions; a link becomes a file.
    pub fn with_bytes(&self, bytes: Vec<u8>) -> Entry {
        match self {
            Entry::File { mode, .. } => Entry::File { bytes, mode: *mode },
            Entry::Link(_) => Entry::file(bytes),
        }
    }

    /// SHA-256 of a file's content or a link's target, in hexadecimal. Permissions are not part of it.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        match self {
            Entry::File { bytes, .. } => hash.update(bytes),
            Entry::Link(target) => {
                hash.update(b"link to ");
                hash.update(target.as_os_str().as_encoded_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
