//! The quantiser: quantise to GFPQ and dequantise, in one step, as the NNIE sees its data.
//!
//! Pure: no files, no GPU, no environment. Results are bit-identical to the vendor's library.
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
mod crew;
mod element;
mod format;
pub mod formula;
pub(crate) mod parallel;
mod param;
mod tensor;

pub use element::Element;
pub(crate) use format::AMBIGUOUS;
pub use format::{Bits, Format};
pub use param::Param;
pub use tensor::Tensor;

/// Where a call takes its scale from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// From this data; written to the parameter.
    Init,
    /// The larger of the parameter's and this data's; written to the parameter.
    Update,
    /// From the parameter; the data's range is not looked at.
    ApplyOnly,
}

impl Mode {
    /// The mode for the interface's number, `None` for an unknown one.
    pub const fn from_number(mode: u32) -> Option<Mode> {
        match mode {
            0 => Some(Mode::Init),
            1 => Some(Mode::Update),
            2 => Some(Mode::ApplyOnly),
            _ => None,
        }
    }
}

/// Why an interface's arguments were refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A bit width other than 8 or 16.
    #[error("invalid bit width {0}: give 8 or 16")]
    BadBits(u32),
    /// A mode other than 0, 1 and 2.
    #[error("unknown mode {0}: give 0 (INIT), 1 (UPDATE) or 2 (APPLY_ONLY)")]
    BadMode(u32),
    /// Parameter bytes that no library wrote.
    #[error("malformed parameter: start from 16 zero bytes, and pass on unchanged what a call returned")]
    MalformedParam,
    /// Source and destination differ in length.
    #[error("source has {source_len} values and destination {destination_len}: they must be equal")]
    LengthMismatch {
        /// Values in the source.
        source_len: usize,
        /// Values in the destination.
        destination_len: usize,
    },
}

/// Quantises and dequantises `data` in place.
///
/// Values above the format's top saturate, those under half its lowest magnitude become +0.0, as do NaN and -0.0.
/// An infinity becomes the smallest magnitude of its sign: the vendor's library does so, and calling code that cares
/// looks for non-finite values first.
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
        // Rarely does an update change the scale: one pass then, on the guess that this one does not.
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

/// The scale that INIT takes from `data`: from its largest magnitude, NaN passed over, 1e-6 where that is 0.
pub fn delta_of<T: Element>(data: &[T], bits: Bits) -> i32 {
    delta_for(parallel::max_abs(data), bits)
}

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
