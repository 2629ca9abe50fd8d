//! Descriptors that wait to be ready.

use std::ffi::{c_int, c_void};
use std::mem;

use super::Argument;
use crate::types::{
    EXCEPT_FD, LOW_PRIORITY, MAX_FD_EVENTS, NUM_PRIORITY, READ_FD, WRITE_FD, fd_function,
};

const LEVELS: usize = NUM_PRIORITY as usize;

/// What a descriptor can be ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
    Except,
}

impl Kind {
    /// Reads `READ_FD`, `WRITE_FD` or `EXCEPT_FD`.
    pub(crate) fn new(fd_type: c_int) -> Option<Kind> {
        match fd_type {
            READ_FD => Some(Kind::Read),
            WRITE_FD => Some(Kind::Write),
            EXCEPT_FD => Some(Kind::Except),
            _ => None,
        }
    }

    /// The events of `poll(2)`.
    fn events(self) -> i16 {
        match self {
            Kind::Read => libc::POLLIN,
            Kind::Write => libc::POLLOUT,
            Kind::Except => libc::POLLPRI,
        }
    }
}

/// `LOW_PRIORITY`, `MEDIUM_PRIORITY` or `HIGH_PRIORITY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Priority(usize);

impl Priority {
    pub(crate) const LOW: Priority = Priority(LOW_PRIORITY as usize);

    pub(crate) fn new(priority: c_int) -> Option<Priority> {
        usize::try_from(priority).ok().filter(|&level| level < LEVELS).map(Priority)
    }

    /// Those above [`LOW`](Self::LOW), the highest first.
    pub(crate) fn urgent() -> impl Iterator<Item = Priority> {
        (Priority::LOW.0 + 1..LEVELS).rev().map(Priority)
    }
}

/// What is to be called when a descriptor is ready. The thread may be cancelled in it, which
/// unwinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    pub(crate) function: unsafe extern "C-unwind" fn(c_int, c_int, *mut c_void),
    pub(crate) argument: Argument,
}

impl Callback {
    pub(crate) fn new(function: fd_function, argument: Argument) -> Callback {
        // SAFETY: both are functions in C, with the same arguments; only what the caller
        // expects of an unwind is different.
        let function = unsafe {
            mem::transmute::<
                unsafe extern "C" fn(c_int, c_int, *mut c_void),
                unsafe extern "C-unwind" fn(c_int, c_int, *mut c_void),
            >(function)
        };
        Callback { function, argument }
    }
}

#[derive(Debug)]
struct Watch {
    /// Never used twice, so that what was ready is not mistaken for what has been
    /// attached since.
    id: u64,
    fd: c_int,
    kind: Kind,
    callback: Callback,
    active: bool,
    /// Whether it was ready when the loop last looked, and has not been called since.
    ready: bool,
}

/// What a loop waits for.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    pub(crate) fds: Vec<libc::pollfd>,
    /// Those of the first entries.
    watches: Vec<u64>,
}

/// The descriptors of all priorities, and the least that is waited for.
#[derive(Debug)]
pub(crate) struct Descriptors {
    watches: [Vec<Watch>; LEVELS],
    threshold: Priority,
    attached: u64,
    /// The watch of low priority after which the next turn begins.
    last_turn: u64,
}

impl Descriptors {
    pub(crate) const fn new() -> Descriptors {
        Descriptors {
            watches: [const { Vec::new() }; LEVELS],
            threshold: Priority::LOW,
            attached: 0,
            last_turn: 0,
        }
    }

    /// Forgets all descriptors. Ids go on, so that a loop that is under way
    /// notices.
    pub(crate) fn clear(&mut self) {
        self.watches = [const { Vec::new() }; LEVELS];
        self.threshold = Priority::LOW;
    }

    /// Attaches a callback and activates it; `Some(true)` if it takes the place of
    /// another, `None` if there is no room for it.
    pub(crate) fn attach(
        &mut self,
        fd: c_int,
        kind: Kind,
        priority: Priority,
        callback: Callback,
    ) -> Option<bool> {
        let watches = &mut self.watches[priority.0];
        self.attached += 1;
        let watch = Watch { id: self.attached, fd, kind, callback, active: true, ready: false };
        if let Some(former) = watches.iter_mut().find(|w| w.fd == fd && w.kind == kind) {
            *former = watch;
            return Some(true);
        }
        if watches.len() >= MAX_FD_EVENTS as usize {
            return None;
        }
        watches.push(watch);
        Some(false)
    }

    /// Detaches what is attached with any priority, or with the one given;
    /// `false` if there is nothing.
    pub(crate) fn detach(&mut self, fd: c_int, kind: Kind, priority: Option<Priority>) -> bool {
        let mut found = false;
        for (level, watches) in self.watches.iter_mut().enumerate() {
            if priority.is_none_or(|priority| priority.0 == level) {
                let before = watches.len();
                watches.retain(|w| w.fd != fd || w.kind != kind);
                found |= watches.len() < before;
            }
        }
        found
    }

    /// Sets whether what is attached is waited for; `false` if there is nothing.
    pub(crate) fn set_active(&mut self, fd: c_int, kind: Kind, active: bool) -> bool {
        let mut found = false;
        let watches = self.watches.iter_mut().flatten();
        for watch in watches.filter(|w| w.fd == fd && w.kind == kind) {
            watch.active = active;
            found = true;
        }
        found
    }

    pub(crate) fn set_threshold(&mut self, priority: Priority) {
        self.threshold = priority;
    }

    /// Active watches of a priority.
    pub(crate) fn num_active(&self, priority: Priority) -> usize {
        self.watches[priority.0].iter().filter(|w| w.active).count()
    }

    /// What to wait for.
    pub(crate) fn polled(&self) -> Polled {
        let mut polled = Polled::default();
        let watches = self.watches[self.threshold.0..].iter().flatten();
        for watch in watches.filter(|w| w.active) {
            let events = watch.kind.events();
            polled.fds.push(libc::pollfd { fd: watch.fd, events, revents: 0 });
            polled.watches.push(watch.id);
        }
        polled
    }

    /// Notes which descriptors are ready.
    ///
    /// One that failed, was hung up or is not open is ready for all: its callback finds out.
    pub(crate) fn set_ready(&mut self, polled: &Polled) {
        let ready = polled.watches.iter().zip(&polled.fds).filter(|(_, fd)| fd.revents != 0);
        let mut ready: Vec<u64> = ready.map(|(id, _)| *id).collect();
        ready.sort_unstable();
        for watch in self.watches.iter_mut().flatten() {
            watch.ready = ready.binary_search(&watch.id).is_ok();
        }
    }

    /// A watch of this priority that is ready, if there is one that is to be called.
    pub(crate) fn take_ready(&mut self, priority: Priority) -> Option<(c_int, Callback)> {
        if priority < self.threshold {
            return None;
        }
        let watch = self.watches[priority.0].iter_mut().find(|w| w.ready && w.active)?;
        watch.ready = false;
        Some((watch.fd, watch.callback))
    }

    /// Of the watches of low priority that are ready, the one whose turn it is:
    /// each has one before any has two.
    pub(crate) fn take_turn(&mut self) -> Option<(c_int, Callback)> {
        let ready = self.watches[Priority::LOW.0].iter().filter(|w| w.ready).map(|w| w.id);
        let after = ready.clone().filter(|&id| id > self.last_turn).min();
        self.last_turn = after.or(ready.min())?;
        let turn = self.last_turn;
        let watch = self.watches[Priority::LOW.0].iter_mut().find(|w| w.id == turn)?;
        watch.ready = false;
        let is_called = watch.active && Priority::LOW >= self.threshold;
        is_called.then_some((watch.fd, watch.callback))
    }
}
