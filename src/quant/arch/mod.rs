//! The passes over a tensor: one module per instruction set, each exporting one static [`Backend`] with two passes per
//! element type. All of them decide by the integer tables of [`Format`](super::Format), so their results are identical.
//!
//! To add an instruction set, add its module and list its backend in [`backends`]. The choice is made once, at the
//! first call. The environment variable `GFPQ_ARCH` pins a backend by name, for tests and measurements.
//!
//! # The algorithm, followed for one value
//! 3.0 as float32, at 8 bits and delta -90 (what INIT takes from data that reaches up to 5.0). The format has 16 steps
//! per octave and is to find the step nearest to 3.0 without computing a logarithm:
//!
//! ```
//! let format = gfpq::quant::Bits::Eight.format();
//! let x = 3f32.to_bits(); // 0x4040_0000: sign, exponent (8 bits), mantissa (23 bits)
//!
//! // Limits: magnitudes are clamped to 2^(-90/16) ..= 2^((-90 + 127)/16), about 0.0203 to 4.967. Those up to half of
//! // the lower limit would become zero. 3.0 is inside and stays as it is.
//! assert!(format.value_f64(-90) < 3.0 && 3.0 < format.value_f64(-90 + format.max_code));
//!
//! // Cell: an octave has 32 cells of equal width, two per step, numbered by the top five bits of the mantissa.
//! let cell = x >> 18 & 31;
//! assert_eq!(cell, 16); // covers the mantissas from 1.5 to 1.53125
//!
//! // Correction: this cell contains the threshold 2^(9.5/16) = 1.50916, where rounding goes from step 9 to step 10.
//! // The cell's correction moves that threshold to 10 * 2^19, so that steps of equal width 2^19 replace unequal ones.
//! let correction = format.corrections_f32[cell as usize];
//! assert_eq!(correction, (10 << 19) - format.thresholds_f32[9]);
//! let sum = x + correction; // 0x4040_0000 + 0x000e_d3b3
//!
//! // Step: the sum's bits 19 to 22. 3.0 is 1.5 * 2, below the threshold, so its step is 9, not 10.
//! assert_eq!(sum >> 19 & 15, 9);
//!
//! // Value: the exponent bits of the sum (128 stands for 2^1) and the mantissa of 2^(9/16): 2 * 1.47683 = 2.95365.
//! let result = f32::from_bits(sum & 0x7f80_0000 | format.values_f32[9] & 0x7f_ffff);
//! assert_eq!(result, 2.953_652_4);
//! ```

mod backend;
mod scalar;
mod scale;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub use backend::{Backend, HasPasses, Passes};
pub use scale::Scale;

use super::variable::with_value;

/// The backends that this processor supports, the fastest first; the last one is always `scalar`.
pub fn backends() -> impl Iterator<Item = &'static Backend> {
    #[cfg(target_arch = "x86_64")]
    let vector = [avx512::available().then_some(&avx512::BACKEND), avx2::available().then_some(&avx2::BACKEND)];
    #[cfg(not(target_arch = "x86_64"))]
    let vector: [Option<&Backend>; 0] = [];
    vector.into_iter().flatten().chain([&scalar::BACKEND])
}

/// The backend of all calls: the one that `GFPQ_ARCH` names, if this processor supports it, otherwise the fastest.
#[inline]
pub fn chosen() -> &'static Backend {
    // Not a OnceLock: in a process forked while another thread initialises it, the child would wait for ever.
    static CHOSEN: AtomicPtr<Backend> = AtomicPtr::new(ptr::null_mut());
    #[cold]
    fn choose() -> &'static Backend {
        let named = with_value(c"GFPQ_ARCH", |wanted| backends().find(|backend| backend.name == wanted));
        let backend = named.or_else(|| backends().next()).unwrap_or(&scalar::BACKEND);
        CHOSEN.store(ptr::from_ref(backend).cast_mut(), Ordering::Release);
        backend
    }
    // SAFETY: the pointer is null or comes from a `&'static Backend`, which nobody writes to.
    unsafe { CHOSEN.load(Ordering::Acquire).as_ref() }.unwrap_or_else(choose)
}
