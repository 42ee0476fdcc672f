//! What Makefile.config must say for the machine at hand.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compilers and libraries found on a machine, as far as Caffe's build asks for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// nvcc's installation, `None` for a build without GPU.
    pub cuda: Option<Cuda>,
    /// `atlas`, `open` or `mkl`.
    pub blas: Option<&'static str>,
    /// The Python that a boost_python library was built for.
    pub python: Option<Python>,
    /// Folders of HDF5's headers and libraries, where they are not the compiler's own.
    pub hdf5: Option<(PathBuf, PathBuf)>,
    /// Whether OpenCV is there, in a version that Caffe's sources know.
    pub opencv: Option<u32>,
    /// Whether LMDB is there.
    pub lmdb: bool,
    /// Whether LevelDB and Snappy are there.
    pub leveldb: bool,
}

/// A CUDA installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuda {
    /// The folder that has bin/nvcc.
    pub root: PathBuf,
    /// The architectures to compile for, such as 50 and 90, ascending: those of the GPUs at hand, where this nvcc has
    /// them all, else all that it has.
    pub architectures: Vec<u32>,
    /// The C++ compiler that this nvcc works with, where the machine's own is too new for it.
    pub compiler: Option<String>,
}

/// A Python 3 with NumPy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// Such as `boost_python311`.
    pub boost: String,
    /// Such as `python3.11`.
    pub name: String,
    /// Folders of Python.h and numpy/arrayobject.h.
    pub include: Vec<PathBuf>,
    /// The folder of libpython.
    pub lib: PathBuf,
}

impl Machine {
    /// Looks at this machine: the usual folders, and the programs nvcc and python3.
    pub fn detect() -> Machine {
        let library_dirs = library_dirs();
        let has_library = |name: &str| library_dirs.iter().any(|dir| dir.join(format!("lib{name}.so")).exists());
        let has_header = |name: &str| header(name).is_some();
        Machine {
            cuda: detect_cuda(),
            blas: [("openblas", "open"), ("atlas", "atlas"), ("mkl_rt", "mkl")]
                .into_iter()
                .find(|(library, _)| has_library(library))
                .map(|(_, name)| name),
            python: detect_python(&library_dirs),
            hdf5: library_dirs
                .iter()
                .map(|dir| dir.join("hdf5/serial"))
                .find(|dir| dir.join("libhdf5.so").exists())
                .map(|lib| (PathBuf::from("/usr/include/hdf5/serial"), lib)),
            opencv: if has_header("opencv4/opencv2/core.hpp") {
                Some(4)
            } else {
                opencv_major(Path::new("/usr/include/opencv2/core/version.hpp"))
            },
            lmdb: has_header("lmdb.h") && has_library("lmdb"),
            leveldb: has_header("leveldb/db.h") && has_library("leveldb") && has_library("snappy"),
        }
    }

    /// Variables of Makefile.config and their values.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        match &self.cuda {
            None => settings.push(("CPU_ONLY", "1".into())),
            Some(cuda) => {
                settings.push(("CUDA_DIR", cuda.root.display().to_string()));
                if !cuda.architectures.is_empty() {
                    settings.push(("CUDA_ARCH", cuda.gencode()));
                }
                if let Some(compiler) = &cuda.compiler {
                    settings.push(("CUSTOM_CXX", compiler.clone()));
                }
            }
        }
        // Caffe's sources use names that OpenCV 4 took away.
        match self.opencv {
            Some(2) => {}
            Some(3) => settings.push(("OPENCV_VERSION", "3".into())),
            _ => settings.push(("USE_OPENCV", "0".into())),
        }
        if !self.lmdb {
            settings.push(("USE_LMDB", "0".into()));
        }
        if !self.leveldb {
            settings.push(("USE_LEVELDB", "0".into()));
        }
        if let Some(blas) = self.blas {
            settings.push(("BLAS", blas.into()));
        }
        let mut include = vec!["$(PYTHON_INCLUDE)".to_owned(), "/usr/local/include".into()];
        let mut lib = vec!["$(PYTHON_LIB)".to_owned(), "/usr/local/lib".into(), "/usr/lib".into()];
        if let Some(python) = &self.python {
            let folders: Vec<_> = python.include.iter().map(|dir| dir.display().to_string()).collect();
            settings.push(("PYTHON_LIBRARIES", format!("{} {}", python.boost, python.name)));
            settings.push(("PYTHON_INCLUDE", folders.join(" \\\n\t\t")));
            settings.push(("PYTHON_LIB", python.lib.display().to_string()));
        }
        if let Some((headers, libraries)) = &self.hdf5 {
            include.push(headers.display().to_string());
            lib.push(libraries.display().to_string());
        }
        settings.push(("INCLUDE_DIRS", include.join(" ")));
        settings.push(("LIBRARY_DIRS", lib.join(" ")));
        settings
    }
}

impl Cuda {
    /// Machine code for each architecture, and PTX of the newest for those to come.
    fn gencode(&self) -> String {
        let machine_code = self.architectures.iter().map(|n| format!("-gencode arch=compute_{n},code=sm_{n}"));
        let ptx = self.architectures.last().map(|n| format!("-gencode arch=compute_{n},code=compute_{n}"));
        machine_code.chain(ptx).collect::<Vec<_>>().join(" \\\n\t\t")
    }
}

/// Where the linker looks on this machine.
fn library_dirs() -> Vec<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [multiarch.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from).into()
}

fn header(name: &str) -> Option<PathBuf> {
    ["/usr/include", "/usr/local/include"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

fn opencv_major(version_header: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(version_header).ok()?;
    let line = text.lines().find(|line| line.contains("CV_VERSION_MAJOR") || line.contains("CV_VERSION_EPOCH"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// The first on the path, where whoever has several puts the one to take.
fn detect_cuda() -> Option<Cuda> {
    let on_path = output(Command::new("sh").args(["-c", "command -v nvcc"]));
    let mut roots: Vec<PathBuf> =
        on_path.iter().filter_map(|nvcc| Some(Path::new(nvcc.trim()).parent()?.parent()?.into())).collect();
    roots.extend(["/usr/local/cuda", "/usr"].map(PathBuf::from));
    let root = roots.into_iter().find(|root| root.join("bin/nvcc").exists())?;
    let nvcc = root.join("bin/nvcc");
    let listed = output(Command::new(&nvcc).arg("--list-gpu-arch")).unwrap_or_default();
    let mut all: Vec<u32> =
        listed.split_whitespace().filter_map(|word| word.strip_prefix("compute_")?.parse().ok()).collect();
    all.sort_unstable();
    let query = ["--query-gpu=compute_cap", "--format=csv,noheader"];
    let gpus = architectures(&output(Command::new("nvidia-smi").args(query)).unwrap_or_default());
    let architectures = if !gpus.is_empty() && gpus.iter().all(|gpu| all.contains(gpu)) { gpus } else { all };
    Some(Cuda { compiler: host_compiler(&nvcc), root, architectures })
}

/// The numbers of compute capabilities, such as `9.0`, a line each.
fn architectures(lines: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> = lines.lines().filter_map(|line| line.trim().replace('.', "").parse().ok()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// `None` where nvcc takes g++, or none that has a name of its own: its header refuses compilers newer than it knows.
fn host_compiler(nvcc: &Path) -> Option<String> {
    let takes = |compiler: &str| {
        let source = ["-E", "-x", "cu", "-include", "cuda_runtime.h", "/dev/null"];
        output(Command::new(nvcc).args(source).arg(format!("-ccbin={compiler}"))).is_some()
    };
    let mut others = (9..20).rev().map(|version| format!("g++-{version}"));
    if takes("g++") { None } else { others.find(|compiler| takes(compiler)) }
}

/// What a program that succeeds writes.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(std::process::Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Boost's library names the Python it was built for; that Python says where its own things are.
fn detect_python(library_dirs: &[PathBuf]) -> Option<Python> {
    let (digits, lib) = library_dirs.iter().find_map(|dir| {
        let mut found: Vec<String> = dir
            .read_dir()
            .ok()?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let digits = name.strip_prefix("libboost_python3")?.strip_suffix(".so")?.to_owned();
                digits.parse::<u32>().is_ok().then_some(digits)
            })
            .collect();
        found.sort_by_key(|digits| digits.parse::<u32>().ok());
        Some((found.pop()?, dir.clone()))
    })?;
    let name = format!("python3.{digits}");
    let query = "import sysconfig, numpy; print(sysconfig.get_paths()['include']); print(numpy.get_include())";
    let output = Command::new(Path::new("/usr/bin").join(&name)).args(["-c", query]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let include = String::from_utf8(output.stdout).ok()?.lines().map(PathBuf::from).collect();
    Some(Python { boost: format!("boost_python3{digits}"), name, include, lib })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_build_names_its_toolkit_architectures_and_compiler() {
        assert_eq!(architectures("9.0\n8.6\n9.0\n[N/A]\n"), [86, 90]);
        let cuda = Cuda { root: "/opt/cuda".into(), architectures: vec![86, 90], compiler: Some("g++-11".into()) };
        let settings = Machine { cuda: Some(cuda), ..Machine::default() }.settings();
        let value = |name| settings.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.as_str());
        assert_eq!(value("CPU_ONLY"), None);
        assert_eq!(value("CUDA_DIR"), Some("/opt/cuda"));
        assert_eq!(value("CUSTOM_CXX"), Some("g++-11"));
        assert_eq!(
            value("CUDA_ARCH"),
            Some(
                "-gencode arch=compute_86,code=sm_86 \\\n\t\t-gencode arch=compute_90,code=sm_90 \\\n\t\t-gencode \
                 arch=compute_90,code=compute_90"
            )
        );
    }
}
