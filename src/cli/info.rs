//! `gfpq info`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::cuda;
use crate::quant::arch;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let path = arch::chosen().name();
    let cores = rayon::current_num_threads();
    let gpu = cuda::devices();
    let mut out = stdout().lock();
    if arguments.json {
        let (devices, reason) = match &gpu {
            Ok(names) => (names.clone(), None),
            Err(reason) => (Vec::new(), Some(reason.to_string())),
        };
        let info = serde_json::json!({
            "version": version, "cpu_path": path, "cores": cores, "gpus": devices, "gpu_unavailable": reason,
        });
        writeln!(out, "{info:#}")?;
    } else {
        writeln!(out, "gfpq {version}")?;
        writeln!(out, "CPU  {path} path, {cores} cores")?;
        match gpu {
            Ok(names) => writeln!(out, "GPU  {}", names.join(", "))?,
            Err(reason) => writeln!(out, "GPU  none usable: {reason}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
