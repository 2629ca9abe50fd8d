//! Waiting in a way that allows `pthread_cancel(3)`.
//!
//! Cancellation unwinds the stack of the thread. On the way there must be no destructor and no
//! `catch_unwind`, which would abort the process (Rust RFC 2945). So each call consists of
//! attempts that do not wait, during which cancellation is disabled, and of waits in between.
//! [`complete`] waits in a frame that has plain values only; the resources of the call are
//! [held](crate::held) in the meantime.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use spread_core::Ready;
use spread_wire::ErrorCode;

use crate::auth::Exchange;
use crate::held;
use crate::types::SP_BUG;

/// The condition that ends a wait: a descriptor is ready, or a time has passed.
///
/// A plain value without a destructor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    fds: Fds,
    time: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Fds {
    One(libc::pollfd),
    /// The array that is held for the thread.
    Held,
}

impl Wait {
    /// Waits for one descriptor.
    pub(crate) fn descriptor(fd: c_int, ready: Ready, time: Option<Duration>) -> Wait {
        let fds = Fds::One(libc::pollfd { fd, events: events(ready), revents: 0 });
        Wait { fds, time }
    }

    /// Waits for a time only.
    pub(crate) fn time(time: Duration) -> Wait {
        // poll(2) skips a negative descriptor.
        Wait { time: Some(time), ..Wait::descriptor(-1, Ready::ToRead, None) }
    }

    /// Waits for the array that is [held](held::polled) when the wait begins.
    pub(crate) fn held(time: Option<Duration>) -> Wait {
        Wait { fds: Fds::Held, time }
    }
}

/// The events of `poll(2)`.
pub(crate) fn events(ready: Ready) -> i16 {
    match ready {
        Ready::ToRead => libc::POLLIN,
        Ready::ToWrite => libc::POLLOUT,
        // poll(2) tells of it without being asked.
        Ready::Ended => 0,
    }
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The call is over, with this code.
    Done(c_int),
    /// Wait, then make the next attempt.
    Wait(Wait),
    /// Call this function of the application, and pass its result to the next attempt.
    Call { exchange: Exchange, fd: c_int },
}

/// Makes attempts until the call is over.
///
/// `attempt` has no destructor, being `Copy`.
#[inline]
pub(crate) fn complete(attempt: impl Fn(Option<c_int>) -> Step + Copy) -> c_int {
    held::drop_stale();
    let mut answer = None;
    loop {
        match attempt(answer.take()) {
            Step::Done(code) => return code,
            Step::Wait(wait_for) => wait(wait_for),
            Step::Call { exchange, fd } => {
                let depth = held::call_begins();
                answer = Some(exchange.call(fd));
                held::call_ended(depth);
            }
        }
    }
}

/// Waits until the condition is met or a signal arrives. A cancellation point: then it does
/// not return.
pub(crate) fn wait(Wait { fds, time }: Wait) {
    let mut one;
    let (fds, count) = match fds {
        Fds::One(fd) => {
            one = fd;
            (&raw mut one, 1)
        }
        Fds::Held => held::polled(),
    };
    // SAFETY: there are `count` descriptors, in this frame or in an array that is held for
    // the thread until its next call. Nothing in this frame has a destructor.
    if unsafe { poll(fds, count as libc::nfds_t, time) } < 0 && is_unusual() {
        // For want of memory: not to spin is all that can be done.
        // SAFETY: no descriptors are announced.
        unsafe { poll(ptr::null_mut(), 0, Some(Duration::from_millis(1))) };
    }
}

/// Whether the error in `errno` is another than that a signal came.
fn is_unusual() -> bool {
    std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
unsafe fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, time: Option<Duration>) -> c_int {
    unsafe extern "C-unwind" {
        // Its thread can be cancelled in it, which unwinds.
        fn ppoll(
            fds: *mut libc::pollfd,
            count: libc::nfds_t,
            time: *const libc::timespec,
            signals: *const libc::sigset_t,
        ) -> c_int;
    }
    let timespec = time.map(|time| libc::timespec {
        tv_sec: time.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: time.subsec_nanos() as _,
    });
    let time = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: there are as many descriptors as told, as the caller promises; the time is
    // null or lives through the call; without a set of signals none is blocked.
    unsafe { ppoll(fds, count, time, ptr::null()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
unsafe fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, time: Option<Duration>) -> c_int {
    unsafe extern "C-unwind" {
        // Its thread can be cancelled in it, which unwinds.
        fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, millis: c_int) -> c_int;
    }
    // Rounded up, so as not to spin through the last millisecond.
    let millis = |time: Duration| time.as_nanos().div_ceil(1_000_000).try_into();
    let millis = time.map_or(-1, |time| millis(time).unwrap_or(c_int::MAX));
    // SAFETY: there are as many descriptors as told, as the caller promises.
    unsafe { poll(fds, count, millis) }
}

/// Returns the result of `body` as a code. For functions that do not wait.
///
/// Cancellation is disabled meanwhile, and a panic becomes `SP_BUG`.
#[inline]
pub(crate) fn code(body: impl FnOnce() -> Result<c_int, ErrorCode>) -> c_int {
    guarded(SP_BUG, || body().unwrap_or_else(ErrorCode::code))
}

/// As [`code`], for an attempt.
#[inline]
pub(crate) fn attempt(body: impl FnOnce() -> Result<Step, ErrorCode>) -> Step {
    let body = || body().unwrap_or_else(|error| Step::Done(error.code()));
    guarded(Step::Done(SP_BUG), body)
}

/// Calls `body` with cancellation disabled; returns `bug` if it panics.
#[inline]
pub(crate) fn guarded<T>(bug: T, body: impl FnOnce() -> T) -> T {
    let _uncancelled = Uncancelled::new();
    // What a panic leaves half done is behind locks and atomics.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(bug)
}

/// Disables cancellation of the thread until it is dropped: many system calls are cancellation
/// points.
struct Uncancelled {
    before: c_int,
}

#[cfg(not(target_os = "android"))]
unsafe extern "C" {
    fn pthread_setcancelstate(state: c_int, before: *mut c_int) -> c_int;
}

/// There is no cancellation on this system.
#[cfg(target_os = "android")]
unsafe fn pthread_setcancelstate(_state: c_int, _before: *mut c_int) -> c_int {
    0
}

const PTHREAD_CANCEL_DISABLE: c_int = if cfg!(target_vendor = "apple") { 0 } else { 1 };

impl Uncancelled {
    #[inline]
    fn new() -> Uncancelled {
        let mut before = PTHREAD_CANCEL_DISABLE;
        // SAFETY: the state is one that there is, and there is room for the former one.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
        Uncancelled { before }
    }
}

impl Drop for Uncancelled {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as above; the state is one that the thread had before.
        unsafe { pthread_setcancelstate(self.before, &mut self.before) };
    }
}
