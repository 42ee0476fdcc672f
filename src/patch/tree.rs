//! A Caffe tree: its files, and whether the patch fits it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::error::Error;
use super::source_text::Text;

/// The extensions of source files.
const SOURCES: &[&str] = &["cpp", "cu", "cuh", "h", "hpp", "py"];

/// A folder that holds Caffe's sources.
#[derive(Clone, Debug)]
pub struct Tree {
    root: PathBuf,
    /// Entries by path relative to the tree, to be read instead of those on disk: the originals of a patched tree.
    /// `None` hides a file.
    overlay: HashMap<PathBuf, Option<Entry>>,
}

/// What a path holds: a file or a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A regular file.
    File {
        /// The whole content.
        bytes: Vec<u8>,
        /// The permission bits, 0o7777 at most.
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

    /// Reads what `path` holds, without following a link; `None` if there is nothing.
    pub fn read(path: &Path) -> Result<Option<Entry>, Error> {
        let read = || -> io::Result<Entry> {
            let metadata = fs::symlink_metadata(path)?;
            if metadata.is_symlink() {
                return Ok(Entry::Link(fs::read_link(path)?));
            }
            Ok(Entry::File { bytes: fs::read(path)?, mode: metadata.permissions().mode() & 0o7777 })
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
}

impl Tree {
    /// Checks that a folder is a Caffe tree.
    ///
    /// # Errors
    /// [`Error::NotCaffe`] when one of Caffe's files is missing.
    pub fn open(root: &Path) -> Result<Tree, Error> {
        for missing in ["Makefile", "Makefile.config.example", "src/caffe/proto/caffe.proto", "include/caffe/layer.hpp"]
        {
            if !root.join(missing).is_file() {
                return Err(Error::NotCaffe { root: root.into(), missing });
            }
        }
        Ok(Tree { root: root.into(), overlay: HashMap::new() })
    }

    /// The same tree, with these entries read instead of those on disk; `None` hides a file.
    pub fn with_overlay(&self, overlay: HashMap<PathBuf, Option<Entry>>) -> Tree {
        Tree { root: self.root.clone(), overlay }
    }

    /// What a path relative to the tree holds, without following a link; `None` if there is nothing.
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, Error> {
        match self.overlay.get(path) {
            Some(entry) => Ok(entry.clone()),
            None => Entry::read(&self.root.join(path)),
        }
    }

    /// The tree's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The text of the file at a path relative to the tree, following links; `None` if there is no file.
    pub fn text(&self, path: &Path) -> Result<Option<Text>, Error> {
        match self.overlay.get(path) {
            Some(Some(Entry::File { bytes, .. })) => return Ok(Some(Text::from_bytes(bytes))),
            Some(None) => return Ok(None),
            Some(Some(Entry::Link(target))) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                return read_text(&self.root.join(folder).join(target));
            }
            None => {}
        }
        read_text(&self.root.join(path))
    }

    /// Refuses a tree whose Layer class QuantLayer cannot derive from, or that has another Quant layer already.
    pub fn check_fits(&self) -> Result<(), Error> {
        let header = Path::new("include/caffe/layer.hpp");
        let text = self.text(header)?;
        let source = text.as_ref().map_or("", Text::as_str);
        let packed: String = source.split_whitespace().collect();
        let has_one_type = ["template<typenameDtype>", "template<classDtype>"].iter().any(|head| packed.contains(head));

        let sign = if source.contains("Ftype") || source.contains("LayerBase") {
            Some("its layers have separate forward and backward types, as in NVIDIA's Caffe 0.16 and later")
        } else if !has_one_type {
            Some("its layers are not templates of one Dtype")
        } else if packed.contains("vector<Blob<Dtype>*>*top") {
            Some("its layers take their tops by pointer, as in Caffe of 2014 and before")
        } else {
            None
        };
        if let Some(sign) = sign {
            return Err(Error::ForeignLayer { path: self.root.join(header), sign });
        }
        self.check_no_quant()
    }

    /// Refuses a tree in which a source file registers a Quant layer. Files in the overlay are the patch's own.
    fn check_no_quant(&self) -> Result<(), Error> {
        for path in self.sources(Path::new("src/caffe")) {
            let is_compiled = path.extension().is_some_and(|extension| extension == "cpp" || extension == "cu");
            if !is_compiled || self.overlay.contains_key(&path) {
                continue;
            }
            let path = self.root.join(path);
            let bytes = fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
            for sign in ["REGISTER_LAYER_CLASS(Quant)", "REGISTER_LAYER_CREATOR(Quant,"] {
                if bytes.windows(sign.len()).any(|window| window == sign.as_bytes()) {
                    return Err(Error::QuantPresent { path, what: sign.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// The C++, CUDA and Python sources below a folder of the tree, in the order of their paths; a path that is no
    /// folder is returned as it is. Paths are relative to the tree.
    pub fn sources(&self, path: &Path) -> Vec<PathBuf> {
        let full = self.root.join(path);
        if !full.is_dir() {
            return vec![path.into()];
        }
        let is_source = |path: &PathBuf| {
            let extension = path.extension().and_then(OsStr::to_str);
            extension.is_some_and(|extension| SOURCES.contains(&extension))
        };
        let entries = WalkDir::new(full).sort_by_file_name().into_iter().filter_map(Result::ok);
        let files = entries.filter(|entry| !entry.file_type().is_dir());
        let paths = files.filter_map(|file| file.path().strip_prefix(&self.root).ok().map(Path::to_path_buf));
        paths.filter(is_source).collect()
    }
}

fn read_text(path: &Path) -> Result<Option<Text>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(Text::from_bytes(&bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.into(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stands_for_the_sources_below_it() {
        let root = tempfile::tempdir().unwrap();
        for path in ["src/b.cu", "src/a/x.hpp", "src/a/x.md", "src/a.cpp"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let tree = Tree { root: root.path().into(), overlay: HashMap::new() };
        let expected = ["src/a/x.hpp", "src/a.cpp", "src/b.cu"].map(PathBuf::from);
        assert_eq!(tree.sources(Path::new("src")), expected);
        assert_eq!(tree.sources(Path::new("src/missing.cpp")), [PathBuf::from("src/missing.cpp")]);
    }
}
