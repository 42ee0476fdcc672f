//! The program `gfpq`: each command parses its arguments, makes one library call and prints the result.
//!
//! Exit codes: 0 for success, 1 for a failure (one line on stderr says why and what to do), 2 for wrong usage. Where the
//! exit code is itself the result, as for `gfpq prototxt check`, the command's help says so.

/// Writes a line to standard error. A failed write is ignored: there is nowhere left to report it.
macro_rules! note {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod args;
mod bench;
mod info;
mod io;
mod model;
mod patch;
mod prototxt;
mod tensor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Quantise Caffe networks for HiSilicon's NNIE, in its number format GFPQ; works with any Caffe tree and any network.
#[derive(Parser)]
#[command(name = "gfpq", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add the Quant layer to a Caffe source tree, or remove it again.
    Patch(patch::Arguments),
    /// Add Quant layers to a network's prototxt, remove them, or check them.
    #[command(subcommand)]
    Prototxt(prototxt::Command),
    /// Inspect a trained model, fold it, quantise it, or export its ranges to compare with the NNIE compiler's.
    #[command(subcommand)]
    Model(model::Command),
    /// Quantise an array in NumPy's .npy format.
    Tensor(tensor::Arguments),
    /// Measure the quantiser's speed, and compare it with the memory's speed and with another library.
    Bench(bench::Arguments),
    /// Show the version, the instruction set used on the CPU, and the GPUs.
    Info(info::Arguments),
}

/// Runs the program on the process's arguments.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Prototxt(command) => prototxt::run(&command),
        Command::Model(command) => model::run(&command),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Tensor(arguments) => tensor::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Patch(arguments) => patch::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        // The reader of the output has closed it, as `head` does: this is not a failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note!("gfpq: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
