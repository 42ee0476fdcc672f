//! The two types that a tensor's values can have.

use super::arch::HasPasses;

/// float32 or float64. Sealed: only these two types have passes.
pub trait Element: HasPasses + Copy + Send + Sync + 'static {
    /// Converts exactly.
    fn to_f64(self) -> f64;
    /// Converts with rounding to nearest.
    fn from_f64(x: f64) -> Self;

    /// The magnitude the scale is taken from: `max_abs`, or 1e-6 in this type's precision if all values are zero.
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
        }
    };
}

element!(f32);
element!(f64);
