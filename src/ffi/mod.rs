//! The core for C++: a cxx bridge, and on it, in `hi_gfpq.cpp`, the vendor's `HI_GFPQ_*` interface.
//!
//! An error reaches C++ as a `rust::Error` whose `what()` begins with the interface's return code in hexadecimal. A
//! panic is caught here and becomes such an error: it never crosses into C++.

mod gpu;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::quant::{self, Bits, Element, Mode, Param};

#[cxx::bridge(namespace = "gfpq")]
mod bridge {
    /// A tensor in GPU memory: see `cuda::Tensor`.
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
        /// Writes them.
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

        /// The same on a GPU. The parameter is returned, after a wait for the GPU, where `is_read` asks for it.
        unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut Param, is_read: bool) -> Result<()>;
        /// With a range in GPU memory.
        unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize) -> Result<()>;
    }
}

use gpu::{quantise_gpu, quantise_gpu_with_range};

const GENERIC: u32 = 0xffff_0000;
const BAD_FORMAT: u32 = 0xffff_0005;
const BAD_PARAMETERS: u32 = 0xffff_0006;
const OUT_OF_MEMORY: u32 = 0xffff_000c;
const NOT_SUPPORT: u32 = 0xffff_0011;

/// An error on its way to C++: the interface's return code and one line.
#[derive(Debug)]
struct Refusal {
    code: u32,
    message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010X} {}", self.code, self.message)
    }
}

impl From<quant::Error> for Refusal {
    fn from(error: quant::Error) -> Refusal {
        let code = match error {
            quant::Error::BadBits(_) | quant::Error::MalformedParam => BAD_FORMAT,
            quant::Error::BadMode(_) | quant::Error::LengthMismatch { .. } => BAD_PARAMETERS,
        };
        Refusal { code, message: error.to_string() }
    }
}

/// Runs `body`, a panic becoming an error.
fn guarded<T>(body: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    // What `body` borrows mutably is the caller's data: after a panic it may be half quantised, never invalid.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(Refusal { code: GENERIC, message: format!("internal error: {}", panic_text(&*panic)) }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

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
    fn a_panic_becomes_an_error() {
        let refusal = guarded::<()>(|| panic!("out of {}", "luck")).unwrap_err();
        assert_eq!(refusal.to_string(), "0xFFFF0000 internal error: out of luck");
    }

    #[test]
    fn errors_carry_the_interfaces_codes() {
        let mut data = [1f32, 2.0];
        let mut param = Param::default();
        let mut code = |bits, mode| in_place(&mut data, bits, mode, &mut param).map_err(|refusal| refusal.code);
        assert_eq!(code(7, 0), Err(BAD_FORMAT));
        assert_eq!(code(8, 3), Err(BAD_PARAMETERS));
        assert_eq!(code(8, 0), Ok(()));
        let refusal = into(&[1f64], &mut [], 8, 0, &mut param).unwrap_err();
        assert_eq!(refusal.code, BAD_PARAMETERS);
        assert!(param_from_bytes(&[1; 16]).is_err_and(|refusal| refusal.code == BAD_FORMAT));
    }
}
