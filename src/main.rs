use std::process::ExitCode;

fn main() -> ExitCode {
    gfpq::cli::run()
}
