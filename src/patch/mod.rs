//! QuantLayer into a Caffe tree, and out of it again.
//!
//! A tree is read, every edit planned in memory at a place found in the tree's own files, and only then written: files
//! are replaced atomically under a journal that can finish or undo an interrupted run and give every byte back.

mod architectures;
mod compat;
mod config;
mod cuda;
mod error;
mod journal;
mod library;
mod machine;
mod makefile;
mod net;
mod plan;
mod proto;
mod render;
mod template;
mod text;
mod tree;

pub use cuda::{Cuda, HostCompiler};
pub use error::Error;
pub use journal::{Journal, Outcome, Record, Status, apply, dry_run, revert, status};
pub use library::Library;
pub use machine::{Machine, Python};
pub use plan::{Change, Options, Plan};
pub use proto::FieldNumbers;
pub use render::{render_stock, render_tree, unified_diff};
pub use tree::{Entry, Tree};
