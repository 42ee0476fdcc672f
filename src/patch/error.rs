//! The reasons why a tree cannot be patched or reverted. Only an error while files are written ([`Error::Write`], rarely
//! [`Error::Read`] or [`Error::Outside`]) can leave a tree half-way; `apply` or `revert` then finish it.

use std::io;
use std::path::PathBuf;

/// Why a tree could not be patched, restored or read; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder `root` lacks the file `missing`, which every Caffe tree has.
    #[error("{}: not a Caffe tree: it has no {missing}. Give the folder that holds Caffe's Makefile", root.display())]
    NotCaffe {
        /// The folder.
        root: PathBuf,
        /// The first of Caffe's files that it lacks.
        missing: &'static str,
    },

    /// QuantLayer cannot derive from the Layer class that the header `path` declares; `sign` says how it differs.
    #[error(
        "{}: {sign}. QuantLayer is written for the Layer<Dtype> of BVLC's Caffe since 2015: use a tree that keeps it \
         (NVIDIA's 0.15 does)", path.display()
    )]
    ForeignLayer {
        /// The header.
        path: PathBuf,
        /// How its Layer class differs.
        sign: &'static str,
    },

    /// The tree has `what`, at `path`, from another implementation of a Quant layer.
    #[error(
        "{}: the tree has a Quant layer that gfpq did not put there ({what}), or gfpq's folder .gfpq was deleted. Remove \
         that layer first (after a deletion, with git checkout), or use it as it is", path.display()
    )]
    QuantPresent {
        /// The file that has it.
        path: PathBuf,
        /// What was found there.
        what: String,
    },

    /// The file `path` has no `wanted` for an edit to attach to.
    #[error("{}: found no place for the edit: {wanted}. Restore the stock file, or make the edit by hand as \
             `gfpq patch render --stock` writes it", path.display())]
    NoPlace {
        /// The file.
        path: PathBuf,
        /// What the edit attaches to.
        wanted: String,
    },

    /// Files in the tree hold neither what the patch put there nor their originals.
    #[error(
        "edited since the patch was applied, in the patch's own lines or files: {}. Undo those edits, or move files that \
         the patch created out of the tree, then try again (originals are kept under .gfpq/original)",
        list(paths)
    )]
    EditedSince {
        /// The files, relative to the tree.
        paths: Vec<PathBuf>,
    },

    /// There is nothing to revert.
    #[error("{}: not patched by gfpq", root.display())]
    NotPatched {
        /// The tree's folder.
        root: PathBuf,
    },

    /// The journal, or an original kept beside it, is not as gfpq wrote it.
    #[error("{}: the journal is damaged: {why}. Restore the files by hand from .gfpq/original, then remove .gfpq",
            path.display())]
    Journal {
        /// The journal, or the original.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },

    /// A file or folder that the plan changes may not be written.
    #[error("{}: no write permission. Nothing was changed", path.display())]
    ReadOnly {
        /// The file or folder.
        path: PathBuf,
    },

    /// The folder `dir` is no complete GFPQLibs.
    #[error("{}: no complete GFPQ library to install: {why}. Run scripts/package.sh, or name another folder with --libs",
            dir.display())]
    NoLibrary {
        /// The folder.
        dir: PathBuf,
        /// What it lacks.
        why: String,
    },

    /// A path leads out of the tree, through a link or `..`.
    #[error(
        "{}: leads out of the tree, and gfpq does not follow. Replace the link by the file or folder itself, then try again",
        path.display()
    )]
    Outside {
        /// The path as it was given.
        path: PathBuf,
    },

    /// Something else is where the patch needs a folder.
    #[error("{}: not a folder, and the patch needs one here. Move it away, then try again", path.display())]
    InTheWay {
        /// The file or link.
        path: PathBuf,
    },

    /// The tree has a `.gfpq` that gfpq did not make.
    #[error("{}: not made by gfpq, which keeps its journal under this name. Move it away, then try again", path.display())]
    ForeignFolder {
        /// The `.gfpq`.
        path: PathBuf,
    },

    /// Another process, `holder` if it is known, patches or reverts the tree `root`.
    #[error(
        "{}: {} patches or reverts this tree. Wait until it has ended, then try again", root.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Busy {
        /// The tree's folder.
        root: PathBuf,
        /// The number of the other process, if the system tells it.
        holder: Option<u32>,
    },

    /// A file could not be read.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },

    /// Writing failed, possibly after some files had been replaced.
    #[error(
        "{}: cannot be written; run `gfpq patch revert` to undo what was written, or `apply` again to finish",
        path.display()
    )]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },

    /// A template of this program does not render.
    #[error("{template}: cannot be rendered")]
    Template {
        /// Its name.
        template: &'static str,
        /// What the template engine says.
        source: tera::Error,
    },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
