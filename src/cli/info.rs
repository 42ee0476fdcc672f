//! `gfpq info`.

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::cuda::{self, nvrtc::Nvrtc};
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
    let nvrtc = Nvrtc::find().map(|nvrtc| nvrtc.version().to_owned()).ok();
    let kernels = nvrtc.as_ref().map_or("from PTX built in".into(), |version| format!("by NVRTC {version}"));
    let mut out = stdout().lock();
    if arguments.json {
        let (devices, reason) = match &gpu {
            Ok(devices) => (devices.clone(), None),
            Err(reason) => (Vec::new(), Some(reason.to_string())),
        };
        let info = serde_json::json!({
            "version": version, "cpu_path": path, "cores": cores, "gpus": devices, "gpu_unavailable": reason,
            "nvrtc": nvrtc,
        });
        writeln!(out, "{info:#}")?;
    } else {
        writeln!(out, "gfpq {version}")?;
        writeln!(out, "CPU  {path} path, {cores} cores")?;
        match gpu {
            Ok(devices) => {
                for device in devices {
                    let (major, minor) = (device.architecture / 10, device.architecture % 10);
                    writeln!(out, "GPU  {}, compute capability {major}.{minor}", device.name)?;
                }
                writeln!(out, "     driver of CUDA {}, kernels {}", cuda::driver_version(), kernels)?;
            }
            Err(reason) => writeln!(out, "GPU  none usable: {reason}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
