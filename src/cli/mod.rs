//! The program `gfpq`: arguments in, one library call, an answer out.
//!
//! Exit codes: 0 done, 1 could not (one line on stderr that says why and what to do), 2 usage. A command whose answer
//! is itself a code says so in its own help.

/// Says something on standard error; where that is closed or full, nobody is there to be told.
macro_rules! note {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

mod bench;
mod info;
mod io;
mod model;
mod patch;
mod prototxt;
mod tensor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::quant::Bits;

/// Quantise Caffe networks for HiSilicon's NNIE: its number format GFPQ, in any Caffe tree and any network.
#[derive(Parser)]
#[command(name = "gfpq", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Put the Quant layer into a Caffe tree, and take it out again.
    Patch(patch::Arguments),
    /// Quant layers into a network's prototxt, out of it, and whether they are right.
    Prototxt(prototxt::Arguments),
    /// A trained model: what is in it, folded, quantised, and its ranges for the NNIE compiler.
    Model(model::Arguments),
    /// The quantiser on an array in NumPy's format.
    Tensor(tensor::Arguments),
    /// How fast the quantiser is here, beside the memory's own speed and beside another library.
    Bench(bench::Arguments),
    /// Version, CPU path and GPU state.
    Info(info::Arguments),
}

/// Runs the program on the process's arguments.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Prototxt(arguments) => prototxt::run(&arguments),
        Command::Model(arguments) => model::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Tensor(arguments) => tensor::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
        Command::Patch(arguments) => patch::run(&arguments),
    };
    match outcome {
        Ok(code) => code,
        // Whoever reads our output has closed it, as `head` does: nothing is wrong.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            note!("gfpq: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A bit width on the command line.
fn bits(text: &str) -> Result<Bits, String> {
    text.parse().ok().and_then(Bits::from_number).ok_or_else(|| "give 8 or 16".to_owned())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}
