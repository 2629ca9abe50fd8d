//! Calls that wait, such that their thread can be cancelled (`pthread_cancel(3)`).
//!
//! To cancel a thread is to unwind its stack, which must not find anything of Rust to do
//! there: no destructor, and no `catch_unwind`, which would abort the process. So a call is
//! made of attempts that do not wait. While one runs, the thread is not cancelled. Between
//! them [`complete`] waits, in a frame that holds plain values only. What must not go away
//! meanwhile is [held](crate::held) for the thread.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use spread_core::Ready;
use spread_wire::ErrorCode;

use crate::auth::Exchange;
use crate::held;
use crate::types::SP_BUG;

/// What ends a wait: the first of some descriptors to be ready, or a length of time.
///
/// A plain value, so that nothing has to be done for it when the thread is cancelled.
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
    /// For one descriptor.
    pub(crate) fn descriptor(fd: c_int, ready: Ready, time: Option<Duration>) -> Wait {
        let fds = Fds::One(libc::pollfd { fd, events: events(ready), revents: 0 });
        Wait { fds, time }
    }

    /// For a length of time.
    pub(crate) fn time(time: Duration) -> Wait {
        // poll(2) skips a negative descriptor.
        Wait { time: Some(time), ..Wait::descriptor(-1, Ready::ToRead, None) }
    }

    /// For the descriptors that are [held](held::polled) when the wait begins.
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

/// What an attempt has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// The call is over, with this code.
    Done(c_int),
    /// The next attempt comes after this.
    Wait(Wait),
    /// The next attempt is told what this function of the application has returned. The
    /// top of what is held for the thread stays until then.
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

/// Waits; a signal ends the wait, too. If the thread is cancelled, the call does not return.
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

/// Calls `body`, and makes a code of its result. What waits for nothing is done so.
///
/// The thread is not cancelled meanwhile, and a panic does not get out.
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

/// Calls `body` in a thread that is not cancelled meanwhile; returns `bug` if it panics.
#[inline]
pub(crate) fn guarded<T>(bug: T, body: impl FnOnce() -> T) -> T {
    let _uncancelled = Uncancelled::new();
    // What a panic leaves half done is behind locks and atomics.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(bug)
}

/// As long as it lives, a cancellation of the thread waits: many system calls would act
/// upon it.
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
