//! A tree's files on disk: read and written beneath the tree's folder only, by one process at a time.

mod entry;
mod lock;
mod own_folder;
mod root;

pub use entry::Entry;
pub(super) use lock::Lock;
pub(super) use own_folder::{
    FOLDER, JOURNAL, MERGED, NEXT_JOURNAL, ORIGINALS, PATCHED, RESTORING, STAGED, check_folder, is_plain,
};
pub use root::Root;
