//! Descriptors that wait to be ready.

use std::ffi::c_int;

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

/// What is to be called when a descriptor is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callback {
    pub(crate) function: fd_function,
    pub(crate) argument: Argument,
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
}

/// What a loop waits for; the entries are those of [`Waiting::polled`].
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) polled: Vec<libc::pollfd>,
    watches: Vec<(Priority, u64)>,
}

impl Waiting {
    /// The watches of a priority whose descriptors are ready.
    ///
    /// A descriptor that failed, was hung up or is not open is ready for all:
    /// its callback finds out.
    pub(crate) fn ready(&self, priority: Priority) -> Vec<u64> {
        let watches = self.watches.iter().zip(&self.polled);
        watches
            .filter(|((level, _), poll)| *level == priority && poll.revents != 0)
            .map(|((_, id), _)| *id)
            .collect()
    }
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
        let watch = Watch { id: self.attached, fd, kind, callback, active: true };
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

    /// Has what is attached waited for, or not; `false` if there is nothing.
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
    pub(crate) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting { polled: Vec::new(), watches: Vec::new() };
        for level in self.threshold.0..LEVELS {
            for watch in self.watches[level].iter().filter(|w| w.active) {
                let events = watch.kind.events();
                waiting.polled.push(libc::pollfd { fd: watch.fd, events, revents: 0 });
                waiting.watches.push((Priority(level), watch.id));
            }
        }
        waiting
    }

    /// The descriptor and the callback of a watch, if it is still to be called.
    pub(crate) fn callback(&self, priority: Priority, id: u64) -> Option<(c_int, Callback)> {
        if priority < self.threshold {
            return None;
        }
        let watch = self.watches[priority.0].iter().find(|w| w.id == id && w.active)?;
        Some((watch.fd, watch.callback))
    }

    /// Of the watches of low priority that are ready, the one whose turn it is:
    /// each has one before any has two.
    pub(crate) fn take_turn(&mut self, ready: &[u64]) -> Option<(c_int, Callback)> {
        let after = ready.iter().filter(|&&id| id > self.last_turn).min();
        let id = *after.or(ready.iter().min())?;
        self.last_turn = id;
        self.callback(Priority::LOW, id)
    }
}
