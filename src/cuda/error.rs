//! Why GPU calls are refused or fail.

/// Why a GPU call was refused or failed. A refused call has written nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's library is not on this machine.
    #[error("no NVIDIA driver (libcuda.so.1) on this machine: install it, or use CPU mode")]
    NoDriver,
    /// The driver's library lacks the function of this name.
    #[error("the NVIDIA driver has no {0}: it is older than CUDA 9, update it")]
    DriverTooOld(&'static str),
    /// There is a driver, but no GPU.
    #[error("the NVIDIA driver sees no GPU: check nvidia-smi and CUDA_VISIBLE_DEVICES, or use CPU mode")]
    NoGpu,
    /// The library found is the `libcuda.so` of a CUDA toolkit, a stub to link with.
    #[error("libcuda.so is the CUDA toolkit's stub, not a driver: take its folder out of LD_LIBRARY_PATH")]
    Stub,
    /// There is a driver, but it does not start.
    #[error("CUDA does not start: the NVIDIA driver reports {name} ({text}); {advice}")]
    NoStart {
        /// The driver's name for the error, such as `CUDA_ERROR_SYSTEM_NOT_READY`.
        name: String,
        /// The driver's description of the error.
        text: String,
        /// What the user can do.
        advice: &'static str,
    },
    /// The process was forked from one that had made CUDA calls.
    #[error("CUDA was started in another process: one forked after its first CUDA call cannot use the GPU")]
    Forked,
    /// The kernels cannot be loaded, neither as compiled by NVRTC nor as PTX.
    #[error(
        "no kernels for this GPU (compute capability {capability}): {nvrtc}; and the driver, of CUDA {driver}, refuses \
         the PTX built in: {ptx}. Update the driver, or install NVRTC of the driver's CUDA version"
    )]
    NoKernels {
        /// The GPU's compute capability, such as 9.0.
        capability: String,
        /// The driver's CUDA version, such as 12.4.
        driver: String,
        /// Why NVRTC gave no loadable kernels.
        nvrtc: String,
        /// The driver's name for its error on the PTX.
        ptx: String,
    },
    /// The argument of this name points to CPU memory.
    #[error("{0} is in CPU memory: a GPU call takes GPU memory (in Caffe, gpu_data() or mutable_gpu_data())")]
    CpuPointer(&'static str),
    /// An argument points to memory of a GPU other than the current one.
    #[error("{name} is on GPU {device} and the current GPU is {current}: call cudaSetDevice({device}) first")]
    OtherGpu {
        /// The argument's name.
        name: &'static str,
        /// The number of the GPU whose memory it is.
        device: i32,
        /// The number of the current context's GPU.
        current: i32,
    },
    /// The GPU has too little free memory.
    #[error("out of GPU memory: stop what else uses this GPU (nvidia-smi lists it), or take smaller batches")]
    OutOfMemory,
    /// Anything else that the driver reports.
    #[error("{doing}: the NVIDIA driver reports {name} ({text})")]
    Driver {
        /// What this program was doing.
        doing: &'static str,
        /// The driver's name for the error, such as `CUDA_ERROR_ILLEGAL_ADDRESS`.
        name: String,
        /// The driver's description of the error.
        text: String,
    },
}

/// A result with this module's [`Error`].
pub(super) type Result<T> = std::result::Result<T, Error>;
