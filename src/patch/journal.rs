//! The record of an apply: which paths changed, and the hashes of what they held before and hold after.
//!
//! It is `.gfpq/journal.json` in the tree's folder; the originals of edited files lie beside it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::Error;
use super::files::{FOLDER, ORIGINALS};
use super::plan::{Change, Plan};
use super::tree::Entry;

/// Relative to the tree.
pub(super) const JOURNAL: &str = ".gfpq/journal.json";

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
    pub(super) fn load(root: &Path) -> Result<Option<Journal>, Error> {
        let path = root.join(JOURNAL);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| Error::Journal { path, why: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Replaces the tree's journal by this one, atomically.
    pub(super) fn store(&self, root: &Path) -> Result<(), Error> {
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

    /// What each path held before the apply.
    pub(super) fn originals(&self, root: &Path) -> Result<HashMap<PathBuf, Option<Entry>>, Error> {
        self.changes.iter().map(|record| Ok((record.path.clone(), record.original(root)?))).collect()
    }

    /// Paths that hold neither the patched nor the original entry. A file that the patch created and someone removed
    /// since does not count: that is its original state.
    pub(super) fn edited(&self, root: &Path) -> Result<Vec<PathBuf>, Error> {
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

    /// Whether the plan would write what this apply wrote.
    pub(super) fn matches(&self, plan: &Plan) -> bool {
        self.changes.len() == plan.changes.len()
            && self
                .changes
                .iter()
                .zip(&plan.changes)
                .all(|(record, change)| record.path == change.path && record.after == hash(&change.after))
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

    /// The kept original; `None` if the patch created the file.
    pub(super) fn original(&self, root: &Path) -> Result<Option<Entry>, Error> {
        let path = root.join(ORIGINALS).join(&self.path);
        let Some(expected) = &self.before else { return Ok(None) };
        match Entry::read(&path)? {
            Some(entry) if hash(&entry) == *expected => Ok(Some(entry)),
            _ => Err(Error::Journal { path, why: "this original is missing or was changed".into() }),
        }
    }
}

/// SHA-256 of a file's content or a link's target, in hexadecimal. Permissions are not part of it.
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
