//! The environment's variables, read without allocating memory.

use std::ffi::CStr;

/// Calls `read` with the value of the variable `name`, or with an empty text if there is none.
#[cfg(unix)]
pub(super) fn with_value<R>(name: &CStr, read: impl FnOnce(&str) -> R) -> R {
    // SAFETY: the name is zero-terminated, and so is the value. As everywhere in C, no other thread may change the
    // environment meanwhile.
    let value = unsafe {
        let value = libc::getenv(name.as_ptr());
        if value.is_null() { c"" } else { CStr::from_ptr(value) }
    };
    read(value.to_str().unwrap_or_default())
}

/// Calls `read` with the value of the variable `name`, or with an empty text if there is none.
#[cfg(not(unix))]
pub(super) fn with_value<R>(name: &CStr, read: impl FnOnce(&str) -> R) -> R {
    read(&name.to_str().ok().and_then(|name| std::env::var(name).ok()).unwrap_or_default())
}
