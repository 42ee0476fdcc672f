//! The driver's GPUs, the current context, and the owner of a pointer's memory.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute, CUmemorytype, CUpointer_attribute};

use super::api::{Api, code, start};
use super::error::{Error, Result};

/// The driver's CUDA version, such as 12.4.
///
/// # Errors
/// When there is no driver, or it cannot be used.
pub fn version() -> Result<String> {
    let api = start()?;
    let mut version = 0;
    // SAFETY: the pointer is to a number.
    api.check(unsafe { (api.cuDriverGetVersion)(&raw mut version) }, "asking the driver for its version")?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// A GPU that the driver offers.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Device {
    /// The driver's name for it.
    pub name: String,
    /// Ten times the compute capability: 90 for 9.0.
    pub architecture: i32,
}

/// The GPUs that the driver offers, in the driver's order.
///
/// # Errors
/// When there is no driver, or it cannot be used.
pub fn devices() -> Result<Vec<Device>> {
    let api = start()?;
    let mut count = 0;
    // SAFETY: the pointer is to a number.
    api.check(unsafe { (api.cuDeviceGetCount)(&raw mut count) }, "counting GPUs")?;
    (0..count).map(|ordinal| device(api, ordinal)).collect()
}

fn device(api: &Api, ordinal: i32) -> Result<Device> {
    let doing = "querying a GPU";
    let mut device = 0;
    let mut name = [0 as c_char; 128];
    // SAFETY: the pointers are to a number and to a buffer. Its last byte is never written, so the text is
    // zero-terminated.
    let name = unsafe {
        api.check((api.cuDeviceGet)(&raw mut device, ordinal), doing)?;
        api.check((api.cuDeviceGetName)(name.as_mut_ptr(), 127, device), doing)?;
        CStr::from_ptr(name.as_ptr())
    };
    Ok(Device { name: name.to_string_lossy().into(), architecture: architecture(api, device)? })
}

/// Ten times the GPU's compute capability: 90 for 9.0.
pub(super) fn architecture(api: &Api, device: CUdevice) -> Result<i32> {
    let major = attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(10 * major + minor)
}

/// The number of the GPU's multiprocessors.
pub(super) fn multiprocessors(api: &Api, device: CUdevice) -> Result<i32> {
    attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
}

fn attribute(api: &Api, device: CUdevice, attribute: CUdevice_attribute) -> Result<i32> {
    let mut value = 0;
    // SAFETY: the pointer is to a number; the driver refuses invalid device numbers.
    api.check(unsafe { (api.cuDeviceGetAttribute)(&raw mut value, attribute, device) }, "querying a GPU")?;
    Ok(value)
}

/// The context that a call works in. It is current in this thread for as long as this value lives.
pub(super) struct Context {
    pub api: &'static Api,
    /// The driver's handle of the context.
    pub raw: CUcontext,
    /// The number of the context's GPU.
    pub device: CUdevice,
    /// Whether this value made the context current, and so must undo that when dropped.
    pushed: bool,
}

impl Context {
    /// The thread's current context. If the thread has none, the primary context of the GPU that `pointer` is on
    /// becomes current, as the CUDA runtime would do, until the returned value is dropped.
    pub(super) fn current(pointer: u64) -> Result<Context> {
        let api = start()?;
        let mut raw = ptr::null_mut();
        // SAFETY: the pointer is to a handle.
        api.check(unsafe { (api.cuCtxGetCurrent)(&raw mut raw) }, "finding the current context")?;
        if !raw.is_null() {
            let mut device = 0;
            // SAFETY: the pointer is to a number.
            api.check(unsafe { (api.cuCtxGetDevice)(&raw mut device) }, "finding the current GPU")?;
            return Ok(Context { api, raw, device, pushed: false });
        }

        // An error here is not lost: `check` repeats the query and reports it.
        let device = match owner(api, pointer) {
            Ok(Owner::Gpu(device)) => device,
            _ => 0,
        };
        let raw = primary(api, device)?;
        // SAFETY: the primary context is retained for the life of the process.
        api.check(unsafe { (api.cuCtxPushCurrent_v2)(raw) }, "making a context current")?;
        Ok(Context { api, raw, device, pushed: true })
    }

    /// Refuses a pointer that this context's kernels cannot use; `name` is the argument's name in the error.
    pub(super) fn check(&self, name: &'static str, pointer: u64) -> Result<()> {
        match owner(self.api, pointer)? {
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
            // SAFETY: the context that `current` pushed is on top of the thread's stack.
            unsafe { (self.api.cuCtxPopCurrent_v2)(&raw mut raw) };
        }
    }
}

/// A GPU's primary context, retained at the first call and never released.
fn primary(api: &Api, device: CUdevice) -> Result<CUcontext> {
    static RETAINED: Mutex<BTreeMap<CUdevice, usize>> = Mutex::new(BTreeMap::new());
    let mut retained = RETAINED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&raw) = retained.get(&device) {
        return Ok(raw as CUcontext);
    }
    let mut raw = ptr::null_mut();
    // SAFETY: the pointer is to a handle; the driver refuses invalid device numbers.
    api.check(unsafe { (api.cuDevicePrimaryCtxRetain)(&raw mut raw, device) }, "opening the GPU")?;
    retained.insert(device, raw as usize);
    Ok(raw)
}

/// Who can use the memory that a pointer points to.
enum Owner {
    /// One GPU.
    Gpu(CUdevice),
    /// Every GPU: the memory is pinned or managed.
    Any,
    /// Only the CPU, or the pointer is invalid.
    Cpu,
}

/// Asks the driver for the owner of a pointer's memory.
fn owner(api: &Api, pointer: u64) -> Result<Owner> {
    let (mut kind, mut is_managed, mut device) = (0u64, 0u64, 0u64);
    let mut attributes = [
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
    ];
    let mut answers: [*mut c_void; 3] =
        [(&raw mut kind).cast(), (&raw mut is_managed).cast(), (&raw mut device).cast()];
    // SAFETY: there are as many answers as attributes, each at least as large as what is written. Any pointer is
    // allowed.
    let code = unsafe { (api.cuPointerGetAttributes)(3, attributes.as_mut_ptr(), answers.as_mut_ptr(), pointer) };
    // Some drivers return this error for a pointer that they do not know, others answer with zeros.
    if code == code::INVALID_VALUE {
        return Ok(Owner::Cpu);
    }
    api.check(code, "querying the owner of a pointer")?;
    const HOST: u64 = CUmemorytype::CU_MEMORYTYPE_HOST as u64;
    const GPU: u64 = CUmemorytype::CU_MEMORYTYPE_DEVICE as u64;
    Ok(match (kind, is_managed & 1) {
        (GPU, 0) => Owner::Gpu(device as CUdevice),
        (HOST | GPU, _) => Owner::Any,
        _ => Owner::Cpu,
    })
}
