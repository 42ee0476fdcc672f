//! NVIDIA GPUs, through a driver that is looked for at run time: nothing here needs CUDA to build or to load.

pub mod nvrtc;
pub mod source;

use std::panic::{AssertUnwindSafe, catch_unwind};

use cudarc::driver::{CudaContext, DriverError};

/// Why no GPU can be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The driver's library is not on this machine.
    #[error("no NVIDIA driver (libcuda.so.1) on this machine")]
    NoDriver,
    /// The driver's library lacks functions that this program calls.
    #[error("the NVIDIA driver is older than CUDA 12: update it")]
    DriverTooOld,
    /// The driver answered with an error.
    #[error("the NVIDIA driver reports {0:?}")]
    Driver(DriverError),
}

/// The names of the GPUs the driver offers.
///
/// # Errors
/// When there is no driver, or it cannot be used.
pub fn devices() -> Result<Vec<String>, Error> {
    // SAFETY: looking a library up by name has no precondition.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Err(Error::NoDriver);
    }
    // cudarc panics where the library lacks a symbol it wants.
    let names = catch_unwind(AssertUnwindSafe(|| {
        let count = CudaContext::device_count()?;
        (0..count).map(|ordinal| CudaContext::new(ordinal as usize)?.name()).collect::<Result<Vec<_>, _>>()
    }));
    match names {
        Ok(names) => names.map_err(Error::Driver),
        Err(_) => Err(Error::DriverTooOld),
    }
}
