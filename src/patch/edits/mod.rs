//! The edits to a tree's own files, one module per file or kind of file.

pub mod caffe_proto;
pub mod compat;
pub mod cuda_arch;
pub mod make_syntax;
pub mod makefile;
pub mod makefile_config;
pub mod net_sources;
mod next_available;
mod proto_text;
