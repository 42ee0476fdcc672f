//! The board on which calls ask for help and helpers look for work.
//!
//! A call claims a post and opens it: from then on helpers may enter and run the call's work. The call closes the post
//! when its own work is done, and waits for the helpers that are inside. A post lives as long as the board, so that a
//! helper may look at it at any time; the work that it points to is valid only while the post is open or a helper is
//! inside.

use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::sync::PoisonError;

use super::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use super::sync::{Condvar, IDLE_ROUNDS, Mutex, MutexGuard, const_fn, yield_now};
use super::tasks::spin_until;

/// Added to [`Post::inside`] when no helper may enter any more.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Where calls ask for help; with `N` posts, `N` calls can do so at a time.
pub(crate) struct Board<const N: usize> {
    posts: [Post; N],
    /// The number of helpers that sleep.
    asleep: Mutex<usize>,
    /// Wakes helpers.
    bell: Condvar,
}

/// The place for one call at a time to ask for help.
pub(crate) struct Post {
    /// Whether a call uses this post.
    is_claimed: AtomicBool,
    /// The call's work; valid as the module's documentation says.
    work: AtomicPtr<Work<'static>>,
    /// The number of helpers that may still enter. It is a hint: a helper that was on its way to the post's previous call
    /// may enter too.
    wanted: AtomicUsize,
    /// The number of helpers that are running the work, plus [`CLOSED`] unless the post is open.
    inside: AtomicUsize,
    /// Whether a helper has panicked.
    has_failed: AtomicBool,
    /// Held to wait for `left`.
    door: Mutex<()>,
    /// Tells the call that the last helper has left.
    left: Condvar,
}

/// What helpers run.
type Work<'a> = &'a (dyn Fn() + Sync);

impl<const N: usize> Board<N> {
    const_fn! {
        pub(crate) fn new(posts: [Post; N]) -> Board<N> {
            Board { posts, asleep: Mutex::new(0), bell: Condvar::new() }
        }
    }

    /// Runs `own` in this thread while up to `helpers` helpers run `work`, and returns when all of them are done. Does
    /// not wait for helpers that have not entered by the end of `own`.
    ///
    /// # Panics
    /// When `own` panics, or `work` in a helper.
    pub(crate) fn call(&self, helpers: usize, work: Work<'_>, own: impl FnOnce()) {
        let post = (helpers > 0).then(|| self.posts.iter().find(|post| post.claim())).flatten();
        let Some(post) = post else { return own() };
        // SAFETY: `closing` is dropped before `work` goes out of scope, also by a panic.
        let closing = unsafe { post.open(&work, helpers) };
        self.wake(helpers);
        own();
        let has_failed = closing.close();
        assert!(!has_failed, "a helping thread panicked");
    }

    /// Wakes up to `helpers` sleeping helpers.
    fn wake(&self, helpers: usize) {
        // A helper falls asleep only after it has looked for work with this lock held: it has seen the open post, or it
        // is counted here.
        let asleep = *lock(&self.asleep);
        for _ in 0..helpers.min(asleep) {
            self.bell.notify_one();
        }
    }

    /// Runs the work of one call that wants help. Returns false if there is none.
    pub(crate) fn help(&self) -> bool {
        self.posts.iter().any(Post::help)
    }

    /// Helps until there has been no work for a while.
    pub(crate) fn help_until_idle(&self) {
        let mut idle = 0;
        while idle < IDLE_ROUNDS {
            if self.help() {
                idle = 0;
            } else {
                idle += 1;
                yield_now();
            }
        }
    }

    /// Sleeps until there may be work.
    pub(crate) fn sleep(&self) {
        let mut asleep = lock(&self.asleep);
        if !self.posts.iter().any(Post::wants_help) {
            *asleep += 1;
            asleep = self.bell.wait(asleep).unwrap_or_else(PoisonError::into_inner);
            *asleep -= 1;
        }
    }
}

impl Post {
    const_fn! {
        pub(crate) fn new() -> Post {
            Post {
                is_claimed: AtomicBool::new(false),
                work: AtomicPtr::new(ptr::null_mut()),
                wanted: AtomicUsize::new(0),
                inside: AtomicUsize::new(CLOSED),
                has_failed: AtomicBool::new(false),
                door: Mutex::new(()),
                left: Condvar::new(),
            }
        }
    }

    /// Makes this post the caller's, unless it is another call's.
    fn claim(&self) -> bool {
        !self.is_claimed.load(Ordering::Relaxed) && !self.is_claimed.swap(true, Ordering::Acquire)
    }

    /// Lets helpers enter a post that the caller has claimed.
    ///
    /// # Safety
    /// `work` must live until the returned value is dropped or closed.
    unsafe fn open(&self, work: &Work<'_>, helpers: usize) -> Closing<'_> {
        self.work.store(ptr::from_ref(work).cast_mut().cast(), Ordering::Relaxed);
        self.inside.store(0, Ordering::Release);
        self.wanted.store(helpers, Ordering::Release);
        Closing(self)
    }

    fn wants_help(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Runs the work of this post's call, unless it is closed or has enough helpers. Returns whether it was tried.
    fn help(&self) -> bool {
        let one_less = |wanted: usize| wanted.checked_sub(1);
        // Acquire: this thread then sees that the post is open.
        if !self.wants_help() || self.wanted.fetch_update(Ordering::Acquire, Ordering::Relaxed, one_less).is_err() {
            return false;
        }

        let enter = |inside: usize| (inside & CLOSED == 0).then_some(inside + 1);
        if self.inside.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).is_ok() {
            // SAFETY: this thread is counted in `inside`, so that `Closing` keeps the call from returning. `open` has
            // stored the work before it let helpers enter.
            let work = AssertUnwindSafe(|| unsafe { (*self.work.load(Ordering::Relaxed))() });
            if panic::catch_unwind(work).is_err() {
                self.has_failed.store(true, Ordering::Relaxed);
            }
            if self.inside.fetch_sub(1, Ordering::Release) == CLOSED + 1 {
                // The call may be waiting already: with the lock held it is either before its last look at `inside` or
                // asleep.
                drop(lock(&self.door));
                self.left.notify_all();
            }
        }
        true
    }
}

/// Closes a post when dropped, also by a panic, and waits for the helpers that are inside.
struct Closing<'a>(&'a Post);

impl Closing<'_> {
    /// Closes the post. Returns whether a helper has panicked.
    fn close(self) -> bool {
        self.wait();
        self.0.has_failed.load(Ordering::Relaxed)
    }

    fn wait(&self) {
        let post = self.0;
        post.wanted.store(0, Ordering::Relaxed);
        post.inside.fetch_or(CLOSED, Ordering::Relaxed);
        let is_empty = || post.inside.load(Ordering::Acquire) == CLOSED;
        if !spin_until(is_empty) {
            let mut door = lock(&post.door);
            while !is_empty() {
                door = post.left.wait(door).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.wait();
        self.0.has_failed.store(false, Ordering::Relaxed);
        self.0.is_claimed.store(false, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
