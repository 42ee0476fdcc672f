//! The program `gfpq`; its commands are in [`gfpq::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    gfpq::cli::run()
}
