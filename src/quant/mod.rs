//! The quantiser on the CPU: quantises to GFPQ and dequantises in one step, so that data becomes what the NNIE sees.
//!
//! Touches no files and no GPU. Results are bit-identical to the vendor's library, in any rounding mode of the caller's and
//! with denormal numbers flushed to zero or not.
//!
//! ```
//! use gfpq::quant::{quantise, Bits, Mode, Param};
//!
//! let mut data = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0f32];
//! let mut param = Param::default();
//! quantise(&mut data, Bits::Eight, Mode::Init, &mut param);
//! assert_eq!(data[3], 2.953_652_4);
//! assert_eq!(param.delta, -90);
//! ```

pub mod arch;
mod element;
mod environment;
mod error;
mod format;
pub mod formula;
mod helpers;
pub(crate) mod parallel;
mod param;
mod tensor;
mod variable;

pub use element::Element;
pub use error::Error;
pub(crate) use format::AMBIGUOUS;
pub use format::{Bits, Format};
pub use helpers::threads;
pub use param::Param;
pub use tensor::Tensor;

/// Where a call takes its scale (delta) from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// From this call's data; written to the parameter.
    Init,
    /// The larger of the parameter's delta and the one of this call's data; written to the parameter.
    Update,
    /// From the parameter, which stays unchanged; the data's range is not computed.
    ApplyOnly,
}

impl Mode {
    /// The mode that the C interface's number stands for, `None` for an unknown number.
    pub const fn from_number(mode: u32) -> Option<Mode> {
        match mode {
            0 => Some(Mode::Init),
            1 => Some(Mode::Update),
            2 => Some(Mode::ApplyOnly),
            _ => None,
        }
    }
}

/// Quantises and dequantises `data` in place.
///
/// Values above the format's largest magnitude saturate. Values up to half its smallest magnitude, NaN and -0.0 become
/// +0.0. An infinity becomes the smallest magnitude of its sign, as in the vendor's library; a caller that must not
/// lose infinities checks for them first.
pub fn quantise<T: Element>(data: &mut [T], bits: Bits, mode: Mode, param: &mut Param) {
    run(Tensor::in_place(data), bits, mode, param);
}

/// Quantises and dequantises `source` into `destination`, as [`quantise`] would in place.
///
/// # Errors
/// [`Error::LengthMismatch`] when the lengths differ.
pub fn quantise_into<T: Element>(
    source: &[T],
    destination: &mut [T],
    bits: Bits,
    mode: Mode,
    param: &mut Param,
) -> Result<(), Error> {
    if source.len() != destination.len() {
        return Err(Error::LengthMismatch { source_len: source.len(), destination_len: destination.len() });
    }
    if mode == Mode::Update && bits.format().contains(param.delta) {
        // An update rarely changes the scale: quantise with the old one while computing the range, in a single pass,
        // and repeat the quantisation only if the scale has grown.
        let tensor = Tensor::into(source, destination);
        let delta = delta_for(parallel::max_abs_and_rewrite(tensor, bits, param.delta), bits);
        if delta > param.delta {
            param.delta = delta;
            parallel::rewrite(Tensor::into(source, destination), bits, delta);
        }
    } else {
        run(Tensor::into(source, destination), bits, mode, param);
    }
    Ok(())
}

/// The delta that INIT takes from `data`. It follows from the largest magnitude, ignoring NaN; where that is 0, 1e-6 is
/// used instead.
pub fn delta_of<T: Element>(data: &[T], bits: Bits) -> i32 {
    delta_for(parallel::max_abs(data), bits)
}

/// The delta for data of this largest magnitude.
fn delta_for<T: Element>(max_abs: T, bits: Bits) -> i32 {
    bits.format().delta_for(T::range_or_floor(max_abs))
}

fn run<T: Element>(tensor: Tensor<T>, bits: Bits, mode: Mode, param: &mut Param) {
    let before = param.delta;
    match mode {
        Mode::Init => param.delta = parallel::quantise(tensor, bits, |max_abs| delta_for(max_abs, bits)),
        Mode::Update => param.delta = parallel::quantise(tensor, bits, |max_abs| delta_for(max_abs, bits).max(before)),
        Mode::ApplyOnly => parallel::rewrite(tensor, bits, before),
    }
}
