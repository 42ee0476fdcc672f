//! The quantiser against its oracles: recorded calls, the vendor's library itself, and the format's formula.

mod formula;
mod golden;
mod paths;
mod random;
mod threads;
mod vendor;

use random::Bits;
