//! Tasks that threads take one by one, in one round or in several.

use std::sync::PoisonError;

use super::sync::atomic::{AtomicUsize, Ordering};
use super::sync::{Mutex, SPINS, spin_loop, yield_now};

/// Which of the threads runs the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The thread whose call it is.
    Caller,
    /// A thread that helps.
    Helper,
}

/// Items to work on, which threads take one by one.
pub(crate) struct Tasks<T>(Vec<Mutex<T>>);

/// The progress of one pass over all tasks.
#[derive(Default)]
pub(crate) struct Round {
    /// Number of attempts to take a task; all tasks are taken once it reaches their count.
    taken: AtomicUsize,
    /// Number of tasks taken by the caller and by helpers, indexed by [`Side`].
    taken_by: [AtomicUsize; 2],
    /// Number of tasks completed.
    done: AtomicUsize,
}

impl<T> Tasks<T> {
    /// An empty list that `count` tasks fit into, or `None` if there is no memory left for them.
    pub(crate) fn with_room_for(count: usize) -> Option<Tasks<T>> {
        let mut tasks = Vec::new();
        tasks.try_reserve_exact(count).ok()?;
        Some(Tasks(tasks))
    }

    pub(crate) fn extend(&mut self, tasks: impl Iterator<Item = T>) {
        self.0.extend(tasks.map(Mutex::new));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Works on tasks until all are taken; other threads may still be working on theirs. The caller takes tasks from
    /// the front and helpers from the back, so that in the next round and in the next call each side finds its own
    /// tasks in its cache.
    pub(crate) fn each(&self, round: &Round, side: Side, work: impl FnMut(&mut T)) {
        self.take(round, side, work, |nth| match side {
            Side::Caller => nth,
            Side::Helper => self.count() - 1 - nth,
        });
    }

    /// A second round, in the reverse order: each side goes from where the two met in the `first` round back to its
    /// end, since the tasks worked on last are still in the cache. A side that reaches its end continues from the other
    /// end.
    pub(crate) fn each_back(&self, first: &Round, round: &Round, side: Side, work: impl FnMut(&mut T)) {
        let met = first.taken_by[Side::Caller as usize].load(Ordering::Relaxed);
        let count = self.count();
        self.take(round, side, work, |nth| match side {
            Side::Caller => (met + count - 1 - nth) % count,
            Side::Helper => (met + nth) % count,
        });
    }

    /// `place` maps this side's `nth` task to an index; it must not return one that the other side has taken.
    fn take(&self, round: &Round, side: Side, mut work: impl FnMut(&mut T), place: impl Fn(usize) -> usize) {
        struct Done<'a>(&'a AtomicUsize);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Release);
            }
        }

        while round.taken.fetch_add(1, Ordering::Relaxed) < self.count() {
            let nth = round.taken_by[side as usize].fetch_add(1, Ordering::Relaxed);
            let _done = Done(&round.done);
            // Never contended within a round; the lock orders this task's work in successive rounds.
            work(&mut self.0[place(nth)].lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until all tasks are completed. To be called after [`Tasks::each`], when all are taken.
    pub(crate) fn finish(&self, round: &Round) {
        let is_done = || round.done.load(Ordering::Acquire) >= self.count();
        if !spin_until(is_done) {
            while !is_done() {
                yield_now();
            }
        }
    }
}

/// Spins until `is_done`, for about ten microseconds at most. Returns whether it is.
pub(crate) fn spin_until(is_done: impl Fn() -> bool) -> bool {
    for _ in 0..SPINS {
        if is_done() {
            return true;
        }
        spin_loop();
    }
    false
}
