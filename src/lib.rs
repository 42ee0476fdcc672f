//! The GFPQ quantiser of HiSilicon's NNIE, and the tools that add it to Caffe.
//!
//! Each folder is one capability. A folder uses only these others:
//!
//! - `cli`: `bench`, `caffemodel`, `cuda`, `unified_diff`, `patch`, `prototxt`, `quant`;
//! - `patch`: `unified_diff`;
//! - `caffemodel`: `prototxt`, `quant`;
//! - `ffi`: `cuda`, `quant`;
//! - `prototxt`, `bench` and `cuda`: `quant`.

pub mod bench;
pub mod caffemodel;
pub mod cli;
pub mod cuda;
#[expect(unreachable_pub, reason = "cxx makes public all that a bridge declares")]
pub mod ffi;
pub mod patch;
pub mod prototxt;
pub mod quant;
mod unified_diff;
