//! The edits to a tree's own files, one module per file or kind of file.

pub(super) mod caffe_proto;
pub(super) mod compat;
pub(super) mod cpp_syntax;
pub(super) mod cuda_arch;
pub(super) mod make_syntax;
pub(super) mod makefile;
pub(super) mod makefile_config;
pub(super) mod net_sources;
mod next_field_number;
mod proto_schema;
