//! The launcher and the kernels on a fake driver whose GPUs are the CPU (`fakes/driver.cpp`): what they compute, and
//! which calls they make to the driver.
//!
//! Each test starts this program as a child process with the fakes in its library path, where `child` runs one
//! scenario.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use gfpq::cuda::{self, Element, Tensor, threads_and_tile};
use gfpq::quant::{Bits as Width, Element as Value, Mode, Param, quantise_into};

use crate::fake_libraries::{Fake, library_path, run};
use crate::random::Bits;

/// The handle of the stream that calls are made on.
const STREAM: u64 = 0x5eed;

/// Runs the scenario of this name. False if there is none.
pub(crate) fn scenario(name: &str) -> bool {
    match name {
        "bits" => bits(),
        "range" => range(),
        "current" => current(),
        "threads" => threads(),
        "streams" => streams(),
        "reset" => reset(),
        _ => return false,
    }
    true
}

/// The CPU's element types with their counterparts on the GPU.
trait Named: Value {
    const ELEMENT: Element;
}

impl Named for f32 {
    const ELEMENT: Element = Element::Float;
}

impl Named for f64 {
    const ELEMENT: Element = Element::Double;
}

/// A job for the GPU on these slices of the fake driver's memory.
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

/// The values as bit patterns, so that NaN equals itself and 0.0 differs from -0.0.
fn patterns<T: Value>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// Counts around the tile size at several alignments, in every mode, in place and out of place: the results are the
/// CPU's, and nothing else is written.
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
                    // SAFETY: the addresses are memory of the fake driver.
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
                    // SAFETY: the addresses are memory of the fake driver.
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
fn the_kernels_compute_what_the_cpu_computes() {
    let (_, log) = run("bits", "both", &[]);
    // More than 40 tiles on a GPU that runs 16 blocks at a time.
    assert!(log.contains("launch gfpq_range_float_8 on 0, 16 blocks, stream 0x5eed"), "{log:.3000}");
    assert!(log.contains("launch gfpq_apply_double_16 on 0, 3 blocks, stream 0x5eed"), "{log:.3000}");
    let ways: BTreeMap<&str, usize> =
        log.lines().filter(|line| line.starts_with("load")).fold(BTreeMap::new(), |mut ways, line| {
            *ways.entry(line).or_default() += 1;
            ways
        });
    assert_eq!(ways, BTreeMap::from([("load machine on 0", 1)]));
    // The pool reuses its one piece of scratch memory for all calls.
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
        // SAFETY: the addresses are memory of the fake driver.
        unsafe { cuda::quantise_with_range(&job, range as u64) }.unwrap();
        assert!(destination[..batch.len()].iter().all(|&x| x == 9.0), "the call must not wait");
        // SAFETY: the allocation above, which the GPU has not written yet.
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
fn a_range_in_gpu_memory_grows_without_waiting_for_the_gpu() {
    let (_, log) = run("range", "both", &[]);
    assert_eq!(log.matches("synchronize").count(), 4, "only the test itself waits: {log}");
    assert!(!log.contains("read"), "{log}");
    assert_eq!(log.matches("launch").count(), 8);
    // The fake NVRTC does not know GPU 1's architecture, 8.6.
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
    // SAFETY: the addresses are memory of the fake driver.
    let call = |job: &Tensor| unsafe { cuda::quantise(job, Mode::Init, &mut Param::default(), true) };
    // A thread without a context works on the pointer's GPU, and has no context afterwards.
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
fn a_call_works_in_the_current_context_and_refuses_other_memory() {
    let (text, log) = run("current", "both", &[]);
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
                    // SAFETY: the addresses are memory of the fake driver.
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
fn threads_on_two_gpus_do_not_disturb_one_another() {
    let (_, log) = run("threads", "both", &[]);
    assert_eq!(log.matches("load").count(), 2, "{log}");
}

/// Returns a function that quantises three values on GPU 0 on the given stream, without waiting.
fn call_on(fake: &Fake) -> impl Fn(u64) {
    fake.make_current(0);
    let data = fake.put(&[1.0f32, 2.0, 3.0], 0, 0).as_ptr() as u64;
    move |stream| {
        let job =
            Tensor { source: data, destination: data, stream, ..tensor(&[0.0f32; 3], &mut [0.0; 3], Width::Eight) };
        // SAFETY: the addresses are memory of the fake driver.
        unsafe { cuda::quantise(&job, Mode::Init, &mut Param::default(), false) }.unwrap();
    }
}

fn streams() {
    let fake = Fake::load();
    let call = call_on(&fake);
    call(0xa);
    call(0xb);
    call(0xa);
    fake.synchronize(0xa);
    call(0xc);
}

#[test]
fn streams_do_not_wait_for_one_another() {
    let (_, log) = run("streams", "both", &[]);
    assert_eq!(log.matches("allocate").count(), 2, "{log}");
    let waits: Vec<&str> = log.lines().filter(|line| line.starts_with("wait")).collect();
    // The third call reuses the first one's scratch memory, and the last call a piece whose kernels have run.
    assert_eq!(waits, ["wait on stream 0xa", "wait on stream 0xc"], "{log}");
}

fn reset() {
    let fake = Fake::load();
    let call = call_on(&fake);
    call(STREAM);
    call(STREAM);
    fake.reset(0);
    call(STREAM);
}

#[test]
fn a_context_that_is_reset_gets_new_kernels() {
    // The second time with a driver that does not number its contexts.
    for list in ["", "cuCtxGetId=500"] {
        let (_, log) = run("reset", "both", &[("FAKE_CUDA_FAIL", list)]);
        assert_eq!(log.matches("load machine").count(), 2, "{log}");
    }
}

/// The tests for real GPUs, through the C++ interface of the packaged library.
#[test]
fn the_tests_for_a_real_gpu_pass_on_the_fake_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = env::var("CARGO_TARGET_DIR").map_or_else(|_| root.join("target"), PathBuf::from);
    let library = target.join("dist/GFPQLibs/lib/libgfpq.so.1");
    if !library.exists() {
        eprintln!("SKIPPED: no {}: scripts/package.sh builds it", library.display());
        return;
    }
    for (script, expected) in [("tests/python/test_gpu.py", "OK"), ("scripts/bench_gpu.py", "| float64 | 16 | INIT |")]
    {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(root.join(script)).current_dir(root).env("PYTHONPATH", root.join("scripts"));
        command.env("GFPQ_LIB", &library).env("LD_LIBRARY_PATH", library_path("both")).env("GFPQ_SHORT", "1");
        if script.ends_with("bench_gpu.py") {
            command.args(["--count", "4096", "--repeat", "2"]);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && text.contains(expected) && !text.contains("SKIPPED"), "{script}: {text}");
    }
}
