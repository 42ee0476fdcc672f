//! The bridge's GPU side: addresses from C++, errors back.

use super::bridge::GpuTensor;
use super::{BAD_PARAMETERS, GENERIC, NOT_SUPPORT, OUT_OF_MEMORY, Refusal, checked, guarded};
use crate::cuda::{self, Element, Error, Tensor};
use crate::quant::{self, Param};

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
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

impl GpuTensor {
    fn with(&self, bits: quant::Bits) -> Tensor {
        Tensor {
            element: if self.is_double { Element::Double } else { Element::Float },
            source: self.source as u64,
            destination: self.destination as u64,
            count: self.count.into(),
            bits,
            nonfinite: self.nonfinite as u64,
            stream: self.stream as u64,
        }
    }
}

/// # Safety
/// As for [`cuda::quantise`].
pub unsafe fn quantise_gpu(tensor: &GpuTensor, mode: u32, param: &mut Param, is_read: bool) -> Result<(), Refusal> {
    guarded(|| {
        let (bits, mode) = checked(tensor.bits, mode)?;
        // SAFETY: the caller's duty.
        Ok(unsafe { cuda::quantise(&tensor.with(bits), mode, param, is_read) }?)
    })
}

/// # Safety
/// As for [`cuda::quantise_with_range`].
pub unsafe fn quantise_gpu_with_range(tensor: &GpuTensor, range: usize) -> Result<(), Refusal> {
    guarded(|| {
        let bits = quant::Bits::from_number(tensor.bits).ok_or(quant::Error::BadBits(tensor.bits))?;
        // SAFETY: the caller's duty.
        Ok(unsafe { cuda::quantise_with_range(&tensor.with(bits), range as u64) }?)
    })
}
