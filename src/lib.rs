//! The GFPQ quantiser of HiSilicon's NNIE, and what puts it into Caffe.
//!
//! A folder is a capability, and knows only those below it: `cli` → `patch`, `caffemodel` → `prototxt` →
//! `quant`; `bench` → `quant`; `ffi` → `cuda`, `quant`; `cuda` → `quant`.

pub mod bench;
pub mod caffemodel;
pub mod cli;
pub mod cuda;
mod diff;
pub mod ffi;
pub mod patch;
pub mod prototxt;
pub mod quant;
