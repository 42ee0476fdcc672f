//! NVIDIA GPUs, through a driver that is looked for at run time: nothing here needs CUDA to build or to load.
//!
//! A call works in the thread's current context (a runtime program's, such as Caffe, has its device's primary one) and
//! on the caller's stream, and leaves both as they were. The kernels are those of `kernels/`, compiled for the GPU at
//! hand by NVRTC where the machine has it, else by the driver from PTX that is part of this program.

mod api;
mod driver;
mod kernels;
mod launch;
pub mod nvrtc;
mod scratch;
pub mod source;

pub use driver::{Device, devices, version as driver_version};
pub use kernels::threads_and_tile;
pub use launch::{Element, Tensor, quantise, quantise_with_range};

/// Why a GPU call was refused or failed. Refusals come before anything is written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's library is not on this machine.
    #[error("no NVIDIA driver (libcuda.so.1) on this machine: install it, or use CPU mode")]
    NoDriver,
    /// The driver's library lacks a function that is called here.
    #[error("the NVIDIA driver has no {0}: it is older than CUDA 9, update it")]
    DriverTooOld(&'static str),
    /// A driver, and no GPU.
    #[error("the NVIDIA driver sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use CPU mode")]
    NoGpu,
    /// `libcuda.so` of a CUDA toolkit, which only links.
    #[error("libcuda.so is the CUDA toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH")]
    Stub,
    /// The driver is there, and does not start.
    #[error("CUDA does not start: the NVIDIA driver reports {name} ({text}); {advice}")]
    NoStart {
        /// Such as `CUDA_ERROR_SYSTEM_NOT_READY`.
        name: String,
        /// The driver's words.
        text: String,
        /// The way out.
        advice: &'static str,
    },
    /// The process was forked after its first CUDA call.
    #[error("CUDA was started in another process: one forked after its first CUDA call cannot use the GPU")]
    Forked,
    /// The kernels do not load.
    #[error(
        "no kernels for this GPU (compute capability {capability}): {nvrtc}; and the driver, of CUDA {driver}, refuses \
         the PTX built in: {ptx}. Update the driver, or install NVRTC of the driver's CUDA version"
    )]
    NoKernels {
        /// Such as 9.0.
        capability: String,
        /// The CUDA version that the driver is of.
        driver: String,
        /// What became of NVRTC.
        nvrtc: String,
        /// What the driver says of the PTX.
        ptx: String,
    },
    /// A pointer that is not the GPU's.
    #[error("{0} is in CPU memory: a GPU call takes GPU memory (in Caffe, gpu_data() or mutable_gpu_data())")]
    CpuPointer(&'static str),
    /// Memory of a GPU other than the current one.
    #[error("{name} is on GPU {device} and the current GPU is {current}: call cudaSetDevice({device}) first")]
    OtherGpu {
        /// Which pointer.
        name: &'static str,
        /// Where it points.
        device: i32,
        /// The current context's GPU.
        current: i32,
    },
    /// GPU memory is short.
    #[error("out of GPU memory: stop what else uses this GPU (nvidia-smi lists it), or take smaller batches")]
    OutOfMemory,
    /// Anything else that the driver reports.
    #[error("{doing}: the NVIDIA driver reports {name} ({text})")]
    Driver {
        /// What was being done.
        doing: &'static str,
        /// Such as `CUDA_ERROR_ILLEGAL_ADDRESS`.
        name: String,
        /// The driver's words.
        text: String,
    },
}

type Result<T> = std::result::Result<T, Error>;
