//! What a backend is: one instruction set's two passes for each of the two element types.

use super::scale::Scale;
use crate::quant::tensor::Tensor;

/// The passes of one instruction set. Every `&'static Backend` that [`backends`](super::backends) or
/// [`chosen`](super::chosen) returns is safe to call: they return only those that this processor supports.
pub struct Backend {
    /// The name that `GFPQ_ARCH` selects and `gfpq info` prints.
    pub(super) name: &'static str,
    /// Tensor size in bytes from which sharing the work with other threads pays.
    pub(in crate::quant) worth_sharing: usize,
    pub(super) f32: Passes<f32>,
    pub(super) f64: Passes<f64>,
}

/// The two passes for values of type `T`.
///
/// # Safety
/// Both need the backend's instruction set. `apply` reads `len` values at `source` and writes `len` values at
/// `destination`; the two are the same place or do not overlap.
pub struct Passes<T> {
    /// Returns the largest magnitude in `data`, ignoring NaN, or 0 if there is none.
    pub(super) max_abs: unsafe fn(data: &[T]) -> T,
    /// Quantises and dequantises.
    pub(super) apply: unsafe fn(source: *const T, destination: *mut T, len: usize, scale: &Scale),
}

impl Backend {
    /// The name that `GFPQ_ARCH` selects and `gfpq info` prints.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The largest magnitude in `data`, ignoring NaN, or 0 if there is none.
    pub fn max_abs<T: HasPasses>(&self, data: &[T]) -> T {
        // SAFETY: backends are handed out only where the processor has their instruction set.
        unsafe { (T::passes(self).max_abs)(data) }
    }

    /// Quantises and dequantises a tensor.
    pub fn apply<T: HasPasses>(&self, tensor: &mut Tensor<T>, scale: &Scale) {
        let (source, destination, len) = tensor.as_pointers();
        // SAFETY: as in `max_abs`; `as_pointers` returns ranges of `len` values that are equal or disjoint.
        unsafe { (T::passes(self).apply)(source, destination, len, scale) }
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// The element types that every backend has passes for: f32 and f64.
pub trait HasPasses: sealed::Sealed + Sized {
    /// The backend's passes for this type.
    #[doc(hidden)]
    fn passes(backend: &Backend) -> &Passes<Self>;
}

impl HasPasses for f32 {
    fn passes(backend: &Backend) -> &Passes<f32> {
        &backend.f32
    }
}

impl HasPasses for f64 {
    fn passes(backend: &Backend) -> &Passes<f64> {
        &backend.f64
    }
}
