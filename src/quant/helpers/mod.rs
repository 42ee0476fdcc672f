//! Work shared with idle helper threads.
//!
//! The calling thread starts to work at once, and idle helpers join it. A call waits neither for a thread to wake up nor
//! for one that arrives when no work is left. (A scope of rayon's waits for both, which can double the time of a short
//! call.) Concurrent calls keep all cores busy with no threads beyond the callers and the helpers.
//!
//! Nothing here allocates except [`Tasks`], which can tell that there is no memory left.

mod board;
mod pool;
mod processors;
mod tasks;

/// What [`board`] and [`tasks`] synchronise with. `tests/loom` compiles the two with loom's types instead, which try
/// every order of events that the memory orderings allow.
mod sync {
    pub(super) use std::hint::spin_loop;
    pub(super) use std::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(super) use std::thread::yield_now;

    /// The number of times to look for what another thread is about to do: about ten microseconds.
    pub(super) const SPINS: usize = 1 << 10;
    /// The number of times that a helper without work lets other threads run before it sleeps. A call that follows soon
    /// finds it awake.
    pub(super) const IDLE_ROUNDS: usize = 32;

    /// A constructor, `const` here; those of loom's types are not.
    macro_rules! const_fn {
        ($visibility:vis fn $name:ident($($argument:ident: $type:ty)?) -> $returned:ty $body:block) => {
            $visibility const fn $name($($argument: $type)?) -> $returned $body
        };
    }
    pub(super) use const_fn;
}

use super::environment::Environment;

pub(super) use pool::is_usable;
pub use processors::count as threads;
pub(super) use tasks::{Round, Side, Tasks};

/// Runs `work` in this thread and, as they become idle, in up to `helpers` other threads, in the floating-point
/// environment of this one. `work` must return when no tasks are left. This function then waits for the helpers that are
/// still inside `work`, not for those yet to start.
///
/// # Panics
/// When `work` panics, in this thread or in a helper.
pub(super) fn work(helpers: usize, work: &(dyn Fn(Side) + Sync)) {
    let environment = Environment::current();
    pool::BOARD.call(helpers.min(pool::size()), &|| environment.run(|| work(Side::Helper)), || work(Side::Caller));
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn each_round_does_each_task_once_after_the_previous_round() {
        assert!(is_usable());
        let mut tasks = Tasks::with_room_for(1000).unwrap();
        tasks.extend((0..1000).map(|_| [0; 2]));
        let rounds = [Round::default(), Round::default()];
        let done = Mutex::new([0; 2]);
        work(7, &|side| {
            tasks.each(&rounds[0], side, |task| {
                task[0] += 1;
                done.lock().unwrap()[0] += 1;
            });
            tasks.finish(&rounds[0]);
            assert_eq!(done.lock().unwrap()[0], 1000);
            tasks.each_back(&rounds[0], &rounds[1], side, |task| {
                task[1] += task[0];
                done.lock().unwrap()[1] += task[1];
            });
        });
        assert_eq!(done.into_inner().unwrap(), [1000, 1000]);
    }

    #[test]
    fn the_second_round_goes_back_from_where_the_sides_met() {
        let mut tasks = Tasks::with_room_for(5).unwrap();
        tasks.extend(0..5);
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
    fn too_many_tasks_for_the_memory_are_refused() {
        assert!(Tasks::<[u8; 1 << 20]>::with_room_for(1 << 40).is_none());
    }

    #[test]
    fn a_helpers_panic_reaches_the_caller() {
        assert!(is_usable());
        if pool::size() == 0 {
            return;
        }
        let helped = AtomicBool::new(false);
        let result = panic::catch_unwind(AssertUnwindSafe(|| {
            work(1, &|side| match side {
                Side::Helper => {
                    helped.store(true, Ordering::Relaxed);
                    panic!("on purpose");
                }
                Side::Caller => {
                    while !helped.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                }
            });
        }));
        assert!(result.is_err());
    }

    #[test]
    fn a_call_does_not_wait_for_busy_helpers() {
        assert!(is_usable());
        let calls = pool::size();
        let (busy, free) = (Mutex::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            // As many calls as there are helpers, each of which keeps a helper until the last call is over.
            for _ in 0..calls {
                scope.spawn(|| {
                    let helped = AtomicBool::new(false);
                    work(1, &|side| match side {
                        Side::Helper => {
                            helped.store(true, Ordering::Relaxed);
                            *busy.lock().unwrap() += 1;
                            while !free.load(Ordering::Relaxed) {
                                thread::yield_now();
                            }
                        }
                        Side::Caller => {
                            while !helped.load(Ordering::Relaxed) {
                                thread::yield_now();
                            }
                        }
                    });
                });
            }
            while *busy.lock().unwrap() < calls {
                thread::yield_now();
            }
            let sides = Mutex::new(Vec::new());
            work(1, &|side| sides.lock().unwrap().push(side));
            assert_eq!(sides.into_inner().unwrap(), [Side::Caller]);
            free.store(true, Ordering::Relaxed);
        });
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn helpers_work_in_the_callers_environment() {
        assert!(is_usable());
        if pool::size() == 0 {
            return;
        }
        for bits in [0x2000, 0x4000, 0x6000, 0x8040, 0] {
            let wanted = Environment::of_bits(bits);
            let seen = Mutex::new(None);
            wanted.run(|| {
                work(1, &|side| match side {
                    Side::Helper => *seen.lock().unwrap() = Some(Environment::current()),
                    Side::Caller => {
                        while seen.lock().unwrap().is_none() {
                            thread::yield_now();
                        }
                    }
                });
            });
            assert_eq!(seen.into_inner().unwrap(), Some(wanted));
        }
    }
}
