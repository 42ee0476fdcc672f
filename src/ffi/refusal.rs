//! Errors on their way to C++: each becomes a return code of the interface and one line of text.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{cuda, quant};

const GENERIC: u32 = 0xffff_0000;
const BAD_FORMAT: u32 = 0xffff_0005;
const BAD_PARAMETERS: u32 = 0xffff_0006;
const OUT_OF_MEMORY: u32 = 0xffff_000c;
const NOT_SUPPORT: u32 = 0xffff_0011;

/// Why a call fails.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The interface's return code.
    code: u32,
    /// One line that says what is wrong and what to do.
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

impl From<cuda::Error> for Refusal {
    fn from(error: cuda::Error) -> Refusal {
        use cuda::Error;
        let code = match error {
            Error::CpuPointer(_) | Error::OtherGpu { .. } => BAD_PARAMETERS,
            Error::OutOfMemory => OUT_OF_MEMORY,
            Error::Forked | Error::Driver { .. } => GENERIC,
            Error::NoDriver
            | Error::DriverTooOld(_)
            | Error::NoGpu
            | Error::Stub
            | Error::NoStart { .. }
            | Error::NoKernels { .. } => NOT_SUPPORT,
        };
        Refusal { code, message: error.to_string() }
    }
}

/// Runs `body` and turns a panic into an error.
pub(super) fn guarded<T>(body: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
    // Unwind safe: what `body` borrows mutably is the caller's data, which after a panic may be half quantised but is
    // never invalid.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(result) => result,
        Err(panic) => Err(Refusal { code: GENERIC, message: format!("internal error: {}", panic_text(&*panic)) }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
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
        let code = |error: quant::Error| Refusal::from(error).code;
        assert_eq!(code(quant::Error::BadBits(7)), BAD_FORMAT);
        assert_eq!(code(quant::Error::BadMode(3)), BAD_PARAMETERS);
        assert_eq!(code(quant::Error::MalformedParam), BAD_FORMAT);
        assert_eq!(code(quant::Error::LengthMismatch { source_len: 1, destination_len: 0 }), BAD_PARAMETERS);
    }
}
