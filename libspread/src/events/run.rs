//! The loop itself.

use std::ffi::c_int;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::descriptors::{Callback, Priority};
use super::time::{now, poll};
use super::timers::Timer;
use super::{events, wake};

/// How long the loop waits when nothing is queued.
const LONG: Duration = Duration::from_secs(10_000);

static EXIT: AtomicBool = AtomicBool::new(false);

/// Ends the loop after the callback that runs, or at once if it waits.
pub(crate) fn exit() {
    // Once is enough, and keeps the pipe from filling up.
    if !EXIT.swap(true, Ordering::AcqRel) {
        wake::wake();
    }
}

fn is_over() -> bool {
    EXIT.load(Ordering::Acquire)
}

/// Calls back what is due and what is ready, until [`exit`] is called.
///
/// Each round calls, in this order:
/// - every timer that is due, but in no round before the first in which nothing
///   urgent was ready;
/// - of the descriptors above low priority all that are ready and have the
///   highest priority among these;
/// - one descriptor of low priority, each in its turn.
pub(crate) fn run() {
    EXIT.store(false, Ordering::Release);
    // Without a pipe the loop goes on, and wakes up as signals make it.
    let woken_by = wake::prepare().unwrap_or(-1);
    let mut urgent_first = true;
    while !is_over() {
        if !urgent_first && call_due() {
            return;
        }
        let (mut waiting, next) = {
            let events = events();
            (events.descriptors.waiting(), events.timers.next())
        };
        let time = match next {
            Some(next) => now().until(next).min(LONG),
            None => LONG,
        };
        // poll(2) skips a negative descriptor.
        waiting.polled.push(libc::pollfd { fd: woken_by, events: libc::POLLIN, revents: 0 });
        if let Err(error) = poll(&mut waiting.polled, time) {
            for poll in &mut waiting.polled {
                poll.revents = 0;
            }
            if error.kind() != ErrorKind::Interrupted {
                // For want of memory: not to spin is all that can be done.
                super::pause(Duration::from_millis(1));
            }
        }
        if is_over() {
            return;
        }

        let mut urgent = false;
        for priority in Priority::urgent() {
            for id in waiting.ready(priority) {
                let found = events().descriptors.callback(priority, id);
                if let Some((fd, callback)) = found {
                    call(fd, callback);
                    urgent = true;
                }
                if is_over() {
                    return;
                }
            }
            if urgent {
                break;
            }
        }
        urgent_first &= urgent;

        let ready = waiting.ready(Priority::LOW);
        let turn = events().descriptors.take_turn(&ready);
        if let Some((fd, callback)) = turn {
            call(fd, callback);
        }
    }
}

/// Calls all timers that are due; `true` if the loop is to end.
fn call_due() -> bool {
    loop {
        let due = events().timers.take_due(now());
        let Some(Timer { function, argument }) = due else {
            return false;
        };
        // SAFETY: whoever queued it promised that it can be called so.
        unsafe { function(argument.code, argument.data) };
        if is_over() {
            return true;
        }
    }
}

fn call(fd: c_int, Callback { function, argument }: Callback) {
    // SAFETY: whoever attached it promised that it can be called so.
    unsafe { function(fd, argument.code, argument.data) };
}
