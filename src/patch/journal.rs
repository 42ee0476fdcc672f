//! The record of an apply: which paths changed, and the hashes of what they held before and hold after.
//!
//! It is `.gfpq/journal.json` in the tree's folder; the originals of edited files lie beside it. A tree may come from
//! anywhere, so a journal is believed only as far as gfpq could have written it: it names paths that a plan can change,
//! and every path is resolved beneath the tree's folder.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{Entry, FOLDER, ORIGINALS, Root};
use super::error::Error;
use super::plan::{self, Change, Plan};

/// Relative to the tree.
pub(super) const JOURNAL: &str = ".gfpq/journal.json";
/// The next journal, until it takes the place of the one before.
const NEXT_JOURNAL: &str = ".gfpq/journal.json.new";

/// The record of an apply.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Journal {
    /// The version of gfpq that wrote it.
    pub version: String,
    pub(super) state: State,
    /// One record per changed path, in the order of the plan.
    pub changes: Vec<Record>,
    /// Folders that the apply made, each before those inside it; a revert removes them if they are empty.
    pub(super) created_dirs: Vec<PathBuf>,
    /// Names and reasons of the compatibility edits.
    pub compat: Vec<(String, String)>,
}

/// How far the apply or its revert has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// New files are moving to their places; any path may hold its original still.
    Applying,
    /// Every path holds what the patch put there, unless someone edited it since.
    Applied,
    /// Originals are moving back; any path may hold the patched content still.
    Reverting,
}

/// One changed path.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Relative to the tree.
    pub path: PathBuf,
    /// What the change is for.
    pub purpose: String,
    /// Hash of the original; `None` if the patch created the file.
    pub before: Option<String>,
    /// Hash of what the patch put there.
    after: String,
}

/// What a path of an applied patch holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// What the patch put there.
    Patched,
    /// What it held before the patch, as after `git checkout`.
    Original,
    /// Nothing.
    Missing,
    /// Something else.
    Edited,
}

impl Journal {
    /// The record of a plan whose files are about to move to their places.
    pub(super) fn of(plan: &Plan, created_dirs: Vec<PathBuf>) -> Journal {
        Journal {
            version: env!("CARGO_PKG_VERSION").into(),
            state: State::Applying,
            changes: plan.changes.iter().map(Record::of).collect(),
            created_dirs,
            compat: plan.compat.iter().map(|&(name, reason)| (name.into(), reason.into())).collect(),
        }
    }

    /// Reads a tree's journal; `None` if it has none, and then no apply has touched the tree's files.
    ///
    /// # Errors
    /// [`Error::Journal`] for one that gfpq cannot have written.
    pub(super) fn load(root: &Root) -> Result<Option<Journal>, Error> {
        let Some(bytes) = root.bytes(Path::new(JOURNAL))? else { return Ok(None) };
        let damaged = |why: String| Error::Journal { path: root.path().join(JOURNAL), why };
        let journal: Journal = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;

        if let Some(record) = journal.changes.iter().find(|record| !plan::can_change(&record.path)) {
            return Err(damaged(format!("it names `{}`, which gfpq never changes", record.path.display())));
        }
        let is_above = |dir: &&PathBuf| journal.changes.iter().any(|record| record.path.starts_with(dir));
        if let Some(dir) = journal.created_dirs.iter().find(|dir| !is_plain(dir) || !is_above(dir)) {
            return Err(damaged(format!("it names the folder `{}`, which gfpq did not make", dir.display())));
        }
        Ok(Some(journal))
    }

    /// Replaces the tree's journal by this one, atomically.
    pub(super) fn store(&self, root: &Root) -> Result<(), Error> {
        let (path, next) = (Path::new(JOURNAL), Path::new(NEXT_JOURNAL));
        let write = || -> io::Result<()> {
            root.remove_file(next)?;
            root.write_new(&Entry::file(serde_json::to_vec_pretty(self)?), next, Path::new(FOLDER))?;
            root.install(next, path)?;
            root.sync_folder(Path::new(FOLDER))
        };
        write().map_err(|source| root.write_error(path, source))
    }

    /// Removes the tree's journal: from then on no apply has touched the tree.
    pub(super) fn remove(root: &Root) -> io::Result<()> {
        root.remove_file(Path::new(JOURNAL))
    }

    /// Removes what a killed [`Journal::store`] may have left.
    pub(super) fn remove_leftover(root: &Root) -> io::Result<()> {
        root.remove_file(Path::new(NEXT_JOURNAL))
    }

    /// What each path held before the apply.
    pub(super) fn originals(&self, root: &Root) -> Result<HashMap<PathBuf, Option<Entry>>, Error> {
        self.changes.iter().map(|record| Ok((record.path.clone(), record.original(root)?))).collect()
    }

    /// What each path holds now, in the order of the records.
    pub(super) fn found(&self, root: &Root) -> Result<Vec<Found>, Error> {
        self.changes.iter().map(|record| record.found(root)).collect()
    }

    /// The paths that hold neither the patched entry nor the original one.
    pub(super) fn edited(&self, root: &Root) -> Result<Vec<PathBuf>, Error> {
        let found = self.found(root)?;
        let edited = self.changes.iter().zip(found).filter(|(_, found)| *found == Found::Edited);
        Ok(edited.map(|(record, _)| record.path.clone()).collect())
    }
}

impl Record {
    fn of(change: &Change) -> Record {
        Record {
            path: change.path.clone(),
            purpose: change.purpose.clone(),
            before: change.before.as_ref().map(Entry::hash),
            after: change.after.hash(),
        }
    }

    /// Whether a change of the same path leads to the same entry.
    pub(super) fn holds(&self, change: &Change) -> bool {
        self.path == change.path && self.after == change.after.hash()
    }

    /// Notes that the path holds what another plan puts there.
    pub(super) fn update(&mut self, change: &Change) {
        self.after = change.after.hash();
    }

    fn found(&self, root: &Root) -> Result<Found, Error> {
        let now = root.entry(&self.path)?.as_ref().map(Entry::hash);
        Ok(match now {
            None => Found::Missing,
            now if now.as_ref() == Some(&self.after) => Found::Patched,
            now if now == self.before => Found::Original,
            _ => Found::Edited,
        })
    }

    /// Where the original is kept, if the path had one.
    pub(super) fn original_path(&self) -> PathBuf {
        Path::new(ORIGINALS).join(&self.path)
    }

    /// The kept original; `None` if the patch created the file.
    pub(super) fn original(&self, root: &Root) -> Result<Option<Entry>, Error> {
        let path = self.original_path();
        let Some(expected) = &self.before else { return Ok(None) };
        match root.entry(&path)? {
            Some(entry) if entry.hash() == *expected => Ok(Some(entry)),
            _ => Err(Error::Journal {
                path: root.path().join(path),
                why: "this original is missing or was changed".into(),
            }),
        }
    }
}

/// Whether a path is a plain one beneath the tree, outside of gfpq's own folder.
pub(super) fn is_plain(path: &Path) -> bool {
    let is_normal = path.components().all(|component| matches!(component, Component::Normal(_)));
    is_normal && !path.as_os_str().is_empty() && !path.starts_with(FOLDER)
}
