//! The driver's functions, looked up at run time, and its errors.
//!
//! Types and constants are cudarc's, but not the functions: cudarc's return an enum of the result codes known when it
//! was released, while newer drivers return others, and cudarc loads any `libcuda.so`, which may be a toolkit's stub.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use cudarc::driver::sys::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction, CUmodule, CUpointer_attribute, CUresult,
    CUstream,
};
use libloading::Library;

use super::error::{Error, Result};

macro_rules! functions {
    ($($name:ident($($type:ty),*);)*) => {
        /// The driver's functions that this program calls, under their names in cuda.h. CUDA 9 has all of them.
        #[expect(non_snake_case, reason = "the names are cuda.h's")]
        pub(super) struct Api {
            $(pub $name: unsafe extern "C" fn($($type),*) -> u32,)*
            /// Returns a context's number, unique within the process. `None` with drivers before CUDA 12.
            pub cuCtxGetId: Option<unsafe extern "C" fn(CUcontext, *mut u64) -> u32>,
            // Kept loaded: the functions above are in it.
            _library: Library,
        }

        impl Api {
            /// Looks up the functions.
            ///
            /// # Safety
            /// `library` must be the driver's.
            unsafe fn bind(library: Library) -> Result<Api> {
                // SAFETY: the types are those of cuda.h.
                unsafe {
                    Ok(Api {
                        $($name: *library
                            .get(concat!(stringify!($name), "\0").as_bytes())
                            .map_err(|_| Error::DriverTooOld(stringify!($name)))?,)*
                        cuCtxGetId: library.get(b"cuCtxGetId\0").ok().map(|symbol| *symbol),
                        _library: library,
                    })
                }
            }
        }
    };
}

functions! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuCtxGetCurrent(*mut CUcontext);
    cuCtxGetDevice(*mut CUdevice);
    cuCtxPushCurrent_v2(CUcontext);
    cuCtxPopCurrent_v2(*mut CUcontext);
    cuPointerGetAttributes(c_uint, *mut CUpointer_attribute, *mut *mut c_void, CUdeviceptr);
    cuModuleLoadData(*mut CUmodule, *const c_void);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuMemsetD8Async(CUdeviceptr, u8, usize, CUstream);
    cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
    cuEventCreate(*mut CUevent, c_uint);
    cuEventRecord(CUevent, CUstream);
    cuEventQuery(CUevent);
    cuStreamWaitEvent(CUstream, CUevent, c_uint);
    cuStreamSynchronize(CUstream);
    cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void,
        *mut *mut c_void
    );
    cuGetErrorName(u32, *mut *const c_char);
    cuGetErrorString(u32, *mut *const c_char);
}

/// The driver, loaded and initialised by the first call that succeeds.
pub(super) fn start() -> Result<&'static Api> {
    // Never unloaded: drivers do not support it.
    static LOADED: OnceLock<Api> = OnceLock::new();
    static STARTED: AtomicBool = AtomicBool::new(false);
    let api = match LOADED.get() {
        Some(api) => api,
        None => {
            let api = load()?;
            LOADED.get_or_init(|| api)
        }
    };

    if !STARTED.load(Ordering::Acquire) {
        // SAFETY: 0 is the only flag that cuInit takes.
        let code = unsafe { (api.cuInit)(0) };
        api.check(code, "starting CUDA").map_err(|error| match error {
            Error::Driver { name, text, .. } => Error::NoStart { name, text, advice: advice(code) },
            other => other,
        })?;
        STARTED.store(true, Ordering::Release);
    }
    Ok(api)
}

fn load() -> Result<Api> {
    // First the name that a toolkit's folder of stubs does not have: that folder has only libcuda.so.
    // SAFETY: loading the driver's library runs its initialisers, as in every CUDA program.
    let library = ["libcuda.so.1", "libcuda.so"].iter().find_map(|name| unsafe { Library::new(name) }.ok());
    // SAFETY: the library has the driver's name.
    unsafe { Api::bind(library.ok_or(Error::NoDriver)?) }
}

/// What to do about a driver that does not start.
fn advice(code: u32) -> &'static str {
    match code {
        code::SYSTEM_NOT_READY => "start NVIDIA's Fabric Manager, of the driver's version",
        code::SYSTEM_DRIVER_MISMATCH => "its library and kernel module differ in version, restart the machine",
        code::COMPAT_NOT_SUPPORTED => "take CUDA's compat folder out of LD_LIBRARY_PATH, or update the driver",
        _ => "check nvidia-smi, and restart the machine if that fails too",
    }
}

impl Api {
    /// Turns a result code into an error; `doing` says what failed.
    pub(super) fn check(&self, code: u32, doing: &'static str) -> Result<()> {
        match code {
            0 => Ok(()),
            code::OUT_OF_MEMORY => Err(Error::OutOfMemory),
            code::NO_DEVICE => Err(Error::NoGpu),
            code::STUB_LIBRARY => Err(Error::Stub),
            code::NOT_INITIALIZED => Err(Error::Forked),
            code => Err(Error::Driver { doing, name: self.name(code), text: self.words(self.cuGetErrorString, code) }),
        }
    }

    /// The driver's name for a result code, such as `CUDA_ERROR_ILLEGAL_ADDRESS`.
    pub(super) fn name(&self, code: u32) -> String {
        match self.words(self.cuGetErrorName, code) {
            name if name.is_empty() => format!("error {code}"),
            name => name,
        }
    }

    /// The text that `tell` has for a result code; empty for a code that the driver does not know.
    fn words(&self, tell: unsafe extern "C" fn(u32, *mut *const c_char) -> u32, code: u32) -> String {
        let mut text = ptr::null();
        // SAFETY: the text is the driver's own, zero-terminated, or null.
        unsafe {
            tell(code, &raw mut text);
            if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into() }
        }
    }
}

/// The result codes that this program distinguishes.
pub(super) mod code {
    use super::CUresult;

    macro_rules! codes {
        ($($name:ident = $code:ident;)*) => { $(pub(crate) const $name: u32 = CUresult::$code as u32;)* };
    }

    codes! {
        OUT_OF_MEMORY = CUDA_ERROR_OUT_OF_MEMORY;
        NOT_INITIALIZED = CUDA_ERROR_NOT_INITIALIZED;
        STUB_LIBRARY = CUDA_ERROR_STUB_LIBRARY;
        NO_DEVICE = CUDA_ERROR_NO_DEVICE;
        INVALID_VALUE = CUDA_ERROR_INVALID_VALUE;
        INVALID_IMAGE = CUDA_ERROR_INVALID_IMAGE;
        INVALID_CONTEXT = CUDA_ERROR_INVALID_CONTEXT;
        NO_BINARY_FOR_GPU = CUDA_ERROR_NO_BINARY_FOR_GPU;
        INVALID_PTX = CUDA_ERROR_INVALID_PTX;
        JIT_COMPILER_NOT_FOUND = CUDA_ERROR_JIT_COMPILER_NOT_FOUND;
        UNSUPPORTED_PTX_VERSION = CUDA_ERROR_UNSUPPORTED_PTX_VERSION;
        JIT_COMPILATION_DISABLED = CUDA_ERROR_JIT_COMPILATION_DISABLED;
        INVALID_HANDLE = CUDA_ERROR_INVALID_HANDLE;
        CONTEXT_IS_DESTROYED = CUDA_ERROR_CONTEXT_IS_DESTROYED;
        SYSTEM_NOT_READY = CUDA_ERROR_SYSTEM_NOT_READY;
        SYSTEM_DRIVER_MISMATCH = CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
        COMPAT_NOT_SUPPORTED = CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE;
    }
}
