//! The helper threads' protocol under loom, which runs a model once for every order of events, and for every value that a
//! load may return, that the C++ memory model allows. Values that the threads pass to each other without synchronisation
//! of their own are in loom's cells, which report a data race.
#![cfg(test)]

#[path = "../../src/quant/helpers/board.rs"]
#[allow(dead_code, reason = "the models use some of its functions only")]
mod board;
#[path = "../../src/quant/helpers/tasks.rs"]
#[allow(dead_code, reason = "the models use some of its functions only")]
mod tasks;

/// What the two modules synchronise with.
mod sync {
    pub(crate) use loom::hint::spin_loop;
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
    pub(crate) use loom::thread::yield_now;

    /// As few as possible: each makes the models larger.
    pub(crate) const SPINS: usize = 1;
    pub(crate) const IDLE_ROUNDS: usize = 1;

    macro_rules! const_fn {
        ($visibility:vis fn $name:ident($($argument:ident: $type:ty)?) -> $returned:ty $body:block) => {
            $visibility fn $name($($argument: $type)?) -> $returned $body
        };
    }
    pub(crate) use const_fn;
}

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use board::{Board, Post};
use tasks::{Round, Side, Tasks};

/// A number that threads change without synchronisation of their own.
struct Number(UnsafeCell<u32>);

// SAFETY: the models check that accesses are ordered: loom's cell panics where they are not.
unsafe impl Sync for Number {}

impl Number {
    fn new() -> Number {
        Number(UnsafeCell::new(0))
    }

    fn add(&self, n: u32) {
        // SAFETY: see `Sync`.
        self.0.with_mut(|number| unsafe { *number += n });
    }

    fn get(&self) -> u32 {
        // SAFETY: see `Sync`.
        self.0.with(|number| unsafe { *number })
    }
}

fn board() -> Arc<Board<1>> {
    Arc::new(Board::new([Post::new()]))
}

/// Runs a model in every order of events.
fn model(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.check(run);
}

#[test]
fn what_a_helper_writes_is_seen_when_the_call_returns() {
    model(|| {
        let board = board();
        let helper = thread::spawn({
            let board = Arc::clone(&board);
            move || board.help()
        });
        let (helped, own) = (Number::new(), Number::new());
        board.call(1, &|| helped.add(1), || own.add(1));
        assert!(helped.get() <= 1);
        assert_eq!(own.get(), 1);
        // The caller's stack, where the numbers are, may be gone before the helper ends.
        drop((helped, own));
        helper.join().unwrap();
    });
}

#[test]
fn a_helper_never_runs_the_work_of_a_call_that_has_returned() {
    model(|| {
        let board = board();
        let helper = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                board.help();
                board.help();
            }
        });
        // The second call uses the post of the first, and may reach a helper on its way to the first.
        for _ in 0..2 {
            let (before, helped) = (Number::new(), Number::new());
            before.add(7);
            board.call(1, &|| helped.add(before.get()), || ());
            assert!(helped.get() % 7 == 0);
        }
        helper.join().unwrap();
    });
}

#[test]
fn two_calls_share_one_post() {
    model(|| {
        let board = board();
        let helper = thread::spawn({
            let board = Arc::clone(&board);
            move || board.help()
        });
        let other = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                let helped = Number::new();
                board.call(1, &|| helped.add(1), || ());
                helped.get()
            }
        });
        let helped = Number::new();
        board.call(1, &|| helped.add(1), || ());
        assert!(helped.get() + other.join().unwrap() <= 1);
        helper.join().unwrap();
    });
}

#[test]
fn no_call_for_help_is_lost_on_a_helper_that_falls_asleep() {
    // A lost call would leave the helper asleep and the caller waiting for ever, which loom reports.
    model(|| {
        let board = board();
        let helper = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                while !board.help() {
                    board.sleep();
                }
            }
        });
        let has_helped = AtomicBool::new(false);
        board.call(1, &|| has_helped.store(true, Ordering::Relaxed), || {
            while !has_helped.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        });
        helper.join().unwrap();
    });
}

#[test]
fn each_round_sees_what_the_round_before_has_written() {
    model(|| {
        let mut tasks = Tasks::with_room_for(2).unwrap();
        tasks.extend([0u32; 2].into_iter());
        let shared = Arc::new((tasks, [Round::default(), Round::default()], [Number::new(), Number::new()]));
        let work = |shared: &(Tasks<u32>, [Round; 2], [Number; 2]), side: Side| {
            let (tasks, rounds, numbers) = shared;
            tasks.each(&rounds[0], side, |task| {
                *task += 1;
                numbers[side as usize].add(1);
            });
            tasks.finish(&rounds[0]);
            // All of the first round is visible to every thread in the second.
            assert_eq!(numbers[0].get() + numbers[1].get(), 2);
            tasks.each_back(&rounds[0], &rounds[1], side, |task| {
                assert_eq!(*task, 1);
                *task += 1;
            });
        };
        let helper = thread::spawn({
            let shared = Arc::clone(&shared);
            move || work(&shared, Side::Helper)
        });
        work(&shared, Side::Caller);
        helper.join().unwrap();
    });
}
