//! Tensors large enough for helper threads: shared in parts, from many threads at once, and in a forked child.

use std::process::Command;

use gfpq::quant::{Bits as Width, Element, Mode, Param, delta_of, formula, quantise, quantise_into};

use crate::Bits;

const LEN: usize = 1_000_003;
const WIDTHS: [Width; 2] = [Width::Eight, Width::Sixteen];

fn tensor<T: Element>(seed: u64) -> Vec<T> {
    Bits(seed).tensor(LEN).into_iter().map(T::from_f64).collect()
}

/// Compares every 97th value, a stride that visits the parts at different places, and the last 300.
fn agrees<T: Element>(source: &[T], result: &[T], width: Width, delta: i32) -> bool {
    let pairs = source.iter().zip(result).step_by(97).chain(source.iter().zip(result).rev().take(300));
    pairs
        .into_iter()
        .all(|(&x, &y)| formula::quantise_value(x, width, delta).to_f64().to_bits() == y.to_f64().to_bits())
}

#[test]
fn sharing_in_parts_does_not_change_the_result() {
    fn check<T: Element>(seed: u64) {
        let source: Vec<T> = tensor(seed);
        let finite = |x: &&T| !x.to_f64().is_nan();
        let max = source.iter().filter(finite).fold(0.0, |m: f64, x| m.max(x.to_f64().abs()));
        for width in WIDTHS {
            let delta = width.format().delta_for(max);
            assert_eq!(delta_of(&source, width), delta);
            for before in [delta - 3, delta, delta + 9, 20_000] {
                for mode in [Mode::Init, Mode::Update, Mode::ApplyOnly] {
                    let expected = match mode {
                        Mode::Init => delta,
                        Mode::Update => delta.max(before),
                        Mode::ApplyOnly => before,
                    };
                    let (mut param, mut data) = (Param { delta: before }, source.clone());
                    quantise(&mut data, width, mode, &mut param);
                    assert_eq!(param.delta, expected);
                    assert!(agrees(&source, &data, width, expected), "{width:?} {mode:?} {before}");

                    let (mut param, mut data) = (Param { delta: before }, vec![T::from_f64(7.0); LEN]);
                    quantise_into(&source, &mut data, width, mode, &mut param).unwrap();
                    assert_eq!(param.delta, expected);
                    assert!(agrees(&source, &data, width, expected), "{width:?} {mode:?} {before}, out of place");
                }
            }
        }
    }
    check::<f32>(21);
    check::<f64>(22);
}

#[test]
fn concurrent_calls_do_not_disturb_one_another() {
    std::thread::scope(|scope| {
        for seed in 0..24 {
            scope.spawn(move || {
                let source: Vec<f32> = tensor(seed);
                let width = WIDTHS[seed as usize % 2];
                for _ in 0..4 {
                    let (mut param, mut data) = (Param::default(), source.clone());
                    quantise(&mut data, width, Mode::Init, &mut param);
                    assert!(agrees(&source, &data, width, param.delta), "seed {seed}");
                }
            });
        }
    });
}

/// The test above once more, in processes with other values of the variable that limits the number of threads.
#[test]
fn any_number_of_threads_is_limited_to_the_processors() {
    for number in ["1", "100000", "0", "-3", "many", "99999999999999999999999"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["concurrent_calls_do_not_disturb_one_another"]).env("RAYON_NUM_THREADS", number);
        assert!(command.output().unwrap().status.success(), "{number}");
        let info = Command::new(env!("CARGO_BIN_EXE_gfpq"))
            .args(["info", "--json"])
            .env("RAYON_NUM_THREADS", number)
            .output()
            .unwrap();
        let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
        let processors = std::thread::available_parallelism().unwrap().get() as u64;
        assert_eq!(info["cores"], if number == "1" { 1 } else { processors }, "{number}");
    }
}

/// Python's multiprocessing forks processes that have used the library.
#[cfg(unix)]
#[test]
fn a_forked_child_works() {
    let source: Vec<f32> = tensor(31);
    let mut data = source.clone();
    quantise(&mut data, Width::Eight, Mode::Init, &mut Param::default());

    let (mut param, mut data) = (Param::default(), source.clone());
    // SAFETY: the child only calls the library, which this tests, and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above. The alarm kills a child that hangs, which fails the test.
        unsafe {
            libc::alarm(60);
            quantise(&mut data, Width::Eight, Mode::Init, &mut param);
            libc::_exit(i32::from(!agrees(&source, &data, Width::Eight, param.delta)));
        }
    }
    assert!(child > 0);
    let mut status = 0;
    // SAFETY: the child is our own, and the pointer is to its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "status {status:#x}");
}
