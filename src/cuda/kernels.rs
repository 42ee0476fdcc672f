//! The kernels of a context: compiled for its GPU, and loaded once.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{CUevent, CUevent_flags, CUfunction, CUmodule};

use super::api::{Api, code};
use super::driver::{self, Context};
use super::error::{Error, Result};
use super::nvrtc::{Nvrtc, Target};
use super::scratch::Pool;
use super::source;
use crate::quant::Bits;

/// The number of threads in a block, and the number of tensor bytes that a block works on at a time. As in quantise.cu:
/// `kThreads` threads, each with `kUnroll` packs of 16 bytes.
pub const fn threads_and_tile() -> (u32, u64) {
    (256, 256 * 2 * 16)
}

/// The kernels of one context.
pub(super) struct Kernels {
    api: &'static Api,
    /// The kernels' handles by name. As numbers, because pointers are not Send; so for the handles below.
    functions: BTreeMap<String, usize>,
    /// The number of blocks that the GPU runs at a time.
    blocks: u64,
    /// The handle of an event that exists only to query whether the context does.
    event: usize,
    /// Scratch memory in the context.
    pub pool: Pool,
}

impl Kernels {
    /// The context's kernels, loaded at the first call in that context.
    pub(super) fn of(context: &Context) -> Result<Arc<Kernels>> {
        type Loaded = BTreeMap<(usize, Option<u64>), Arc<Kernels>>;
        static LOADED: Mutex<Loaded> = Mutex::new(BTreeMap::new());
        let number = context_number(context);
        let mut loaded = lock(&LOADED);
        // Where the driver does not number contexts, this may be a new context at the address of a destroyed one.
        if let Some(kernels) = loaded.get(&(context.raw as usize, number))
            && (number.is_some() || kernels.are_alive()?)
        {
            return Ok(kernels.clone());
        }

        let kernels = Arc::new(Kernels::load(context)?);
        loaded.insert((context.raw as usize, number), kernels.clone());
        Ok(kernels)
    }

    /// Loads the kernels into the current context.
    fn load(context: &Context) -> Result<Kernels> {
        let api = context.api;
        let module = load_module(api, driver::architecture(api, context.device)?)?;
        let mut functions = BTreeMap::new();
        for pass in ["range", "apply"] {
            for element in ["float", "double"] {
                for bits in [8, 16] {
                    let name = format!("gfpq_{pass}_{element}_{bits}");
                    let c_name = CString::new(name.as_str()).unwrap_or_default();
                    let mut function = ptr::null_mut();
                    // SAFETY: the module is loaded, and the name zero-terminated.
                    let code = unsafe { (api.cuModuleGetFunction)(&raw mut function, module, c_name.as_ptr()) };
                    api.check(code, "finding a kernel")?;
                    functions.insert(name, function as usize);
                }
            }
        }

        let mut event = ptr::null_mut();
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the pointer is to a handle.
        api.check(unsafe { (api.cuEventCreate)(&raw mut event, flags) }, "creating an event")?;
        let blocks = 8 * driver::multiprocessors(api, context.device)?.max(1) as u64;
        Ok(Kernels { api, functions, blocks, event: event as usize, pool: Pool::new(api) })
    }

    /// Whether the context that the kernels were loaded into still exists.
    fn are_alive(&self) -> Result<bool> {
        // SAFETY: the driver refuses unknown handles.
        match unsafe { (self.api.cuEventQuery)(self.event as CUevent) } {
            code::INVALID_HANDLE | code::INVALID_CONTEXT | code::CONTEXT_IS_DESTROYED => Ok(false),
            code => self.api.check(code, "querying the context").map(|()| true),
        }
    }

    /// The kernel of a pass ("range" or "apply") for an element type ("float" or "double") and bit width.
    pub(super) fn function(&self, pass: &str, element: &str, bits: Bits) -> CUfunction {
        self.functions[&format!("gfpq_{pass}_{element}_{}", bits.number())] as CUfunction
    }

    /// The number of blocks for a tensor of so many bytes: one per tile, but no more than the GPU runs at a time.
    pub(super) fn grid(&self, bytes: u64) -> u32 {
        let (_, tile) = threads_and_tile();
        bytes.div_ceil(tile).clamp(1, self.blocks) as u32
    }
}

/// Loads machine code that NVRTC makes for this GPU, or else the PTX that is embedded in this program.
fn load_module(api: &Api, architecture: i32) -> Result<CUmodule> {
    let load = |image: &[u8]| {
        let mut module = ptr::null_mut();
        // SAFETY: the image is an ELF file, which contains its length, or zero-terminated text.
        match unsafe { (api.cuModuleLoadData)(&raw mut module, image.as_ptr().cast::<c_void>()) } {
            code if is_of_image(code) => Ok(Err(api.name(code))),
            code => api.check(code, "loading the kernels").map(|()| Ok(module)),
        }
    };

    let nvrtc = match machine_code(architecture) {
        Ok(code) => match load(&code)? {
            Ok(module) => return Ok(module),
            Err(name) => format!("the driver refuses what NVRTC made ({name})"),
        },
        Err(why) => why,
    };

    let image = CString::new(source::PTX).unwrap_or_default();
    let capability = format!("{}.{}", architecture / 10, architecture % 10);
    match load(image.as_bytes_with_nul())? {
        Ok(module) => Ok(module),
        Err(ptx) => Err(Error::NoKernels { capability, driver: driver::version()?, nvrtc, ptx }),
    }
}

/// Whether the image is the cause of a failure to load, so that another image may load.
fn is_of_image(code: u32) -> bool {
    matches!(
        code,
        code::INVALID_IMAGE
            | code::NO_BINARY_FOR_GPU
            | code::INVALID_PTX
            | code::UNSUPPORTED_PTX_VERSION
            | code::JIT_COMPILER_NOT_FOUND
            | code::JIT_COMPILATION_DISABLED
    )
}

/// Compiles the kernels for an architecture, once per process. The error says why that failed.
fn machine_code(architecture: i32) -> std::result::Result<Arc<Vec<u8>>, String> {
    type Compiled = BTreeMap<i32, std::result::Result<Arc<Vec<u8>>, String>>;
    static COMPILED: Mutex<Compiled> = Mutex::new(BTreeMap::new());
    let compile = || {
        let nvrtc = Nvrtc::find(architecture).map_err(|error| error.to_string())?;
        let tables = source::tables();
        let headers = [("gfpq.cuh", source::ARITHMETIC), ("gfpq_tables.cuh", tables.as_str())];
        let code = nvrtc.compile(source::KERNELS, &headers, Target::Machine(architecture));
        code.map(Arc::new).map_err(|error| error.to_string())
    };
    lock(&COMPILED).entry(architecture).or_insert_with(compile).clone()
}

/// The context's number, unique within the process; `None` where the driver does not number contexts.
fn context_number(context: &Context) -> Option<u64> {
    let mut number = 0;
    // SAFETY: the context is the current one, and the pointer is to a number.
    let code = unsafe { context.api.cuCtxGetId?(context.raw, &raw mut number) };
    (code == 0).then_some(number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
