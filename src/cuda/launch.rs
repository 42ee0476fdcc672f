//! The quantiser on a GPU: which kernels a call launches, and with which parameters.

use std::ffi::c_void;
use std::ptr;

use cudarc::driver::sys::CUstream;

use super::driver::Context;
use super::error::Result;
use super::kernels::{Kernels, threads_and_tile};
use crate::quant::{Bits, Mode, Param};

/// The type of a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// float32.
    Float,
    /// float64.
    Double,
}

impl Element {
    /// The type's name in C++ and in the kernels' names.
    fn name(self) -> &'static str {
        match self {
            Element::Float => "float",
            Element::Double => "double",
        }
    }

    /// Bytes of one value.
    fn size(self) -> u64 {
        match self {
            Element::Float => 4,
            Element::Double => 8,
        }
    }
}

/// A tensor in GPU memory and the destination of its quantised values. The two are the same or do not overlap.
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// The type of the values.
    pub element: Element,
    /// The address of the values to quantise, aligned to their type.
    pub source: u64,
    /// The address for the quantised values, aligned to their type.
    pub destination: u64,
    /// The number of values.
    pub count: u64,
    /// The bit width to quantise to.
    pub bits: Bits,
    /// The address of a 32-bit word that the GPU sets to 1 if it finds a NaN or infinity, or 0 for none. Pinned CPU
    /// memory lets the CPU see it without a copy.
    pub nonfinite: u64,
    /// The CUstream or cudaStream_t to work on; 0 is the default stream.
    pub stream: u64,
}

/// Quantises and dequantises as `quant::quantise_into` does on the CPU, with the same bits, except for float64 values
/// within about 2^-44 of a threshold: there the GPU's own log2 decides.
///
/// If `is_read` is set and the mode is not APPLY_ONLY, waits for the stream and updates `param`. Otherwise `param`
/// keeps its delta.
///
/// # Errors
/// When the GPU or a pointer cannot be used; then nothing has been written. Any later error is one that the driver
/// reports.
///
/// # Safety
/// The addresses must be valid to read and write, as [`Tensor`] says, until the stream has done this work.
pub unsafe fn quantise(tensor: &Tensor, mode: Mode, param: &mut Param, is_read: bool) -> Result<()> {
    let call = Call::new(tensor, 0)?;
    if mode == Mode::ApplyOnly {
        // SAFETY: the caller vouches for the addresses.
        return unsafe { call.apply(param.delta, 0) };
    }

    let before = if mode == Mode::Update { param.delta } else { i32::MIN };
    let scratch = call.kernels.pool.take(call.stream)?;
    // SAFETY: the caller vouches for the addresses, and the scratch memory was taken for this stream.
    unsafe {
        call.range(before, 0, scratch.memory())?;
        call.apply(0, scratch.memory())?;
    }
    if is_read {
        param.delta = call.kernels.pool.delta(&scratch, call.stream)?;
    }
    call.kernels.pool.give_back(scratch, call.stream)
}

/// Quantises as UPDATE does, with a range that stays in GPU memory. It is two values of the tensor's type, (bits,
/// delta); bits is 0 as long as the range has seen no data, and then delta is ignored. Never waits for the GPU.
///
/// # Errors
/// As for [`quantise`].
///
/// # Safety
/// As for [`quantise`], and `range` must be the address of two such values.
pub unsafe fn quantise_with_range(tensor: &Tensor, range: u64) -> Result<()> {
    let call = Call::new(tensor, range)?;
    let scratch = call.kernels.pool.take(call.stream)?;
    // SAFETY: the caller vouches for the addresses, and the scratch memory was taken for this stream.
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
    /// Keeps the context current until the last kernel is launched.
    context: Context,
}

impl Call<'_> {
    /// Checks the tensor's pointers and `range`, which may be 0.
    fn new(tensor: &Tensor, range: u64) -> Result<Call<'_>> {
        let context = Context::current(tensor.source)?;
        if tensor.count > 0 {
            context.check("data", tensor.source)?;
            if tensor.destination != tensor.source {
                context.check("destination", tensor.destination)?;
            }
        }

        for (name, pointer) in [("range", range), ("nonfinite", tensor.nonfinite)] {
            if pointer != 0 {
                context.check(name, pointer)?;
            }
        }

        let kernels = Kernels::of(&context)?;
        Ok(Call { tensor, kernels, stream: tensor.stream as CUstream, context })
    }

    /// Launches `gfpq_range_…` with these parameters of the kernel.
    ///
    /// # Safety
    /// `range` is 0 or as for [`quantise_with_range`], and `scratch` is scratch memory taken for this stream.
    unsafe fn range(&self, before: i32, range: u64, scratch: u64) -> Result<()> {
        let Tensor { source, count, .. } = *self.tensor;
        // SAFETY: types and order are those of the kernel's parameters.
        unsafe { self.launch("range", &mut [at(&source), at(&count), at(&before), at(&range), at(&scratch)]) }
    }

    /// Launches `gfpq_apply_…` with these parameters of the kernel. The delta is `scratch`'s unless that is 0.
    ///
    /// # Safety
    /// `scratch` is 0 or scratch memory taken for this stream; the tensor is as for [`quantise`].
    unsafe fn apply(&self, delta: i32, scratch: u64) -> Result<()> {
        let Tensor { source, destination, count, nonfinite, .. } = *self.tensor;
        if count == 0 {
            return Ok(());
        }
        // SAFETY: types and order are those of the kernel's parameters.
        unsafe {
            self.launch(
                "apply",
                &mut [at(&source), at(&destination), at(&count), at(&delta), at(&scratch), at(&nonfinite)],
            )
        }
    }

    /// Launches a kernel on the call's stream.
    ///
    /// # Safety
    /// `parameters` point to the values of the kernel's parameters, in order and of the right types.
    unsafe fn launch(&self, pass: &str, parameters: &mut [*mut c_void]) -> Result<()> {
        let api = self.context.api;
        let function = self.kernels.function(pass, self.tensor.element.name(), self.tensor.bits);
        let (threads, _) = threads_and_tile();
        let blocks = self.kernels.grid(self.tensor.count * self.tensor.element.size());
        let (parameters, nothing) = (parameters.as_mut_ptr(), ptr::null_mut());
        // SAFETY: the caller vouches for the parameters.
        let code =
            unsafe { (api.cuLaunchKernel)(function, blocks, 1, 1, threads, 1, 1, 0, self.stream, parameters, nothing) };
        api.check(code, "starting a kernel")
    }
}

/// A pointer to a kernel's parameter; the launch copies the parameter.
fn at<T>(parameter: &T) -> *mut c_void {
    ptr::from_ref(parameter).cast_mut().cast()
}
