//! Resources of a call that waits, kept in thread-specific data.
//!
//! A handle on a session keeps the number of its descriptor from being reused while a thread
//! waits for it; a connect under way owns sockets. They cannot lie in the frame that waits,
//! because cancellation unwinds that frame and runs no destructor. So they are moved to a
//! value of the thread (`pthread_key_create(3)`), whose destructor runs when the thread
//! ends, also by cancellation. Unlike a `thread_local!` of Rust it can be used in the
//! destructors of other keys, where C programs disconnect.
//!
//! If a signal handler jumps out of a wait (`siglongjmp(3)`), the entry is stale. The next
//! call of the thread that can wait drops it.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::{Arc, OnceLock};

use spread_wire::ErrorCode;

use crate::connect::Connecting;
use crate::events::Polled;
use crate::session::{Ending, Session};
use crate::wait::guarded;

/// The resources of one call.
#[derive(Debug)]
pub(crate) enum Held {
    /// A call waits for the session.
    Session(Arc<Session>),
    /// A disconnect waits for the daemon.
    Ending(Ending),
    /// A connect waits, or the application authenticates it.
    Connecting(Box<Connecting>),
    /// The event loop waits.
    Polled(Polled),
    /// A receive of Flush Spread waits.
    Receiving(Box<Receiving>),
}

/// A receive of Flush Spread that waits: for the socket, and for messages that another
/// thread has left in the layer.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) session: Arc<Session>,
    fds: [libc::pollfd; 2],
}

impl Receiving {
    /// Waits for these events of the socket, and for the layer's descriptor; -1 for none.
    pub(crate) fn new(session: Arc<Session>, events: i16, layer: c_int) -> Receiving {
        let of = |fd, events| libc::pollfd { fd, events, revents: 0 };
        let fds = [of(session.mailbox(), events), of(layer, libc::POLLIN)];
        Receiving { session, fds }
    }

    /// Whether the wait, which was for the socket alone, has ended because it is readable.
    pub(crate) fn is_readable(&self) -> bool {
        self.fds[1].fd < 0 && self.fds[0].revents & libc::POLLIN != 0
    }
}

/// The entries of a thread, the innermost call last. There are several if an authentication
/// function calls the library.
#[derive(Debug, Default)]
struct Stack(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    held: Held,
    /// Whether the call is running a function of the application. Calls of the library from
    /// there must not take the entry for a stale one.
    calls: bool,
}

/// Keeps the resources of a call during the wait that follows.
///
/// # Errors
///
/// `Bug` if the system has no room for a value of the thread.
pub(crate) fn hold(held: Held) -> Result<(), ErrorCode> {
    let key = key().ok_or(ErrorCode::Bug)?;
    let mut stack = of_thread(key);
    if stack.is_null() {
        stack = Box::into_raw(Box::default());
        // SAFETY: the key is one that there is; the value is what its destructor expects.
        if unsafe { libc::pthread_setspecific(key, stack.cast()) } != 0 {
            // SAFETY: it comes from a box, and nobody else has it.
            drop(unsafe { Box::from_raw(stack) });
            return Err(ErrorCode::Bug);
        }
    }
    // SAFETY: it comes from a box, belongs to this thread alone, and no other reference to
    // it lives: none leaves this module.
    unsafe { &mut *stack }.0.push(Entry { held, calls: false });
    Ok(())
}

/// Takes the resources back after the wait; `None` if the call has not waited yet.
#[inline]
pub(crate) fn take() -> Option<Held> {
    with_stack(|stack| stack.pop_if(|entry| !entry.calls)).flatten().map(|entry| entry.held)
}

/// Returns the array of descriptors to wait for, which stays in place during the wait.
pub(crate) fn polled() -> (*mut libc::pollfd, usize) {
    let polled = with_stack(|stack| {
        let fds = match &mut stack.last_mut()?.held {
            Held::Connecting(connecting) => connecting.polled(),
            Held::Polled(polled) => polled.fds.as_mut_slice(),
            Held::Receiving(receiving) => &mut receiving.fds,
            Held::Session(_) | Held::Ending(_) => return None,
        };
        Some((fds.as_mut_ptr(), fds.len()))
    });
    polled.flatten().unwrap_or((ptr::null_mut(), 0))
}

/// Drops stale entries. To be called at the begin of every call that can wait.
#[inline]
pub(crate) fn drop_stale() {
    if with_stack(|stack| stack.last().is_some_and(|entry| !entry.calls)) == Some(true) {
        guarded((), || while take().is_some() {});
    }
}

/// Marks the top entry before a function of the application is called; returns its depth.
pub(crate) fn call_begins() -> usize {
    guarded(0, || {
        let begin = |stack: &mut Vec<Entry>| {
            if let Some(entry) = stack.last_mut() {
                entry.calls = true;
            }
            stack.len()
        };
        with_stack(begin).unwrap_or(0)
    })
}

/// Ends what [`call_begins`] began, and drops stale entries above `depth`.
pub(crate) fn call_ended(depth: usize) {
    guarded((), || {
        let stale = with_stack(|stack| {
            let stale = stack.split_off(depth.min(stack.len()));
            if let Some(entry) = stack.last_mut() {
                entry.calls = false;
            }
            stale
        });
        drop(stale);
    });
}

/// Calls `body` with the entries of this thread, if it has any. `body` must not drop one: a
/// destructor could get here again.
#[inline]
fn with_stack<T>(body: impl FnOnce(&mut Vec<Entry>) -> T) -> Option<T> {
    let stack = of_thread(key()?);
    // SAFETY: it is null or comes from a box; it belongs to this thread alone, and `body`
    // does not get here again.
    unsafe { stack.as_mut() }.map(|stack| body(&mut stack.0))
}

#[inline]
fn of_thread(key: libc::pthread_key_t) -> *mut Stack {
    // SAFETY: the key is one that there is.
    unsafe { libc::pthread_getspecific(key) }.cast()
}

/// `None` if the system has none to give.
#[inline]
fn key() -> Option<libc::pthread_key_t> {
    static KEY: OnceLock<Option<libc::pthread_key_t>> = OnceLock::new();
    *KEY.get_or_init(|| {
        let mut key = 0;
        // SAFETY: there is room for the key, and the destructor takes what `hold` sets.
        let result = unsafe { libc::pthread_key_create(&mut key, Some(thread_ends)) };
        (result == 0).then_some(key)
    })
}

unsafe extern "C" fn thread_ends(stack: *mut c_void) {
    guarded((), || {
        // SAFETY: the value was set by `hold`, from a box; the system has taken it away from
        // the thread before it calls.
        drop(unsafe { Box::from_raw(stack.cast::<Stack>()) });
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn nothing() -> Held {
        Held::Polled(Polled::default())
    }

    #[test]
    fn what_is_held_is_taken_once() {
        hold(nothing()).unwrap();
        assert!(take().is_some() && take().is_none());
    }

    #[test]
    fn a_call_in_a_function_of_the_application_leaves_the_outer_one_alone() {
        hold(nothing()).unwrap();
        let depth = call_begins();
        drop_stale();
        hold(nothing()).unwrap();
        // What it has left is dropped.
        call_ended(depth);
        assert!(take().is_some() && take().is_none());
    }
}
