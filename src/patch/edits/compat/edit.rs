//! The form of a compatibility edit.

use crate::patch::source_text::Text;

/// A compatibility edit of one or several of a tree's files.
pub(crate) struct Edit {
    /// Its name in reports and in the journal.
    pub name: &'static str,
    /// Why Caffe needs it, in one line.
    pub reason: &'static str,
    /// The files to look at, relative to the tree; a folder stands for all source files below it. Paths that a tree
    /// lacks are skipped.
    pub paths: &'static [&'static str],
    /// Words of which the tree's own sources below src/caffe must use one for the edit to be made; empty for an edit
    /// that the text of its file alone decides.
    pub used: &'static [&'static str],
    /// Edits one file's text if it needs the edit, and returns whether it did. A second call changes nothing.
    pub apply: fn(&mut Text) -> bool,
}
