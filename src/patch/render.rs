//! The patch as files or as a diff, without applying it.

use std::path::{Path, PathBuf};

use super::disk::Entry;
use super::edits::caffe_proto::{FieldNumbers, Snippets};
use super::error::Error;
use super::plan::{self, Change, Plan};
use super::template;
use crate::unified_diff::write_unified;

/// The patch for the last Caffe that BVLC published: the new files under their paths in a tree, and `EDITS.md`, which
/// describes the edits of the tree's own files for making them by hand.
///
/// # Errors
/// When a template does not render.
pub fn render_stock() -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let mut files = new_files(plan::SOLVER_HEADER)?;
    let snippets = Snippets::new(FieldNumbers::STOCK)?;
    let snippet = |name| template::render(name, &[]);
    let indented = |name| template::render(name, &[("indent", "    ".to_owned())]);
    let edits = template::render(
        "EDITS.md",
        &[
            ("layer_field", snippets.layer_field),
            ("net_field", snippets.net_field),
            ("message", snippets.message),
            ("next_number", (FieldNumbers::STOCK.layer + 1).to_string()),
            ("member", snippet("net/member.hpp")?),
            ("init", template::render("net/init.cpp", &[("param", "in_param".to_owned())])?),
            ("forward", indented("net/forward.cpp")?),
            ("backward", indented("net/backward.cpp")?),
            ("after", indented("net/after.cpp")?),
            ("directories", snippet("Makefile.config/directories.mk")?),
            ("libraries", snippet("Makefile/libraries.mk")?),
            ("copy_library", snippet("Makefile/copy_library.mk")?),
            ("distribute", snippet("Makefile/distribute.mk")?),
        ],
    )?;
    files.push(("EDITS.md".into(), edits.into_bytes()));
    Ok(files)
}

/// The patch that `plan` makes to its tree: the new files, and `caffe.patch`, the edits as `patch -p1` reads them.
///
/// # Errors
/// When a template does not render.
pub fn render_tree(plan: &Plan) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let mut files = new_files(plan.solver_header)?;
    let edits = Plan {
        changes: plan.changes.iter().filter(|change| change.before.is_some()).cloned().collect(),
        ..Plan::empty()
    };
    files.push(("caffe.patch".into(), unified_diff(&edits)));
    Ok(files)
}

fn new_files(solver_header: &str) -> Result<Vec<(PathBuf, Vec<u8>)>, Error> {
    let variables = [("solver_header", solver_header.to_owned())];
    let render = |name| Ok((Path::new(name).into(), template::render(name, &variables)?.into_bytes()));
    template::FILES.iter().map(|&(name, _)| render(name)).collect()
}

/// The plan's changes as `patch -p1` reads them, in the files' own bytes; of binary files and links only the names.
pub fn unified_diff(plan: &Plan) -> Vec<u8> {
    plan.changes.iter().flat_map(diff_one).collect()
}

fn diff_one(change: &Change) -> Vec<u8> {
    let path = change.path.display();
    let new = match &change.after {
        Entry::File { bytes, .. } if !bytes.contains(&0) => bytes,
        Entry::File { bytes, .. } => {
            return format!("Binary file {path} would be new: {} bytes\n", bytes.len()).into_bytes();
        }
        Entry::Link(target) => return format!("Link {path} would point to {}\n", target.display()).into_bytes(),
    };
    let (old_name, old) = match &change.before {
        Some(Entry::File { bytes, .. }) => (format!("a/{path}"), bytes.as_slice()),
        _ => ("/dev/null".to_owned(), [].as_slice()),
    };
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write_unified(&mut text, &old_name, &format!("b/{path}"), old, new);
    text
}
