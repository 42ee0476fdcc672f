//! What is done to a tree: apply, revert, and the reports on both.
//!
//! An apply stages all new files and originals below `.gfpq`, then writes the journal, then moves the files to their
//! places. Until the journal stands the tree is untouched; from then on an interrupted run can be finished or undone.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::files::{FOLDER, STAGED, check_writable, place, remove_if_there, stage};
use super::journal::{JOURNAL, Journal, State};
use super::plan::{Change, Options, Plan};
use super::tree::{Entry, Tree};

/// What an apply did.
#[derive(Debug)]
pub enum Outcome {
    /// It patched the tree by this plan.
    Applied(Plan),
    /// Nothing: the tree was patched by the same plan already.
    AlreadyPatched {
        /// Files edited since then, relative to the tree; the apply left them alone.
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
    /// The whole patch, and since then these files were edited.
    Edited(Journal, Vec<PathBuf>),
    /// An apply or revert did not finish.
    Interrupted,
}

/// Patches a tree. A patched tree stays as it is, unless this program would patch it differently by now.
///
/// # Errors
/// Everything that [`Plan::new`] refuses, and failures to write. Nothing is written before the plan is complete.
pub fn apply(tree: &Tree, options: &Options) -> Result<Outcome, Error> {
    match Journal::load(tree.root())? {
        None => {}
        Some(journal) if journal.state == State::Applied => {
            let edited = journal.edited(tree.root())?;
            let plan = Plan::new(&tree.with_overlay(journal.originals(tree.root())?), options)?;
            if journal.matches(&plan) {
                return Ok(Outcome::AlreadyPatched { edited });
            }
            // The patch differs, so it has to be written anew; `undo` refuses if a file was edited.
            undo(&journal, tree.root())?;
        }
        Some(interrupted) => undo(&interrupted, tree.root())?,
    }
    let plan = Plan::new(tree, options)?;
    commit(tree.root(), &plan)?;
    Ok(Outcome::Applied(plan))
}

/// Plans what [`apply`] would write, and writes nothing.
///
/// # Errors
/// As for [`apply`].
pub fn dry_run(tree: &Tree, options: &Options) -> Result<Plan, Error> {
    let Some(journal) = Journal::load(tree.root())? else { return Plan::new(tree, options) };
    let edited = journal.edited(tree.root())?;
    if !edited.is_empty() {
        return Err(Error::EditedSince { paths: edited });
    }

    // Planned from the originals, but reported as changes of what the files hold now.
    let mut plan = Plan::new(&tree.with_overlay(journal.originals(tree.root())?), options)?;
    for change in &mut plan.changes {
        change.before = Entry::read(&tree.root().join(&change.path))?;
    }
    plan.changes.retain(|change| change.before.as_ref() != Some(&change.after));
    Ok(plan)
}

/// Restores the tree as it was before the apply, byte for byte. Returns the paths restored or removed.
///
/// # Errors
/// [`Error::NotPatched`]; [`Error::EditedSince`], with nothing changed.
pub fn revert(tree: &Tree) -> Result<Vec<PathBuf>, Error> {
    let Some(journal) = Journal::load(tree.root())? else {
        // A folder without a journal is left by an apply that was killed before it touched the tree.
        return match fs::remove_dir_all(tree.root().join(FOLDER)) {
            Ok(()) => Ok(Vec::new()),
            Err(_) => Err(Error::NotPatched { root: tree.root().into() }),
        };
    };
    undo(&journal, tree.root())?;
    Ok(journal.changes.into_iter().map(|record| record.path).collect())
}

/// Tells what is applied.
///
/// # Errors
/// When the journal or a file cannot be read.
pub fn status(tree: &Tree) -> Result<Status, Error> {
    let Some(journal) = Journal::load(tree.root())? else { return Ok(Status::NotPatched) };
    if journal.state != State::Applied {
        return Ok(Status::Interrupted);
    }
    let edited = journal.edited(tree.root())?;
    Ok(if edited.is_empty() { Status::Patched(journal) } else { Status::Edited(journal, edited) })
}

/// Writes a plan into the tree.
fn commit(root: &Path, plan: &Plan) -> Result<(), Error> {
    check_writable(root, plan.changes.iter().map(|change| change.path.as_path()))?;
    let folder = root.join(FOLDER);
    let mut journal = Journal::of(plan, missing_dirs(root, &plan.changes));
    let staged = remove_if_there(fs::remove_dir_all(&folder))
        .and_then(|()| stage(root, plan))
        .map_err(|source| Error::Write { path: folder.clone(), source })
        .and_then(|()| journal.store(root));
    if let Err(error) = staged {
        let _ = fs::remove_dir_all(&folder);
        return Err(error);
    }

    for change in &plan.changes {
        let path = root.join(&change.path);
        let install = || {
            fs::create_dir_all(path.parent().unwrap_or(root))?;
            fs::rename(root.join(STAGED).join(&change.path), &path)
        };
        install().map_err(|source| Error::Write { path: path.clone(), source })?;
    }

    journal.state = State::Applied;
    journal.store(root)?;
    fs::remove_dir_all(root.join(STAGED)).map_err(|source| Error::Write { path: folder, source })
}

/// Restores what the tree held before the apply, wherever the apply or an earlier undo of it stopped.
fn undo(journal: &Journal, root: &Path) -> Result<(), Error> {
    let edited = journal.edited(root)?;
    if !edited.is_empty() {
        return Err(Error::EditedSince { paths: edited });
    }
    check_writable(root, journal.changes.iter().map(|record| record.path.as_path()))?;
    // Read every original before the first file changes: a damaged one must leave the tree untouched.
    let originals = journal.changes.iter().map(|record| record.original(root)).collect::<Result<Vec<_>, _>>()?;

    Journal { state: State::Reverting, ..journal.clone() }.store(root)?;
    for (record, original) in journal.changes.iter().zip(originals) {
        let path = root.join(&record.path);
        if Entry::read(&path)? == original {
            continue;
        }
        let restored = match original {
            Some(entry) => place(&entry, root, &path),
            None => remove_if_there(fs::remove_file(&path)),
        };
        restored.map_err(|source| Error::Write { path, source })?;
    }
    for dir in journal.created_dirs.iter().rev() {
        // Fails if the user has put files there since: then the folder stays.
        let _ = fs::remove_dir(root.join(dir));
    }

    let folder = root.join(FOLDER);
    // The journal goes first: a folder without one counts as leftovers, should the second removal be interrupted.
    remove_if_there(fs::remove_file(root.join(JOURNAL)))
        .and_then(|()| fs::remove_dir_all(&folder))
        .map_err(|source| Error::Write { path: folder.clone(), source })
}

/// Folders that the changes need and the tree lacks, each before those inside it.
fn missing_dirs(root: &Path, changes: &[Change]) -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = changes
        .iter()
        .flat_map(|change| change.path.ancestors().skip(1))
        .filter(|dir| !dir.as_os_str().is_empty() && !root.join(dir).exists())
        .map(Path::to_path_buf)
        .collect();
    dirs.sort();
    dirs.dedup();
    dirs
}
