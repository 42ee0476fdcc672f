//! What can keep a tree from being patched. In every case but [`Error::Write`] the tree is as it was.

use std::io;
use std::path::PathBuf;

/// Why a tree could not be patched, restored or read; each message says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("{}: not a Caffe tree: it has no {missing}. Give the folder that holds Caffe's Makefile", root.display())]
    NotCaffe { root: PathBuf, missing: &'static str },
    #[error(
        "{}: {sign}. QuantLayer is written for the Layer<Dtype> of BVLC's Caffe since 2015: use a tree that keeps it \
         (NVIDIA's 0.15 does)", path.display()
    )]
    ForeignLayer { path: PathBuf, sign: &'static str },
    #[error(
        "{}: the tree has a Quant layer that gfpq did not put there ({what}). Take that one out first, \
         or use it as it is", path.display()
    )]
    QuantPresent { path: PathBuf, what: String },
    #[error("{}: no place for the edit: {wanted}. Restore the stock file, or make the edit by hand as \
             `gfpq patch render --stock` writes it", path.display())]
    NoPlace { path: PathBuf, wanted: String },
    #[error("{}: cannot make sense of it: {why}", path.display())]
    Malformed { path: PathBuf, why: String },
    #[error(
        "edited since the patch was applied: {}. Undo those edits, or move files that the patch brought \
             out of the tree, then try again (originals are kept under .gfpq/original)",
        list(paths)
    )]
    EditedSince { paths: Vec<PathBuf> },
    #[error("{}: not patched by gfpq", root.display())]
    NotPatched { root: PathBuf },
    #[error("{}: the journal is damaged: {why}. Restore the files by hand from .gfpq/original, then remove .gfpq",
            path.display())]
    Journal { path: PathBuf, why: String },
    #[error("{}: no write permission. Nothing was changed", path.display())]
    ReadOnly { path: PathBuf },
    #[error("{}: the library to install is not there: {why}. Run scripts/package.sh, or name another folder with --libs",
            dir.display())]
    NoLibrary { dir: PathBuf, why: String },
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}. Run `gfpq patch revert` to undo what was written, or `apply` again to finish", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{template}: {source}")]
    Template { template: &'static str, source: tera::Error },
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
