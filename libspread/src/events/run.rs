//! The loop itself: what it does next.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use spread_wire::ErrorCode;

use super::descriptors::{Callback, Polled, Priority};
use super::time::now;
use super::timers::Timer;
use super::{events, wake};
use crate::held::{self, Held};
use crate::wait::Wait;

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

/// What the frame of the loop does next; a plain value.
#[derive(Clone, Copy)]
pub(crate) enum Action {
    /// Call what is due.
    Timer(Timer),
    /// Call what is ready.
    Descriptor(c_int, Callback),
    Wait(Wait),
    End,
}

/// How far the loop is in its round; a plain value.
///
/// Each round calls, in this order:
/// - every timer that is due, but in no round before the first in which nothing
///   urgent was ready;
/// - of the descriptors above low priority all that are ready and have the
///   highest priority among these;
/// - one descriptor of low priority, each in its turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    phase: Phase,
    urgent_first: bool,
    /// The descriptor that [`exit`] makes readable.
    woken_by: c_int,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Timers,
    Wait,
    /// The wait is over.
    Woken,
    /// Descriptors of this priority are called, of the highest one that is ready at first.
    Urgent(Option<Priority>),
    Low,
}

impl Round {
    /// The first round of a loop that begins.
    pub(crate) fn first() -> Round {
        EXIT.store(false, Ordering::Release);
        // Without a pipe the loop goes on, and wakes up as signals make it.
        let woken_by = wake::prepare().unwrap_or(-1);
        Round { phase: Phase::Timers, urgent_first: true, woken_by }
    }

    /// What comes next.
    ///
    /// # Errors
    ///
    /// `Bug` if the loop cannot wait; see [`held::hold`].
    pub(crate) fn next(&mut self) -> Result<Action, ErrorCode> {
        loop {
            if is_over() {
                // What was waited for is dropped.
                held::take();
                return Ok(Action::End);
            }
            match self.phase {
                Phase::Timers => {
                    if !self.urgent_first
                        && let Some(due) = events().timers.take_due(now())
                    {
                        return Ok(Action::Timer(due));
                    }
                    self.phase = Phase::Wait;
                }
                Phase::Wait => {
                    self.phase = Phase::Woken;
                    return self.wait().map(Action::Wait);
                }
                Phase::Woken => {
                    // A signal handler that calls the library drops it.
                    let polled = match held::take() {
                        Some(Held::Polled(polled)) => polled,
                        _ => Polled::default(),
                    };
                    events().descriptors.set_ready(&polled);
                    self.phase = Phase::Urgent(None);
                }
                Phase::Urgent(priority) => {
                    if let Some((priority, (fd, callback))) = take_urgent(priority) {
                        self.phase = Phase::Urgent(Some(priority));
                        return Ok(Action::Descriptor(fd, callback));
                    }
                    self.urgent_first &= priority.is_some();
                    self.phase = Phase::Low;
                }
                Phase::Low => {
                    self.phase = Phase::Timers;
                    if let Some((fd, callback)) = events().descriptors.take_turn() {
                        return Ok(Action::Descriptor(fd, callback));
                    }
                }
            }
        }
    }

    /// The wait of this round, for which the array is held.
    fn wait(&self) -> Result<Wait, ErrorCode> {
        let (mut polled, next) = {
            let events = events();
            (events.descriptors.polled(), events.timers.next())
        };
        let time = next.map_or(LONG, |next| now().until(next).min(LONG));
        // poll(2) skips a negative descriptor.
        let exit = libc::pollfd { fd: self.woken_by, events: libc::POLLIN, revents: 0 };
        polled.fds.push(exit);
        held::hold(Held::Polled(polled))?;
        Ok(Wait::held(Some(time)))
    }
}

fn take_urgent(priority: Option<Priority>) -> Option<(Priority, (c_int, Callback))> {
    let mut events = events();
    let mut take = |priority| Some((priority, events.descriptors.take_ready(priority)?));
    match priority {
        Some(priority) => take(priority),
        None => Priority::urgent().find_map(take),
    }
}
