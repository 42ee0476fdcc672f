//! `gfpq info`: the version, the instruction set used on the CPU, and the GPUs.

use std::io::{Write, stdout};
use std::process::ExitCode;

use crate::cuda::{self, Device, nvrtc::Nvrtc};
use crate::quant::{arch, threads};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let version = env!("CARGO_PKG_VERSION");
    let path = arch::chosen().name();
    let cores = threads();
    let gpu = cuda::devices();

    let mut out = stdout().lock();
    if arguments.json {
        let (devices, reason) = match &gpu {
            Ok(devices) => (devices.as_slice(), None),
            Err(reason) => (&[][..], Some(reason.to_string())),
        };
        let gpus: Vec<_> = devices
            .iter()
            .map(|device| {
                let (name, architecture) = (&device.name, device.architecture);
                serde_json::json!({ "name": name, "architecture": architecture, "nvrtc": nvrtc(device) })
            })
            .collect();
        let info = serde_json::json!({
            "version": version, "cpu_path": path, "cores": cores, "gpus": gpus, "gpu_unavailable": reason,
        });
        writeln!(out, "{info:#}")?;
    } else {
        writeln!(out, "gfpq {version}")?;
        writeln!(out, "CPU  {path} path, {cores} cores")?;
        match gpu {
            Ok(devices) => {
                for device in &devices {
                    let (major, minor) = (device.architecture / 10, device.architecture % 10);
                    let kernels =
                        nvrtc(device).map_or("from PTX built in".into(), |version| format!("by NVRTC {version}"));
                    writeln!(out, "GPU  {}, compute capability {major}.{minor}, kernels {kernels}", device.name)?;
                }
                writeln!(out, "     driver of CUDA {}", cuda::driver_version()?)?;
            }
            Err(reason) => writeln!(out, "GPU  none usable: {reason}")?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The version of the NVRTC that would compile the kernels for this GPU; `None` where the built-in PTX is used instead.
fn nvrtc(device: &Device) -> Option<String> {
    Nvrtc::find(device.architecture).map(|nvrtc| nvrtc.version().to_owned()).ok()
}
