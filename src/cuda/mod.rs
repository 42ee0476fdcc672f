//! NVIDIA GPUs, through a driver that is looked for at run time: nothing here needs CUDA to build or to load.
//!
//! A call works in the thread's current context (in programs on the CUDA runtime, such as Caffe, the device's primary
//! context) and on the caller's stream, and leaves both as they were. The kernels are those in `kernels/`: compiled by
//! NVRTC for the GPU at hand where the machine has NVRTC, otherwise by the driver from PTX that is embedded in this
//! program.

mod api;
mod driver;
mod error;
mod kernels;
mod launch;
pub mod nvrtc;
mod scratch;
pub mod source;

pub use driver::{Device, devices, version as driver_version};
pub use error::Error;
pub use kernels::threads_and_tile;
pub use launch::{Element, Tensor, quantise, quantise_with_range};
