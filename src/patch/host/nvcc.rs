//! The CUDA installation for Makefile.config: the architectures of its nvcc, and the C++ compiler that nvcc accepts.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A CUDA installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// The folder that contains bin/nvcc.
    pub root: PathBuf,
    /// The release that nvcc reports, such as 11.8.
    pub version: String,
    /// The architectures that nvcc compiles for, such as 50 and 90, ascending; empty if they are unknown.
    pub known: Vec<u32>,
    /// The architectures of this machine's GPUs, ascending; empty if nvidia-smi finds none.
    pub gpus: Vec<u32>,
    /// The C++ compiler for nvcc to use.
    pub compiler: HostCompiler,
}

/// The C++ compiler for an nvcc. CUDA's headers refuse compilers that are newer than the toolkit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCompiler {
    /// The default g++ of the machine.
    Default,
    /// Another g++, by its name, such as `g++-11`.
    Named(String),
    /// No installed one is accepted. The newest that would be accepted, if nvcc's message tells it.
    Missing(Option<String>),
}

impl Cuda {
    /// Finds the first nvcc on the PATH, with which a user chooses among several, else in the usual folders.
    pub(super) fn detect() -> Option<Cuda> {
        let on_path = output(Command::new("sh").args(["-c", "command -v nvcc"]));
        let mut roots: Vec<PathBuf> =
            on_path.iter().filter_map(|nvcc| Some(Path::new(nvcc.trim()).parent()?.parent()?.into())).collect();
        roots.extend(["/usr/local/cuda", "/usr"].map(PathBuf::from));
        let root = roots.into_iter().find(|root| root.join("bin/nvcc").exists())?;

        let nvcc = root.join("bin/nvcc");
        let version = release(&output(Command::new(&nvcc).arg("--version")).unwrap_or_default());
        let listed = output(Command::new(&nvcc).arg("--list-gpu-arch")).unwrap_or_default();
        let mut known: Vec<u32> =
            listed.split_whitespace().filter_map(|word| word.strip_prefix("compute_")?.parse().ok()).collect();
        if known.is_empty() {
            known = known_before_11(&version).into();
        }
        known.sort_unstable();

        let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
        let gpus = capabilities(&output(Command::new("nvidia-smi").args(query)).unwrap_or_default());
        Some(Cuda { compiler: host_compiler(&nvcc), root, version, known, gpus })
    }

    /// The architectures to compile for: those of this machine's GPUs if nvcc knows them all, else all that it knows.
    fn architectures(&self) -> &[u32] {
        let knows_gpus = !self.gpus.is_empty() && self.gpus.iter().all(|gpu| self.known.contains(gpu));
        if knows_gpus { &self.gpus } else { &self.known }
    }

    /// The value for CUDA_ARCH: machine code for each architecture, and PTX of the newest for later GPUs.
    pub(in crate::patch) fn gencode(&self) -> String {
        let all = self.architectures();
        let machine_code = all.iter().map(|n| format!("-gencode arch=compute_{n},code=sm_{n}"));
        let ptx = all.last().map(|n| format!("-gencode arch=compute_{n},code=compute_{n}"));
        machine_code.chain(ptx).collect::<Vec<_>>().join(" \\\n\t\t")
    }

    /// What the user has to do before building with this installation.
    pub(in crate::patch) fn note(&self) -> Option<String> {
        let HostCompiler::Missing(wanted) = &self.compiler else { return None };
        let Cuda { root, version, .. } = self;
        Some(format!(
            "nvcc {version} ({}) accepts none of the C++ compilers on this machine: install {} and set CUSTOM_CXX to \
             its name in Makefile.config",
            root.display(),
            wanted.as_deref().unwrap_or("one that it accepts"),
        ))
    }
}

/// The `11.8` of `… release 11.8, V11.8.89`.
fn release(text: &str) -> String {
    let rest = text.split("release ").nth(1).unwrap_or("");
    rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

/// The architectures of an nvcc before CUDA 11, which has no option to list them.
fn known_before_11(version: &str) -> &'static [u32] {
    match version {
        "8.0" => &[20, 30, 32, 35, 37, 50, 52, 53, 60, 61, 62],
        "9.0" | "9.1" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70],
        "9.2" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72],
        "10.0" | "10.1" | "10.2" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75],
        _ => &[],
    }
}

/// The architectures, such as 90, of a list of compute capabilities, such as `9.0`, one per line.
fn capabilities(lines: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.lines().filter_map(|line| line.trim().replace('.', "").parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Tries which g++ nvcc accepts: the default one, else the newest of the versions 5 to 19.
fn host_compiler(nvcc: &Path) -> HostCompiler {
    let compile = |compiler: &str| {
        let source = ["-E", "-x", "cu", "-include", "cuda_runtime.h", "/dev/null"];
        let output = Command::new(nvcc).args(source).arg(format!("-ccbin={compiler}")).stdin(Stdio::null()).output();
        output.map_err(|error| error.to_string()).and_then(|output| match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        })
    };

    let Err(complaint) = compile("g++") else { return HostCompiler::Default };
    let mut others = (5..20).rev().map(|version| format!("g++-{version}"));
    let found = others.find(|compiler| compile(compiler).is_ok());
    found.map_or_else(|| HostCompiler::Missing(newest_compiler(&complaint)), HostCompiler::Named)
}

/// The `g++-11` of `unsupported GNU version! gcc versions later than 11 are not supported!`.
fn newest_compiler(complaint: &str) -> Option<String> {
    let version = complaint.split("gcc versions later than ").nth(1)?.split_whitespace().next()?;
    Some(format!("g++-{version}"))
}

/// What a program writes to standard output; `None` if it fails or does not exist.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuda(gpus: &[u32]) -> Cuda {
        let known = vec![50, 86, 90];
        Cuda { root: "/c".into(), version: "11.8".into(), known, gpus: gpus.into(), compiler: HostCompiler::Default }
    }

    #[test]
    fn a_build_is_for_this_machines_gpus_if_nvcc_knows_them() {
        assert_eq!(capabilities("9.0\n8.6\n9.0\n[N/A]\n"), [86, 90]);
        assert_eq!(
            cuda(&[86, 90]).gencode(),
            "-gencode arch=compute_86,code=sm_86 \\\n\t\t-gencode arch=compute_90,code=sm_90 \\\n\t\t-gencode \
             arch=compute_90,code=compute_90"
        );
        assert_eq!(cuda(&[120]).gencode(), cuda(&[]).gencode());
        assert!(cuda(&[]).gencode().starts_with("-gencode arch=compute_50,code=sm_50"));
    }

    #[test]
    fn version_and_newest_compiler_are_read_from_nvccs_messages() {
        assert_eq!(release("Cuda compilation tools, release 10.2, V10.2.89\n"), "10.2");
        assert!(!known_before_11("9.0").contains(&20));
        let complaint = "#error -- unsupported GNU version! gcc versions later than 11 are not supported! The nvcc";
        assert_eq!(newest_compiler(complaint), Some("g++-11".into()));
        assert_eq!(newest_compiler("nvcc: not found"), None);
    }
}
