//! The quantiser against its oracles: recorded calls of the vendor's library, that library itself, and the format's
//! formula.

mod backends;
mod formula;
mod golden;
mod random;
mod threads;
mod vendor;

use random::Bits;
