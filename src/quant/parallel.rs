//! The passes spread over the cores, where that pays.

use std::sync::{Mutex, PoisonError};

use super::arch::{self, Path, Scale};
use super::crew::{self, Round, Tasks};
use super::tensor::Tensor;
use super::{Bits, Element, formula};

/// Parts of a tensor that is shared: so many that nobody waits long for the last one.
const PARTS: usize = 16;

/// Bytes of a part, whatever their number: enough that to take one is little beside the work on it, and what a core's
/// own cache holds.
const SHORTEST: usize = 1 << 14;
const LONGEST: usize = 1 << 16;

/// Values of the parts that `len` values are shared in, or none where help does not pay: to wake a thread takes 5 to 30
/// microseconds, as busy as the machine is, and up to 70 in a virtual one.
pub fn part_len<T>(len: usize) -> Option<usize> {
    let bytes = len * size_of::<T>();
    let pays = bytes >= arch::chosen().worth_sharing && crew::is_there();
    pays.then(|| (bytes / PARTS).clamp(SHORTEST, LONGEST) / size_of::<T>())
}

/// Works on all parts.
pub fn share<P: Send>(parts: impl Iterator<Item = P>, work: impl Fn(&mut P) + Sync) {
    let (parts, round) = (Tasks::from_iter(parts), Round::default());
    crew::work(parts.count() - 1, &|side| parts.each(&round, side, &work));
}

/// The largest magnitude in `data`.
pub fn max_abs<T: Element>(data: &[T]) -> T {
    let path = arch::chosen();
    let Some(len) = part_len::<T>(data.len()) else { return path.max_abs(data) };
    let largest = Largest::new();
    share(data.chunks(len), |part| largest.add(path.max_abs(part)));
    largest.get()
}

/// Quantises by `delta`.
pub fn rewrite<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta: i32) {
    let rewrite = Rewrite::new(bits, delta);
    match part_len::<T>(tensor.source().len()) {
        None => rewrite.run(&mut tensor),
        Some(len) => share(tensor.parts(len), |part| rewrite.run(part)),
    }
}

/// [`max_abs`] and [`rewrite`], one after the other on each part while it is in the cache.
pub fn max_abs_and_rewrite<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta: i32) -> T {
    let (path, rewrite) = (arch::chosen(), Rewrite::new(bits, delta));
    let largest = Largest::new();
    let both = |part: &mut Tensor<T>| {
        largest.add(path.max_abs(part.source()));
        rewrite.run(part);
    };
    match part_len::<T>(tensor.source().len()) {
        None => both(&mut tensor),
        Some(len) => share(tensor.parts(len), both),
    }
    largest.get()
}

/// Quantises by the delta that `delta_for` gives for the largest magnitude. Returns it.
pub fn quantise<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta_for: impl Fn(T) -> i32 + Sync) -> i32 {
    let path = arch::chosen();
    let Some(len) = part_len::<T>(tensor.source().len()) else {
        let delta = delta_for(path.max_abs(tensor.source()));
        Rewrite::new(bits, delta).run(&mut tensor);
        return delta;
    };
    let (parts, largest) = (Tasks::from_iter(tensor.parts(len)), Largest::new());
    let (first, second) = (Round::default(), Round::default());
    // One call for both passes: a helper that is late for the first is there for the second.
    crew::work(parts.count() - 1, &|side| {
        parts.each(&first, side, |part| largest.add(path.max_abs(part.source())));
        parts.finish(&first);
        let rewrite = Rewrite::new(bits, delta_for(largest.get()));
        // The first pass has left in the caches what it read last.
        parts.each_back(&first, &second, side, |part| rewrite.run(part));
    });
    delta_for(largest.get())
}

/// The largest of the magnitudes that threads find.
struct Largest<T>(Mutex<T>);

impl<T: Element> Largest<T> {
    fn new() -> Largest<T> {
        Largest(Mutex::new(T::from_f64(0.0)))
    }

    fn add(&self, magnitude: T) {
        let mut largest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Magnitudes are never NaN.
        if magnitude.to_f64() > largest.to_f64() {
            *largest = magnitude;
        }
    }

    fn get(&self) -> T {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pass that rewrites.
enum Rewrite {
    /// For the format's own range.
    Path(&'static Path, Scale),
    Formula(Bits, i32),
}

impl Rewrite {
    fn new(bits: Bits, delta: i32) -> Rewrite {
        if bits.format().contains(delta) {
            Rewrite::Path(arch::chosen(), Scale::new(bits, delta))
        } else {
            Rewrite::Formula(bits, delta)
        }
    }

    fn run<T: Element>(&self, part: &mut Tensor<T>) {
        match self {
            Rewrite::Path(path, scale) => path.apply(part, scale),
            &Rewrite::Formula(bits, delta) => part.each(|x| formula::quantise_value(x, bits, delta)),
        }
    }
}
