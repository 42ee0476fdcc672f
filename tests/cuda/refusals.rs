//! What a user is told when the GPU, its driver or NVRTC is missing or fails.

use std::env;
use std::process::Command;

use gfpq::cuda::nvrtc::Nvrtc;
use gfpq::cuda::{self, Element, Tensor};
use gfpq::quant::{Bits as Width, Mode, Param};

use crate::fake_libraries::{Fake, library_path, run};

/// The scenario "refused": prints the outcome of one call.
pub(crate) fn refused() {
    let folders = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let address = match env::split_paths(&folders).any(|folder| folder.join("libcuda.so.1").exists()) {
        true => Fake::load().allocate(64, 2, 0),
        false => [0u64; 8].as_ptr() as u64,
    };
    let job = Tensor {
        element: Element::Float,
        source: address,
        destination: address,
        count: 16,
        bits: Width::Eight,
        nonfinite: 0,
        stream: 0,
    };
    // SAFETY: memory of the fake driver, or CPU memory, which the call refuses.
    match unsafe { cuda::quantise(&job, Mode::Init, &mut Param::default(), true) } {
        Ok(()) => println!("success"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn every_refusal_says_why_and_what_to_do() {
    let says = |folders: &str, variables: &[(&str, &str)], expected: &str| {
        let (text, log) = run("refused", folders, variables);
        assert!(text.contains(expected), "{folders} {variables:?}: {text}\n{log}");
    };
    let fails = |list: &str, expected: &str| says("both", &[("FAKE_CUDA_FAIL", list)], expected);
    if cuda::devices().is_err() {
        says("", &[], "no NVIDIA driver (libcuda.so.1) on this machine: install it, or use CPU mode");
        says("stub", &[], "the NVIDIA driver has no cuDriverGetVersion");
    }
    says("stub both", &[], "success");
    fails("cuInit=100", "the NVIDIA driver sees no GPU: check nvidia-smi");
    fails("cuInit=34", "libcuda.so is the CUDA toolkit's stub");
    fails("cuInit=999", "CUDA does not start: the NVIDIA driver reports CUDA_ERROR_UNKNOWN (fake error 999); check");
    fails("cuInit=802", "CUDA_ERROR_SYSTEM_NOT_READY (fake error 802); start NVIDIA's Fabric Manager");
    fails("cuInit=803", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (fake error 803); its library and kernel module differ");
    fails("cuMemAlloc=2", "out of GPU memory: stop what else uses this GPU");
    fails("cuLaunchKernel=719", "starting a kernel: the NVIDIA driver reports CUDA_ERROR_LAUNCH_FAILED");
    fails("cuLaunchKernel=54321", "starting a kernel: the NVIDIA driver reports error 54321 (fake error 54321)");
    fails("cuStreamSynchronize=700", "waiting for the GPU: the NVIDIA driver reports CUDA_ERROR_ILLEGAL_ADDRESS");
    fails("cuCtxGetCurrent=3", "one forked after its first CUDA call cannot use the GPU");
    fails(
        "cuPointerGetAttributes=700",
        "querying the owner of a pointer: the NVIDIA driver reports CUDA_ERROR_ILLEGAL_ADDRESS",
    );
    // The driver refuses the machine code, then also the PTX.
    fails("machine=200", "success");
    fails(
        "machine=200,ptx=222",
        "no kernels for this GPU (compute capability 9.0): the driver refuses what NVRTC made \
         (CUDA_ERROR_INVALID_IMAGE); and the driver, of CUDA 12.4, refuses the PTX built in: \
         CUDA_ERROR_UNSUPPORTED_PTX_VERSION. Update the driver",
    );
    // Other errors while loading are reported as they are.
    fails("machine=700", "loading the kernels: the NVIDIA driver reports CUDA_ERROR_ILLEGAL_ADDRESS");
    fails("machine=200,ptx=700", "loading the kernels: the NVIDIA driver reports CUDA_ERROR_ILLEGAL_ADDRESS");
    says("both", &[("FAKE_NVRTC_FAIL", "1")], "success");
    says(
        "both",
        &[("FAKE_NVRTC_FAIL", "1"), ("FAKE_CUDA_FAIL", "ptx=222")],
        "NVRTC 12.4 fails with code 6: quantise.cu(1): error: as asked for",
    );
    if Nvrtc::find(90).is_err() {
        let no_ptx = [("FAKE_CUDA_FAIL", "ptx=218")];
        says("driver", &[], "success");
        says("driver", &no_ptx, "no NVRTC (libnvrtc.so) on this machine; and the driver");
        says("driver newer", &no_ptx, "NVRTC 13.4 does not know this GPU; and the driver");
        says("driver older", &no_ptx, "the NVRTC found is older than CUDA 11.2; and the driver");
    } else {
        eprintln!("SKIPPED: this machine has an NVRTC, so the case without one is not tested");
    }
}

/// Newer versions of NVRTC no longer know older GPUs.
#[test]
fn the_newest_nvrtc_that_knows_the_gpu_compiles() {
    let (text, log) = run("refused", "both newer", &[("FAKE_CUDA_FAIL", "ptx=222")]);
    assert!(text.contains("success") && log.contains("load machine on 0"), "{text}\n{log}");
    let mut info = Command::new(env!("CARGO_BIN_EXE_gfpq"));
    let output = info.arg("info").env("LD_LIBRARY_PATH", library_path("both newer")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Fake GPU 0, compute capability 9.0, kernels by NVRTC 12.4\n"), "{text}");
    assert!(text.contains("Fake GPU 1, compute capability 8.6, kernels from PTX built in\n"), "{text}");
}
