//! Telling a process from the one it was forked from.

use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

static FORKS: AtomicU32 = AtomicU32::new(0);

/// Returns the number of forks between the first process and this one.
///
/// The child of a fork shares its parent's sockets and has a copy of its memory, with
/// locks that no thread of the child will release. A value that notes the generation in
/// which it was made can tell that it belongs to the parent.
///
/// `getpid(2)` would tell as well, but costs a system call. A child made by `vfork` or by
/// a bare `clone` is not counted.
#[inline]
pub fn generation() -> u32 {
    static REGISTERED: Once = Once::new();
    if !REGISTERED.is_completed() {
        REGISTERED.call_once(|| {
            // SAFETY: the handler lives as long as the code does, and adds to an atomic,
            // which is allowed between fork and exec. Without memory registering fails;
            // forks then go unnoticed.
            unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        });
    }
    FORKS.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// A static value of this process: the child of a fork makes its own.
///
/// So a lock in it is never one that a thread of the parent held at the fork. The value of
/// the parent is left as it is, and not dropped.
#[derive(Debug)]
pub struct PerProcess<T: 'static> {
    current: AtomicPtr<Made<T>>,
}

#[derive(Debug)]
struct Made<T> {
    generation: u32,
    value: T,
}

impl<T: Send + Sync + 'static> PerProcess<T> {
    /// Creates it without a value.
    pub const fn new() -> PerProcess<T> {
        PerProcess { current: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Returns the value of this process, made by `make` at the first call.
    ///
    /// `make` may be called by several threads at once; one result is kept.
    pub fn get(&'static self, make: impl FnOnce() -> T) -> &'static T {
        let generation = generation();
        let found = self.current.load(Ordering::Acquire);
        // SAFETY: the pointer is null or was leaked below, and is never freed.
        if let Some(made) = unsafe { found.as_ref() }
            && made.generation == generation
        {
            return &made.value;
        }
        let new = Box::into_raw(Box::new(Made { generation, value: make() }));
        match self.current.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: it was leaked above, and is never freed from here on.
            Ok(_) => unsafe { &(*new).value },
            Err(other) => {
                // SAFETY: `new` was not published, so this is its only pointer.
                drop(unsafe { Box::from_raw(new) });
                // SAFETY: another thread of this process has published it, and nobody
                // frees it.
                unsafe { &(*other).value }
            }
        }
    }
}

impl<T: Send + Sync + 'static> Default for PerProcess<T> {
    fn default() -> PerProcess<T> {
        PerProcess::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn all_threads_of_a_process_have_the_same_value() {
        static VALUE: PerProcess<Mutex<u32>> = PerProcess::new();
        let values: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(|| ptr::from_ref(VALUE.get(Mutex::default)) as usize))
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(values.iter().all(|value| *value == values[0]));
    }

    #[test]
    fn the_child_of_a_fork_has_a_value_of_its_own_though_the_lock_was_held() {
        static VALUE: PerProcess<Mutex<u32>> = PerProcess::new();
        let guard = VALUE.get(Mutex::default).lock().unwrap();
        let before = generation();
        // SAFETY: the child only takes a lock of its own, allocates, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let fresh = VALUE.get(Mutex::default).try_lock().is_ok();
            let counted = generation() == before + 1;
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!(fresh && counted))) };
        }
        let mut status = -1;
        // SAFETY: there is room for the status.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(generation(), before);
        drop(guard);
    }
}
