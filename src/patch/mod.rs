//! Puts QuantLayer into a Caffe tree, and takes it out again.
//!
//! Every edit is planned in memory, at a place found in the tree's own files, before anything is written. Then files are
//! replaced atomically, under a journal with which an interrupted run can be finished or undone, byte for byte.

mod apply;
mod disk;
mod edits;
mod error;
mod host;
mod journal;
mod plan;
mod render;
mod revert;
mod source_text;
mod staging;
mod template;
mod tree;

pub use apply::{Outcome, Status, apply, dry_run, status};
pub use disk::{Entry, Root};
pub use edits::caffe_proto::FieldNumbers;
pub use error::Error;
pub use host::library::Library;
pub use host::machine::{Machine, Python};
pub use host::nvcc::{Cuda, HostCompiler};
pub use host::opencv::OpenCv;
pub use journal::{Found, Journal, Record};
pub use plan::{Change, Options, Plan};
pub use render::{render_stock, render_tree, unified_diff};
pub use revert::{Reverted, revert};
pub use tree::Tree;
