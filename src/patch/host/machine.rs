//! The settings of Makefile.config that suit a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::nvcc::{Cuda, HostCompiler};
use super::opencv::OpenCv;

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
    /// The OpenCV installation; `None` for a build without images.
    pub opencv: Option<OpenCv>,
    /// Whether LMDB is installed.
    pub lmdb: bool,
    /// Whether LevelDB and Snappy are installed.
    pub leveldb: bool,
    /// Whether the compiler finds cudnn.h, in the CUDA installation or elsewhere.
    pub cudnn: bool,
    /// Whether the compiler finds nccl.h.
    pub nccl: bool,
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
        let cuda = Cuda::detect();
        let has_cuda_header = |name: &str| cuda.as_ref().is_some_and(|cuda| has_cuda_header(cuda, name));
        Machine {
            cudnn: has_cuda_header("cudnn.h"),
            nccl: has_cuda_header("nccl.h"),
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
            opencv: OpenCv::detect(),
            lmdb: has_header("lmdb.h") && has_library("lmdb"),
            leveldb: has_header("leveldb/db.h") && has_library("leveldb") && has_library("snappy"),
            cuda,
        }
    }

    /// Variables of Makefile.config with their values for this machine, but for those of [`Machine::missing`].
    pub(in crate::patch) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if let Some(cuda) = &self.cuda {
            settings.push(("CUDA_DIR", cuda.root.display().to_string()));
            if !cuda.known.is_empty() {
                settings.push(("CUDA_ARCH", cuda.gencode()));
            }
            if let HostCompiler::Named(name) | HostCompiler::Missing(Some(name)) = &cuda.compiler {
                settings.push(("CUSTOM_CXX", name.clone()));
            }
        }

        // Makefiles know no OPENCV_VERSION 4; what they link for 3 is right for 4, too.
        if self.opencv.as_ref().is_some_and(|opencv| opencv.major >= 3) {
            settings.push(("OPENCV_VERSION", "3".into()));
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

        if let Some(folder) = self.opencv.as_ref().and_then(|opencv| opencv.include.as_ref()) {
            include.push(folder.display().to_string());
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

/// Whether a header that belongs to CUDA is in its installation or in a folder that the compiler searches.
fn has_cuda_header(cuda: &Cuda, name: &str) -> bool {
    let multiarch = format!("{}-linux-gnu/{name}", std::env::consts::ARCH);
    cuda.root.join("include").join(name).exists() || header(name).is_some() || header(&multiarch).is_some()
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

    #[test]
    fn opencv_4_stays_on_and_its_folder_is_searched() {
        let opencv = OpenCv { major: 4, include: Some("/opt/include/opencv4".into()) };
        let settings = Machine { opencv: Some(opencv), ..Machine::default() }.settings();
        let value = |name| settings.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.as_str());
        assert_eq!(value("OPENCV_VERSION"), Some("3"));
        assert_eq!(value("INCLUDE_DIRS"), Some("$(PYTHON_INCLUDE) /usr/local/include /opt/include/opencv4"));

        let opencv = OpenCv { major: 2, include: None };
        let settings = Machine { opencv: Some(opencv), ..Machine::default() }.settings();
        assert!(settings.iter().all(|(variable, _)| *variable != "OPENCV_VERSION"));
    }
}
