//! The settings of Makefile.config that suit a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::nvcc::{Cuda, HostCompiler};

/// The compilers and libraries on a machine that Caffe's build can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The CUDA installation; `None` for a build without GPU.
    pub cuda: Option<Cuda>,
    /// The value for BLAS: `atlas`, `open` or `mkl`.
    pub blas: Option<&'static str>,
    /// The Python 3 that the machine's boost_python library was built for.
    pub python: Option<Python>,
    /// The folders of HDF5's headers and of its libraries, if the compiler does not search them by default.
    pub hdf5: Option<(PathBuf, PathBuf)>,
    /// The major version of OpenCV; `None` if OpenCV is not installed.
    pub opencv: Option<u32>,
    /// Whether LMDB is installed.
    pub lmdb: bool,
    /// Whether LevelDB and Snappy are installed.
    pub leveldb: bool,
}

/// A Python 3 with NumPy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    /// The name of Boost's library for it, such as `boost_python311`.
    pub boost: String,
    /// The name of its program and library, such as `python3.11`.
    pub name: String,
    /// The folders of Python.h and numpy/arrayobject.h.
    pub include: Vec<PathBuf>,
    /// The folder of its library.
    pub lib: PathBuf,
}

impl Machine {
    /// Examines this machine: looks into the usual folders and runs nvcc and python3.
    pub fn detect() -> Machine {
        let library_dirs = library_dirs();
        let has_library = |name: &str| library_dirs.iter().any(|dir| dir.join(format!("lib{name}.so")).exists());
        let has_header = |name: &str| header(name).is_some();
        Machine {
            cuda: Cuda::detect(),
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

    /// Variables of Makefile.config with their values for this machine.
    pub(in crate::patch) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        match &self.cuda {
            None => settings.push(("CPU_ONLY", "1".into())),
            Some(cuda) => {
                settings.push(("CUDA_DIR", cuda.root.display().to_string()));
                if !cuda.known.is_empty() {
                    settings.push(("CUDA_ARCH", cuda.gencode()));
                }
                if let HostCompiler::Named(name) | HostCompiler::Missing(Some(name)) = &cuda.compiler {
                    settings.push(("CUSTOM_CXX", name.clone()));
                }
            }
        }

        // Caffe's sources use names that OpenCV 4 removed.
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

/// The folders in which the linker searches libraries.
fn library_dirs() -> Vec<PathBuf> {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [multiarch.as_str(), "/usr/lib64", "/usr/lib", "/usr/local/lib"].map(PathBuf::from).into()
}

/// The path of a header in the folders that the compiler searches.
fn header(name: &str) -> Option<PathBuf> {
    ["/usr/include", "/usr/local/include"].iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists())
}

/// The major version that OpenCV's version.hpp defines.
fn opencv_major(version_header: &Path) -> Option<u32> {
    let text = std::fs::read_to_string(version_header).ok()?;
    let line = text.lines().find(|line| line.contains("CV_VERSION_MAJOR") || line.contains("CV_VERSION_EPOCH"))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Finds the Python whose version is in the name of Boost's library, and asks it for its include folders.
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
    fn a_gpu_build_sets_toolkit_architectures_and_compiler() {
        let cuda = Cuda {
            root: "/opt/cuda".into(),
            version: "11.8".into(),
            known: vec![86],
            gpus: Vec::new(),
            compiler: HostCompiler::Named("g++-11".into()),
        };
        let settings = Machine { cuda: Some(cuda), ..Machine::default() }.settings();
        let value = |name| settings.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.as_str());
        assert_eq!(value("CPU_ONLY"), None);
        assert_eq!(value("CUDA_DIR"), Some("/opt/cuda"));
        assert_eq!(value("CUSTOM_CXX"), Some("g++-11"));
        assert!(value("CUDA_ARCH").is_some_and(|list| list.starts_with("-gencode arch=compute_86,code=sm_86")));
    }
}
