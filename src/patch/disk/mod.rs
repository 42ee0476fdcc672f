//! A tree's files on disk: read and written beneath the tree's folder only, by one process at a time.

mod entry;
mod lock;
mod root;
mod staging;

pub use entry::Entry;
pub(super) use lock::Lock;
pub use root::Root;
pub(super) use staging::{FOLDER, ORIGINALS, RESTORING, STAGED, check_folder, stage};
