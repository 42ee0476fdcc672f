//! Work shared with idle threads of rayon's pool.
//!
//! The calling thread starts to work at once, and idle threads of the pool help it. A call waits neither for a thread
//! to wake up nor for one that arrives when no work is left. (rayon's scopes wait for both, which can double the time
//! of a short call.) Concurrent calls keep all cores busy with no threads beyond the callers and the pool.

use std::hint;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

/// Whether this process can use the thread pool. A pool's threads do not survive a fork, so a child forked from a
/// process that has used the pool works alone.
pub(super) fn pool_is_usable() -> bool {
    // The PID of the process that built the pool, 0 before. Not a OnceLock: in a process forked while another thread
    // initialises it, the child would wait for ever.
    static OWNER: AtomicU32 = AtomicU32::new(0);
    let us = process::id();
    match OWNER.compare_exchange(0, us, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => match rayon::ThreadPoolBuilder::new().build_global() {
            // No thread could be spawned: store a PID that no process has, so that the pool is never used. (An error
            // without a source means that the program has built the pool already.)
            Err(error) if std::error::Error::source(&error).is_some() => {
                OWNER.store(u32::MAX, Ordering::Relaxed);
                false
            }
            _ => true,
        },
        Err(owner) => owner == us,
    }
}

/// Runs `work` in this thread and, as they become idle, in up to `helpers` threads of the pool. `work` must return when
/// no tasks are left. This function then waits for the helpers that are still inside `work`, not for those yet to
/// start.
///
/// # Panics
/// When `work` panics, in this thread or in a helper.
pub(super) fn work(helpers: usize, work: &(dyn Fn(Side) + Sync)) {
    let call = Arc::new(Call {
        // SAFETY: only the lifetime is erased. `help` dereferences `work` only while registered in `inside`, and
        // `Closing` keeps this call from returning until nobody is.
        work: unsafe { mem::transmute::<&(dyn Fn(Side) + Sync), *const (dyn Fn(Side) + Sync)>(work) },
        inside: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        caller: thread::current(),
    });
    for _ in 0..helpers.min(rayon::current_num_threads() - 1) {
        let call = Arc::clone(&call);
        rayon::spawn(move || call.help());
    }

    let closing = Closing(&call);
    work(Side::Caller);
    drop(closing);
    assert!(!call.failed.load(Ordering::Relaxed), "a helping thread panicked");
}

/// What a call of [`work`] shares with its helpers.
struct Call {
    /// The caller's closure. Valid until [`work`] returns: dereference it only while registered in `inside`.
    work: *const (dyn Fn(Side) + Sync),
    /// The number of helpers that are running `work`, plus [`CLOSED`] once no more may start.
    inside: AtomicUsize,
    /// Whether a helper has panicked.
    failed: AtomicBool,
    /// The thread that called [`work`]; the last helper unparks it.
    caller: Thread,
}

// SAFETY: what `work` points to is Sync, and is dereferenced only while valid, as the field says.
unsafe impl Send for Call {}
// SAFETY: as for Send.
unsafe impl Sync for Call {}

/// Set in [`Call::inside`] when no helper may start any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Call {
    /// Runs `work` in a thread of the pool, unless the call is closed.
    fn help(&self) {
        let enter = |inside: usize| (inside & CLOSED == 0).then_some(inside + 1);
        if self.inside.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok() {
            // SAFETY: registered in `inside`, so that `Closing` keeps the call from returning.
            let work = AssertUnwindSafe(|| unsafe { (*self.work)(Side::Helper) });
            if panic::catch_unwind(work).is_err() {
                self.failed.store(true, Ordering::Relaxed);
            }
            if self.inside.fetch_sub(1, Ordering::Release) == CLOSED + 1 {
                self.caller.unpark();
            }
        }
    }
}

/// Closes the call when dropped, also by a panic, and waits for the helpers that are inside.
struct Closing<'a>(&'a Call);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let inside = &self.0.inside;
        inside.fetch_or(CLOSED, Ordering::Relaxed);
        wait(|| inside.load(Ordering::Acquire) == CLOSED, thread::park);
    }
}

/// Which of the threads runs the work.
#[derive(Clone, Copy, Debug)]
pub(super) enum Side {
    /// The thread that called [`work`].
    Caller,
    /// A thread of the pool.
    Helper,
}

/// Items to work on, which threads take one by one, in one round or in several.
pub(super) struct Tasks<T>(Vec<Mutex<T>>);

/// The progress of one pass over all tasks.
#[derive(Default)]
pub(super) struct Round {
    /// Number of attempts to take a task; all tasks are taken once it reaches their count.
    taken: AtomicUsize,
    /// Number of tasks taken by the caller and by helpers, indexed by [`Side`].
    taken_by: [AtomicUsize; 2],
    /// Number of tasks completed.
    done: AtomicUsize,
}

impl<T> FromIterator<T> for Tasks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(tasks: I) -> Tasks<T> {
        Tasks(tasks.into_iter().map(Mutex::new).collect())
    }
}

impl<T> Tasks<T> {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Works on tasks until all are taken; other threads may still be working on theirs. The caller takes tasks from
    /// the front and helpers from the back, so that in the next round and in the next call each side finds its own
    /// tasks in its cache.
    pub(super) fn each(&self, round: &Round, side: Side, work: impl FnMut(&mut T)) {
        self.take(round, side, work, |nth| match side {
            Side::Caller => nth,
            Side::Helper => self.count() - 1 - nth,
        });
    }

    /// A second round, in the reverse order: each side goes from where the two met in the `first` round back to its
    /// end, since the tasks worked on last are still in the cache. A side that reaches its end continues from the other
    /// end.
    pub(super) fn each_back(&self, first: &Round, round: &Round, side: Side, work: impl FnMut(&mut T)) {
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
    pub(super) fn finish(&self, round: &Round) {
        wait(|| round.done.load(Ordering::Acquire) >= self.count(), thread::yield_now);
    }
}

/// Waits for what another thread is about to do: spins for about ten microseconds, then calls `rest` between checks.
fn wait(done: impl Fn() -> bool, rest: impl Fn()) {
    let mut spins = 0;
    while !done() {
        if spins < 1 << 10 {
            spins += 1;
            hint::spin_loop();
        } else {
            rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_does_each_task_once_after_the_previous_round() {
        let tasks: Tasks<[u32; 2]> = (0..1000).map(|_| [0; 2]).collect();
        let rounds = [Round::default(), Round::default()];
        work(7, &|side| {
            tasks.each(&rounds[0], side, |done| done[0] += 1);
            tasks.finish(&rounds[0]);
            assert!(rounds[0].done.load(Ordering::Relaxed) == 1000);
            tasks.each_back(&rounds[0], &rounds[1], side, |done| done[1] += done[0]);
        });
        assert!(tasks.0.into_iter().all(|task| task.into_inner().unwrap() == [1, 1]));
    }

    #[test]
    fn the_second_round_goes_back_from_where_the_sides_met() {
        let tasks: Tasks<usize> = (0..5).collect();
        let rounds = [Round::default(), Round::default()];
        let order = Mutex::new(Vec::new());
        let note = |task: &mut usize| order.lock().unwrap().push(*task);
        // The caller does two tasks; in the middle of the second the helper arrives and does the rest.
        tasks.each(&rounds[0], Side::Caller, |task| {
            note(task);
            if *task == 1 {
                tasks.each(&rounds[0], Side::Helper, note);
            }
        });
        tasks.each_back(&rounds[0], &rounds[1], Side::Caller, |task| {
            note(task);
            tasks.each_back(&rounds[0], &rounds[1], Side::Helper, note);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 4, 3, 2, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn a_helpers_panic_reaches_the_caller() {
        if rayon::current_num_threads() == 1 {
            return;
        }
        let helped = AtomicBool::new(false);
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            work(1, &|_| {
                if rayon::current_thread_index().is_some() {
                    helped.store(true, Ordering::Relaxed);
                    panic!("on purpose");
                }
                while !helped.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
            });
        }));
        assert!(result.is_err());
    }
}
