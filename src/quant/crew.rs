//! Work shared with idle threads of rayon's pool.
//!
//! The calling thread works, and whoever is idle helps it: a call does not wait for a thread to wake up before the work
//! begins, nor for one that comes when there is nothing left to do (rayon's scopes do, which costs a short call as much
//! as its work takes). Many calls at once keep the cores busy without a thread more than callers and pool have.

use std::hint;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};

/// Whether the thread pool is there to help. A pool does not survive a fork: a child of a process that has used it
/// works alone.
pub fn is_there() -> bool {
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

/// Does `work` here, and at the same time in up to `helpers` other threads. `work` returns when nothing is left to do:
/// this function then waits for those that are still in it, and for nothing else.
///
/// # Panics
/// When `work` does, here or in another thread.
pub fn work(helpers: usize, work: &(dyn Fn(Side) + Sync)) {
    let crew = Arc::new(Crew {
        // SAFETY: a fat reference is a fat pointer; that of a lifetime it has no more is for those who use it.
        work: unsafe { mem::transmute::<&(dyn Fn(Side) + Sync), *const (dyn Fn(Side) + Sync)>(work) },
        inside: AtomicUsize::new(0),
        failed: AtomicBool::new(false),
        caller: thread::current(),
    });
    for _ in 0..helpers.min(rayon::current_num_threads() - 1) {
        let crew = Arc::clone(&crew);
        rayon::spawn(move || crew.help());
    }
    let closing = Closing(&crew);
    work(Side::Caller);
    drop(closing);
    assert!(!crew.failed.load(Ordering::Relaxed), "a helping thread panicked");
}

/// A call's helpers.
struct Crew {
    /// There as long as the call: to be used from inside alone.
    work: *const (dyn Fn(Side) + Sync),
    /// How many threads are in `work`, and [`CLOSED`].
    inside: AtomicUsize,
    /// Whether one of them panicked.
    failed: AtomicBool,
    caller: Thread,
}

// SAFETY: `work` is Sync, and there as long as the call.
unsafe impl Send for Crew {}
// SAFETY: as above.
unsafe impl Sync for Crew {}

/// Nobody comes in any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

impl Crew {
    fn help(&self) {
        let come_in = |inside: usize| (inside & CLOSED == 0).then_some(inside + 1);
        if self.inside.fetch_update(Ordering::Acquire, Ordering::Relaxed, come_in).is_ok() {
            // SAFETY: the call goes on until nobody is inside: `Closing`.
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

struct Closing<'a>(&'a Crew);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let inside = &self.0.inside;
        inside.fetch_or(CLOSED, Ordering::Relaxed);
        wait(|| inside.load(Ordering::Acquire) == CLOSED, thread::park);
    }
}

/// Who works.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Caller,
    Helper,
}

/// Things to work on, for threads to take one by one, in one round or in several.
pub struct Tasks<T>(Vec<Mutex<T>>);

/// Once through all tasks.
#[derive(Default)]
pub struct Round {
    taken: AtomicUsize,
    /// How many of them by the caller, and how many by helpers.
    taken_by: [AtomicUsize; 2],
    done: AtomicUsize,
}

impl<T> FromIterator<T> for Tasks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(tasks: I) -> Tasks<T> {
        Tasks(tasks.into_iter().map(Mutex::new).collect())
    }
}

impl<T> Tasks<T> {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Does tasks until all are taken; others may still be at one. The caller takes the first and goes on, helpers take
    /// the last and go back: in the next round, and in the next call, each side finds in its cache what it left there.
    pub fn each(&self, round: &Round, side: Side, work: impl FnMut(&mut T)) {
        self.take(round, side, work, |nth| match side {
            Side::Caller => nth,
            Side::Helper => self.count() - 1 - nth,
        });
    }

    /// The same in a second round, from where the sides met in the `first` and back to the ends: what was worked on last
    /// comes first. A side that is through goes on at the other's end.
    pub fn each_back(&self, first: &Round, round: &Round, side: Side, work: impl FnMut(&mut T)) {
        let met = first.taken_by[Side::Caller as usize].load(Ordering::Relaxed);
        let count = self.count();
        self.take(round, side, work, |nth| match side {
            Side::Caller => (met + count - 1 - nth) % count,
            Side::Helper => (met + nth) % count,
        });
    }

    /// `place` says which task is the `nth` of this side; never one that the other side has by then.
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
            // Nobody else has it, but in the next round.
            work(&mut self.0[place(nth)].lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits for those who are at a task: all are taken.
    pub fn finish(&self, round: &Round) {
        wait(|| round.done.load(Ordering::Acquire) >= self.count(), thread::yield_now);
    }
}

/// Waits for what another thread is about to do: looks again for some ten microseconds, and from then on rests between
/// looks.
fn wait(done: impl Fn() -> bool, rest: impl Fn()) {
    let mut looks = 0;
    while !done() {
        if looks < 1 << 10 {
            looks += 1;
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
    fn each_round_does_each_task_once_and_after_the_round_before() {
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
    fn sides_come_from_the_ends_and_go_back_from_where_they_met() {
        let tasks: Tasks<usize> = (0..5).collect();
        let rounds = [Round::default(), Round::default()];
        let order = Mutex::new(Vec::new());
        let note = |task: &mut usize| order.lock().unwrap().push(*task);
        // The caller does two tasks, and in the middle of the second the helper comes and does the rest.
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
    fn the_caller_hears_of_a_helpers_panic() {
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
