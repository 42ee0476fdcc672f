//! The GFPQ library to copy into a tree: the folder GFPQLibs that scripts/package.sh makes.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::patch::disk::Entry;
use crate::patch::error::Error;

/// The headers and shared libraries of a GFPQLibs folder.
#[derive(Debug)]
pub struct Library {
    /// Each with its path below GFPQLibs, in the order of the paths.
    pub entries: Vec<(PathBuf, Entry)>,
}

impl Library {
    /// Reads `include` and `lib` of a GFPQLibs folder.
    ///
    /// # Errors
    /// [`Error::NoLibrary`] when a file that a Caffe build needs is missing.
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
                let entry = Entry::read(file.path())?
                    .ok_or_else(|| broken(format!("{} disappeared while it was read", file.path().display())))?;
                let path = file.path().strip_prefix(dir).map_err(|error| broken(error.to_string()))?;
                entries.push((path.into(), entry));
            }
        }
        Ok(Library { entries })
    }
}
