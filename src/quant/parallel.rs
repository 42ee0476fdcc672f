//! The passes over a tensor, shared among the cores where that pays.

use std::sync::{Mutex, OnceLock, PoisonError};

use super::arch::{self, Backend, Scale};
use super::element::Element;
use super::environment::Environment;
use super::format::Bits;
use super::formula::Formula;
use super::helpers::{self, Round, Tasks};
use super::tensor::Tensor;

/// The number of parts that a tensor is shared in, unless they become too short or too long: so many that the wait for
/// the last one is short.
const PARTS: usize = 16;

/// The least bytes of a part: the work on one takes much longer than to take it.
const SHORTEST: usize = 1 << 14;
/// The most bytes of a part: one fits into a core's own cache.
const LONGEST: usize = 1 << 16;

/// The number of values per part for a tensor of `len` values, or `None` if sharing does not pay. To wake a thread
/// takes 5 to 30 microseconds depending on the machine's load, and up to 70 in a virtual machine.
pub(crate) fn part_len<T>(len: usize) -> Option<usize> {
    let bytes = len * size_of::<T>();
    let pays = bytes >= arch::chosen().worth_sharing && helpers::is_usable();
    pays.then(|| (bytes / PARTS).clamp(SHORTEST, LONGEST) / size_of::<T>())
}

/// Runs `work` on each part, in this thread and in helpers. `parts` must know their number. Without memory for the list of
/// parts, this thread works alone.
pub(crate) fn share<P: Send>(parts: impl Iterator<Item = P>, work: impl Fn(&mut P) + Sync) {
    let Some(mut tasks) = Tasks::with_room_for(parts.size_hint().0) else {
        return parts.for_each(|mut part| work(&mut part));
    };
    tasks.extend(parts);
    let round = Round::default();
    helpers::work(tasks.count() - 1, &|side| tasks.each(&round, side, &work));
}

/// The largest magnitude in `data`, ignoring NaN.
pub(crate) fn max_abs<T: Element>(data: &[T]) -> T {
    let backend = arch::chosen();
    let Some(len) = part_len::<T>(data.len()) else { return backend.max_abs(data) };
    let largest = Largest::new();
    share(data.chunks(len), |part| largest.add(backend.max_abs(part)));
    largest.get()
}

/// Quantises with the scale `delta`.
pub(crate) fn rewrite<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta: i32) {
    let rewrite = Rewrite::new(bits, delta);
    match part_len::<T>(tensor.source().len()) {
        None => rewrite.run(&mut tensor),
        Some(len) => share(tensor.parts(len), |part| rewrite.run(part)),
    }
}

/// [`max_abs`] and [`rewrite`], one after the other on each part while it is in the cache. Returns the source's largest
/// magnitude.
pub(crate) fn max_abs_and_rewrite<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta: i32) -> T {
    let (backend, rewrite) = (arch::chosen(), Rewrite::new(bits, delta));
    let largest = Largest::new();
    let both = |part: &mut Tensor<T>| {
        largest.add(backend.max_abs(part.source()));
        rewrite.run(part);
    };
    match part_len::<T>(tensor.source().len()) {
        None => both(&mut tensor),
        Some(len) => share(tensor.parts(len), both),
    }
    largest.get()
}

/// Quantises with the delta that `delta_for` returns for the largest magnitude. Returns that delta.
pub(crate) fn quantise<T: Element>(mut tensor: Tensor<T>, bits: Bits, delta_for: impl Fn(T) -> i32 + Sync) -> i32 {
    let backend = arch::chosen();
    let values = tensor.source().len();
    let shared = part_len::<T>(values).and_then(|len| Some((len, Tasks::with_room_for(values.div_ceil(len))?)));
    let Some((len, mut parts)) = shared else {
        let delta = delta_for(backend.max_abs(tensor.source()));
        Rewrite::new(bits, delta).run(&mut tensor);
        return delta;
    };
    parts.extend(tensor.parts(len));
    let (largest, delta) = (Largest::new(), OnceLock::new());
    let (first, second) = (Round::default(), Round::default());

    // One call for both passes: a helper that wakes too late for the first pass can still help with the second.
    helpers::work(parts.count() - 1, &|side| {
        parts.each(&first, side, |part| largest.add(backend.max_abs(part.source())));
        parts.finish(&first);
        let delta = *delta.get_or_init(|| delta_for(largest.get()));
        let rewrite = Rewrite::new(bits, delta);
        // In reverse order: the parts that the first pass read last are still in the caches.
        parts.each_back(&first, &second, side, |part| rewrite.run(part));
    });
    *delta.get_or_init(|| delta_for(largest.get()))
}

/// The largest of the magnitudes that several threads find.
struct Largest<T>(Mutex<T>);

impl<T: Element> Largest<T> {
    fn new() -> Largest<T> {
        Largest(Mutex::new(T::from_f64(0.0)))
    }

    fn add(&self, magnitude: T) {
        let mut largest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The comparison is total: `max_abs` never returns NaN.
        if magnitude.to_f64() > largest.to_f64() {
            *largest = magnitude;
        }
    }

    fn get(&self) -> T {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pass that quantises, for a given delta.
enum Rewrite {
    /// For a delta in the format's own range, with rounding to nearest.
    Backend(&'static Backend, Scale),
    /// For any other delta or rounding mode: the format's definition.
    Formula(Formula),
}

impl Rewrite {
    fn new(bits: Bits, delta: i32) -> Rewrite {
        if bits.format().contains(delta) && Environment::current().rounds_to_nearest() {
            Rewrite::Backend(arch::chosen(), Scale::new(bits, delta))
        } else {
            Rewrite::Formula(Formula::new(bits, delta))
        }
    }

    fn run<T: Element>(&self, part: &mut Tensor<T>) {
        match self {
            Rewrite::Backend(backend, scale) => backend.apply(part, scale),
            Rewrite::Formula(formula) => part.each(|x| formula.quantise(x)),
        }
    }
}
