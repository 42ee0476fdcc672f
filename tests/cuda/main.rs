//! The GPU side, as far as a machine without a GPU can tell.

mod arithmetic;
mod compile;
mod fake;
mod fakes;

#[path = "../quant/random.rs"]
mod random;
use random::Bits;
