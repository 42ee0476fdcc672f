//! The quantiser for C++: a cxx bridge, on which `hi_gfpq.cpp` implements the vendor's `HI_GFPQ_*` interface.
//!
//! An error reaches C++ as a `rust::Error` whose `what()` begins with the interface's return code in hexadecimal.
//! Panics are caught here and become such errors, so that they never cross into C++.

mod refusal;

use crate::cuda;
use crate::quant::{self, Bits, Element, Mode, Param};
use bridge::GpuTensor;
use refusal::{Refusal, guarded};

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
        /// A tensor's scale.
        type Param;

        /// The scale that 16 zero bytes stand for.
        fn new_param() -> Box<Param>;
        /// Reads the 16 bytes of the vendor's layout.
        fn param_from_bytes(bytes: &[u8]) -> Result<Box<Param>>;
        /// Returns the 16 bytes of the vendor's layout.
        fn param_to_bytes(param: &Param) -> [u8; 16];
        fn param_delta(param: &Param) -> i32;

        /// Quantises and dequantises in place; `bits` and `mode` are the interface's numbers.
        fn quantise_f32(data: &mut [f32], bits: u32, mode: u32, param: &mut Param) -> Result<()>;
        fn quantise_f64(data: &mut [f64], bits: u32, mode: u32, param: &mut Param) -> Result<()>;
        /// The same from one buffer into another of equal length.
        fn quantise_into_f32(
            source: &[f32],
            destination: &mut [f32],
            bits: u32,
            mode: u32,
            param: &mut Param,
        ) -> Result<()>;
        fn quantise_into_f64(
            source: &[f64],
            destination: &mut [f64],
            bits: u32,
            mode: u32,
            param: &mut Param,
        ) -> Result<()>;

        /// The same on a GPU. If `is_read` is set, waits for the GPU and updates the parameter.
        ///
        /// # Safety
        /// The tensor's addresses must be valid until the stream has done this work.
        unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut Param, is_read: bool) -> Result<()>;
        /// The same on a GPU, with a range in GPU memory at the address `range`.
        ///
        /// # Safety
        /// As for `quantise_gpu`; `range` must be the address of two values of the tensor's type.
        unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize) -> Result<()>;
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

/// The interface's numbers as bit width and mode, or an error for unknown ones.
fn checked(bits: u32, mode: u32) -> Result<(Bits, Mode), quant::Error> {
    let width = Bits::from_number(bits).ok_or(quant::Error::BadBits(bits))?;
    let mode = Mode::from_number(mode).ok_or(quant::Error::BadMode(mode))?;
    Ok((width, mode))
}

fn in_place<T: Element>(data: &mut [T], bits: u32, mode: u32, param: &mut Param) -> Result<(), Refusal> {
    guarded(|| {
        let (bits, mode) = checked(bits, mode)?;
        quant::quantise(data, bits, mode, param);
        Ok(())
    })
}

fn into<T: Element>(
    source: &[T],
    destination: &mut [T],
    bits: u32,
    mode: u32,
    param: &mut Param,
) -> Result<(), Refusal> {
    guarded(|| {
        let (bits, mode) = checked(bits, mode)?;
        Ok(quant::quantise_into(source, destination, bits, mode, param)?)
    })
}

fn quantise_f32(data: &mut [f32], bits: u32, mode: u32, param: &mut Param) -> Result<(), Refusal> {
    in_place(data, bits, mode, param)
}

fn quantise_f64(data: &mut [f64], bits: u32, mode: u32, param: &mut Param) -> Result<(), Refusal> {
    in_place(data, bits, mode, param)
}

fn quantise_into_f32(
    source: &[f32],
    destination: &mut [f32],
    bits: u32,
    mode: u32,
    param: &mut Param,
) -> Result<(), Refusal> {
    into(source, destination, bits, mode, param)
}

fn quantise_into_f64(
    source: &[f64],
    destination: &mut [f64],
    bits: u32,
    mode: u32,
    param: &mut Param,
) -> Result<(), Refusal> {
    into(source, destination, bits, mode, param)
}

/// Quantises on a GPU.
///
/// # Safety
/// As for [`cuda::quantise`].
unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut Param, is_read: bool) -> Result<(), Refusal> {
    guarded(|| {
        let (bits, mode) = checked(tensor.bits, mode)?;
        // SAFETY: the caller vouches for the addresses.
        Ok(unsafe { cuda::quantise(&tensor.with(bits), mode, param, is_read) }?)
    })
}

/// Quantises on a GPU with a range in GPU memory.
///
/// # Safety
/// As for [`cuda::quantise_with_range`].
unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize) -> Result<(), Refusal> {
    guarded(|| {
        let bits = Bits::from_number(tensor.bits).ok_or(quant::Error::BadBits(tensor.bits))?;
        // SAFETY: the caller vouches for the addresses.
        Ok(unsafe { cuda::quantise_with_range(&tensor.with(bits), range as u64) }?)
    })
}

fn new_param() -> Box<Param> {
    Box::default()
}

fn param_from_bytes(bytes: &[u8]) -> Result<Box<Param>, Refusal> {
    let bytes = bytes.try_into().map_err(|_| quant::Error::MalformedParam)?;
    Ok(Box::new(Param::from_bytes(bytes)?))
}

fn param_to_bytes(param: &Param) -> [u8; 16] {
    param.to_bytes()
}

fn param_delta(param: &Param) -> i32 {
    param.delta
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_numbers_unequal_lengths_and_damaged_parameters_are_refused() {
        let mut data = [1f32, 2.0];
        let mut param = Param::default();
        let mut refusal =
            |bits, mode| in_place(&mut data, bits, mode, &mut param).map_err(|refusal| refusal.to_string());
        assert!(refusal(7, 0).is_err_and(|text| text.starts_with("0xFFFF0005 invalid bit width 7")));
        assert!(refusal(8, 3).is_err_and(|text| text.starts_with("0xFFFF0006 unknown mode 3")));
        assert_eq!(refusal(8, 0), Ok(()));
        let refusal = into(&[1f64], &mut [], 8, 0, &mut param).unwrap_err().to_string();
        assert!(refusal.starts_with("0xFFFF0006 source has 1 values and destination 0"));
        let refusal = param_from_bytes(&[1; 16]).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.starts_with("0xFFFF0005 malformed parameter"));
    }
}
