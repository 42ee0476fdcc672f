//! The GPU side, as far as it can be tested on a machine without a GPU.

use std::env;

mod arithmetic;
mod compile;
mod fake_libraries;
mod launch_on_fake;
mod refusals;

#[path = "../quant/random.rs"]
mod random;
use random::Bits;

/// Runs one scenario in a process that finds the fakes; see `fake_libraries::run`.
#[test]
#[ignore = "other tests start it in a process of its own"]
fn child() {
    match env::var("SCENARIO").unwrap_or_default().as_str() {
        // Started together with all ignored tests.
        "" => {}
        "refused" => refusals::refused(),
        name => assert!(launch_on_fake::scenario(name), "no scenario {name}"),
    }
}
