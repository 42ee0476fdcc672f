//! GFPQLibs: the library as scripts/package.sh makes it, to be copied into a tree.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::patch::error::Error;
use crate::patch::tree::Entry;

/// The header and the libraries, as paths below GFPQLibs.
#[derive(Debug)]
pub struct Library {
    /// In the order of their paths.
    pub entries: Vec<(PathBuf, Entry)>,
}

impl Library {
    /// Reads a GFPQLibs folder's include and lib.
    ///
    /// # Errors
    /// [`Error::NoLibrary`] when something that a Caffe build needs is missing.
    pub fn load(dir: &Path) -> Result<Library, Error> {
        let broken = |why: String| Error::NoLibrary { dir: dir.into(), why };
        for needed in ["include/gfpq.hpp", "include/gfpq_ext.hpp", "lib/libgfpq.so.1", "lib/libgfpq_gpu.so.1"] {
            if !dir.join(needed).exists() {
                return Err(broken(format!("no {needed}")));
            }
        }
        let mut entries = Vec::new();
        for part in ["include", "lib"] {
            for file in WalkDir::new(dir.join(part)).sort_by_file_name() {
                let file = file.map_err(|error| broken(error.to_string()))?;
                if file.file_type().is_dir() {
                    continue;
                }
                let entry =
                    Entry::read(file.path())?.ok_or_else(|| broken(format!("{} vanished", file.path().display())))?;
                let path = file.path().strip_prefix(dir).map_err(|error| broken(error.to_string()))?;
                entries.push((path.into(), entry));
            }
        }
        Ok(Library { entries })
    }
}
