//! The helper threads of this process. They are started by the first call that has use for them, and sleep between calls.
//!
//! They are plain POSIX threads: to start one of the standard library's allocates memory and ends the process if there is
//! none left.

use std::process;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::board::{Board, Post};

/// The number of calls that can have helpers at a time. More of them keep most machines busy by themselves.
const POSTS: usize = 16;

/// Where this process's calls ask for help.
pub(super) static BOARD: Board<POSTS> = Board::new([const { Post::new() }; POSTS]);

/// The number of helpers that have been started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// The number of helper threads.
pub(super) fn size() -> usize {
    STARTED.load(Ordering::Relaxed)
}

/// Whether this process can have helpers; starts them at the first call. Threads do not survive a fork, so a child forked
/// from a process that has helpers works alone.
pub(in crate::quant) fn is_usable() -> bool {
    // The PID of the process that started the helpers, 0 before. Not a OnceLock: in a process forked while another thread
    // initialises it, the child would wait for ever.
    static OWNER: AtomicU32 = AtomicU32::new(0);
    let us = process::id();
    match OWNER.compare_exchange(0, us, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {
            threads::start(super::processors::count() - 1);
            true
        }
        Err(owner) => owner == us,
    }
}

#[cfg(unix)]
mod threads {
    use std::ffi::c_void;
    use std::mem::MaybeUninit;
    use std::ptr;

    use super::{BOARD, Ordering, STARTED};

    /// Bytes of a helper's stack, as the standard library's threads have.
    const STACK: usize = 2 << 20;

    /// Starts `count` helpers, or as many as the system allows.
    pub(super) fn start(count: usize) {
        if count == 0 {
            return;
        }
        keep_loaded();
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised before they are used, and destroyed once. `run` never returns and uses
        // nothing of this thread's.
        unsafe {
            if libc::pthread_attr_init(attributes.as_mut_ptr()) != 0 {
                return;
            }
            libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
            libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
            for _ in 0..count {
                let mut thread = MaybeUninit::uninit();
                if libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, ptr::null_mut()) != 0 {
                    break;
                }
                STARTED.fetch_add(1, Ordering::Relaxed);
            }
            libc::pthread_attr_destroy(attributes.as_mut_ptr());
        }
    }

    extern "C" fn run(_: *mut c_void) -> *mut c_void {
        loop {
            BOARD.help_until_idle();
            BOARD.sleep();
        }
    }

    /// Keeps this library in memory when a program unloads it by dlclose: the helpers run its code.
    fn keep_loaded() {
        let mut found = MaybeUninit::<libc::Dl_info>::uninit();
        // SAFETY: dladdr takes any address, and fills in `found` where it returns nonzero; the name it gives is the
        // loader's own. For the program itself dlopen may find nothing, which is as good.
        unsafe {
            if libc::dladdr(run as *const c_void, found.as_mut_ptr()) != 0 {
                let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
                libc::dlopen(found.assume_init().dli_fname, flags);
            }
        }
    }
}

#[cfg(not(unix))]
mod threads {
    use super::{BOARD, Ordering, STARTED};

    /// Starts `count` helpers, or as many as the system allows.
    pub(super) fn start(count: usize) {
        for _ in 0..count {
            if std::thread::Builder::new()
                .spawn(|| {
                    loop {
                        BOARD.help_and_sleep()
                    }
                })
                .is_err()
            {
                break;
            }
            STARTED.fetch_add(1, Ordering::Relaxed);
        }
    }
}
