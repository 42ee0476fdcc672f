//! The fakes: built, found by a process of its own, and looked at from the inside.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use gfpq::cuda;
use gfpq::quant::Element as Value;
use libloading::Library;
use tempfile::TempDir;

/// A folder of folders: `driver` has the fake driver alone, `both` the compiler of CUDA 12, too; `newer` has the compiler
/// of CUDA 13, which does not know GPU 0 either, `older` one that lacks functions, and `stub` a toolkit's libcuda.so.
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
        let run = |compiler: &str, options: &[&str], source: &Path, to: &str| {
            let mut command = Command::new(compiler);
            command.args(options).args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I"]).arg(folder.path());
            command.arg("-I").arg(root.join("kernels")).arg(root.join(source)).arg("-o").arg(place(to));
            assert!(command.status().unwrap().success(), "{source:?}");
        };
        let options = ["-std=c++11", "-Wno-unknown-pragmas"];
        run("g++", &options, "tests/cuda/fake_cuda.cpp".as_ref(), "driver/libcuda.so.1");
        fs::copy(place("driver/libcuda.so.1"), place("both/libcuda.so.1")).unwrap();
        let nvrtc = Path::new("tests/cuda/fake_nvrtc.c");
        run("gcc", &["-DMAJOR=12", "-DNEWEST=90"], nvrtc, "both/libnvrtc.so.12");
        run("gcc", &["-DMAJOR=13", "-DNEWEST=120"], nvrtc, "newer/libnvrtc.so.13");
        run("gcc", &[], &place("older.c"), "older/libnvrtc.so.13");
        run("gcc", &["-Wl,-soname,libcuda.so.1"], &place("stub.c"), "stub/libcuda.so");
        folder
    };
    BUILT.get_or_init(build).path()
}

/// Folders of the fakes, as LD_LIBRARY_PATH wants them.
pub fn library_path(names: &str) -> OsString {
    env::join_paths(names.split(' ').filter(|name| !name.is_empty()).map(|name| fakes().join(name))).unwrap()
}

/// Runs a scenario in a process of its own, with these folders of the fakes; its output, and the driver's log.
pub fn run(scenario: &str, folders: &str, variables: &[(&str, &str)]) -> (String, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "fake::child", "--ignored", "--nocapture"]);
    command.env("SCENARIO", scenario).env("FAKE_CUDA_LOG", log.path()).envs(variables.iter().copied());
    if !folders.is_empty() {
        command.env("LD_LIBRARY_PATH", library_path(folders));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{scenario}: {text}");
    (text, fs::read_to_string(log.path()).unwrap())
}

/// The fake driver, from the inside.
pub struct Fake {
    library: Library,
}

impl Fake {
    pub fn load() -> Fake {
        // SAFETY: our own library.
        Fake { library: unsafe { Library::new("libcuda.so.1") }.unwrap() }
    }

    pub fn allocate(&self, bytes: usize, kind: i32, device: i32) -> u64 {
        // SAFETY: the function's type.
        unsafe {
            self.library.get::<unsafe extern "C" fn(usize, i32, i32) -> u64>(b"FakeAllocate").unwrap()(
                bytes, kind, device,
            )
        }
    }

    pub fn make_current(&self, device: i32) {
        let mut context = 0usize;
        // SAFETY: the functions' types.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut usize, i32) -> i32>(b"cuDevicePrimaryCtxRetain").unwrap()(
                &raw mut context,
                device,
            );
            self.library.get::<unsafe extern "C" fn(usize) -> i32>(b"cuCtxPushCurrent_v2").unwrap()(context);
        }
    }

    pub fn current(&self) -> usize {
        let mut context = 0usize;
        // SAFETY: the function's type.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut usize) -> i32>(b"cuCtxGetCurrent").unwrap()(&raw mut context)
        };
        context
    }

    pub fn reset(&self, device: i32) {
        // SAFETY: the function's type.
        unsafe { self.library.get::<unsafe extern "C" fn(i32)>(b"FakeReset").unwrap()(device) }
    }

    pub fn synchronize(&self, stream: u64) {
        // SAFETY: the function's type.
        let code =
            unsafe { self.library.get::<unsafe extern "C" fn(u64) -> i32>(b"cuStreamSynchronize").unwrap()(stream) };
        assert_eq!(code, 0);
    }

    /// GPU memory with these values, `shift` of them into a block, and seven behind them that must stay.
    pub fn put<T: Value>(&self, values: &[T], shift: usize, device: i32) -> &'static mut [T] {
        let address = self.allocate((values.len() + shift + 7) * size_of::<T>(), 2, device);
        // SAFETY: memory just allocated and never freed, of which all is written.
        let block = unsafe { std::slice::from_raw_parts_mut(address as *mut T, values.len() + shift + 7) };
        block.fill(T::from_f64(7.0));
        block[shift..shift + values.len()].copy_from_slice(values);
        block
    }
}
