//! Tells a process from the one it was forked from.
//!
//! `getpid(2)` would tell as well, but costs a system call for every message.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// A number that is one more in the child of every fork.
pub(crate) fn generation() -> u32 {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the handler lives as long as the code does, and only does
        // what is allowed between fork and exec: it adds to an atomic. Should
        // registering fail for want of memory, forks go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}
