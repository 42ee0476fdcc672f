//! A Caffe tree: its files, and whether the patch fits it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::disk::{Entry, JOURNAL, Root};
use super::error::Error;
use super::source_text::Text;

/// The example of a Makefile.config that most trees have.
pub(super) const EXAMPLE: &str = "Makefile.config.example";

/// The extensions of source files.
const SOURCES: &[&str] = &["cpp", "cu", "cuh", "h", "hpp", "py"];

/// A folder that holds Caffe's sources.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Root,
    /// Entries by path relative to the tree, to be read instead of those on disk: the originals of a patched tree.
    /// `None` hides a file.
    overlay: HashMap<PathBuf, Option<Entry>>,
}

impl Tree {
    /// Opens a folder that is a Caffe tree, or was one when it was patched.
    ///
    /// # Errors
    /// [`Error::NotCaffe`] when one of Caffe's files is missing.
    pub fn open(root: &Path) -> Result<Tree, Error> {
        let root = Root::open(root).map_err(|_| Error::NotCaffe { root: root.into(), missing: "Makefile" })?;
        let tree = Tree { root, overlay: HashMap::new() };
        if tree.root.bytes(Path::new(JOURNAL))?.is_some() {
            return Ok(tree);
        }

        let lacks = |name: &&str| !tree.root.path().join(name).is_file();
        let missing = ["Makefile", "src/caffe/proto/caffe.proto", "include/caffe/layer.hpp"].into_iter().find(lacks);
        if let Some(missing) = missing.or_else(|| tree.config_example().is_none().then_some(EXAMPLE)) {
            return Err(Error::NotCaffe { root: tree.root.path().into(), missing });
        }
        Ok(tree)
    }

    /// The same tree, with these entries read instead of those on disk; `None` hides a file.
    pub fn with_overlay(&self, overlay: HashMap<PathBuf, Option<Entry>>) -> Tree {
        Tree { root: self.root.clone(), overlay }
    }

    /// What a path relative to the tree holds, without following a link; `None` if there is nothing.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Read`].
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, Error> {
        match self.overlay.get(path) {
            Some(entry) => Ok(entry.clone()),
            None => self.root.entry(path),
        }
    }

    /// The example of a Makefile.config, relative to the tree: Makefile.config.example, else the first by name of those
    /// for one system, such as Makefile.config.ubuntu.example. `None` if the tree has none.
    pub(super) fn config_example(&self) -> Option<PathBuf> {
        let listed = self.root.path().read_dir().into_iter().flatten().flatten();
        let on_disk = listed.filter(|entry| entry.path().is_file()).map(|entry| PathBuf::from(entry.file_name()));
        let all = on_disk.chain(self.overlay.keys().cloned());
        let is_there = |path: &PathBuf| self.overlay.get(path).is_none_or(Option::is_some);
        all.filter(|path| is_config_example(path) && is_there(path))
            .min_by_key(|path| (path != Path::new(EXAMPLE), path.clone()))
    }

    /// The tree's folder.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The text of the file at a path relative to the tree, following links that stay in the tree; `None` if there is no
    /// file.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Read`].
    pub fn text(&self, path: &Path) -> Result<Option<Text>, Error> {
        let bytes = match self.overlay.get(path) {
            Some(Some(Entry::File { bytes, .. })) => Some(bytes.clone()),
            Some(None) => None,
            Some(Some(Entry::Link(target))) => self.root.bytes(&path.parent().unwrap_or(Path::new("")).join(target))?,
            None => self.root.bytes(path)?,
        };
        Ok(bytes.map(|bytes| Text::from_bytes(&bytes)))
    }

    /// Refuses a tree whose Layer class QuantLayer cannot derive from, or that has another Quant layer already.
    ///
    /// # Errors
    /// [`Error::ForeignLayer`], [`Error::QuantPresent`], and those of [`Tree::text`].
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
            return Err(Error::ForeignLayer { path: self.root.path().join(header), sign });
        }
        self.check_no_quant()
    }

    /// Refuses a tree in which a source file registers a Quant layer. Files in the overlay are the patch's own.
    fn check_no_quant(&self) -> Result<(), Error> {
        for path in self.sources(Path::new("src/caffe"))? {
            let is_compiled = path.extension().is_some_and(|extension| extension == "cpp" || extension == "cu");
            if !is_compiled || self.overlay.contains_key(&path) {
                continue;
            }
            let bytes = self.root.bytes(&path)?.unwrap_or_default();
            for sign in ["REGISTER_LAYER_CLASS(Quant)", "REGISTER_LAYER_CREATOR(Quant,"] {
                if bytes.windows(sign.len()).any(|window| window == sign.as_bytes()) {
                    return Err(Error::QuantPresent { path: self.root.path().join(path), what: sign.to_owned() });
                }
            }
        }
        Ok(())
    }

    /// The C++, CUDA and Python sources below a folder of the tree, in the order of their paths; a path that is no
    /// folder is returned as it is. Paths are relative to the tree. Links are not followed.
    ///
    /// # Errors
    /// [`Error::Outside`], [`Error::Read`].
    pub fn sources(&self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        if !self.root.is_folder(path).map_err(|error| self.root.read_error(path, error))? {
            return Ok(vec![path.into()]);
        }
        let mut sources = Vec::new();
        for entry in WalkDir::new(self.root.path().join(path)).sort_by_file_name() {
            let entry = entry.map_err(|error| self.root.read_error(path, unreadable(error)))?;
            let below = entry.path().strip_prefix(self.root.path());
            if let (false, Ok(below)) = (entry.file_type().is_dir(), below)
                && is_source(below)
            {
                sources.push(below.into());
            }
        }
        Ok(sources)
    }
}

/// Whether a path in a tree is an example of a Makefile.config.
pub(super) fn is_config_example(path: &Path) -> bool {
    let is_name = |name: &str| name.starts_with("Makefile.config.") && name.ends_with(".example");
    path == Path::new(EXAMPLE) || path.to_str().is_some_and(|name| is_name(name) && !name.contains('/'))
}

/// The operating system's error behind walkdir's, which alone has its number.
fn unreadable(error: walkdir::Error) -> std::io::Error {
    error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"))
}

/// Whether a path has the extension of a source file.
pub(super) fn is_source(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| SOURCES.contains(&extension))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_stands_for_the_sources_below_it() {
        let root = tempfile::tempdir().unwrap();
        for path in ["src/b.cu", "src/a/x.hpp", "src/a/x.md", "src/a.cpp"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let tree = Tree { root: Root::open(root.path()).unwrap(), overlay: HashMap::new() };
        let expected = ["src/a/x.hpp", "src/a.cpp", "src/b.cu"].map(PathBuf::from);
        assert_eq!(tree.sources(Path::new("src")).unwrap(), expected);
        assert_eq!(tree.sources(Path::new("src/missing.cpp")).unwrap(), [PathBuf::from("src/missing.cpp")]);
    }

    #[test]
    fn an_example_for_one_system_stands_in_for_the_general_one() {
        let root = tempfile::tempdir().unwrap();
        let example = |overlay| Tree { root: Root::open(root.path()).unwrap(), overlay }.config_example();
        assert_eq!(example(HashMap::new()), None);
        for name in ["Makefile.config.ubuntu.example", "Makefile.config.osx.example", "Makefile.config.example.old"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(example(HashMap::new()), Some("Makefile.config.osx.example".into()));

        let hidden = HashMap::from([(PathBuf::from("Makefile.config.osx.example"), None)]);
        assert_eq!(example(hidden), Some("Makefile.config.ubuntu.example".into()));
        fs::write(root.path().join("Makefile.config.example"), "").unwrap();
        assert_eq!(example(HashMap::new()), Some("Makefile.config.example".into()));
    }
}
