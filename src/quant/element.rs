//! The two types a tensor's values have.

use super::arch::{Passes, Path};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// float32 or float64, with the bit patterns and the passes of each.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Exact.
    fn to_f64(self) -> f64;
    /// Rounded to nearest.
    fn from_f64(x: f64) -> Self;
    /// A path's passes for this type.
    #[doc(hidden)]
    fn passes(path: &Path) -> &Passes<Self>;

    /// The magnitude the scale is taken from: `max_abs`, or 1e-6 in this type's precision for all zeros.
    fn range_or_floor(max_abs: Self) -> f64 {
        match max_abs.to_f64() {
            0.0 => Self::from_f64(1e-6).to_f64(),
            m => m,
        }
    }
}

macro_rules! element {
    ($t:ident) => {
        impl Element for $t {
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            fn passes(path: &Path) -> &Passes<Self> {
                &path.$t
            }
        }
    };
}

element!(f32);
element!(f64);
