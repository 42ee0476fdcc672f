//! Errors on their way to C++: each becomes a return code of the interface and one line of text.

use std::any::Any;
use std::fmt::{self, Display};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{cuda, quant};

pub(super) const SUCCESS: u32 = 0;
pub(super) const GENERIC: u32 = 0xffff_0000;
pub(super) const BAD_FORMAT: u32 = 0xffff_0005;
pub(super) const BAD_PARAMETERS: u32 = 0xffff_0006;
pub(super) const OUT_OF_MEMORY: u32 = 0xffff_000c;
pub(super) const NOT_SUPPORT: u32 = 0xffff_0011;

/// Why a call fails.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The quantiser refuses its arguments.
    Quant(quant::Error),
    /// The GPU side refuses its arguments, or there is no GPU to use.
    Cuda(cuda::Error),
    /// There is no CPU memory left for what the call needs.
    OutOfMemory,
}

impl Refusal {
    /// The interface's return code.
    fn code(&self) -> u32 {
        use cuda::Error;
        match self {
            Refusal::Quant(quant::Error::BadBits(_) | quant::Error::MalformedParam) => BAD_FORMAT,
            Refusal::Quant(quant::Error::BadMode(_) | quant::Error::LengthMismatch { .. }) => BAD_PARAMETERS,
            Refusal::Cuda(Error::CpuPointer(_) | Error::OtherGpu { .. }) => BAD_PARAMETERS,
            Refusal::Cuda(Error::OutOfMemory) | Refusal::OutOfMemory => OUT_OF_MEMORY,
            Refusal::Cuda(Error::Forked | Error::Driver { .. }) => GENERIC,
            Refusal::Cuda(
                Error::NoDriver
                | Error::DriverTooOld(_)
                | Error::NoGpu
                | Error::Stub
                | Error::NoStart { .. }
                | Error::NoKernels { .. },
            ) => NOT_SUPPORT,
        }
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Quant(error) => error.fmt(f),
            Refusal::Cuda(error) => error.fmt(f),
            Refusal::OutOfMemory => f.write_str("out of memory"),
        }
    }
}

impl From<quant::Error> for Refusal {
    fn from(error: quant::Error) -> Refusal {
        Refusal::Quant(error)
    }
}

impl From<cuda::Error> for Refusal {
    fn from(error: cuda::Error) -> Refusal {
        Refusal::Cuda(error)
    }
}

/// Runs `body` and returns the interface's return code. If `body` fails or panics, writes why to `reason`, as text that
/// ends with a zero byte and is cut off where the buffer is too short.
pub(super) fn answer(reason: &mut [u8], body: impl FnOnce() -> Result<(), Refusal>) -> u32 {
    // Unwind safe: what `body` borrows mutably is the caller's data, which after a panic may be half quantised but is
    // never invalid.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SUCCESS,
        Ok(Err(refusal)) => {
            write_text(reason, format_args!("{refusal}"));
            refusal.code()
        }
        Err(panic) => {
            write_text(reason, format_args!("internal error: {}", panic_text(&*panic)));
            GENERIC
        }
    }
}

/// Writes text and a zero byte, without allocating.
fn write_text(buffer: &mut [u8], text: fmt::Arguments<'_>) {
    let Some(last) = buffer.len().checked_sub(1) else { return };
    let mut rest = &mut buffer[..last];
    // The only error is that the buffer is full.
    let _ = rest.write_fmt(text);
    let end = last - rest.len();
    buffer[end] = 0;
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(reason: &[u8]) -> &str {
        std::ffi::CStr::from_bytes_until_nul(reason).unwrap().to_str().unwrap()
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let mut reason = [1; 100];
        assert_eq!(answer(&mut reason, || panic!("out of {}", "luck")), GENERIC);
        assert_eq!(text(&reason), "internal error: out of luck");
    }

    #[test]
    fn a_reason_is_cut_off_where_the_buffer_ends() {
        let refused = || Err(quant::Error::BadBits(7).into());
        let mut reason = [1; 12];
        assert_eq!(answer(&mut reason, refused), BAD_FORMAT);
        assert_eq!(text(&reason), "invalid bit");
        assert_eq!(answer(&mut [], refused), BAD_FORMAT);
    }

    #[test]
    fn errors_carry_the_interfaces_codes() {
        let code = |error: quant::Error| Refusal::from(error).code();
        assert_eq!(code(quant::Error::BadBits(7)), BAD_FORMAT);
        assert_eq!(code(quant::Error::BadMode(3)), BAD_PARAMETERS);
        assert_eq!(code(quant::Error::MalformedParam), BAD_FORMAT);
        assert_eq!(code(quant::Error::LengthMismatch { source_len: 1, destination_len: 0 }), BAD_PARAMETERS);
        assert_eq!(Refusal::from(cuda::Error::OutOfMemory).code(), OUT_OF_MEMORY);
        assert_eq!(Refusal::from(cuda::Error::NoDriver).code(), NOT_SUPPORT);
    }
}
