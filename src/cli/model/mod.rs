//! `gfpq model …`.

mod output;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};

use super::io;
use crate::caffemodel::{Model, fold, info, parameters, quantise};
use crate::prototxt::Document;
use crate::quant::Bits;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show each layer's blobs: shapes, values, and what 8 and 16 bit make of them; Quant layers' stored ranges.
    Info(Info),
    /// Fold BatchNorm and Scale layers into the weights before them, as the NNIE compiler does.
    Fold(Fold),
    /// Quantise the weights that the net's layers see quantised, as Caffe shows them.
    Quantize(Quantize),
    /// Write the ranges of data and weights, for comparing with the NNIE compiler's.
    ExportParams(Export),
}

#[derive(Args)]
struct Info {
    /// The model, `-` for standard input.
    #[arg(value_name = "CAFFEMODEL")]
    input: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A net and its weights; one of them may be `-` for standard input.
#[derive(Args)]
struct Inputs {
    /// The net.
    #[arg(long, value_name = "PROTOTXT")]
    net: PathBuf,
    /// Its weights.
    #[arg(long, value_name = "CAFFEMODEL")]
    weights: PathBuf,
}

#[derive(Args)]
struct Fold {
    #[command(flatten)]
    inputs: Inputs,
    /// Where the folded net goes; `-` for standard output.
    #[arg(long, value_name = "PROTOTXT")]
    out_net: PathBuf,
    /// Where its weights go.
    #[arg(long, value_name = "CAFFEMODEL")]
    out_weights: PathBuf,
    /// Print the account as JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Quantize {
    #[command(flatten)]
    inputs: Inputs,
    /// Where the quantised weights go; `-` for standard output.
    #[arg(long, value_name = "CAFFEMODEL")]
    out_weights: PathBuf,
    /// The width where the net has no weight_quant_param that says one, 8 or 16.
    #[arg(long, default_value = "8", value_parser = super::bits)]
    bits: Bits,
    /// Print the account as JSON on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    inputs: Inputs,
    /// Where the ranges go, `-` for standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// JSON, or a table of one line for each blob.
    #[arg(long, value_enum, default_value = "json")]
    format: Format,
    /// The width of weights where the net has no weight_quant_param that says one, 8 or 16.
    #[arg(long, default_value = "8", value_parser = super::bits)]
    bits: Bits,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    CalibrationTxt,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
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
        let document = Document::parse(io::read(&self.net)?, &io::name(&self.net)).map_err(|error| anyhow!(error))?;
        Ok((document, read_model(&self.weights)?))
    }

    /// Both names, for messages that concern both.
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

/// Standard output takes one answer, and so does a file.
fn check_outputs(files: &[&Path], json: bool) -> anyhow::Result<()> {
    if files.iter().filter(|path| io::is_standard(path)).count() + usize::from(json) > 1 {
        bail!("standard output takes one answer only: give files for the others");
    }
    if let [a, b] = files
        && !io::is_standard(a)
        && io::is_same(a, b)
    {
        bail!("the net and the weights cannot both go to {}", a.display());
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
