//! The kernels' arithmetic, compiled for the host, against the quantiser's scalar backend.

use std::process::Command;
use std::{env, fs, path::Path};

use gfpq::cuda::source;
use gfpq::quant::arch::{self, Scale};
use gfpq::quant::{Bits as Width, Element, Tensor, delta_of, formula};
use libloading::Library;

use crate::Bits;

const WIDTHS: [Width; 2] = [Width::Eight, Width::Sixteen];

/// `tests/cuda/host.cpp`, built by the machine's C++ compiler.
struct Host {
    quantise_f32: unsafe extern "C" fn(*mut f32, u64, i32, i32),
    quantise_f64: unsafe extern "C" fn(*mut f64, u64, i32, i32),
    delta_f32: unsafe extern "C" fn(f32, i32) -> i32,
    delta_f64: unsafe extern "C" fn(f64, i32) -> i32,
    _library: Library,
}

impl Host {
    fn build() -> Host {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("gfpq_tables.cuh"), source::tables()).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = folder.path().join("libhost.so");
        let status = Command::new(env::var("CXX").unwrap_or("g++".into()))
            .args(["-std=c++11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-I"])
            .arg(folder.path())
            .arg("-I")
            .arg(root.join("kernels"))
            .arg(root.join("tests/cuda/host.cpp"))
            .arg("-o")
            .arg(&library)
            .status()
            .unwrap();
        assert!(status.success());
        // SAFETY: the library is our own and has functions of these types.
        unsafe {
            let library = Library::new(library).unwrap();
            Host {
                quantise_f32: *library.get(b"quantise_f32").unwrap(),
                quantise_f64: *library.get(b"quantise_f64").unwrap(),
                delta_f32: *library.get(b"delta_f32").unwrap(),
                delta_f64: *library.get(b"delta_f64").unwrap(),
                _library: library,
            }
        }
    }

    fn quantise<T: Value>(&self, data: &mut [T], width: Width, delta: i32) {
        // SAFETY: the pointer and the length are the slice's.
        unsafe { T::quantise(self)(data.as_mut_ptr(), data.len() as u64, width.number() as i32, delta) }
    }

    fn delta<T: Value>(&self, max: T, width: Width) -> i32 {
        // SAFETY: the function takes plain numbers only.
        unsafe { T::delta(self)(max, width.number() as i32) }
    }
}

/// The element types with their functions of `Host`.
trait Value: Element {
    fn quantise(host: &Host) -> unsafe extern "C" fn(*mut Self, u64, i32, i32);
    fn delta(host: &Host) -> unsafe extern "C" fn(Self, i32) -> i32;
}

macro_rules! value {
    ($t:ident, $quantise:ident, $delta:ident) => {
        impl Value for $t {
            fn quantise(host: &Host) -> unsafe extern "C" fn(*mut $t, u64, i32, i32) {
                host.$quantise
            }
            fn delta(host: &Host) -> unsafe extern "C" fn($t, i32) -> i32 {
                host.$delta
            }
        }
    };
}

value!(f32, quantise_f32, delta_f32);
value!(f64, quantise_f64, delta_f64);

/// Quantises `source` on both sides and compares.
fn agree<T: Value>(host: &Host, source: &[T], width: Width, delta: i32) {
    let scalar = arch::backends().last().unwrap();
    let (mut ours, mut theirs) = (source.to_vec(), source.to_vec());
    scalar.apply(&mut Tensor::in_place(&mut ours), &Scale::new(width, delta));
    host.quantise(&mut theirs, width, delta);
    compare(source, &ours, &theirs, width, delta);
}

/// Panics with the first value that differs.
fn compare<T: Value>(source: &[T], ours: &[T], theirs: &[T], width: Width, delta: i32) {
    let bits = |x: &T| x.to_f64().to_bits();
    // One unit for subnormal float64 values, where the table's 53 bits are rounded a second time. No delta of a
    // format's own range reaches them.
    let tolerance = |x: &T| u64::from(x.to_f64().is_subnormal());
    if let Some(i) = (0..source.len()).find(|&i| bits(&ours[i]).abs_diff(bits(&theirs[i])) > tolerance(&ours[i])) {
        let [x, our, their] = [source[i], ours[i], theirs[i]].map(T::to_f64);
        panic!("{width:?} delta {delta}: {x:e} is {our:e} here and {their:e} there");
    }
}

/// Compares the quantised values at each delta, and the delta that each value gives by itself.
fn agree_in_all<T: Value>(host: &Host, source: &[T], width: Width, deltas: &[i32]) {
    for &delta in deltas {
        agree(host, source, width, delta);
    }
    for &x in source.iter().filter(|x| !x.to_f64().is_nan()) {
        assert_eq!(host.delta(x, width), delta_of(&[x], width), "{width:?} {:e}", x.to_f64());
    }
}

/// Every `stride`-th of the 2^32 float32 patterns, and the last one.
fn float32_patterns(host: &Host, stride: u32, deltas: impl Fn(Width) -> Vec<i32>) {
    const PIECE: u64 = 1 << 20;
    for width in WIDTHS {
        for delta in deltas(width) {
            let mut pattern = 0u64;
            while pattern < 1 << 32 {
                let all = (0..PIECE).map(|i| pattern + i * u64::from(stride));
                let piece: Vec<f32> =
                    all.take_while(|&bits| bits < 1 << 32).map(|bits| f32::from_bits(bits as u32)).collect();
                agree(host, &piece, width, delta);
                pattern += PIECE * u64::from(stride);
            }
            agree(host, &[f32::from_bits(u32::MAX)], width, delta);
        }
    }
}

#[test]
fn float32_patterns_agree_at_many_deltas() {
    let host = Host::build();
    float32_patterns(&host, 251, |width| {
        let limit = width.format().delta_limit;
        vec![-limit, -limit + 1, -77, -16, 0, 1, 100, limit - 1, limit]
    });
}

#[test]
#[ignore = "2^32 patterns, half a minute"]
fn every_float32_pattern_agrees() {
    let host = Host::build();
    float32_patterns(&host, 1, |width| vec![-width.format().max_code / 2]);
}

#[test]
fn float32_around_every_threshold_agree() {
    let host = Host::build();
    for width in WIDTHS {
        let format = width.format();
        let mut source = Vec::new();
        for exponent in 0..256u32 {
            for &threshold in format.thresholds_f32.iter().chain(format.values_f32) {
                for near in 0..5 {
                    let mantissa = (threshold & 0x7f_ffff).wrapping_add(near).wrapping_sub(2) & 0x7f_ffff;
                    source.push(f32::from_bits(exponent << 23 | mantissa));
                    source.push(f32::from_bits(1 << 31 | exponent << 23 | mantissa));
                }
            }
        }
        agree_in_all(&host, &source, width, &[-format.delta_limit, -format.max_code, -10, format.delta_limit]);
    }
}

#[test]
fn float64_random_and_around_every_threshold_agree() {
    let host = Host::build();
    for width in WIDTHS {
        let format = width.format();
        let mut source: Vec<f64> = (0..1 << 20).map(|i| f64::from_bits(Bits(i).bits())).collect();
        source.extend((0..64).flat_map(|seed| Bits(seed).tensor(1000)));
        for exponent in (0..2048u64).filter(|e| e % 64 == 0 || (980..1070).contains(e) || *e == 2047) {
            for &threshold in format.thresholds_f64.iter().chain(format.values_f64) {
                for near in [0, 1, 2, 3, 60, 253, 254, 255, 256, 257, 258, 259, 260, 300, 510, 512, 514] {
                    let mantissa = ((threshold + near - 257) & ((1 << 52) - 1)) | exponent << 52;
                    source.push(f64::from_bits(mantissa));
                    source.push(f64::from_bits(1 << 63 | mantissa));
                }
            }
        }
        agree_in_all(&host, &source, width, &[-format.delta_limit, -format.max_code, -10, 3, format.delta_limit]);
    }
}

#[test]
fn deltas_outside_the_range_follow_the_formula() {
    fn check<T: Value>(host: &Host) {
        let mut bits = Bits(41);
        for width in WIDTHS {
            let steps = width.format().steps();
            let ends = [-1074, -1023, -1022, -149, -126, 33, 127, 128, 1023, 1024].map(|octave| octave * steps);
            let near = ends.iter().flat_map(|end| [end - 2000, end - 140, end - 3, end - 1, *end, end + 2]);
            let limit = width.format().delta_limit;
            let far = [i32::MIN, i32::MIN + 1, i32::MAX - 1, i32::MAX, -20_000, 20_000, limit + 1, -limit - 1];
            for delta in near.chain(far) {
                if width.format().contains(delta) {
                    continue;
                }
                let around = f64::from(delta) / f64::from(steps);
                let source: Vec<T> = (0..4000)
                    .map(|i| match i % 4 {
                        0 => T::from_f64((around + bits.unit() * 14.0 - 2.0).exp2()),
                        1 => T::from_f64(-(around + bits.unit() * 14.0 - 2.0).exp2()),
                        2 => T::from_f64(f64::from_bits(bits.bits())),
                        _ => T::from_f64(f64::from(f32::from_bits(bits.bits() as u32))),
                    })
                    .chain([f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::NAN].map(T::from_f64))
                    .collect();
                let ours: Vec<T> = source.iter().map(|&x| formula::quantise_value(x, width, delta)).collect();
                let mut theirs = source.clone();
                host.quantise(&mut theirs, width, delta);
                compare(&source, &ours, &theirs, width, delta);
            }
        }
    }
    let host = Host::build();
    check::<f32>(&host);
    check::<f64>(&host);
}
