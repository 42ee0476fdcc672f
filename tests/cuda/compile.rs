//! Compiles the kernels with every NVRTC and ptxas that scripts/fetch/nvrtc.sh fetches, for every architecture that they
//! know.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use gfpq::cuda::nvrtc::{Nvrtc, Target};
use gfpq::cuda::source;

/// The folders with libnvrtc and ptxas, one for each major version of CUDA, the oldest first.
fn compilers() -> Vec<PathBuf> {
    let folder = env::var("GFPQ_NVRTC").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target/nvrtc").into());
    let mut folders: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|at| at.is_dir())
        .collect();
    folders.sort();
    if folders.is_empty() {
        eprintln!("SKIPPED: no NVRTC here; scripts/fetch/nvrtc.sh fetches it from PyPI");
    }
    folders
}

fn nvrtc(folder: &Path) -> Nvrtc {
    let library = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libnvrtc.so")));
    Nvrtc::open(library.unwrap()).unwrap()
}

fn compile(nvrtc: &Nvrtc, target: Target) -> Vec<u8> {
    let tables = source::tables();
    let headers = [("gfpq.cuh", source::ARITHMETIC), ("gfpq_tables.cuh", tables.as_str())];
    nvrtc.compile(source::KERNELS, &headers, target).unwrap_or_else(|error| panic!("{error}"))
}

/// Assembles PTX with `ptxas -v` and returns what it reports.
fn assemble(folder: &Path, ptx: &[u8], architecture: i32) -> String {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("kernels.ptx");
    fs::write(&path, ptx.strip_suffix(b"\0").unwrap_or(ptx)).unwrap();
    let output = Command::new(folder.join("ptxas"))
        .args(["-v", &format!("-arch=sm_{architecture}"), "-o", "/dev/null"])
        .arg(&path)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "sm_{architecture}: {report}");
    report
}

/// The number of registers of each kernel, from a report of ptxas. Fails if a register is spilled.
fn registers(report: &str) -> Vec<u32> {
    assert_eq!(report.matches("Compiling entry function").count(), 8, "{report}");
    for line in report.lines().filter(|line| line.contains("spill")) {
        assert!(line.contains(" 0 bytes spill stores, 0 bytes spill loads"), "{report}");
    }
    let counts = report.split("Used ").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
    counts.collect()
}

#[test]
fn the_kernels_compile_for_every_architecture_of_every_compiler() {
    for folder in compilers() {
        let nvrtc = nvrtc(&folder);
        for &architecture in nvrtc.architectures() {
            let report = assemble(&folder, &compile(&nvrtc, Target::Ptx(architecture)), architecture);
            println!("NVRTC {} sm_{architecture}: registers {:?}", nvrtc.version(), registers(&report));
        }
        let newest = *nvrtc.architectures().last().unwrap();
        assert!(compile(&nvrtc, Target::Machine(newest)).starts_with(b"\x7fELF"));
    }
}

/// The architecture of the embedded PTX: GPUs since 2014 run it.
const EMBEDDED: i32 = 50;
/// The PTX version of the embedded PTX: drivers since CUDA 9 accept it.
const PTX_VERSION: &str = ".version 6.0";

/// NVRTC declares its own PTX version in its output, and a driver refuses versions newer than it knows. These kernels
/// need only version 6.0, which introduced the warp shuffles with a mask, so the test puts that one in its place.
#[test]
fn embedded_ptx_is_these_kernels_and_assembles_everywhere() {
    let Some(oldest) = compilers().into_iter().next() else { return };
    let ptx = String::from_utf8(compile(&nvrtc(&oldest), Target::Ptx(EMBEDDED))).unwrap();
    let text: Vec<&str> = ptx.trim_end_matches('\0').lines().filter(|line| !line.starts_with("//")).collect();
    let ptx = text.join("\n").trim().replacen(".version 7.8", PTX_VERSION, 1) + "\n";
    assert!(ptx.starts_with(PTX_VERSION));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/quantise.ptx");
    if env::var_os("GFPQ_WRITE_PTX").is_some() {
        fs::write(path, &ptx).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == ptx, "the kernels have changed: run scripts/build/ptx.sh");
    for folder in compilers() {
        for &architecture in nvrtc(&folder).architectures().iter().filter(|&&number| number >= EMBEDDED) {
            registers(&assemble(&folder, ptx.as_bytes(), architecture));
        }
    }
}
