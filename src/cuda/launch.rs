//! The quantiser on a GPU: which kernels a call takes, and with what.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys::CUstream;

use super::Result;
use super::driver::Context;
use super::kernels::{Kernels, threads_and_tile};
use crate::quant::{Bits, Mode, Param};

/// What the tensor holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// float32.
    Float,
    /// float64.
    Double,
}

impl Element {
    fn name(self) -> &'static str {
        match self {
            Element::Float => "float",
            Element::Double => "double",
        }
    }

    fn size(self) -> u64 {
        match self {
            Element::Float => 4,
            Element::Double => 8,
        }
    }
}

/// A tensor in GPU memory, and where its quantised values go: the same place, or one that does not overlap it.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Its type.
    pub element: Element,
    /// Addresses, aligned to the type.
    pub source: u64,
    /// As above.
    pub destination: u64,
    /// Values.
    pub count: u64,
    /// The width to quantise to.
    pub bits: Bits,
    /// An address that the GPU writes a 32-bit 1 to if it finds a NaN or infinity, or 0. Pinned CPU memory tells it
    /// without a wait.
    pub nonfinite: u64,
    /// A CUstream's or cudaStream_t's address; 0 is the default stream.
    pub stream: u64,
}

/// Quantises and dequantises as `quant::quantise_into` does on the CPU, and as it does bit for bit: except float64
/// values within 2^-44 of a threshold, where the GPU's log2 decides.
///
/// Waits for the stream if `is_read` is set and the mode changes `param`, which else keeps its delta.
///
/// # Errors
/// Before anything is written, when the GPU or a pointer cannot be used; later ones are the driver's.
///
/// # Safety
/// The addresses are the caller's to read and write, and stay so until the stream has done this work.
pub unsafe fn quantise(tensor: &Tensor, mode: Mode, param: &mut Param, is_read: bool) -> Result<()> {
    let call = Call::new(tensor, 0)?;
    if mode == Mode::ApplyOnly {
        // SAFETY: the caller's duty.
        return unsafe { call.apply(param.delta, 0) };
    }
    let before = if mode == Mode::Update { param.delta } else { i32::MIN };
    let scratch = call.kernels.pool.take(call.stream)?;
    // SAFETY: the caller's duty, and scratch of this stream.
    unsafe {
        call.range(before, 0, scratch.memory())?;
        call.apply(0, scratch.memory())?;
    }
    if is_read {
        param.delta = call.kernels.pool.delta(&scratch, call.stream)?;
    }
    call.kernels.pool.give_back(scratch, call.stream)
}

/// The same as UPDATE, with a range that stays in GPU memory: two values of the tensor's type, (bits, delta), where bits
/// is 0 for a range that has seen no data. Never waits for the GPU.
///
/// # Errors
/// As for [`quantise`].
///
/// # Safety
/// As for [`quantise`], of `range`, too.
pub unsafe fn quantise_with_range(tensor: &Tensor, range: u64) -> Result<()> {
    let call = Call::new(tensor, range)?;
    let scratch = call.kernels.pool.take(call.stream)?;
    // SAFETY: the caller's duty, and scratch of this stream.
    unsafe {
        call.range(i32::MIN, range, scratch.memory())?;
        call.apply(0, scratch.memory())?;
    }
    call.kernels.pool.give_back(scratch, call.stream)
}

/// A call whose pointers are checked, with its context's kernels.
struct Call<'a> {
    tensor: &'a Tensor,
    kernels: std::sync::Arc<Kernels>,
    stream: CUstream,
    // Stays current until the last kernel is launched.
    context: Context,
}

impl Call<'_> {
    fn new(tensor: &Tensor, range: u64) -> Result<Call<'_>> {
        let context = Context::current(tensor.source)?;
        if tensor.count > 0 {
            context.check("data", tensor.source)?;
            if tensor.destination != tensor.source {
                context.check("the destination", tensor.destination)?;
            }
        }
        for (name, pointer) in [("the range", range), ("the place for news of NaN", tensor.nonfinite)] {
            if pointer != 0 {
                context.check(name, pointer)?;
            }
        }
        let kernels = Kernels::of(&context)?;
        Ok(Call { tensor, kernels, stream: tensor.stream as CUstream, context })
    }

    /// Launches `gfpq_range_…`, whose parameters these are.
    unsafe fn range(&self, before: i32, range: u64, scratch: u64) -> Result<()> {
        let Tensor { source, count, .. } = *self.tensor;
        // SAFETY: the kernel's types and order.
        unsafe { self.launch("range", &mut [at(&source), at(&count), at(&before), at(&range), at(&scratch)]) }
    }

    /// Launches `gfpq_apply_…`, whose parameters these are.
    unsafe fn apply(&self, delta: i32, scratch: u64) -> Result<()> {
        let Tensor { source, destination, count, nonfinite, .. } = *self.tensor;
        if count == 0 {
            return Ok(());
        }
        // SAFETY: the kernel's types and order.
        unsafe {
            self.launch(
                "apply",
                &mut [at(&source), at(&destination), at(&count), at(&delta), at(&scratch), at(&nonfinite)],
            )
        }
    }

    unsafe fn launch(&self, pass: &str, parameters: &mut [*mut c_void]) -> Result<()> {
        let api = self.context.api;
        let function = self.kernels.function(pass, self.tensor.element.name(), self.tensor.bits);
        let (threads, _) = threads_and_tile();
        let blocks = self.kernels.grid(self.tensor.count * self.tensor.element.size());
        let (parameters, nothing) = (parameters.as_mut_ptr(), ptr::null_mut());
        // SAFETY: the parameters are the kernel's, as the caller vouches.
        let code =
            unsafe { (api.cuLaunchKernel)(function, blocks, 1, 1, threads, 1, 1, 0, self.stream, parameters, nothing) };
        api.check(code, "starting a kernel")
    }
}

/// A kernel's parameter, which the launch copies.
fn at<T>(parameter: &T) -> *mut c_void {
    ptr::from_ref(parameter).cast_mut().cast()
}
