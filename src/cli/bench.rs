//! `gfpq bench`: the quantiser's speed as a table or JSON.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::bench::{self, Figure, Peer};
use crate::quant::{Bits, arch, threads};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Number of values in the tensor; may be given more than once [default: from 10 to 13,107,200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    count: Vec<u32>,
    /// Bit width; may be given more than once [default: both]
    #[arg(long, value_name = "8|16", value_parser = super::args::bits)]
    bits: Vec<Bits>,
    /// Another library with the same interface, measured alternately on the same data. Its code is executed: name only a
    /// library you trust.
    #[arg(long, value_name = "LIBGFPQ.so")]
    against: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut counts: Vec<usize> = arguments.count.iter().map(|&count| count as usize).collect();
    if counts.is_empty() {
        counts = bench::COUNTS.into();
    }
    let widths = if arguments.bits.is_empty() { vec![Bits::Eight, Bits::Sixteen] } else { arguments.bits.clone() };

    // SAFETY: the user names this library in order to have its code executed, as the option's help says.
    let peer = arguments.against.as_deref().map(|path| unsafe { Peer::load(path) }).transpose()?;
    let (path, cores) = (arch::chosen().name(), threads());

    let mut out = stdout().lock();
    if arguments.json {
        let mut figures = Vec::new();
        bench::run(&counts, &widths, peer.as_ref(), |figure| {
            figures.push(figure);
            anyhow::Ok(())
        })?;
        let answer = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "cpu_path": path, "cores": cores, "against": arguments.against,
            "figures": figures,
        });
        writeln!(out, "{answer:#}")?;
    } else {
        writeln!(out, "{path} path, {cores} cores; in place; GB/s of tensor data; best times of runs in turns")?;
        writeln!(out, "limit: what a read (for the range) and a rewrite of the same buffer allow\n")?;
        write!(out, "{:7} {:>4} {:10} {:>10} {:>12} {:>7}", "type", "bits", "mode", "count", "ns a call", "GB/s")?;
        write!(out, " {:>7} {:>7} {:>7} {:>6}", "read", "rewrite", "limit", "share")?;
        writeln!(out, "{}", if peer.is_some() { "     other ns   ratio" } else { "" })?;
        bench::run(&counts, &widths, peer.as_ref(), |figure| row(&mut out, &figure).map_err(anyhow::Error::from))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(out: &mut impl Write, f: &Figure) -> std::io::Result<()> {
    write!(out, "{:7} {:>4} {:10} {:>10} {:>12.0} {:>7.2}", f.element, f.bits, f.mode, f.count, f.ns, f.gb_per_s)?;
    write!(out, " {:>7.1} {:>7.1} {:>7.1}", f.read_gb_per_s, f.rewrite_gb_per_s, f.limit_gb_per_s)?;
    write!(out, " {:>5.0}%", 100.0 * f.share_of_limit)?;
    if let (Some(other), Some(ratio)) = (f.other_ns, f.ratio) {
        write!(out, " {other:>12.0} {ratio:>6.1}x")?;
    }
    writeln!(out)
}
