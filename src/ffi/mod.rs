//! The quantiser for C++: a cxx bridge, on which `hi_gfpq.cpp` implements the vendor's `HI_GFPQ_*` interface.
//!
//! Each function returns the interface's return code and, if it refuses a call, writes the reason into the caller's
//! buffer. A call on CPU memory allocates nothing, so that it works even when no memory is left.
//! Panics are caught here and become return codes, so that they never cross into C++.

mod refusal;

use std::hint::black_box;

use crate::cuda;
use crate::quant::{self, Bits, Element, Mode, Param};
use bridge::GpuTensor;
use refusal::{Refusal, answer};

#[cxx::bridge(namespace = "gfpq")]
mod bridge {
    /// A tensor in GPU memory; the fields are those of `cuda::Tensor`, with addresses as integers.
    struct GpuTensor {
        is_double: bool,
        source: usize,
        destination: usize,
        count: u32,
        bits: u32,
        nonfinite: usize,
        stream: usize,
    }

    extern "Rust" {
        /// Quantises and dequantises in place; `bits` and `mode` are the interface's numbers. `param` is the 16 bytes of
        /// the vendor's layout, or empty for a call without a parameter. A reason is text that ends with a zero byte.
        fn quantise_f32(data: &mut [f32], bits: u32, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32;
        fn quantise_f64(data: &mut [f64], bits: u32, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32;
        /// The same from one buffer into another of equal length.
        fn quantise_into_f32(
            source: &[f32],
            destination: &mut [f32],
            bits: u32,
            mode: u32,
            param: &mut [u8],
            reason: &mut [u8],
        ) -> u32;
        fn quantise_into_f64(
            source: &[f64],
            destination: &mut [f64],
            bits: u32,
            mode: u32,
            param: &mut [u8],
            reason: &mut [u8],
        ) -> u32;

        /// The same on a GPU. A call that writes its parameter waits for the GPU.
        ///
        /// # Safety
        /// The tensor's addresses must be valid until the stream has done this work.
        unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32;
        /// The same on a GPU, with a range in GPU memory at the address `range`.
        ///
        /// # Safety
        /// As for `quantise_gpu`; `range` must be the address of two values of the tensor's type.
        unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize, reason: &mut [u8]) -> u32;
    }
}

impl GpuTensor {
    /// The tensor for the GPU side, to be quantised to `bits`.
    fn with(&self, bits: Bits) -> cuda::Tensor {
        cuda::Tensor {
            element: if self.is_double { cuda::Element::Double } else { cuda::Element::Float },
            source: self.source as u64,
            destination: self.destination as u64,
            count: self.count.into(),
            bits,
            nonfinite: self.nonfinite as u64,
            stream: self.stream as u64,
        }
    }
}

/// The parameter that a call brings: that of its bytes, or delta 0 where they are not read.
fn read_param(mode: u32, bytes: &[u8]) -> Result<Param, quant::Error> {
    // INIT does not read the bytes: callers may leave them uninitialised.
    if bytes.is_empty() || mode == Mode::Init as u32 {
        return Ok(Param::default());
    }
    Param::from_bytes(bytes.try_into().map_err(|_| quant::Error::MalformedParam)?)
}

/// The interface's numbers as bit width and mode, or an error for unknown ones.
fn checked(bits: u32, mode: u32) -> Result<(Bits, Mode), quant::Error> {
    let width = Bits::from_number(bits).ok_or(quant::Error::BadBits(bits))?;
    let mode = Mode::from_number(mode).ok_or(quant::Error::BadMode(mode))?;
    Ok((width, mode))
}

/// Checks a call's numbers and its parameter, makes the call by `body`, and writes the parameter back.
fn call(
    bits: u32,
    mode: u32,
    bytes: &mut [u8],
    reason: &mut [u8],
    body: impl FnOnce(Bits, Mode, &mut Param) -> Result<(), Refusal>,
) -> u32 {
    answer(reason, || {
        let mut param = read_param(mode, bytes)?;
        let (bits, mode) = checked(bits, mode)?;
        body(bits, mode, &mut param)?;
        if mode != Mode::ApplyOnly && !bytes.is_empty() {
            bytes.copy_from_slice(&param.to_bytes());
        }
        Ok(())
    })
}

fn in_place<T: Element>(data: &mut [T], bits: u32, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32 {
    call(bits, mode, param, reason, |bits, mode, param| {
        #[cfg(test)]
        tests::panic_if_asked(data);
        quant::quantise(data, bits, mode, param);
        Ok(())
    })
}

fn into<T: Element>(
    source: &[T],
    destination: &mut [T],
    bits: u32,
    mode: u32,
    param: &mut [u8],
    reason: &mut [u8],
) -> u32 {
    call(bits, mode, param, reason, |bits, mode, param| {
        Ok(quant::quantise_into(source, destination, bits, mode, param)?)
    })
}

fn quantise_f32(data: &mut [f32], bits: u32, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32 {
    in_place(data, bits, mode, param, reason)
}

fn quantise_f64(data: &mut [f64], bits: u32, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32 {
    in_place(data, bits, mode, param, reason)
}

fn quantise_into_f32(
    source: &[f32],
    destination: &mut [f32],
    bits: u32,
    mode: u32,
    param: &mut [u8],
    reason: &mut [u8],
) -> u32 {
    into(source, destination, bits, mode, param, reason)
}

fn quantise_into_f64(
    source: &[f64],
    destination: &mut [f64],
    bits: u32,
    mode: u32,
    param: &mut [u8],
    reason: &mut [u8],
) -> u32 {
    into(source, destination, bits, mode, param, reason)
}

/// Refuses a GPU call when the CPU's memory is used up: unlike a call on CPU memory, it allocates a little, and the
/// process would abort in the middle of the call.
fn expect_memory() -> Result<(), Refusal> {
    let mut memory = Vec::<u8>::new();
    memory.try_reserve_exact(1 << 16).map_err(|_| Refusal::OutOfMemory)?;
    // The compiler may leave out an allocation that nothing uses.
    black_box(memory.as_mut_ptr());
    Ok(())
}

/// Quantises on a GPU.
///
/// # Safety
/// As for [`cuda::quantise`].
unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut [u8], reason: &mut [u8]) -> u32 {
    let has_param = !param.is_empty();
    call(tensor.bits, mode, param, reason, |bits, mode, param| {
        let is_read = has_param && mode != Mode::ApplyOnly;
        expect_memory()?;
        // SAFETY: the caller vouches for the addresses.
        Ok(unsafe { cuda::quantise(&tensor.with(bits), mode, param, is_read) }?)
    })
}

/// Quantises on a GPU with a range in GPU memory.
///
/// # Safety
/// As for [`cuda::quantise_with_range`].
unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize, reason: &mut [u8]) -> u32 {
    answer(reason, || {
        let bits = Bits::from_number(tensor.bits).ok_or(quant::Error::BadBits(tensor.bits))?;
        expect_memory()?;
        // SAFETY: the caller vouches for the addresses.
        Ok(unsafe { cuda::quantise_with_range(&tensor.with(bits), range as u64) }?)
    })
}

#[cfg(test)]
mod tests;
