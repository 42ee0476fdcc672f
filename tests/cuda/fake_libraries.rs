//! The fake driver and the fake NVRTC: builds them, starts processes that find them, and calls the driver's own
//! functions.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use gfpq::cuda;
use gfpq::quant::Element as Value;
use libloading::Library;
use tempfile::TempDir;

/// The folder of the libraries' folders: `driver` has the fake driver; `both` has it and a fake NVRTC 12; `newer` has
/// an NVRTC 13, which knows neither GPU; `older` has an NVRTC that lacks functions; `stub` has a toolkit's stub
/// libcuda.so.
fn fakes() -> &'static Path {
    static BUILT: OnceLock<TempDir> = OnceLock::new();
    let build = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &str| folder.path().join(path);
        for name in ["driver", "both", "newer", "older", "stub"] {
            fs::create_dir(place(name)).unwrap();
        }
        fs::write(place("gfpq_tables.cuh"), cuda::source::tables()).unwrap();
        fs::write(place("older.c"), "int nvrtcVersion(int *a, int *b) { *a = *b = 9; return 0; }").unwrap();
        fs::write(place("stub.c"), "int cuInit(unsigned int flags) { return flags == 0 ? 34 : 1; }").unwrap();
        let run = |compiler: &str, options: &[&str], sources: &[PathBuf], to: &str| {
            let mut command = Command::new(compiler);
            command.args(options).args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I"]).arg(folder.path());
            command.arg("-I").arg(root.join("kernels")).args(sources).arg("-o").arg(place(to));
            assert!(command.status().unwrap().success(), "{sources:?}");
        };

        let source = |name: &str| root.join("tests/cuda/fakes").join(name);
        let options = ["-std=c++11", "-Wno-unknown-pragmas"];
        run("g++", &options, &[source("driver.cpp"), source("driver_kernels.cpp")], "driver/libcuda.so.1");
        fs::copy(place("driver/libcuda.so.1"), place("both/libcuda.so.1")).unwrap();
        run("gcc", &["-DMAJOR=12", "-DNEWEST=90"], &[source("nvrtc.c")], "both/libnvrtc.so.12");
        run("gcc", &["-DMAJOR=13", "-DNEWEST=120"], &[source("nvrtc.c")], "newer/libnvrtc.so.13");
        run("gcc", &[], &[place("older.c")], "older/libnvrtc.so.13");
        run("gcc", &["-Wl,-soname,libcuda.so.1"], &[place("stub.c")], "stub/libcuda.so");
        folder
    };
    BUILT.get_or_init(build).path()
}

/// The value of LD_LIBRARY_PATH for folders of the fakes, given as names separated by spaces.
pub(crate) fn library_path(names: &str) -> OsString {
    env::join_paths(names.split(' ').filter(|name| !name.is_empty()).map(|name| fakes().join(name))).unwrap()
}

/// Runs a scenario in a child process with these folders of the fakes and environment variables. Returns the child's
/// output and the fake driver's log.
pub(crate) fn run(scenario: &str, folders: &str, variables: &[(&str, &str)]) -> (String, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]);
    command.env("SCENARIO", scenario).env("FAKE_CUDA_LOG", log.path()).envs(variables.iter().copied());
    if !folders.is_empty() {
        command.env("LD_LIBRARY_PATH", library_path(folders));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{scenario}: {text}");
    (text, fs::read_to_string(log.path()).unwrap())
}

/// The fake driver of this process, for tests to call directly.
pub(crate) struct Fake {
    library: Library,
}

impl Fake {
    pub(crate) fn load() -> Fake {
        // SAFETY: the library is our own.
        Fake { library: unsafe { Library::new("libcuda.so.1") }.unwrap() }
    }

    /// The address of new memory on a GPU: pinned (kind 1) or the GPU's own (kind 2).
    pub(crate) fn allocate(&self, bytes: usize, kind: i32, device: i32) -> u64 {
        // SAFETY: the type is the function's.
        unsafe {
            self.library.get::<unsafe extern "C" fn(usize, i32, i32) -> u64>(b"FakeAllocate").unwrap()(
                bytes, kind, device,
            )
        }
    }

    /// Makes the GPU's primary context current in this thread.
    pub(crate) fn make_current(&self, device: i32) {
        let mut context = 0usize;
        // SAFETY: the types are the functions'.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut usize, i32) -> i32>(b"cuDevicePrimaryCtxRetain").unwrap()(
                &raw mut context,
                device,
            );
            self.library.get::<unsafe extern "C" fn(usize) -> i32>(b"cuCtxPushCurrent_v2").unwrap()(context);
        }
    }

    /// The thread's current context, 0 for none.
    pub(crate) fn current(&self) -> usize {
        let mut context = 0usize;
        // SAFETY: the type is the function's.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut usize) -> i32>(b"cuCtxGetCurrent").unwrap()(&raw mut context)
        };
        context
    }

    /// Resets the GPU's primary context.
    pub(crate) fn reset(&self, device: i32) {
        // SAFETY: the type is the function's.
        unsafe { self.library.get::<unsafe extern "C" fn(i32)>(b"FakeReset").unwrap()(device) }
    }

    /// Waits for the stream.
    pub(crate) fn synchronize(&self, stream: u64) {
        // SAFETY: the type is the function's.
        let code =
            unsafe { self.library.get::<unsafe extern "C" fn(u64) -> i32>(b"cuStreamSynchronize").unwrap()(stream) };
        assert_eq!(code, 0);
    }

    /// New GPU memory with these values after `shift` others, followed by seven more. The other values are 7.
    pub(crate) fn put<T: Value>(&self, values: &[T], shift: usize, device: i32) -> &'static mut [T] {
        let address = self.allocate((values.len() + shift + 7) * size_of::<T>(), 2, device);
        // SAFETY: the memory is just allocated and never freed; floats of any bits are valid, and all are written here.
        let block = unsafe { std::slice::from_raw_parts_mut(address as *mut T, values.len() + shift + 7) };
        block.fill(T::from_f64(7.0));
        block[shift..shift + values.len()].copy_from_slice(values);
        block
    }
}
