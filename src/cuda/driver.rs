//! The driver: loading it, its GPUs, the current context, and whose a pointer is.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use cudarc::driver::result::{self, ctx, primary_ctx};
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute, CUpointer_attribute};

use super::{Doing, Error, Result};

/// What is called here of the driver. All of it came with CUDA 9 or before.
const FUNCTIONS: &[&str] = &[
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGet",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuCtxGetCurrent",
    "cuCtxGetDevice",
    "cuCtxPushCurrent_v2",
    "cuCtxPopCurrent_v2",
    "cuPointerGetAttributes",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuMemAlloc_v2",
    "cuMemsetD8Async",
    "cuMemcpyDtoHAsync_v2",
    "cuEventCreate",
    "cuEventRecord",
    "cuStreamWaitEvent",
    "cuStreamSynchronize",
    "cuLaunchKernel",
    "cuGetErrorString",
];

/// Loads and starts the driver; what fails is tried again at the next call.
pub fn start() -> Result<()> {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.load(Ordering::Acquire) {
        return Ok(());
    }
    // SAFETY: loading the driver's library runs its initialisers, as in every CUDA program.
    let library = unsafe {
        if !sys::is_culib_present() {
            return Err(Error::NoDriver);
        }
        sys::culib()
    };
    for name in FUNCTIONS {
        // SAFETY: looked up, not called.
        if unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_err() {
            return Err(Error::DriverTooOld(name));
        }
    }
    result::init().doing("starting CUDA")?;
    STARTED.store(true, Ordering::Release);
    Ok(())
}

/// The driver's CUDA version, such as 12.4.
pub fn version() -> String {
    let mut version = 0;
    // SAFETY: a place for a number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) };
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// A GPU.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Device {
    /// As the driver calls it.
    pub name: String,
    /// Such as 90 for compute capability 9.0.
    pub architecture: i32,
}

/// The GPUs that the driver offers, in its order.
///
/// # Errors
/// When there is no driver, or it cannot be used.
pub fn devices() -> Result<Vec<Device>> {
    start()?;
    let count = result::device::get_count().doing("counting GPUs")?;
    (0..count)
        .map(|ordinal| {
            let device = result::device::get(ordinal).doing("looking at a GPU")?;
            let name = result::device::get_name(device).doing("looking at a GPU")?;
            Ok(Device { name, architecture: architecture(device)? })
        })
        .collect()
}

/// Such as 90 for compute capability 9.0.
pub fn architecture(device: CUdevice) -> Result<i32> {
    let major = attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(10 * major + minor)
}

pub fn multiprocessors(device: CUdevice) -> Result<i32> {
    attribute(device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
}

fn attribute(device: CUdevice, attribute: CUdevice_attribute) -> Result<i32> {
    // SAFETY: the driver has started; it refuses numbers that are no device's.
    unsafe { result::device::get_attribute(device, attribute) }.doing("looking at a GPU")
}

/// The context that a call works in.
pub struct Context {
    /// The driver's handle.
    pub raw: CUcontext,
    /// The GPU's number.
    pub device: CUdevice,
    pushed: bool,
}

impl Context {
    /// The thread's current context. A thread that has none gets, for as long as this lives, the primary one of the GPU
    /// that `pointer` is on, as the CUDA runtime would do.
    pub fn current(pointer: u64) -> Result<Context> {
        start()?;
        if let Some(raw) = ctx::get_current().doing("finding the current context")? {
            return Ok(Context { raw, device: current_device()?, pushed: false });
        }
        let device = match owner(pointer) {
            Owner::Gpu(device) => device,
            _ => 0,
        };
        let raw = primary(device)?;
        // SAFETY: a primary context, retained for the life of the process.
        unsafe { sys::cuCtxPushCurrent_v2(raw) }.result().doing("making a context current")?;
        Ok(Context { raw, device, pushed: true })
    }

    /// Refuses memory that this context's kernels must not be given.
    pub fn check(&self, name: &'static str, pointer: u64) -> Result<()> {
        match owner(pointer) {
            Owner::Cpu => Err(Error::CpuPointer(name)),
            Owner::Gpu(device) if device != self.device => Err(Error::OtherGpu { name, device, current: self.device }),
            Owner::Gpu(_) | Owner::Any => Ok(()),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if self.pushed {
            let mut raw = ptr::null_mut();
            // SAFETY: the one pushed above is on top.
            unsafe { sys::cuCtxPopCurrent_v2(&raw mut raw) };
        }
    }
}

fn current_device() -> Result<CUdevice> {
    let mut device = 0;
    // SAFETY: a place for a number.
    unsafe { sys::cuCtxGetDevice(&raw mut device) }.result().doing("finding the current GPU")?;
    Ok(device)
}

/// A GPU's primary context, retained once and kept.
fn primary(device: CUdevice) -> Result<CUcontext> {
    static RETAINED: Mutex<BTreeMap<CUdevice, usize>> = Mutex::new(BTreeMap::new());
    let mut retained = RETAINED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&raw) = retained.get(&device) {
        return Ok(raw as CUcontext);
    }
    // SAFETY: the driver refuses numbers that are no device's.
    let raw = unsafe { primary_ctx::retain(device) }.doing("opening the GPU")?;
    retained.insert(device, raw as usize);
    Ok(raw)
}

/// Whose memory a pointer is to.
enum Owner {
    /// Of one GPU.
    Gpu(CUdevice),
    /// Of all: pinned or managed memory.
    Any,
    /// Of the CPU, or nobody's.
    Cpu,
}

fn owner(pointer: u64) -> Owner {
    let (mut kind, mut is_managed, mut device) = (0u64, 0u64, 0u64);
    let mut attributes = [
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
    ];
    let mut answers: [*mut c_void; 3] =
        [(&raw mut kind).cast(), (&raw mut is_managed).cast(), (&raw mut device).cast()];
    // SAFETY: as many places as attributes, each larger than what is written. Any pointer may be asked about.
    let code = unsafe { sys::cuPointerGetAttributes(3, attributes.as_mut_ptr(), answers.as_mut_ptr(), pointer) };
    const HOST: u64 = sys::CUmemorytype::CU_MEMORYTYPE_HOST as u64;
    const GPU: u64 = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE as u64;
    match (code.result(), kind, is_managed & 1) {
        (Ok(()), GPU, 0) => Owner::Gpu(device as CUdevice),
        (Ok(()), HOST | GPU, _) => Owner::Any,
        _ => Owner::Cpu,
    }
}
