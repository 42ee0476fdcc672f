//! `gfpq prototxt …`: adds, removes and checks the Quant layers of a prototxt.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};

use super::io;
use crate::prototxt::{
    EditError, Finding, Quantised, Report, Selection, Severity, Stripped, Target, Weights, add_quant, check,
    strip_quant,
};
use crate::quant::Bits;
use crate::unified_diff::write_unified;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Add a Quant layer in front of every layer that the NNIE computes.
    AddQuant(Add),
    /// Remove every Quant layer: the result is the float net for the NNIE compiler.
    StripQuant(Strip),
    /// Check whether a net's Quant layers are right, and name layers that the NNIE has no hardware for; the exit code is
    /// 1 if there are errors.
    Check(Check),
}

#[derive(Args)]
struct Files {
    /// The prototxt, `-` for standard input.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write the result to, `-` for standard output; may be IN itself.
    #[arg(short, long, value_name = "OUT", default_value = "-")]
    output: PathBuf,
    /// Print the change as a unified diff on standard output; the result itself is written only if OUT is given.
    #[arg(long)]
    diff: bool,
}

#[derive(Args)]
struct Select {
    /// The bit width in which the NNIE computes, 8 or 16. The default is 8; `check` takes it from the net's
    /// weight_quant_param, if there is one.
    #[arg(long, value_parser = super::args::bits)]
    bits: Option<Bits>,
    /// Further layer types that get a Quant layer, besides those that the NNIE computes.
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    types: Vec<String>,
    /// Do not quantise layers whose names match; may be given several times.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Compute layers whose names match in 16 bit, like those whose names end in `_hp`; may be given several times.
    #[arg(long, value_name = "GLOB")]
    sixteen: Vec<String>,
}

#[derive(Args)]
pub(super) struct Add {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    select: Select,
    /// Also have Caffe quantise the weights: add a `weight_quant_param` to the net, and a `quant_param` to each layer that
    /// --sixteen or --exclude makes an exception.
    #[arg(long)]
    weights: bool,
    /// Quantise the weights as the chip will have them, with the BatchNorm and Scale layers that follow folded in.
    #[arg(long, requires = "weights")]
    fold: bool,
}

#[derive(Args)]
pub(super) struct Check {
    /// The prototxt, `-` for standard input.
    #[arg(value_name = "IN")]
    input: PathBuf,
    #[command(flatten)]
    select: Select,
    /// What the net is for: training with Quant layers, or the NNIE compiler, which does not know Quant layers.
    #[arg(long, value_enum, default_value = "train")]
    target: TargetArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum TargetArg {
    Train,
    Compiler,
}

#[derive(Args)]
pub(super) struct Strip {
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::AddQuant(arguments) => add(arguments),
        Command::StripQuant(arguments) => strip(arguments),
        Command::Check(arguments) => check_net(arguments),
    }
}

impl Select {
    fn selection(&self) -> anyhow::Result<Selection> {
        let selection = Selection::default().or_bits(self.bits).with_types(&self.types).context("--types")?;
        Ok(selection.without(&self.exclude)?.with_sixteen(&self.sixteen)?)
    }
}

fn add(arguments: &Add) -> anyhow::Result<ExitCode> {
    let selection = arguments.select.selection()?;
    let document = io::read_document(&arguments.files.input)?;
    let name = io::name(&arguments.files.input);
    let weights = match (arguments.weights, arguments.fold) {
        (false, _) => Weights::AsTheyAre,
        (true, false) => Weights::Quantised,
        (true, true) => Weights::Folded,
    };
    let result = add_quant(&document, &selection, weights).map_err(|error| named(error, &name))?;
    deliver(&arguments.files, document.as_bytes(), &result.text)?;
    report_added(&name, &result);
    Ok(ExitCode::SUCCESS)
}

fn strip(arguments: &Strip) -> anyhow::Result<ExitCode> {
    let document = io::read_document(&arguments.files.input)?;
    let name = io::name(&arguments.files.input);
    let result = strip_quant(&document).map_err(|error| named(error, &name))?;
    deliver(&arguments.files, document.as_bytes(), &result.text)?;
    report_stripped(&name, &result);
    Ok(ExitCode::SUCCESS)
}

fn check_net(arguments: &Check) -> anyhow::Result<ExitCode> {
    let selection = arguments.select.selection()?;
    let document = io::read_document(&arguments.input)?;
    let name = io::name(&arguments.input);
    let target = match arguments.target {
        TargetArg::Train => Target::Train,
        TargetArg::Compiler => Target::Compiler,
    };

    let report = check(&document, &selection, target).map_err(|error| named(error, &name))?;

    let mut out = stdout().lock();
    let printed = match arguments.json {
        true => writeln!(out, "{:#}", as_json(&name, &report)),
        false => print_table(&mut out, &name, &report),
    };
    // The exit code is valid even if the reader closes the pipe early, as `head` does.
    printed.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) })?;
    Ok(if report.count(Severity::Error) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn as_json(name: &str, report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            serde_json::json!({
                "severity": severity(finding), "fault": finding.fault.name(), "line": finding.line,
                "layer": finding.layer.to_string(), "type": finding.kind.to_string(),
                "blob": finding.blob.as_ref().map(ToString::to_string), "message": finding.message,
            })
        })
        .collect();
    serde_json::json!({
        "file": name, "layers": report.layers, "computed": report.computed, "quant_layers": report.quants,
        "errors": report.count(Severity::Error), "warnings": report.count(Severity::Warning), "findings": findings,
    })
}

fn print_table(out: &mut impl Write, name: &str, report: &Report) -> std::io::Result<()> {
    let width = |of: fn(&Finding) -> String| report.findings.iter().map(|f| of(f).chars().count()).max().unwrap_or(0);
    let (lines, layers) = (width(|f| f.line.to_string()), width(|f| f.layer.to_string()).min(40));
    for finding in &report.findings {
        let (severity, line) = (severity(finding), finding.line);
        let layer = finding.layer.to_string();
        writeln!(out, "{severity:7}  line {line:>lines$}  {layer:layers$}  {}", finding.message)?;
    }

    let (errors, warnings) = (report.count(Severity::Error), report.count(Severity::Warning));
    let Report { layers, computed, quants, .. } = report;
    writeln!(
        out,
        "{name}: {errors} errors, {warnings} warnings; {layers} layers, {computed} of them computed by the NNIE, \
         {quants} Quant"
    )
}

fn severity(finding: &Finding) -> &'static str {
    match finding.fault.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Adds the file's name to an error, unless its message contains the name already.
fn named(error: EditError, name: &str) -> anyhow::Error {
    match error {
        EditError::Mistyped(_) | EditError::Stuck { .. } => anyhow!(error),
        _ => anyhow!(error).context(name.to_owned()),
    }
}

fn deliver(files: &Files, old: &[u8], new: &[u8]) -> anyhow::Result<()> {
    if files.diff {
        let path = files.input.to_string_lossy();
        let path = path.trim_start_matches('/');
        write_unified(&mut stdout().lock(), &format!("a/{path}"), &format!("b/{path}"), old, new)?;
    }
    if !files.diff || !io::is_standard(&files.output) {
        io::write(&files.output, new)?;
    }
    Ok(())
}

fn report_added(name: &str, result: &Quantised) {
    for warning in &result.warnings {
        note!("gfpq: warning: {name}: {warning}");
    }
    if result.nets == 0 {
        note!("{name}: no layers here, nothing to add; a solver's net is the file it names");
        return;
    }

    let mut widths: BTreeMap<u32, usize> = BTreeMap::new();
    for added in &result.added {
        *widths.entry(added.bits.number()).or_default() += 1;
    }
    let joined = |parts: Vec<String>| parts.join(", ");
    let count = result.added.len();
    let mut line = format!("{name}: {count} Quant layer{} added", if count == 1 { "" } else { "s" });
    if count > 0 {
        let widths = joined(widths.iter().map(|(bits, count)| format!("{count} of {bits} bit")).collect());
        let types = joined(result.fed.iter().map(|(kind, count)| format!("{count} {kind}")).collect());
        line.push_str(&format!(" ({widths}), feeding {types}"));
    }

    if result.moved > 0 {
        line.push_str(&format!("; {} moved up to an earlier reader", result.moved));
    }
    if result.fed_before > 0 {
        line.push_str(&format!("; {} bottoms were fed by one already", result.fed_before));
    }
    if result.weights {
        line.push_str("; weight_quant_param added");
    }
    if result.own_weights > 0 {
        let layers = if result.own_weights == 1 { "layer" } else { "layers" };
        line.push_str(&format!("; quant_param added for the weights of {} {layers}", result.own_weights));
    }
    note!("{line}");
}

fn report_stripped(name: &str, result: &Stripped) {
    for warning in &result.warnings {
        note!("gfpq: warning: {name}: {warning}");
    }
    let count = result.removed.len();
    let layers = if count == 1 { "layer" } else { "layers" };
    let weights = if result.weights { "; weight_quant_param taken out" } else { "" };
    note!("{name}: {count} Quant {layers} taken out, {} bottoms rewired{weights}", result.rewired);
}
