//! Applying the patch to a tree, and reporting what is applied.
//!
//! An apply stages all new files and originals below `.gfpq`, then writes the journal, then moves the files to their
//! places. Until the journal stands the tree is untouched; from then on an interrupted run can be finished or undone. A
//! lock on the tree keeps other processes out meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::disk::{FOLDER, Lock, MERGED, RESTORING, Root, STAGED, check_folder};
use super::error::Error;
use super::journal::{Found, Journal, State};
use super::plan::{Change, Options, Plan};
use super::revert::{keep_edits, sync_folders, undo};
use super::staging::{keep, stage};
use super::tree::Tree;

/// What an apply did.
#[derive(Debug)]
pub enum Outcome {
    /// It patched the tree by this plan.
    Applied(Plan),
    /// The tree was patched by the same plan already. Files that had been deleted or set back to their originals since
    /// were patched again.
    AlreadyPatched {
        /// The files that were patched again, relative to the tree.
        restored: Vec<PathBuf>,
        /// Files edited since the tree was patched, relative to the tree; the apply left them alone.
        edited: Vec<PathBuf>,
    },
}

/// What is applied to a tree.
#[derive(Debug)]
pub enum Status {
    /// Nothing.
    NotPatched,
    /// The whole patch.
    Patched(Journal),
    /// The patch, but some paths hold something else by now; what each path of the journal holds, in its order.
    Changed(Journal, Vec<Found>),
    /// An apply or revert did not finish.
    Interrupted,
}

/// Patches a tree. A patched tree stays as it is, unless this program would patch it differently by now.
///
/// # Errors
/// Everything that [`Plan::new`] refuses, and failures to write. Nothing is written before the plan is complete.
pub fn apply(tree: &Tree, options: &Options) -> Result<Outcome, Error> {
    let root = tree.root();
    let _lock = Lock::exclusive(root)?;
    check_folder(root)?;

    match Journal::load(root)? {
        None => {}
        Some(journal) if journal.state == State::Applied => {
            let plan = Plan::new(&tree.with_overlay(journal.originals(root)?), options)?;
            if let Some(outcome) = complete(&journal, &plan, root)? {
                return Ok(outcome);
            }
            // The patch differs, so it has to be written anew. `undo` keeps the user's edits, or refuses.
            undo(&journal, root)?;
        }
        Some(interrupted) => {
            undo(&interrupted, root)?;
        }
    }
    let plan = Plan::new(tree, options)?;
    commit(root, &plan)?;
    Ok(Outcome::Applied(plan))
}

/// The changes of an applied patch that are to be made again, since their paths are missing or hold their originals. `None`
/// if a path that holds something else is to hold another text than it did: then the patch differs.
fn lost<'p>(journal: &Journal, plan: &'p Plan, found: &[Found]) -> Option<Vec<&'p Change>> {
    let is_lost = |found: Found| matches!(found, Found::Missing | Found::Original);
    let mut lost = Vec::new();
    for ((record, change), found) in journal.changes.iter().zip(&plan.changes).zip(found) {
        if record.path != change.path || !(record.holds(change) || is_lost(*found)) {
            return None;
        }
        lost.extend(is_lost(*found).then_some(change));
    }
    (journal.changes.len() == plan.changes.len()).then_some(lost)
}

/// Makes again what is lost of an applied patch. `None`, with nothing written, if the patch differs.
fn complete(journal: &Journal, plan: &Plan, root: &Root) -> Result<Option<Outcome>, Error> {
    let found = journal.found(root)?;
    let Some(lost) = lost(journal, plan, &found) else { return Ok(None) };
    if !lost.is_empty() {
        root.check_writable(lost.iter().map(|change| change.path.as_path()))?;
        // A file such as Makefile.config may be another one on this machine.
        let mut completed = journal.clone();
        for (record, change) in completed.changes.iter_mut().zip(&plan.changes) {
            if !record.holds(change) {
                keep(root, change).map_err(|source| root.write_error(&change.path, source))?;
                record.update(change);
            }
        }
        completed.store(root)?;
        for change in &lost {
            let restored = Path::new(RESTORING);
            root.remove_file(restored)
                .and_then(|()| root.write_new(&change.after, restored, &change.path))
                .and_then(|()| root.install(restored, &change.path))
                .map_err(|source| root.write_error(&change.path, source))?;
        }
    }

    remove_staged(root)?;

    let edited = journal.changes.iter().zip(found).filter(|(_, found)| *found == Found::Edited);
    let edited = edited.map(|(record, _)| record.path.clone());
    let restored = lost.into_iter().map(|change| change.path.clone()).collect();
    Ok(Some(Outcome::AlreadyPatched { restored, edited: edited.collect() }))
}

/// Plans what [`apply`] would write, and writes nothing.
///
/// # Errors
/// As for [`apply`].
pub fn dry_run(tree: &Tree, options: &Options) -> Result<Plan, Error> {
    let root = tree.root();
    let _lock = Lock::shared(root)?;
    check_folder(root)?;
    let Some(journal) = Journal::load(root)? else { return Plan::new(tree, options) };
    let mut unpatched = journal.originals(root)?;
    let mut plan = Plan::new(&tree.with_overlay(unpatched.clone()), options)?;
    if let Some(lost) = lost(&journal, &plan, &journal.found(root)?) {
        plan.changes = lost.into_iter().cloned().collect();
    } else {
        let kept = keep_edits(&journal, root)?.1;
        unpatched.extend(kept.into_iter().map(|(path, entry)| (path, Some(entry))));
        plan = Plan::new(&tree.with_overlay(unpatched), options)?;
    }

    // Planned from the files without the patch, but reported as changes of what they hold now.
    for change in &mut plan.changes {
        change.before = root.entry(&change.path)?;
    }
    plan.changes.retain(|change| change.before.as_ref() != Some(&change.after));
    Ok(plan)
}

/// Tells what is applied.
///
/// # Errors
/// When the journal or a file cannot be read.
pub fn status(tree: &Tree) -> Result<Status, Error> {
    let root = tree.root();
    let _lock = Lock::shared(root)?;
    let Some(journal) = Journal::load(root)? else { return Ok(Status::NotPatched) };
    if journal.state != State::Applied {
        return Ok(Status::Interrupted);
    }
    let found = journal.found(root)?;
    let is_whole = found.iter().all(|found| *found == Found::Patched);
    Ok(if is_whole { Status::Patched(journal) } else { Status::Changed(journal, found) })
}

/// Writes a plan into the tree.
fn commit(root: &Root, plan: &Plan) -> Result<(), Error> {
    root.check_writable(plan.changes.iter().map(|change| change.path.as_path()))?;
    let folder = Path::new(FOLDER);
    let mut journal = Journal::of(plan, missing_dirs(root, &plan.changes)?);
    let staged = root
        .remove_folder(folder)
        .and_then(|()| stage(root, plan))
        .map_err(|source| root.write_error(folder, source))
        .and_then(|()| journal.store(root));
    if let Err(error) = staged {
        let _ = root.remove_folder(folder);
        return Err(error);
    }

    for change in &plan.changes {
        root.install(&Path::new(STAGED).join(&change.path), &change.path)
            .map_err(|source| root.write_error(&change.path, source))?;
    }
    sync_folders(root, plan.changes.iter().map(|change| change.path.as_path()))?;

    journal.state = State::Applied;
    journal.store(root)?;
    remove_staged(root)
}

/// Removes what is needed only while files move to their places.
fn remove_staged(root: &Root) -> Result<(), Error> {
    root.remove_folder(Path::new(STAGED))
        .and_then(|()| root.remove_folder(Path::new(MERGED)))
        .and_then(|()| root.remove_file(Path::new(RESTORING)))
        .and_then(|()| Journal::remove_leftover(root))
        .map_err(|source| root.write_error(Path::new(FOLDER), source))
}

/// Folders that the changes need and the tree lacks, each before those inside it.
fn missing_dirs(root: &Root, changes: &[Change]) -> Result<Vec<PathBuf>, Error> {
    let needed: BTreeSet<&Path> = changes.iter().flat_map(|change| change.path.ancestors().skip(1)).collect();
    let mut missing = Vec::new();
    for dir in needed.into_iter().filter(|dir| !dir.as_os_str().is_empty()) {
        if !root.is_folder(dir).map_err(|error| root.read_error(dir, error))? {
            missing.push(dir.into());
        }
    }
    Ok(missing)
}
