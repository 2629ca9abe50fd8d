//! The event loop behind the `E_` functions: timers, and descriptors with
//! priorities.
//!
//! Like the original there is one loop for all of the process, and it is meant
//! for one thread. Its state is behind a lock nevertheless, which is never held
//! while a callback runs or the loop waits: so callbacks may use all functions,
//! and a program that breaks the rule gets no worse than a callback in another
//! thread.

mod descriptors;
mod run;
mod time;
mod timers;
mod wake;

use std::ffi::{c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use descriptors::{Callback, Descriptors, Kind, Polled, Priority};
pub(crate) use run::{Action, Round, exit};
pub(crate) use time::{Moment, now, wall_clock};
pub(crate) use timers::{Timer, Timers};

/// What the application has asked for.
pub(crate) struct Events {
    pub(crate) timers: Timers,
    pub(crate) descriptors: Descriptors,
}

static EVENTS: Mutex<Events> =
    Mutex::new(Events { timers: Timers::new(), descriptors: Descriptors::new() });

/// The state of the loop; let go of it before anything is called or waited for.
pub(crate) fn events() -> MutexGuard<'static, Events> {
    EVENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a callback is called with, besides what has happened.
///
/// Two events with equal ones are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Argument {
    pub(crate) code: c_int,
    pub(crate) data: *mut c_void,
}

// SAFETY: the library does not look at the data. That the callback may be called
// with it in the thread of the loop is what whoever attaches it promises.
unsafe impl Send for Argument {}
