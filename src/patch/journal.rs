//! The record of an apply: which paths changed, and the hashes of what they held before and hold after.
//!
//! It is `.gfpq/journal.json` in the tree's folder; the originals of edited files lie beside it. A tree may come from
//! anywhere, so a journal is believed only as far as gfpq could have written it: it names paths that a plan can change,
//! and every path is resolved beneath the tree's folder.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{Entry, FOLDER, JOURNAL, MERGED, NEXT_JOURNAL, ORIGINALS, PATCHED, Root, is_plain};
use super::error::Error;
use super::plan::{self, Change, Plan};

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
    /// Hash of what a file that the patch created would hold without the patch's lines, if the user may go on editing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    /// Whether the original is the user's file without the patch's lines, which a revert that has begun restores.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    merged: bool,
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

/// A file as it was before the patch and as the patch left it.
pub(super) struct Kept {
    pub(super) original: Vec<u8>,
    pub(super) patched: Vec<u8>,
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

        let mut above: HashSet<&Path> = HashSet::new();
        let mut paths: HashSet<&Path> = HashSet::new();
        for record in &journal.changes {
            let name = record.path.display();
            if !is_normal(&record.path) || !plan::can_change(&record.path) {
                return Err(damaged(format!("it names `{name}`, which gfpq never changes")));
            }
            if !paths.insert(&record.path) {
                return Err(damaged(format!("it names `{name}` twice")));
            }
            let hashes = [Some(&record.after), record.before.as_ref(), record.base.as_ref()];
            if !hashes.into_iter().flatten().all(|hash| is_hash(hash)) {
                return Err(damaged(format!("its hashes of `{name}` are none")));
            }
            above.extend(record.path.ancestors().skip(1));
        }
        if journal.changes.is_empty() {
            return Err(damaged("it names no file".into()));
        }
        let is_ours = |dir: &PathBuf| is_normal(dir) && is_plain(dir) && above.contains(dir.as_path());
        if let Some(dir) = journal.created_dirs.iter().find(|dir| !is_ours(dir)) {
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
}

impl Record {
    fn of(change: &Change) -> Record {
        Record {
            path: change.path.clone(),
            purpose: change.purpose.clone(),
            before: change.before.as_ref().map(Entry::hash),
            after: change.after.hash(),
            base: change.base.as_ref().map(Entry::hash),
            merged: false,
        }
    }

    /// The original, or of a created file its text without the patch's lines, and what the patch made of it. `None` if they
    /// are not kept as files, or were changed.
    pub(super) fn kept(&self, root: &Root) -> Result<Option<Kept>, Error> {
        let read = |folder: &str, hash: Option<&String>| {
            let entry = root.entry(&Path::new(folder).join(&self.path))?;
            Ok::<_, Error>(entry.filter(|entry| Some(&entry.hash()) == hash))
        };
        let original = read(ORIGINALS, self.before.as_ref().or(self.base.as_ref()))?;
        let patched = read(PATCHED, Some(&self.after))?;
        Ok(match (original, patched) {
            (Some(Entry::File { bytes: original, .. }), Some(Entry::File { bytes: patched, .. })) => {
                Some(Kept { original, patched })
            }
            _ => None,
        })
    }

    /// Notes that a revert restores `merged` in place of the user's file as it is now.
    pub(super) fn restore_merged(&mut self, root: &Root, merged: &Entry) -> Result<(), Error> {
        let current = root.entry(&self.path)?;
        self.after = current.as_ref().map_or_else(String::new, Entry::hash);
        self.before = Some(merged.hash());
        self.merged = true;
        Ok(())
    }

    /// Whether a change of the same path leads to the same entry.
    pub(super) fn holds(&self, change: &Change) -> bool {
        self.path == change.path && self.after == change.after.hash()
    }

    /// Notes that the path holds what another plan puts there.
    pub(super) fn update(&mut self, change: &Change) {
        self.after = change.after.hash();
        self.base = change.base.as_ref().map(Entry::hash);
    }

    pub(super) fn found(&self, root: &Root) -> Result<Found, Error> {
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
        Path::new(if self.merged { MERGED } else { ORIGINALS }).join(&self.path)
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

/// Whether a path is spelt in the one way in which gfpq spells it.
fn is_normal(path: &Path) -> bool {
    path.components().collect::<PathBuf>().as_os_str() == path.as_os_str()
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}
