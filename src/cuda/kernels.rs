//! The kernels in a context: compiled for its GPU, loaded once, and their scratch memory.

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::result::{self, event, module, stream};
use cudarc::driver::sys::{self, CUdeviceptr, CUevent, CUevent_flags, CUevent_wait_flags, CUfunction, CUstream};

use super::driver::{self, Context};
use super::nvrtc::{Nvrtc, Target};
use super::{Doing, Error, Result, source};
use crate::quant::Bits;

/// Threads of a block, and bytes of tensor that it works on at a time: `kThreads`, and with `kUnroll` packs each.
pub const fn threads_and_tile() -> (u32, u64) {
    (256, 256 * 2 * 16)
}

/// Bytes of a `Scratch`, and where in it `delta` is.
const SCRATCH: usize = 16;
const DELTA: u64 = 12;

/// The kernels of one context.
pub struct Kernels {
    functions: BTreeMap<String, usize>,
    /// How many blocks the GPU runs at a time.
    blocks: u64,
    free: Mutex<Vec<Scratch>>,
}

/// A `Scratch` in GPU memory, and the event after which it is free. Calls on different streams never share one at the
/// same time.
pub struct Scratch {
    memory: CUdeviceptr,
    event: usize,
}

impl Kernels {
    /// The context's kernels, loaded at its first call.
    pub fn of(context: &Context) -> Result<Arc<Kernels>> {
        // A context's number tells it from an earlier one at the same address; drivers before CUDA 12 give none.
        type Loaded = BTreeMap<(usize, u64), Arc<Kernels>>;
        static LOADED: Mutex<Loaded> = Mutex::new(BTreeMap::new());
        let key = (context.raw as usize, context_number(context));
        let mut loaded = lock(&LOADED);
        if let Some(kernels) = loaded.get(&key) {
            return Ok(kernels.clone());
        }
        let kernels = Arc::new(Kernels::load(context)?);
        loaded.insert(key, kernels.clone());
        Ok(kernels)
    }

    fn load(context: &Context) -> Result<Kernels> {
        let architecture = driver::architecture(context.device)?;
        let module = load_module(architecture)?;
        let mut functions = BTreeMap::new();
        for pass in ["range", "apply"] {
            for element in ["float", "double"] {
                for bits in [8, 16] {
                    let name = format!("gfpq_{pass}_{element}_{bits}");
                    let c_name = CString::new(name.as_str()).unwrap_or_default();
                    // SAFETY: a module just loaded.
                    let function = unsafe { module::get_function(module, c_name) }.doing("finding a kernel")?;
                    functions.insert(name, function as usize);
                }
            }
        }
        let blocks = 8 * driver::multiprocessors(context.device)?.max(1) as u64;
        Ok(Kernels { functions, blocks, free: Mutex::default() })
    }

    pub fn function(&self, pass: &str, element: &str, bits: Bits) -> CUfunction {
        self.functions[&format!("gfpq_{pass}_{element}_{}", bits.number())] as CUfunction
    }

    /// Blocks for so many bytes of tensor: a tile each, until the GPU is full.
    pub fn grid(&self, bytes: u64) -> u32 {
        let (_, tile) = threads_and_tile();
        bytes.div_ceil(tile).clamp(1, self.blocks) as u32
    }

    /// Scratch for kernels on this stream.
    pub fn scratch(&self, stream: CUstream) -> Result<Scratch> {
        if let Some(scratch) = lock(&self.free).pop() {
            let wait = CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
            // SAFETY: an event of this context, and the caller's stream.
            unsafe { stream::wait_event(stream, scratch.event as CUevent, wait) }
                .doing("waiting for scratch memory")?;
            return Ok(scratch);
        }
        let event = event::create(CUevent_flags::CU_EVENT_DISABLE_TIMING).doing("making an event")?;
        // SAFETY: as many bytes are set as are there, before any kernel on this stream.
        unsafe {
            let memory = result::malloc_sync(SCRATCH).doing("allocating scratch memory")?;
            result::memset_d8_async(memory, 0, SCRATCH, stream).doing("clearing scratch memory")?;
            Ok(Scratch { memory, event: event as usize })
        }
    }

    /// Takes scratch back; the kernels that use it are on this stream, and need not have run.
    pub fn give_back(&self, scratch: Scratch, stream: CUstream) -> Result<()> {
        // SAFETY: an event of this context, and the caller's stream.
        unsafe { event::record(scratch.event as CUevent, stream) }.doing("recording an event")?;
        lock(&self.free).push(scratch);
        Ok(())
    }
}

impl Scratch {
    pub fn memory(&self) -> CUdeviceptr {
        self.memory
    }

    /// The delta that a range pass on this stream has left; waits for the stream.
    pub fn delta(&self, stream: CUstream) -> Result<i32> {
        let mut delta = [0];
        // SAFETY: the place is written before the synchronisation ends, and outlives it.
        unsafe {
            result::memcpy_dtoh_async(&mut delta, self.memory + DELTA, stream).doing("reading the range")?;
            stream::synchronize(stream).doing("waiting for the GPU")?;
        }
        Ok(delta[0])
    }
}

/// Machine code of this GPU from NVRTC, else the PTX that is part of this program.
fn load_module(architecture: i32) -> Result<sys::CUmodule> {
    let load = |image: &[u8]| {
        // SAFETY: an ELF image, which knows its own length, or zero-terminated text.
        unsafe { module::load_data(image.as_ptr().cast::<c_void>()) }
    };
    let nvrtc = match machine_code(architecture) {
        Ok(code) => match load(&code) {
            Ok(module) => return Ok(module),
            Err(error) => format!("the driver refuses what NVRTC made ({:?})", error.0),
        },
        Err(why) => why,
    };
    let ptx = CString::new(source::PTX).unwrap_or_default();
    load(ptx.as_bytes_with_nul()).map_err(|error| match Error::of("loading the kernels", error) {
        Error::Driver { name, .. } => Error::NoKernels {
            capability: format!("{}.{}", architecture / 10, architecture % 10),
            driver: driver::version(),
            nvrtc,
            ptx: name,
        },
        other => other,
    })
}

/// Compiles for an architecture, once in the life of the process.
fn machine_code(architecture: i32) -> std::result::Result<Arc<Vec<u8>>, String> {
    type Compiled = BTreeMap<i32, std::result::Result<Arc<Vec<u8>>, String>>;
    static COMPILED: Mutex<Compiled> = Mutex::new(BTreeMap::new());
    let compile = || {
        let nvrtc = Nvrtc::find().map_err(|error| error.to_string())?;
        if !nvrtc.architectures().contains(&architecture) {
            return Err(format!("NVRTC {} does not know this GPU", nvrtc.version()));
        }
        let tables = source::tables();
        let headers = [("gfpq.cuh", source::ARITHMETIC), ("gfpq_tables.cuh", tables.as_str())];
        let code = nvrtc.compile(source::KERNELS, &headers, Target::Machine(architecture));
        code.map(Arc::new).map_err(|error| error.to_string())
    };
    lock(&COMPILED).entry(architecture).or_insert_with(compile).clone()
}

fn context_number(context: &Context) -> u64 {
    let mut number = 0;
    // SAFETY: the type is cuda.h's, and a driver that has the function knows the context.
    unsafe {
        type Function = unsafe extern "C" fn(sys::CUcontext, *mut u64) -> sys::CUresult;
        if let Ok(get) = sys::culib().get::<Function>(b"cuCtxGetId") {
            get(context.raw, &raw mut number);
        }
    }
    number
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
