//! The GFPQ quantiser of HiSilicon's NNIE, and the tools that add it to Caffe.
//!
//! Each folder is one capability. A folder uses only these others:
//!
//! - `cli`: `bench`, `caffemodel`, `cuda`, `patch`, `prototxt`, `quant`;
//! - `caffemodel`: `prototxt`, `quant`;
//! - `ffi`: `cuda`, `quant`;
//! - `prototxt`, `bench` and `cuda`: `quant`.

pub mod bench;
pub mod caffemodel;
pub mod cli;
pub mod cuda;
mod diff;
pub mod ffi;
pub mod patch;
pub mod prototxt;
pub mod quant;
