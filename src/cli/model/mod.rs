//! `gfpq model …`: inspects, folds and quantises a caffemodel, and exports its ranges.

mod output;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::io;
use crate::caffemodel::{Model, fold, info, parameters, quantise};
use crate::prototxt::Document;
use crate::quant::Bits;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Show each layer's blobs: shapes, range of values, and the loss in 8 and 16 bit; for Quant layers the stored ranges.
    Info(Info),
    /// Fold BatchNorm and Scale layers into the weights of the layer before them, as the NNIE compiler does.
    Fold(Fold),
    /// Quantise the weights as a patched Caffe does for each forward pass.
    Quantize(Quantize),
    /// Write the ranges of data and weights, to compare them with those of the NNIE compiler.
    ExportParams(Export),
}

#[derive(Args)]
pub(super) struct Info {
    /// The model's file, `-` for standard input.
    #[arg(value_name = "CAFFEMODEL")]
    input: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A net and its weights; one of them may be `-` for standard input.
#[derive(Args)]
struct Inputs {
    /// The net's prototxt.
    #[arg(long, value_name = "PROTOTXT")]
    net: PathBuf,
    /// The net's weights.
    #[arg(long, value_name = "CAFFEMODEL")]
    weights: PathBuf,
}

#[derive(Args)]
pub(super) struct Fold {
    #[command(flatten)]
    inputs: Inputs,
    /// The file to write the folded net to; `-` for standard output.
    #[arg(long, value_name = "PROTOTXT")]
    out_net: PathBuf,
    /// The file to write the folded weights to; `-` for standard output.
    #[arg(long, value_name = "CAFFEMODEL")]
    out_weights: PathBuf,
    /// Print a summary as JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Quantize {
    #[command(flatten)]
    inputs: Inputs,
    /// The file to write the quantised weights to; `-` for standard output.
    #[arg(long, value_name = "CAFFEMODEL")]
    out_weights: PathBuf,
    /// The bit width, 8 or 16, unless the net's weight_quant_param sets it.
    #[arg(long, default_value = "8", value_parser = super::args::bits)]
    bits: Bits,
    /// Print a summary as JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    inputs: Inputs,
    /// The file to write the ranges to, `-` for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// JSON, or a table with one line for each blob.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// The bit width of weights, 8 or 16, unless the net's weight_quant_param sets it.
    #[arg(long, default_value = "8", value_parser = super::args::bits)]
    bits: Bits,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    CalibrationTxt,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    // RAYON_NUM_THREADS may only lower the number of threads. A pool that stands already is as good.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(crate::quant::threads()).build_global();
    match command {
        Command::Info(arguments) => show_info(arguments)?,
        Command::Fold(arguments) => fold_model(arguments)?,
        Command::Quantize(arguments) => quantise_model(arguments)?,
        Command::ExportParams(arguments) => export(arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Inputs {
    fn read(&self) -> anyhow::Result<(Document, Model)> {
        if io::is_standard(&self.net) && io::is_standard(&self.weights) {
            bail!("standard input cannot be both the net and the weights");
        }
        Ok((io::read_document(&self.net)?, read_model(&self.weights)?))
    }

    /// The names of both files, for messages about the pair.
    fn names(&self) -> String {
        format!("{}, {}", io::name(&self.net), io::name(&self.weights))
    }

    fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            note!("gfpq: warning: {}: {warning}", self.names());
        }
    }
}

fn read_model(path: &Path) -> anyhow::Result<Model> {
    Model::parse(io::read(path)?).with_context(|| io::name(path))
}

/// Refuses two results for the same file or for standard output.
fn check_outputs(files: &[&Path], json: bool) -> anyhow::Result<()> {
    if files.iter().filter(|path| io::is_standard(path)).count() + usize::from(json) > 1 {
        bail!("only one result can go to standard output: give files for the others");
    }
    if let [a, b] = files
        && !io::is_standard(a)
        && io::is_same_file(a, b)
    {
        bail!("the net and the weights cannot both be written to {}", a.display());
    }
    Ok(())
}

fn show_info(arguments: &Info) -> anyhow::Result<()> {
    let model = read_model(&arguments.input)?;
    let layers = info(&model);
    let mut out = stdout().lock();
    match arguments.json {
        true => writeln!(out, "{:#}", output::info_json(&model, &layers))?,
        false => output::print_info(&mut out, &io::name(&arguments.input), &model, &layers)?,
    }
    Ok(())
}

fn fold_model(arguments: &Fold) -> anyhow::Result<()> {
    check_outputs(&[&arguments.out_net, &arguments.out_weights], arguments.json)?;
    let (document, model) = arguments.inputs.read()?;
    let folded = fold(&document, &model).with_context(|| arguments.inputs.names())?;

    let weights = io::Staged::new(&arguments.out_weights, |out| folded.model.write_to(out))?;
    let net = io::Staged::new(&arguments.out_net, |out| out.write_all(&folded.net))?;
    weights.commit()?;
    net.commit()?;

    match arguments.json {
        true => writeln!(stdout(), "{:#}", output::fold_json(&folded))?,
        false => output::report_fold(&io::name(&arguments.inputs.net), &folded),
    }
    Ok(())
}

fn quantise_model(arguments: &Quantize) -> anyhow::Result<()> {
    check_outputs(&[&arguments.out_weights], arguments.json)?;
    let (document, model) = arguments.inputs.read()?;
    let quantised = quantise(&document, &model, arguments.bits).with_context(|| arguments.inputs.names())?;
    arguments.inputs.warn(&quantised.warnings);
    io::Staged::new(&arguments.out_weights, |out| quantised.model.write_to(out))?.commit()?;
    match arguments.json {
        true => writeln!(stdout(), "{:#}", output::quantise_json(&quantised))?,
        false => output::report_quantised(&io::name(&arguments.inputs.weights), &quantised),
    }
    Ok(())
}

fn export(arguments: &Export) -> anyhow::Result<()> {
    let (document, model) = arguments.inputs.read()?;
    let found = parameters(&document, &model, arguments.bits).with_context(|| arguments.inputs.names())?;
    arguments.inputs.warn(&found.warnings);
    let text = match arguments.format {
        Format::Json => format!("{:#}\n", output::parameters_json(&model, &found)),
        Format::CalibrationTxt => output::calibration(&found),
    };
    io::write(&arguments.output, text.as_bytes())
}
