//! The kernels in a context: compiled for its GPU, and loaded once.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{CUevent, CUevent_flags, CUfunction, CUmodule};

use super::api::{Api, code};
use super::driver::{self, Context};
use super::nvrtc::{Nvrtc, Target};
use super::scratch::Pool;
use super::{Error, Result, source};
use crate::quant::Bits;

/// Threads of a block, and bytes of tensor that it works on at a time: `kThreads`, and with `kUnroll` packs each.
pub const fn threads_and_tile() -> (u32, u64) {
    (256, 256 * 2 * 16)
}

/// The kernels of one context.
pub struct Kernels {
    api: &'static Api,
    functions: BTreeMap<String, usize>,
    /// How many blocks the GPU runs at a time.
    blocks: u64,
    /// An event that is as alive as the context.
    event: usize,
    pub pool: Pool,
}

impl Kernels {
    /// The context's kernels, loaded at its first call.
    pub fn of(context: &Context) -> Result<Arc<Kernels>> {
        type Loaded = BTreeMap<(usize, Option<u64>), Arc<Kernels>>;
        static LOADED: Mutex<Loaded> = Mutex::new(BTreeMap::new());
        let number = context_number(context);
        let mut loaded = lock(&LOADED);
        // Without its number, a context may be one at the address of an earlier one that is gone.
        if let Some(kernels) = loaded.get(&(context.raw as usize, number))
            && (number.is_some() || kernels.are_alive()?)
        {
            return Ok(kernels.clone());
        }
        let kernels = Arc::new(Kernels::load(context)?);
        loaded.insert((context.raw as usize, number), kernels.clone());
        Ok(kernels)
    }

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
                    // SAFETY: a module just loaded, and a zero-terminated name.
                    let code = unsafe { (api.cuModuleGetFunction)(&raw mut function, module, c_name.as_ptr()) };
                    api.check(code, "finding a kernel")?;
                    functions.insert(name, function as usize);
                }
            }
        }
        let mut event = ptr::null_mut();
        let flags = CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: a place for a handle.
        api.check(unsafe { (api.cuEventCreate)(&raw mut event, flags) }, "making an event")?;
        let blocks = 8 * driver::multiprocessors(api, context.device)?.max(1) as u64;
        Ok(Kernels { api, functions, blocks, event: event as usize, pool: Pool::new(api) })
    }

    /// Whether the context that they were loaded in is still there.
    fn are_alive(&self) -> Result<bool> {
        // SAFETY: the driver refuses handles that it does not know.
        match unsafe { (self.api.cuEventQuery)(self.event as CUevent) } {
            code::INVALID_HANDLE | code::INVALID_CONTEXT | code::CONTEXT_IS_DESTROYED => Ok(false),
            code => self.api.check(code, "looking at the context").map(|()| true),
        }
    }

    pub fn function(&self, pass: &str, element: &str, bits: Bits) -> CUfunction {
        self.functions[&format!("gfpq_{pass}_{element}_{}", bits.number())] as CUfunction
    }

    /// Blocks for so many bytes of tensor: a tile each, until the GPU is full.
    pub fn grid(&self, bytes: u64) -> u32 {
        let (_, tile) = threads_and_tile();
        bytes.div_ceil(tile).clamp(1, self.blocks) as u32
    }
}

/// Machine code of this GPU from NVRTC, else the PTX that is part of this program.
fn load_module(api: &Api, architecture: i32) -> Result<CUmodule> {
    let load = |image: &[u8]| {
        let mut module = ptr::null_mut();
        // SAFETY: an ELF image, which knows its own length, or zero-terminated text.
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

/// Whether a failure to load is the image's, which another image might not have.
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

/// Compiles for an architecture, once in the life of the process.
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

fn context_number(context: &Context) -> Option<u64> {
    let mut number = 0;
    // SAFETY: the current context, and a place for a number.
    let code = unsafe { context.api.cuCtxGetId?(context.raw, &raw mut number) };
    (code == 0).then_some(number)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
