//! The two types a tensor's values have.

use super::arch::{self, Scale};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// float32 or float64, with the bit patterns and the fast paths of each.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Exact.
    fn to_f64(self) -> f64;
    /// Rounded to nearest.
    fn from_f64(x: f64) -> Self;
    /// The largest magnitude in `data`, NaN passed over, 0 for none.
    fn max_abs(data: &[Self]) -> Self;
    /// Applies a scale in place.
    fn apply_in_place(data: &mut [Self], scale: &Scale);
    /// Applies a scale from `source` into `destination`, which are of equal length.
    fn apply(source: &[Self], destination: &mut [Self], scale: &Scale);

    /// The magnitude the scale is taken from: `max_abs`, or 1e-6 in this type's precision for all zeros.
    fn range_or_floor(max_abs: Self) -> f64 {
        match max_abs.to_f64() {
            0.0 => Self::from_f64(1e-6).to_f64(),
            m => m,
        }
    }
}

macro_rules! element {
    ($t:ty, $max_abs:ident, $in_place:ident, $apply:ident) => {
        impl Element for $t {
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            fn max_abs(data: &[Self]) -> Self {
                arch::$max_abs(data)
            }
            fn apply_in_place(data: &mut [Self], scale: &Scale) {
                arch::$in_place(data, scale)
            }
            fn apply(source: &[Self], destination: &mut [Self], scale: &Scale) {
                arch::$apply(source, destination, scale)
            }
        }
    };
}

element!(f32, max_abs_f32, apply_in_place_f32, apply_f32);
element!(f64, max_abs_f64, apply_in_place_f64, apply_f64);
