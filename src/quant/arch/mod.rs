//! The passes over a tensor, one room per instruction set, all fed by the tables of [`Format`].
//!
//! A room is a file with one [`Path`]: two passes for each of the two types. To add an instruction set is to add its
//! file, and a line in [`paths`]. The choice is made once, at the first call; `GFPQ_ARCH` set to a path's name pins
//! it, which is meant for tests and measurements.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Bits, Element, Format, Tensor};

/// One instruction set's passes. Whoever holds a `&'static Path` from [`paths`] or [`chosen`] may call it: the
/// processor has what it takes.
pub struct Path {
    name: &'static str,
    /// Bytes of tensor from which help by another thread pays.
    pub(super) worth_sharing: usize,
    pub(super) f32: Passes<f32>,
    pub(super) f64: Passes<f64>,
}

/// The passes for one type.
///
/// # Safety
/// Both want the path's instruction set. `apply` reads `len` values at `source` and writes as many at `destination`,
/// which is either the same place or does not overlap it.
pub struct Passes<T> {
    max_abs: unsafe fn(data: &[T]) -> T,
    apply: unsafe fn(source: *const T, destination: *mut T, len: usize, scale: &Scale),
}

impl Path {
    /// As `GFPQ_ARCH` and `gfpq info` have it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The largest magnitude in `data`, NaN passed over, 0 for none.
    pub fn max_abs<T: Element>(&self, data: &[T]) -> T {
        // SAFETY: a path is only handed out where its instruction set is.
        unsafe { (T::passes(self).max_abs)(data) }
    }

    /// Quantises and dequantises.
    pub fn apply<T: Element>(&self, tensor: &mut Tensor<T>, scale: &Scale) {
        let (source, destination, len) = tensor.as_pointers();
        // SAFETY: as above; and the tensor is as the pass wants it.
        unsafe { (T::passes(self).apply)(source, destination, len, scale) }
    }
}

/// The paths this processor can take, the fastest first; the last is always `scalar`.
pub fn paths() -> impl Iterator<Item = &'static Path> {
    #[cfg(target_arch = "x86_64")]
    let vector = [avx512::available().then_some(&avx512::PATH), avx2::available().then_some(&avx2::PATH)];
    #[cfg(not(target_arch = "x86_64"))]
    let vector: [Option<&Path>; 0] = [];
    vector.into_iter().flatten().chain([&scalar::PATH])
}

/// The path all calls take: the one `GFPQ_ARCH` names, if this processor has it, otherwise the fastest.
#[inline]
pub fn chosen() -> &'static Path {
    // Not a OnceLock: a process forked while another thread decides would wait for that thread for ever.
    static CHOSEN: AtomicPtr<Path> = AtomicPtr::new(ptr::null_mut());
    #[cold]
    fn choose() -> &'static Path {
        let wanted = std::env::var("GFPQ_ARCH").unwrap_or_default();
        let path = paths().find(|path| path.name == wanted).or_else(|| paths().next()).unwrap_or(&scalar::PATH);
        CHOSEN.store(ptr::from_ref(path).cast_mut(), Ordering::Release);
        path
    }
    // SAFETY: null, or from a `&'static Path` whose memory nobody writes.
    unsafe { CHOSEN.load(Ordering::Acquire).as_ref() }.unwrap_or_else(choose)
}

/// A format at one delta of its own range: what a pass needs, worked out once a call.
#[derive(Debug)]
pub struct Scale {
    format: &'static Format,
    delta: i32,
    f32: Limits<u32>,
    f64: Limits<u64>,
}

/// Limits of magnitudes, as bits. Pairs are indexed by the sign bit: negative magnitudes begin one step higher.
#[derive(Debug)]
struct Limits<B> {
    /// Magnitudes up to these become zero.
    flush: [B; 2],
    /// Other magnitudes are held within these two, which are themselves representable.
    lowest: [B; 2],
    highest: B,
}

impl Scale {
    /// The format's scale at `delta`.
    ///
    /// # Panics
    /// When `delta` is not in the format's range: inside it all limits are normal float32 numbers.
    pub fn new(bits: Bits, delta: i32) -> Scale {
        let format = bits.format();
        assert!(format.contains(delta));
        let lowest = [format.value_f64(delta), format.value_f64(delta + 1)];
        let highest = format.value_f64(delta + format.max_code);
        // Half of a magnitude is the magnitude one octave down, exactly.
        let flush = lowest.map(|value| value / 2.0);
        // The largest float32 not above.
        let flush_f32 = flush.map(|limit| {
            let nearest = limit as f32;
            nearest.to_bits() - u32::from(f64::from(nearest) > limit)
        });
        Scale {
            format,
            delta,
            f32: Limits {
                flush: flush_f32,
                lowest: lowest.map(|value| (value as f32).to_bits()),
                highest: (highest as f32).to_bits(),
            },
            f64: Limits {
                flush: flush.map(f64::to_bits),
                lowest: lowest.map(f64::to_bits),
                highest: highest.to_bits(),
            },
        }
    }
}
