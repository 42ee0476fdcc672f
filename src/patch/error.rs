//! The reasons why a tree cannot be patched. With every error but [`Error::Write`] the tree is as it was before.

use std::io;
use std::path::PathBuf;

/// Why a tree could not be patched, restored or read; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder `root` lacks the file `missing`, which every Caffe tree has.
    #[error("{}: not a Caffe tree: it has no {missing}. Give the folder that holds Caffe's Makefile", root.display())]
    NotCaffe { root: PathBuf, missing: &'static str },

    /// QuantLayer cannot derive from the Layer class that the header `path` declares; `sign` says how it differs.
    #[error(
        "{}: {sign}. QuantLayer is written for the Layer<Dtype> of BVLC's Caffe since 2015: use a tree that keeps it \
         (NVIDIA's 0.15 does)", path.display()
    )]
    ForeignLayer { path: PathBuf, sign: &'static str },

    /// The tree has `what`, at `path`, from another implementation of a Quant layer.
    #[error(
        "{}: the tree has a Quant layer that gfpq did not put there ({what}). Remove that layer first, \
         or use it as it is", path.display()
    )]
    QuantPresent { path: PathBuf, what: String },

    /// The file `path` has no `wanted` for an edit to attach to.
    #[error("{}: found no place for the edit: {wanted}. Restore the stock file, or make the edit by hand as \
             `gfpq patch render --stock` writes it", path.display())]
    NoPlace { path: PathBuf, wanted: String },

    /// Files in the tree hold neither what the patch put there nor their originals.
    #[error(
        "edited since the patch was applied: {}. Undo those edits, or move files that the patch created \
             out of the tree, then try again (originals are kept under .gfpq/original)",
        list(paths)
    )]
    EditedSince { paths: Vec<PathBuf> },

    /// There is nothing to revert.
    #[error("{}: not patched by gfpq", root.display())]
    NotPatched { root: PathBuf },

    /// The journal, or an original kept beside it, is not as gfpq wrote it.
    #[error("{}: the journal is damaged: {why}. Restore the files by hand from .gfpq/original, then remove .gfpq",
            path.display())]
    Journal { path: PathBuf, why: String },

    /// A file or folder that the plan changes may not be written.
    #[error("{}: no write permission. Nothing was changed", path.display())]
    ReadOnly { path: PathBuf },

    /// The folder `dir` is no complete GFPQLibs.
    #[error("{}: no complete GFPQ library to install: {why}. Run scripts/package.sh, or name another folder with --libs",
            dir.display())]
    NoLibrary { dir: PathBuf, why: String },

    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },

    /// Writing failed, possibly after some files had been replaced.
    #[error("{}: {source}. Run `gfpq patch revert` to undo what was written, or `apply` again to finish", path.display())]
    Write { path: PathBuf, source: io::Error },

    /// A template of this program does not render.
    #[error("{template}: {source}")]
    Template { template: &'static str, source: tera::Error },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
