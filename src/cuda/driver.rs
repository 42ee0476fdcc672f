//! The driver's GPUs, the current context, and whose a pointer is.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute, CUmemorytype, CUpointer_attribute};

use super::api::{Api, code, start};
use super::{Error, Result};

/// The driver's CUDA version, such as 12.4.
///
/// # Errors
/// When there is no driver, or it cannot be used.
pub fn version() -> Result<String> {
    let api = start()?;
    let mut version = 0;
    // SAFETY: a place for a number.
    api.check(unsafe { (api.cuDriverGetVersion)(&raw mut version) }, "asking the driver for its version")?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
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
    let api = start()?;
    let mut count = 0;
    // SAFETY: a place for a number.
    api.check(unsafe { (api.cuDeviceGetCount)(&raw mut count) }, "counting GPUs")?;
    (0..count).map(|ordinal| device(api, ordinal)).collect()
}

fn device(api: &Api, ordinal: i32) -> Result<Device> {
    let doing = "looking at a GPU";
    let mut device = 0;
    let mut name = [0 as c_char; 128];
    // SAFETY: a place for a number, and one for text that is zero-terminated: its last byte stays as it is.
    let name = unsafe {
        api.check((api.cuDeviceGet)(&raw mut device, ordinal), doing)?;
        api.check((api.cuDeviceGetName)(name.as_mut_ptr(), 127, device), doing)?;
        CStr::from_ptr(name.as_ptr())
    };
    Ok(Device { name: name.to_string_lossy().into(), architecture: architecture(api, device)? })
}

/// Such as 90 for compute capability 9.0.
pub fn architecture(api: &Api, device: CUdevice) -> Result<i32> {
    let major = attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(10 * major + minor)
}

pub fn multiprocessors(api: &Api, device: CUdevice) -> Result<i32> {
    attribute(api, device, CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
}

fn attribute(api: &Api, device: CUdevice, attribute: CUdevice_attribute) -> Result<i32> {
    let mut value = 0;
    // SAFETY: a place for a number; the driver refuses numbers that are no device's.
    api.check(unsafe { (api.cuDeviceGetAttribute)(&raw mut value, attribute, device) }, "looking at a GPU")?;
    Ok(value)
}

/// The context that a call works in.
pub struct Context {
    pub api: &'static Api,
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
        let api = start()?;
        let mut raw = ptr::null_mut();
        // SAFETY: a place for a handle.
        api.check(unsafe { (api.cuCtxGetCurrent)(&raw mut raw) }, "finding the current context")?;
        if !raw.is_null() {
            let mut device = 0;
            // SAFETY: a place for a number.
            api.check(unsafe { (api.cuCtxGetDevice)(&raw mut device) }, "finding the current GPU")?;
            return Ok(Context { api, raw, device, pushed: false });
        }
        // Where this fails, `check` asks again and tells.
        let device = match owner(api, pointer) {
            Ok(Owner::Gpu(device)) => device,
            _ => 0,
        };
        let raw = primary(api, device)?;
        // SAFETY: a primary context, retained for the life of the process.
        api.check(unsafe { (api.cuCtxPushCurrent_v2)(raw) }, "making a context current")?;
        Ok(Context { api, raw, device, pushed: true })
    }

    /// Refuses memory that this context's kernels must not be given.
    pub fn check(&self, name: &'static str, pointer: u64) -> Result<()> {
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
            // SAFETY: the one pushed above is on top.
            unsafe { (self.api.cuCtxPopCurrent_v2)(&raw mut raw) };
        }
    }
}

/// A GPU's primary context, retained once and kept.
fn primary(api: &Api, device: CUdevice) -> Result<CUcontext> {
    static RETAINED: Mutex<BTreeMap<CUdevice, usize>> = Mutex::new(BTreeMap::new());
    let mut retained = RETAINED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(&raw) = retained.get(&device) {
        return Ok(raw as CUcontext);
    }
    let mut raw = ptr::null_mut();
    // SAFETY: a place for a handle; the driver refuses numbers that are no device's.
    api.check(unsafe { (api.cuDevicePrimaryCtxRetain)(&raw mut raw, device) }, "opening the GPU")?;
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

fn owner(api: &Api, pointer: u64) -> Result<Owner> {
    let (mut kind, mut is_managed, mut device) = (0u64, 0u64, 0u64);
    let mut attributes = [
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_IS_MANAGED,
        CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
    ];
    let mut answers: [*mut c_void; 3] =
        [(&raw mut kind).cast(), (&raw mut is_managed).cast(), (&raw mut device).cast()];
    // SAFETY: as many places as attributes, each larger than what is written. Any pointer may be asked about.
    let code = unsafe { (api.cuPointerGetAttributes)(3, attributes.as_mut_ptr(), answers.as_mut_ptr(), pointer) };
    // What the driver says of a pointer that it knows nothing of, where it does not answer with zeros.
    if code == code::INVALID_VALUE {
        return Ok(Owner::Cpu);
    }
    api.check(code, "asking whose a pointer is")?;
    const HOST: u64 = CUmemorytype::CU_MEMORYTYPE_HOST as u64;
    const GPU: u64 = CUmemorytype::CU_MEMORYTYPE_DEVICE as u64;
    Ok(match (kind, is_managed & 1) {
        (GPU, 0) => Owner::Gpu(device as CUdevice),
        (HOST | GPU, _) => Owner::Any,
        _ => Owner::Cpu,
    })
}
