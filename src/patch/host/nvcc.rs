//! The CUDA installation that Makefile.config is to name: what its nvcc compiles for, and with.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A CUDA installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// The folder that has bin/nvcc.
    pub root: PathBuf,
    /// Such as 11.8.
    pub version: String,
    /// The architectures that nvcc compiles for, such as 50 and 90, ascending; empty where it does not tell.
    pub known: Vec<u32>,
    /// Those of the GPUs at hand, ascending.
    pub gpus: Vec<u32>,
    /// What it compiles C++ with.
    pub compiler: HostCompiler,
}

/// The C++ compiler of an nvcc, whose header refuses those newer than it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostCompiler {
    /// The machine's own g++.
    Default,
    /// Another one, by its name.
    Named(String),
    /// None that is installed; the newest that would do, where nvcc tells.
    Missing(Option<String>),
}

impl Cuda {
    /// The first on the path, where whoever has several puts the one to take, else in the usual folders.
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

    /// What to compile for: the GPUs at hand, where this nvcc knows them all, else everything.
    fn architectures(&self) -> &[u32] {
        let knows_gpus = !self.gpus.is_empty() && self.gpus.iter().all(|gpu| self.known.contains(gpu));
        if knows_gpus { &self.gpus } else { &self.known }
    }

    /// CUDA_ARCH: machine code for each architecture, and PTX of the newest for those to come.
    pub(in crate::patch) fn gencode(&self) -> String {
        let all = self.architectures();
        let machine_code = all.iter().map(|n| format!("-gencode arch=compute_{n},code=sm_{n}"));
        let ptx = all.last().map(|n| format!("-gencode arch=compute_{n},code=compute_{n}"));
        machine_code.chain(ptx).collect::<Vec<_>>().join(" \\\n\t\t")
    }

    /// What is to be told of a build with this installation.
    pub(in crate::patch) fn note(&self) -> Option<String> {
        let HostCompiler::Missing(wanted) = &self.compiler else { return None };
        let Cuda { root, version, .. } = self;
        Some(format!(
            "nvcc {version} ({}) takes none of the C++ compilers here: install {} and let CUSTOM_CXX in Makefile.config \
             name it",
            root.display(),
            wanted.as_deref().unwrap_or("one that it knows"),
        ))
    }
}

/// `11.8` of `… release 11.8, V11.8.89`.
fn release(text: &str) -> String {
    let rest = text.split("release ").nth(1).unwrap_or("");
    rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
}

/// What the nvcc of a version compiles for that has no option to tell.
fn known_before_11(version: &str) -> &'static [u32] {
    match version {
        "8.0" => &[20, 30, 32, 35, 37, 50, 52, 53, 60, 61, 62],
        "9.0" | "9.1" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70],
        "9.2" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72],
        "10.0" | "10.1" | "10.2" => &[30, 32, 35, 37, 50, 52, 53, 60, 61, 62, 70, 72, 75],
        _ => &[],
    }
}

/// The numbers of compute capabilities, such as `9.0`, a line each.
fn capabilities(lines: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.lines().filter_map(|line| line.trim().replace('.', "").parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

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

/// `g++-11` of `unsupported GNU version! gcc versions later than 11 are not supported!`.
fn newest_compiler(complaint: &str) -> Option<String> {
    let version = complaint.split("gcc versions later than ").nth(1)?.split_whitespace().next()?;
    Some(format!("g++-{version}"))
}

/// What a program that succeeds writes.
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
    fn a_build_is_for_the_gpus_at_hand_where_nvcc_knows_them() {
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
    fn what_nvcc_says_is_read() {
        assert_eq!(release("Cuda compilation tools, release 10.2, V10.2.89\n"), "10.2");
        assert!(!known_before_11("9.0").contains(&20));
        let complaint = "#error -- unsupported GNU version! gcc versions later than 11 are not supported! The nvcc";
        assert_eq!(newest_compiler(complaint), Some("g++-11".into()));
        assert_eq!(newest_compiler("nvcc: not found"), None);
    }
}
