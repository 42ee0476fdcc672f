//! The passes spread over the cores, where that pays.
//!
//! The calling thread works, and idle threads of rayon's pool help it: a call does not wait for a thread to wake up
//! before the work begins, and many calls at once keep the cores busy without a thread more than callers and pool have.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::arch::{self, Scale};
use super::{Bits, Element, formula};

/// Bytes a thread takes at a time.
const GRAIN: usize = 1 << 16;

/// Bytes whose range is found and which are rewritten, one after the other, in a single pass: they stay in the core's
/// own cache.
const BLOCK: usize = 1 << 16;

/// Whether the thread pool is there to help. A pool does not survive a fork: a child of a process that has used it works
/// alone.
fn pool() -> bool {
    // 0: nobody has used it. Not a OnceLock: forked while another thread initialises it, a child would wait for ever.
    static OWNER: AtomicU32 = AtomicU32::new(0);
    let us = process::id();
    match OWNER.compare_exchange(0, us, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => match rayon::ThreadPoolBuilder::new().build_global() {
            // The system gives no thread: nobody's process has this number. (Without a source: it is built already.)
            Err(error) if std::error::Error::source(&error).is_some() => {
                OWNER.store(u32::MAX, Ordering::Relaxed);
                false
            }
            _ => true,
        },
        Err(owner) => owner == us,
    }
}

/// A thread's portion of values.
pub const fn grain<T>() -> usize {
    GRAIN / size_of::<T>()
}

/// Whether a pass over `data` is long enough for help to pay: waking a thread takes 5 to 30 microseconds, as busy as
/// the machine is.
pub fn pays<T>(data: &[T]) -> bool {
    size_of_val(data) >= arch::chosen().worth_sharing && pool()
}

/// Does all tasks of a pass, which `pays` to share or not.
pub fn share<I: Iterator<Item: Send> + Send>(pays: bool, tasks: I, work: impl Fn(I::Item) + Sync) {
    if !pays {
        return tasks.for_each(work);
    }
    let tasks = Mutex::new(tasks);
    let run = || {
        loop {
            // The guard goes before the work begins.
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            match task {
                Some(task) => work(task),
                None => return,
            }
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads() {
            scope.spawn(|_| run());
        }
        run();
    });
}

/// The largest of the magnitudes that tasks find.
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

    fn get(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

pub fn max_abs<T: Element>(data: &[T]) -> T {
    let path = arch::chosen();
    if !pays(data) {
        return path.max_abs(data);
    }
    let largest = Largest::new();
    share(true, data.chunks(grain::<T>()), |chunk| largest.add(path.max_abs(chunk)));
    largest.get()
}

pub fn apply_in_place<T: Element>(data: &mut [T], bits: Bits, delta: i32) {
    let pays = pays(data);
    if !bits.format().contains(delta) {
        return share(pays, data.chunks_mut(grain::<T>()), |chunk| {
            chunk.iter_mut().for_each(|x| *x = formula::quantise_value(*x, bits, delta));
        });
    }
    let (path, scale) = (arch::chosen(), Scale::new(bits, delta));
    // From the end, which a pass for the range has left in the caches.
    share(pays, data.chunks_mut(grain::<T>()).rev(), |chunk| path.apply_in_place(chunk, &scale));
}

/// `source` and `destination` are of equal length.
pub fn apply<T: Element>(source: &[T], destination: &mut [T], bits: Bits, delta: i32) {
    if !bits.format().contains(delta) {
        destination.copy_from_slice(source);
        return apply_in_place(destination, bits, delta);
    }
    let (path, scale) = (arch::chosen(), Scale::new(bits, delta));
    let tasks = source.chunks(grain::<T>()).zip(destination.chunks_mut(grain::<T>())).rev();
    share(pays(source), tasks, |(from, to)| path.apply(from, to, &scale));
}

/// [`max_abs`] and [`apply`] in one pass. `delta` is in the format's range.
pub fn max_abs_and_apply<T: Element>(source: &[T], destination: &mut [T], bits: Bits, delta: i32) -> T {
    let (path, scale) = (arch::chosen(), Scale::new(bits, delta));
    let largest = Largest::new();
    let block = BLOCK / size_of::<T>();
    let tasks = source.chunks(grain::<T>()).zip(destination.chunks_mut(grain::<T>()));
    share(pays(source), tasks, |(from, to)| {
        for (from, to) in from.chunks(block).zip(to.chunks_mut(block)) {
            largest.add(path.max_abs(from));
            path.apply(from, to, &scale);
        }
    });
    largest.get()
}
