//! The quantiser against its oracles: recorded calls of the vendor's library, that library itself, and the format's
//! formula.

mod backends;
#[cfg(target_arch = "x86_64")]
mod environment;
mod formula;
mod golden;
mod random;
mod threads;
mod vendor;

use random::Bits;
