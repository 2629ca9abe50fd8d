//! The event interface, of `sp_events.h`: timers, and descriptors with
//! priorities.
//!
//! It is meant for programs with one thread, as in the original: callbacks run in
//! the thread that is in [`E_handle_events`].

use std::ffi::{c_int, c_void};

use crate::events::{
    Action, Argument, Callback, Kind, Moment, Priority, Round, Timer, Timers, events, exit, now,
    wall_clock,
};
use crate::held;
use crate::types::{fd_function, sp_time, time_function};
use crate::wait::{Wait, code, guarded, wait};

/// What the functions return that fail.
const FAILED: c_int = -1;

/// Forgets all events, and has descriptors of all priorities waited for; returns
/// 0. Programs call it before the other functions.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_init() -> c_int {
    code(|| {
        let mut events = events();
        events.timers = Timers::new();
        events.descriptors.clear();
        Ok(0)
    })
}

/// The time of day, since 1970.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_get_time() -> sp_time {
    wall_clock().into()
}

/// The time of a clock that only goes forward, since some moment in the past.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_get_time_monotonic() -> sp_time {
    now().into()
}

/// `-t`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_neg_time(t: sp_time) -> sp_time {
    (-Moment::from(t)).into()
}

/// `t + delta_t`, with both parts of one sign.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_add_time(t: sp_time, delta_t: sp_time) -> sp_time {
    (Moment::from(t) + delta_t.into()).into()
}

/// `t - delta_t`, with both parts of one sign.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_sub_time(t: sp_time, delta_t: sp_time) -> sp_time {
    (Moment::from(t) + -Moment::from(delta_t)).into()
}

/// 1 if `t1` is later than `t2`, 0 if they are equal, -1 otherwise.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_compare_time(t1: sp_time, t2: sp_time) -> c_int {
    Moment::from(t1).cmp(&t2.into()) as c_int
}

/// Queues a call of `func(code, data)`, `delta_time` from now; returns 0, or -1 if
/// the function is null. If the same call is queued already, it moves.
///
/// # Safety
///
/// `func` can be called with `code` and `data` as long as the event is queued.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_queue(
    func: Option<time_function>,
    code: c_int,
    data: *mut c_void,
    delta_time: sp_time,
) -> c_int {
    with_timer(func, code, data, |timer| {
        events().timers.queue(timer, now() + delta_time.into());
        0
    })
}

/// Whether such a call is queued: 1 or 0.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_in_queue(
    func: Option<time_function>,
    code: c_int,
    data: *mut c_void,
) -> c_int {
    let found = with_timer(func, code, data, |timer| events().timers.contains(&timer).into());
    c_int::from(found == 1)
}

/// Takes a call out of the queue; returns 0, or -1 if it was not there. The data
/// are left alone.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_dequeue(
    func: Option<time_function>,
    code: c_int,
    data: *mut c_void,
) -> c_int {
    with_timer(func, code, data, |timer| found(events().timers.dequeue(&timer)))
}

/// Waits so long, or until a signal comes.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn E_delay(t: sp_time) {
    wait(Wait::time(Moment::from(sp_time::default()).until(t.into())));
}

/// Attaches `func(fd, code, data)`, which is called as often as `fd` is ready for `fd_type`, one
/// of `READ_FD`, `WRITE_FD` and `EXCEPT_FD`. Returns 0, 1 if it takes the place
/// of what was attached to it with the same priority, or -1 if an argument is
/// out of range or there are [`MAX_FD_EVENTS`](crate::MAX_FD_EVENTS).
///
/// A descriptor that has failed, was hung up or is not open counts as ready.
///
/// # Safety
///
/// `func` can be called with `fd`, `code` and `data` as long as it is attached.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_attach_fd(
    fd: c_int,
    fd_type: c_int,
    func: Option<fd_function>,
    code: c_int,
    data: *mut c_void,
    priority: c_int,
) -> c_int {
    let (Some(kind), Some(priority)) = (Kind::new(fd_type), Priority::new(priority)) else {
        return FAILED;
    };
    let Some(function) = func.filter(|_| fd >= 0) else {
        return FAILED;
    };
    let callback = Callback::new(function, Argument { code, data });
    let attached = events().descriptors.attach(fd, kind, priority, callback);
    attached.map_or(FAILED, c_int::from)
}

/// Detaches what is attached to `fd`, with whatever priority; returns 0, or -1 if
/// there is nothing.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_detach_fd(fd: c_int, fd_type: c_int) -> c_int {
    found(Kind::new(fd_type).is_some_and(|kind| events().descriptors.detach(fd, kind, None)))
}

/// Detaches what is attached to `fd` with this priority; returns 0, or -1 if
/// there is nothing.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_detach_fd_priority(fd: c_int, fd_type: c_int, priority: c_int) -> c_int {
    match (Kind::new(fd_type), Priority::new(priority)) {
        (Some(kind), priority @ Some(_)) => found(events().descriptors.detach(fd, kind, priority)),
        _ => FAILED,
    }
}

/// Waits only for descriptors of this priority and above from now on; returns it, or -1
/// if it is none.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_set_active_threshold(priority: c_int) -> c_int {
    let Some(threshold) = Priority::new(priority) else {
        return FAILED;
    };
    events().descriptors.set_threshold(threshold);
    priority
}

/// Waits again for what is attached to `fd`; returns 0, or -1 if there is
/// nothing.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_activate_fd(fd: c_int, fd_type: c_int) -> c_int {
    found(Kind::new(fd_type).is_some_and(|kind| events().descriptors.set_active(fd, kind, true)))
}

/// Stops waiting for what is attached to `fd`, but keeps it; returns 0, or
/// -1 if there is nothing.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_deactivate_fd(fd: c_int, fd_type: c_int) -> c_int {
    found(Kind::new(fd_type).is_some_and(|kind| events().descriptors.set_active(fd, kind, false)))
}

/// How many active callbacks are attached with this priority; -1 if it is none.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_num_active(priority: c_int) -> c_int {
    let count = Priority::new(priority).map(|level| events().descriptors.num_active(level));
    count.and_then(|count| count.try_into().ok()).unwrap_or(FAILED)
}

/// Calls back what is due and what is ready, until [`E_exit_events`] is called;
/// events stay attached and queued for the next time.
///
/// In each round come first the timers that are due, in the order of their times;
/// then of the descriptors above `LOW_PRIORITY` all that are ready and have the
/// highest priority among these; then one of `LOW_PRIORITY`, each in its turn.
/// Timers wait at first, for a round in which nothing above `LOW_PRIORITY` was
/// ready.
///
/// Callbacks may use all functions. What a callback detaches, deactivates, or
/// puts below the threshold is not called any more, even if it was ready.
///
/// # Safety
///
/// What was promised of the callbacks holds, in this thread. They do not unwind; they may
/// jump out, and the thread may be cancelled in them.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn E_handle_events() {
    held::drop_stale();
    let Some(mut round) = guarded(None, || Some(Round::first())) else {
        return;
    };
    // Nothing in this frame has a destructor.
    loop {
        match guarded(Action::End, || round.next().unwrap_or(Action::End)) {
            Action::Timer(Timer { function, argument }) => {
                // SAFETY: whoever queued it promised that it can be called so.
                unsafe { function(argument.code, argument.data) };
            }
            Action::Descriptor(fd, Callback { function, argument }) => {
                // SAFETY: whoever attached it promised that it can be called so.
                unsafe { function(fd, argument.code, argument.data) };
            }
            Action::Wait(wait_for) => wait(wait_for),
            Action::End => return,
        }
    }
}

/// Ends [`E_handle_events`] after the callback that is running.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_exit_events() {
    guarded((), exit);
}

/// As [`E_exit_events`], for signal handlers. A loop that is waiting ends.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn E_exit_events_async_safe() {
    guarded((), exit);
}

fn with_timer(
    function: Option<time_function>,
    code: c_int,
    data: *mut c_void,
    body: impl FnOnce(Timer) -> c_int,
) -> c_int {
    let timer = |function| Timer::new(function, Argument { code, data });
    function.map_or(FAILED, |function| body(timer(function)))
}

fn found(found: bool) -> c_int {
    if found { 0 } else { FAILED }
}
