//! The life of a session: a state machine without I/O, clock or chance.
//!
//! Whoever drives it asks [`step`](State::step) what to do, does it, and tells what came of
//! it. Times and random numbers are arguments, so any schedule can be tested.

use std::collections::BTreeSet;
use std::time::Instant;

use spread_wire::GroupName;

use super::{Backoff, SessionStats};

#[derive(Debug)]
pub(super) struct State {
    backoff: Backoff,
    /// The groups to be in.
    groups: BTreeSet<GroupName>,
    phase: Phase,
    /// The attempts since the loss.
    attempts: u32,
    /// The failures since a connection has lasted: the place in the backoff.
    failures: u32,
    /// The sends that failed on the present connection.
    unsent: u64,
    has_connected: bool,
    /// Whether somebody receives, and so tells of a loss and reconnects.
    has_receiver: bool,
    stats: SessionStats,
}

#[derive(Debug)]
enum Phase {
    /// There is no connection, and none is being made before `next`.
    Waiting {
        next: Instant,
    },
    Connecting,
    /// There is a connection; the groups are being joined on it.
    Joining {
        /// Those whose join has been sent on it.
        joined: BTreeSet<GroupName>,
        /// Those that are to be joined or left: the difference between `groups` and `joined`.
        changes: BTreeSet<GroupName>,
    },
    Connected {
        since: Instant,
    },
    Ended,
}

/// What the driver of a session does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Begins an attempt; returned once for each.
    Connect,
    /// Waits for the attempt under way.
    Attempt,
    /// Waits until then.
    Wait(Instant),
    /// Receives from the connection.
    Receive,
    End,
}

/// A change of the membership, to be sent on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Join(GroupName),
    Leave(GroupName),
}

/// What an attempt that has connected does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joining {
    Send(Change),
    /// All groups are being joined: the connection is that of the session.
    Done,
    /// The session has ended meanwhile.
    Ended,
}

impl State {
    /// Returns the state of a session whose first attempt is due at once.
    pub(super) fn new(backoff: Backoff, now: Instant) -> State {
        State {
            backoff,
            groups: BTreeSet::new(),
            phase: Phase::Waiting { next: now },
            attempts: 0,
            failures: 0,
            unsent: 0,
            has_connected: false,
            has_receiver: true,
            stats: SessionStats::default(),
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    pub(super) fn has_receiver(&self) -> bool {
        self.has_receiver
    }

    pub(super) fn stats(&self) -> SessionStats {
        self.stats
    }

    /// The attempts since the loss.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = GroupName> + '_ {
        self.groups.iter().copied()
    }

    pub(super) fn step(&mut self, now: Instant) -> Step {
        match self.phase {
            Phase::Waiting { next } if now < next => Step::Wait(next),
            Phase::Waiting { .. } => {
                self.phase = Phase::Connecting;
                self.attempts = self.attempts.saturating_add(1);
                self.stats.attempts += 1;
                Step::Connect
            }
            Phase::Connecting | Phase::Joining { .. } => Step::Attempt,
            Phase::Connected { .. } => Step::Receive,
            Phase::Ended => Step::End,
        }
    }

    /// Notes that a group is to be joined; returns whether the caller is to send the join on
    /// the connection.
    pub(super) fn join(&mut self, group: GroupName) -> bool {
        self.groups.insert(group);
        self.change(group)
    }

    /// Notes that a group is to be left; returns whether the caller is to send the leave on
    /// the connection.
    pub(super) fn leave(&mut self, group: GroupName) -> bool {
        self.groups.remove(&group);
        self.change(group)
    }

    /// The last wish for a group counts, so what waits is bounded by the number of groups.
    fn change(&mut self, group: GroupName) -> bool {
        match &mut self.phase {
            Phase::Connected { .. } => true,
            Phase::Joining { joined, changes } => {
                if self.groups.contains(&group) == joined.contains(&group) {
                    changes.remove(&group);
                } else {
                    changes.insert(group);
                }
                false
            }
            Phase::Waiting { .. } | Phase::Connecting | Phase::Ended => false,
        }
    }

    /// Notes that the attempt has a connection.
    pub(super) fn connected(&mut self) {
        if let Phase::Connecting = self.phase {
            self.phase = Phase::Joining { joined: BTreeSet::new(), changes: self.groups.clone() };
        }
    }

    /// Returns what is next to be sent on the connection of the attempt.
    pub(super) fn next_change(&mut self, now: Instant) -> Joining {
        let Phase::Joining { joined, changes } = &mut self.phase else {
            return Joining::Ended;
        };
        if let Some(group) = changes.pop_first() {
            return Joining::Send(match self.groups.contains(&group) {
                true => {
                    joined.insert(group);
                    Change::Join(group)
                }
                false => {
                    joined.remove(&group);
                    Change::Leave(group)
                }
            });
        }
        self.phase = Phase::Connected { since: now };
        self.unsent = 0;
        self.stats.reconnects += u64::from(self.has_connected);
        self.has_connected = true;
        Joining::Done
    }

    /// Notes that the attempt has failed; returns when the next one is due, unless the
    /// session has ended.
    pub(super) fn failed(&mut self, now: Instant, random: f64) -> Option<Instant> {
        match self.phase {
            Phase::Connecting | Phase::Joining { .. } => {
                self.failures = self.failures.saturating_add(1);
                Some(self.wait(now, random))
            }
            _ => None,
        }
    }

    /// Notes that the connection is lost; returns how many sends failed on it and when the
    /// first attempt is due, unless the session has ended.
    pub(super) fn lost(&mut self, now: Instant, random: f64) -> Option<(u64, Instant)> {
        let Phase::Connected { since } = self.phase else {
            return None;
        };
        let lasted = now.saturating_duration_since(since) > self.backoff.delay(self.failures);
        self.failures = if lasted { 0 } else { self.failures.saturating_add(1) };
        self.attempts = 0;
        let next = self.wait(now, random);
        Some((std::mem::take(&mut self.unsent), next))
    }

    fn wait(&mut self, now: Instant, random: f64) -> Instant {
        let next = now + self.backoff.wait(self.failures, random);
        self.phase = Phase::Waiting { next };
        next
    }

    /// Notes that a message was not sent for want of a connection.
    pub(super) fn unsent(&mut self) {
        self.stats.unsent += 1;
        if self.is_connected() {
            self.unsent += 1;
        }
    }

    /// Notes that the receiver has been dropped, which ends the session unless there is a
    /// connection: nobody makes another one.
    pub(super) fn receiver_is_gone(&mut self) {
        self.has_receiver = false;
        if !self.is_connected() {
            self.end();
        }
    }

    /// Notes that a call has found the connection ended; returns whether that ends the session,
    /// because nobody receives, who would be told.
    pub(super) fn found_closed(&mut self) -> bool {
        let ends = !self.has_receiver && self.is_connected();
        if ends {
            self.end();
        }
        ends
    }

    /// Ends the session.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Ended;
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
