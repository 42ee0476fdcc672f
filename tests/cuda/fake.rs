//! The launcher and the kernels with a driver whose GPUs are the CPU (`fake_cuda.cpp`): what they compute, what they ask
//! of the driver, and what they say when it refuses.
//!
//! Each test is a process of its own, this very program with the fakes in its library path and `child` as its only test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

use gfpq::cuda::{self, Element, Tensor, threads_and_tile};
use gfpq::quant::{Bits as Width, Element as Value, Mode, Param, quantise_into};
use libloading::Library;
use tempfile::TempDir;

use crate::random::Bits;

const STREAM: u64 = 0x5eed;

/// Folders with the fake driver alone, and with the fake compiler, too.
fn fakes() -> &'static (PathBuf, PathBuf) {
    static BUILT: OnceLock<(TempDir, (PathBuf, PathBuf))> = OnceLock::new();
    let build = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = tempfile::tempdir().unwrap();
        let [driver, both] = ["driver", "both"].map(|name| folder.path().join(name));
        fs::create_dir(&driver).unwrap();
        fs::create_dir(&both).unwrap();
        fs::write(folder.path().join("gfpq_tables.cuh"), cuda::source::tables()).unwrap();
        let run = |compiler: &str, options: &[&str], source: &str, to: &Path| {
            let mut command = Command::new(compiler);
            command.args(options).args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-I"]).arg(folder.path());
            command.arg("-I").arg(root.join("kernels")).arg(root.join(source)).arg("-o").arg(to);
            assert!(command.status().unwrap().success(), "{source}");
        };
        let options = ["-std=c++11", "-Wno-unknown-pragmas"];
        run("g++", &options, "tests/cuda/fake_cuda.cpp", &driver.join("libcuda.so.1"));
        fs::copy(driver.join("libcuda.so.1"), both.join("libcuda.so.1")).unwrap();
        run("gcc", &[], "tests/cuda/fake_nvrtc.c", &both.join("libnvrtc.so.12"));
        (folder, (driver, both))
    };
    &BUILT.get_or_init(build).1
}

/// Runs a scenario in a process of its own; its output, and the driver's log.
fn run(scenario: &str, folder: Option<&Path>, variables: &[(&str, &str)]) -> (String, String) {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "fake::child", "--ignored", "--nocapture"]);
    command.env("SCENARIO", scenario).env("FAKE_CUDA_LOG", log.path()).envs(variables.iter().copied());
    if let Some(folder) = folder {
        command.env("LD_LIBRARY_PATH", folder);
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{scenario}: {text}");
    (text, fs::read_to_string(log.path()).unwrap())
}

#[test]
#[ignore = "what the other tests run"]
fn child() {
    // Run with all ignored tests it has nothing to do.
    match env::var("SCENARIO").unwrap_or_default().as_str() {
        "" => {}
        "bits" => bits(),
        "range" => range(),
        "current" => current(),
        "threads" => threads(),
        "refused" => refused(),
        other => panic!("no scenario {other}"),
    }
}

/// The fake driver, from the inside.
struct Fake {
    library: Library,
}

impl Fake {
    fn load() -> Fake {
        // SAFETY: our own library.
        Fake { library: unsafe { Library::new("libcuda.so.1") }.unwrap() }
    }

    fn allocate(&self, bytes: usize, kind: i32, device: i32) -> u64 {
        // SAFETY: the function's type.
        unsafe {
            self.library.get::<unsafe extern "C" fn(usize, i32, i32) -> u64>(b"FakeAllocate").unwrap()(
                bytes, kind, device,
            )
        }
    }

    fn make_current(&self, device: i32) {
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

    fn current(&self) -> usize {
        let mut context = 0usize;
        // SAFETY: the function's type.
        unsafe {
            self.library.get::<unsafe extern "C" fn(*mut usize) -> i32>(b"cuCtxGetCurrent").unwrap()(&raw mut context)
        };
        context
    }

    fn synchronize(&self, stream: u64) {
        // SAFETY: the function's type.
        let code =
            unsafe { self.library.get::<unsafe extern "C" fn(u64) -> i32>(b"cuStreamSynchronize").unwrap()(stream) };
        assert_eq!(code, 0);
    }

    /// GPU memory with these values, `shift` of them into a block, and seven behind them that must stay.
    fn put<T: Value>(&self, values: &[T], shift: usize, device: i32) -> &'static mut [T] {
        let address = self.allocate((values.len() + shift + 7) * size_of::<T>(), 2, device);
        // SAFETY: memory just allocated and never freed, of which all is written.
        let block = unsafe { std::slice::from_raw_parts_mut(address as *mut T, values.len() + shift + 7) };
        block.fill(T::from_f64(7.0));
        block[shift..shift + values.len()].copy_from_slice(values);
        block
    }
}

trait Named: Value {
    const ELEMENT: Element;
}

impl Named for f32 {
    const ELEMENT: Element = Element::Float;
}

impl Named for f64 {
    const ELEMENT: Element = Element::Double;
}

fn tensor<T: Named>(source: &[T], destination: &mut [T], bits: Width) -> Tensor {
    assert_eq!(source.len(), destination.len());
    Tensor {
        element: T::ELEMENT,
        source: source.as_ptr() as u64,
        destination: destination.as_mut_ptr() as u64,
        count: source.len() as u64,
        bits,
        nonfinite: 0,
        stream: STREAM,
    }
}

fn patterns<T: Value>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// Every count and alignment, in place and not, in every mode: what the CPU computes, and nothing else is written.
fn bits() {
    fn check<T: Named>(fake: &Fake) {
        let tile = threads_and_tile().1 as usize / size_of::<T>();
        let counts = [0, 1, 3, 17, 1000, tile - 1, tile, tile + 5, 2 * tile + 1, 40 * tile + 9];
        for (i, count) in counts.into_iter().enumerate() {
            for (from, to) in [(0, 0), (1, 1), (3, 3), (0, 1), (2, 3)] {
                let seed = (i * 16 + from * 4 + to) as u64;
                let values: Vec<T> = Bits(seed).tensor(count).into_iter().map(T::from_f64).collect();
                let bits = if seed.is_multiple_of(2) { Width::Eight } else { Width::Sixteen };
                let calls = [
                    (Mode::Init, 3),
                    (Mode::Update, -300),
                    (Mode::Update, 20_000),
                    (Mode::ApplyOnly, -90),
                    (Mode::ApplyOnly, -20_000),
                ];
                for (mode, before) in calls {
                    let source = fake.put(&values, from, 0);
                    let destination = fake.put(&vec![T::from_f64(9.0); count], to, 0);
                    let (mut expected, mut ours, mut theirs) =
                        (values.clone(), Param { delta: before }, Param { delta: before });
                    quantise_into(&values, &mut expected, bits, mode, &mut ours).unwrap();
                    let job = tensor(&source[from..from + count], &mut destination[to..to + count], bits);
                    // SAFETY: memory of the fake driver.
                    unsafe { cuda::quantise(&job, mode, &mut theirs, true) }.unwrap();
                    fake.synchronize(STREAM);
                    assert_eq!(theirs, ours, "{seed} {mode:?}");
                    assert_eq!(patterns(&destination[to..to + count]), patterns(&expected), "{seed} {mode:?}");
                    assert_eq!(patterns(&source[from..from + count]), patterns(&values));
                    let around = destination[..to].iter().chain(&destination[to + count..]);
                    assert!(around.map(|x| x.to_f64()).all(|x| x == 7.0), "{seed} {mode:?}");

                    let mut theirs = Param { delta: before };
                    let place = &mut source[from..from + count];
                    let address = place.as_mut_ptr() as u64;
                    let job = Tensor { source: address, destination: address, ..job };
                    // SAFETY: memory of the fake driver.
                    unsafe { cuda::quantise(&job, mode, &mut theirs, false) }.unwrap();
                    fake.synchronize(STREAM);
                    assert_eq!(patterns(place), patterns(&expected), "{seed} {mode:?} in place");
                }
            }
        }
    }
    let fake = Fake::load();
    fake.make_current(0);
    check::<f32>(&fake);
    check::<f64>(&fake);
}

#[test]
fn the_kernels_compute_what_the_cpu_does() {
    let (_, log) = run("bits", Some(&fakes().1), &[]);
    // 40 tiles and some on a GPU that holds 16 blocks at a time.
    assert!(log.contains("launch gfpq_range_float_8 on 0, 16 blocks, stream 0x5eed"), "{log:.3000}");
    assert!(log.contains("launch gfpq_apply_double_16 on 0, 3 blocks, stream 0x5eed"), "{log:.3000}");
    let ways: BTreeMap<&str, usize> =
        log.lines().filter(|line| line.starts_with("load")).fold(BTreeMap::new(), |mut ways, line| {
            *ways.entry(line).or_default() += 1;
            ways
        });
    assert_eq!(ways, BTreeMap::from([("load machine on 0", 1)]));
    // The pool's one piece is used again and again.
    assert_eq!(log.matches("allocate").count(), 1);
}

fn range() {
    let fake = Fake::load();
    fake.make_current(1);
    let batches: Vec<Vec<f32>> = [9.0f32, 3.0, -18.0, f32::NAN]
        .iter()
        .map(|&last| (0..5000).map(|i| (i % 10) as f32 / 2.0).chain([last]).collect())
        .collect();
    let range = fake.allocate(8, 2, 1) as *mut f32;
    let nonfinite = fake.allocate(4, 1, 1) as *mut u32;
    // SAFETY: the allocations above.
    unsafe {
        range.write(0.0);
        range.add(1).write(4.0);
        nonfinite.write(0);
    }
    let (mut param, mut mode) = (Param::default(), Mode::Init);
    for batch in &batches {
        let source = fake.put(batch, 0, 1);
        let destination = fake.put(&vec![9.0f32; batch.len()], 0, 1);
        let job = Tensor {
            nonfinite: nonfinite as u64,
            ..tensor(&source[..batch.len()], &mut destination[..batch.len()], Width::Eight)
        };
        // SAFETY: memory of the fake driver.
        unsafe { cuda::quantise_with_range(&job, range as u64) }.unwrap();
        assert!(destination[..batch.len()].iter().all(|&x| x == 9.0), "the call has waited");
        // SAFETY: as above; the GPU has done nothing yet.
        assert_eq!(unsafe { nonfinite.read() }, 0);
        fake.synchronize(STREAM);
        let mut expected = batch.clone();
        quantise_into(batch, &mut expected, Width::Eight, mode, &mut param).unwrap();
        mode = Mode::Update;
        assert_eq!(patterns(&destination[..batch.len()]), patterns(&expected));
        // SAFETY: the allocation above.
        assert_eq!(unsafe { (range.read(), range.add(1).read()) }, (8.0, param.delta as f32));
    }
    // SAFETY: the allocation above.
    assert_eq!(unsafe { nonfinite.read() }, 1);
    assert_eq!(param.delta, -61);
}

#[test]
fn a_range_in_gpu_memory_grows_without_a_wait() {
    let (_, log) = run("range", Some(&fakes().1), &[]);
    assert_eq!(log.matches("synchronize").count(), 4, "the test's own alone: {log}");
    assert!(!log.contains("read"), "{log}");
    assert_eq!(log.matches("launch").count(), 8);
    // NVRTC does not know GPU 1's architecture, 8.6.
    assert!(log.contains("load ptx on 1"), "{log}");
}

fn current() {
    let fake = Fake::load();
    let values = [1.0f32, 2.0, 3.0];
    let on = |device| {
        let data = fake.put(&values, 0, device);
        let job = Tensor { stream: 0, ..tensor(&data[..3], &mut [0.0; 3], Width::Eight) };
        Tensor { destination: job.source, ..job }
    };
    // SAFETY: memory of the fake driver.
    let call = |job: &Tensor| unsafe { cuda::quantise(job, Mode::Init, &mut Param::default(), true) };
    // A thread without a context works on the pointer's GPU, and has none afterwards.
    call(&on(1)).unwrap();
    assert_eq!(fake.current(), 0);
    fake.make_current(0);
    let before = fake.current();
    call(&on(0)).unwrap();
    println!("{}", call(&on(1)).unwrap_err());
    let cpu = Tensor { source: values.as_ptr() as u64, destination: values.as_ptr() as u64, ..on(0) };
    println!("{}", call(&cpu).unwrap_err());
    let pinned = Tensor { destination: fake.allocate(12, 1, 0), ..on(0) };
    call(&pinned).unwrap();
    assert_eq!(fake.current(), before);
}

#[test]
fn contexts_and_pointers() {
    let (text, log) = run("current", Some(&fakes().1), &[]);
    assert!(text.contains("data is on GPU 1 and the current GPU is 0: call cudaSetDevice(1) first"), "{text}");
    assert!(text.contains("data is in CPU memory: a GPU call takes GPU memory"), "{text}");
    assert_eq!(log.matches("load ptx on 1").count(), 1, "{log}");
    assert_eq!(log.matches("load machine on 0").count(), 1, "{log}");
}

fn threads() {
    let fake = Fake::load();
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let fake = &fake;
            scope.spawn(move || {
                let device = thread as i32 % 2;
                fake.make_current(device);
                for round in 0..10 {
                    let values: Vec<f32> =
                        Bits(thread * 100 + round).tensor(3000).into_iter().map(|x| x as f32).collect();
                    let source = fake.put(&values, 0, device);
                    let destination = fake.put(&values, 0, device);
                    let job =
                        Tensor { stream: thread, ..tensor(&source[..3000], &mut destination[..3000], Width::Sixteen) };
                    let (mut ours, mut theirs, mut expected) = (Param::default(), Param::default(), values.clone());
                    // SAFETY: memory of the fake driver.
                    unsafe { cuda::quantise(&job, Mode::Init, &mut theirs, true) }.unwrap();
                    quantise_into(&values, &mut expected, Width::Sixteen, Mode::Init, &mut ours).unwrap();
                    assert_eq!(theirs, ours);
                    assert_eq!(patterns(&destination[..3000]), patterns(&expected));
                }
            });
        }
    });
}

#[test]
fn many_threads_on_two_gpus() {
    let (_, log) = run("threads", Some(&fakes().1), &[]);
    assert_eq!(log.matches("load").count(), 2, "{log}");
}

fn refused() {
    let address = match Path::new(&env::var("LD_LIBRARY_PATH").unwrap_or_default()).join("libcuda.so.1").exists() {
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
    // SAFETY: memory of the fake driver, or none that is touched.
    match unsafe { cuda::quantise(&job, Mode::Init, &mut Param::default(), true) } {
        Ok(()) => println!("success"),
        Err(error) => println!("refused: {error}"),
    }
}

#[test]
fn every_refusal_says_why_and_what_to_do() {
    let (driver, both) = fakes();
    let says = |folder: Option<&Path>, variables: &[(&str, &str)], expected: &str| {
        let (text, log) = run("refused", folder, variables);
        assert!(text.contains(expected), "{variables:?}: {text}\n{log}");
    };
    let fails = |list: &str, expected: &str| says(Some(both), &[("FAKE_CUDA_FAIL", list)], expected);
    if cuda::devices().is_err() {
        says(None, &[], "no NVIDIA driver (libcuda.so.1) on this machine: install it, or use CPU mode");
    }
    fails("cuInit=100", "the NVIDIA driver sees no GPU: check nvidia-smi");
    fails("cuInit=34", "libcuda.so is the CUDA toolkit's stub");
    fails("cuInit=999", "starting CUDA: the NVIDIA driver reports CUDA_ERROR_UNKNOWN (fake error 999)");
    fails("cuMemAlloc=2", "out of GPU memory: stop what else uses this GPU");
    fails("cuLaunchKernel=719", "starting a kernel: the NVIDIA driver reports CUDA_ERROR_LAUNCH_FAILED");
    fails("cuStreamSynchronize=700", "waiting for the GPU: the NVIDIA driver reports CUDA_ERROR_ILLEGAL_ADDRESS");
    fails("cuCtxGetCurrent=3", "one forked after its first CUDA call cannot use the GPU");
    // Machine code that the driver refuses, then PTX.
    fails("machine=200", "success");
    fails(
        "machine=200,ptx=222",
        "no kernels for this GPU (compute capability 9.0): the driver refuses what NVRTC made \
         (CUDA_ERROR_INVALID_IMAGE); and the driver, of CUDA 12.4, refuses the PTX built in: \
         CUDA_ERROR_UNSUPPORTED_PTX_VERSION. Update the driver",
    );
    says(Some(both), &[("FAKE_NVRTC_FAIL", "1")], "success");
    says(
        Some(both),
        &[("FAKE_NVRTC_FAIL", "1"), ("FAKE_CUDA_FAIL", "ptx=222")],
        "NVRTC 12.4 fails with code 6: quantise.cu(1): error: as asked for",
    );
    if cuda::nvrtc::Nvrtc::find().is_err() {
        says(Some(driver), &[], "success");
        says(Some(driver), &[("FAKE_CUDA_FAIL", "ptx=218")], "no NVRTC (libnvrtc.so) on this machine; and the driver");
    } else {
        eprintln!("SKIPPED: this machine has an NVRTC, so how it is without one is not tried");
    }
}

/// The tests for real GPUs, and what they are called through: the C++ interface of the library as it is shipped.
#[test]
fn the_tests_for_a_real_gpu_pass_on_this_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from);
    let library = target.join("dist/GFPQLibs/lib/libgfpq.so.1");
    if !library.exists() {
        eprintln!("SKIPPED: no {}: scripts/package.sh makes it", library.display());
        return;
    }
    for (script, expected) in [("tests/python/test_gpu.py", "OK"), ("scripts/bench_gpu.py", "| float64 | 16 | INIT |")]
    {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root.join(script)).current_dir(root).env("PYTHONPATH", root.join("scripts"));
        command.env("GFPQ_LIB", &library).env("LD_LIBRARY_PATH", &fakes().1).env("GFPQ_SHORT", "1");
        if script.ends_with("bench_gpu.py") {
            command.args(["--count", "4096", "--repeat", "2"]);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && text.contains(expected) && !text.contains("SKIPPED"), "{script}: {text}");
    }
}
