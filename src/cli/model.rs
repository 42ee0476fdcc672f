//! `gfpq model …`.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};

use super::io;
use crate::caffemodel::{Folded, Model, fold};
use crate::prototxt::Document;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fold BatchNorm and Scale layers into the weights before them, as the NNIE compiler does.
    Fold(Fold),
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

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Fold(arguments) => fold_model(arguments),
    }
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
}

fn read_model(path: &Path) -> anyhow::Result<Model> {
    Model::parse(io::read(path)?).with_context(|| io::name(path))
}

fn fold_model(arguments: &Fold) -> anyhow::Result<ExitCode> {
    let standard = [&arguments.out_net, &arguments.out_weights].map(|path| io::is_standard(path));
    if standard == [true, true] || (arguments.json && standard.contains(&true)) {
        bail!("standard output takes one answer only: give files for the others");
    }
    let (document, model) = arguments.inputs.read()?;
    let folded = fold(&document, &model).with_context(|| arguments.inputs.names())?;
    let weights = io::Staged::new(&arguments.out_weights, |out| folded.model.write_to(out))?;
    let net = io::Staged::new(&arguments.out_net, |out| out.write_all(&folded.net))?;
    weights.commit()?;
    net.commit()?;
    match arguments.json {
        true => writeln!(stdout(), "{:#}", fold_json(&folded))?,
        false => report_fold(&io::name(&arguments.inputs.net), &folded),
    }
    Ok(ExitCode::SUCCESS)
}

fn report_fold(name: &str, folded: &Folded<'_>) {
    let of_kind = |kind: &str| folded.layers.iter().flat_map(|layer| &layer.stages).filter(|(_, k)| k == kind).count();
    eprintln!(
        "{name}: {} BatchNorm and {} Scale layers folded into {} layers, {} left",
        of_kind("BatchNorm"),
        of_kind("Scale"),
        folded.layers.len(),
        folded.left.len(),
    );
    for left in &folded.left {
        eprintln!("{name}: line {}: {} `{}` is not folded: {}", left.line, left.kind, left.name, left.reason);
    }
}

fn fold_json(folded: &Folded<'_>) -> serde_json::Value {
    let layers = folded.layers.iter().map(|layer| {
        let stages = layer
            .stages
            .iter()
            .map(|(name, kind)| serde_json::json!({ "name": name.to_string(), "type": kind.to_string() }));
        serde_json::json!({
            "name": layer.name.to_string(), "type": layer.kind.to_string(), "folded": stages.collect::<Vec<_>>(),
            "bias_added": layer.bias_added, "constant_channels": layer.constant,
            "smallest_factor": layer.factors.map(|(low, _)| low), "largest_factor": layer.factors.map(|(_, high)| high),
        })
    });
    let left = folded.left.iter().map(|left| {
        serde_json::json!({
            "name": left.name.to_string(), "type": left.kind.to_string(), "line": left.line, "reason": left.reason,
        })
    });
    serde_json::json!({ "layers": layers.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>() })
}
