//! Writing a plan so that it can be finished or undone, and undoing it.
//!
//! In the tree's folder `.gfpq`: `journal.json`, the originals of edited files, and, while an apply runs, the new files
//! on their way to their places. The journal is complete before the first of them moves.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::Error;
use super::plan::{Change, Options, Plan};
use super::tree::{Entry, Tree};

const FOLDER: &str = ".gfpq";
const JOURNAL: &str = ".gfpq/journal.json";
const ORIGINALS: &str = ".gfpq/original";
const STAGED: &str = ".gfpq/staged";

/// What an apply did.
#[derive(Debug)]
pub enum Outcome {
    /// The tree is patched by this plan now.
    Applied(Plan),
    /// It was patched already; files edited since then are named, and left alone.
    AlreadyPatched {
        /// Relative to the tree.
        edited: Vec<PathBuf>,
    },
}

/// What is applied to a tree.
#[derive(Debug)]
pub enum Status {
    /// Nothing.
    NotPatched,
    /// The patch, whole.
    Patched(Journal),
    /// The patch, and since then these files were edited.
    Edited(Journal, Vec<PathBuf>),
    /// An apply or revert that did not come to its end.
    Interrupted,
}

/// The record of an apply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// The version of gfpq that wrote it.
    pub version: String,
    state: State,
    /// Changes by path relative to the tree.
    pub changes: Vec<Record>,
    /// Folders made for them, outermost first.
    created_dirs: Vec<PathBuf>,
    /// Names and reasons of the compatibility edits.
    pub compat: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Applying,
    Applied,
    Reverting,
}

/// One changed path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What the change is for.
    pub purpose: String,
    /// Hash of the original, none for a new file.
    pub before: Option<String>,
    after: String,
}

/// Patches a tree. Patched already, it stays as it is, unless this program's patch has changed since.
///
/// # Errors
/// Everything that [`Plan::new`] refuses, and failures to write. Until the plan stands nothing is written.
pub fn apply(tree: &Tree, options: &Options) -> Result<Outcome, Error> {
    match Journal::load(tree.root())? {
        None => {}
        Some(journal) if journal.state == State::Applied => {
            let edited = journal.edited(tree.root())?;
            let plan = Plan::new(&tree.with_overlay(journal.originals(tree.root())?), options)?;
            if journal.matches(&plan) {
                return Ok(Outcome::AlreadyPatched { edited });
            }
            // There is something new to write, and undo refuses where a file was edited.
            journal.undo(tree.root())?;
        }
        Some(interrupted) => interrupted.undo(tree.root())?,
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
    match Journal::load(tree.root())? {
        None => Plan::new(tree, options),
        Some(journal) => {
            let edited = journal.edited(tree.root())?;
            if !edited.is_empty() {
                return Err(Error::EditedSince { paths: edited });
            }
            let mut plan = Plan::new(&tree.with_overlay(journal.originals(tree.root())?), options)?;
            for change in &mut plan.changes {
                change.before = Entry::read(&tree.root().join(&change.path))?;
            }
            plan.changes.retain(|change| change.before.as_ref() != Some(&change.after));
            Ok(plan)
        }
    }
}

/// Takes the patch back, byte for byte. Returns the paths restored or removed.
///
/// # Errors
/// [`Error::NotPatched`]; [`Error::EditedSince`], with nothing changed.
pub fn revert(tree: &Tree) -> Result<Vec<PathBuf>, Error> {
    let Some(journal) = Journal::load(tree.root())? else {
        // What an apply left that was killed before it touched the tree.
        return match fs::remove_dir_all(tree.root().join(FOLDER)) {
            Ok(()) => Ok(Vec::new()),
            Err(_) => Err(Error::NotPatched { root: tree.root().into() }),
        };
    };
    journal.undo(tree.root())?;
    Ok(journal.changes.into_iter().map(|record| record.path).collect())
}

/// Says what is applied.
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

impl Journal {
    fn load(root: &Path) -> Result<Option<Journal>, Error> {
        let path = root.join(JOURNAL);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Error::Journal { path, why: error.to_string() }),
            // Without a journal, what an apply left in the folder had not touched the tree.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    fn store(&self, root: &Path) -> Result<(), Error> {
        let path = root.join(JOURNAL);
        let write = || {
            let mut file = tempfile::NamedTempFile::new_in(root.join(FOLDER))?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|source| Error::Write { path: path.clone(), source })
    }

    /// What stood under each path before the apply.
    fn originals(&self, root: &Path) -> Result<HashMap<PathBuf, Option<Entry>>, Error> {
        self.changes.iter().map(|record| Ok((record.path.clone(), record.original(root)?))).collect()
    }

    /// Paths that hold neither the patched nor the original entry. A new file that was removed since is as it was.
    fn edited(&self, root: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut edited = Vec::new();
        for record in &self.changes {
            let now = Entry::read(&root.join(&record.path))?.as_ref().map(hash);
            let patched = now.as_ref() == Some(&record.after);
            let original = self.state != State::Applied && now == record.before;
            if !patched && !original && now.is_some() | record.before.is_some() {
                edited.push(record.path.clone());
            }
        }
        Ok(edited)
    }

    fn matches(&self, plan: &Plan) -> bool {
        self.changes.len() == plan.changes.len()
            && self
                .changes
                .iter()
                .zip(&plan.changes)
                .all(|(record, change)| record.path == change.path && record.after == hash(&change.after))
    }

    /// Gives the tree back what it held before the apply, wherever that or a revert of it stopped.
    fn undo(&self, root: &Path) -> Result<(), Error> {
        let edited = self.edited(root)?;
        if !edited.is_empty() {
            return Err(Error::EditedSince { paths: edited });
        }
        check_writable(root, self.changes.iter().map(|record| record.path.as_path()))?;
        // All of them in hand before the first file is touched.
        let originals = self.changes.iter().map(|record| record.original(root)).collect::<Result<Vec<_>, _>>()?;
        Journal { state: State::Reverting, ..self.clone() }.store(root)?;
        for (record, original) in self.changes.iter().zip(originals) {
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
        for dir in self.created_dirs.iter().rev() {
            // Not empty: it holds something of the user's by now.
            let _ = fs::remove_dir(root.join(dir));
        }
        let folder = root.join(FOLDER);
        // The journal goes last but for the folder: without it the rest is known to be leftovers.
        remove_if_there(fs::remove_file(root.join(JOURNAL)))
            .and_then(|()| fs::remove_dir_all(&folder))
            .map_err(|source| Error::Write { path: folder.clone(), source })
    }
}

impl Record {
    fn of(change: &Change) -> Record {
        Record {
            path: change.path.clone(),
            purpose: change.purpose.clone(),
            before: change.before.as_ref().map(hash),
            after: hash(&change.after),
        }
    }

    fn original(&self, root: &Path) -> Result<Option<Entry>, Error> {
        let path = root.join(ORIGINALS).join(&self.path);
        let Some(expected) = &self.before else { return Ok(None) };
        match Entry::read(&path)? {
            Some(entry) if hash(&entry) == *expected => Ok(Some(entry)),
            _ => Err(Error::Journal { path, why: "this original is missing or was changed".into() }),
        }
    }
}

fn commit(root: &Path, plan: &Plan) -> Result<(), Error> {
    check_writable(root, plan.changes.iter().map(|change| change.path.as_path()))?;
    let folder = root.join(FOLDER);
    let mut journal = Journal {
        version: env!("CARGO_PKG_VERSION").into(),
        state: State::Applying,
        changes: plan.changes.iter().map(Record::of).collect(),
        created_dirs: missing_dirs(root, &plan.changes),
        compat: plan.compat.iter().map(|&(name, reason)| (name.into(), reason.into())).collect(),
    };
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

/// Writes originals and new files below the journal's folder, on the tree's own file system.
fn stage(root: &Path, plan: &Plan) -> io::Result<()> {
    fs::create_dir_all(root.join(STAGED))?;
    for change in &plan.changes {
        write_new(&change.after, &root.join(STAGED).join(&change.path))?;
        if let Some(before) = &change.before {
            write_new(before, &root.join(ORIGINALS).join(&change.path))?;
        }
    }
    Ok(())
}

fn write_new(entry: &Entry, path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
    match entry {
        Entry::Link(target) => symlink(target, path),
        Entry::File { bytes, mode } => {
            let mut file = fs::File::create(path)?;
            file.write_all(bytes)?;
            file.set_permissions(fs::Permissions::from_mode(*mode))?;
            file.sync_all()
        }
    }
}

/// Puts an entry in its place in one step.
fn place(entry: &Entry, root: &Path, path: &Path) -> io::Result<()> {
    let scratch = tempfile::tempdir_in(root.join(FOLDER))?;
    let new = scratch.path().join("entry");
    write_new(entry, &new)?;
    fs::rename(new, path)
}

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Folders that the changes need and the tree lacks, outermost first.
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

/// Refuses where a file, or the folder it is or will be in, may not be written.
fn check_writable<'a>(root: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<(), Error> {
    let mut folders = vec![root.to_path_buf()];
    for path in paths {
        let path = root.join(path);
        if fs::symlink_metadata(&path).is_ok_and(|file| file.is_file() && file.permissions().readonly()) {
            return Err(Error::ReadOnly { path });
        }
        folders.extend(path.ancestors().skip(1).find(|dir| dir.exists()).map(Path::to_path_buf));
    }
    folders.sort();
    folders.dedup();
    for folder in folders {
        // An unnamed file: nothing is left behind, whatever happens.
        tempfile::tempfile_in(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::ReadOnly { path: folder.clone() }
            }
            _ => Error::Write { path: folder.clone(), source },
        })?;
    }
    Ok(())
}

fn hash(entry: &Entry) -> String {
    let mut hash = Sha256::new();
    match entry {
        Entry::File { bytes, .. } => hash.update(bytes),
        Entry::Link(target) => {
            hash.update(b"link to ");
            hash.update(target.as_os_str().as_encoded_bytes());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
