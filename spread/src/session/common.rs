//! What blocking and async sessions have in common: the state behind a lock, and the way out
//! of the present connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use spread_wire::{GroupName, PrivateGroup};

use super::state::{Joining, State, Step};
use super::{SessionEvent, SessionOptions, SessionStats};
use crate::{Builder, Error, Sender, Stats};

/// What the halves of a session share. `S` sends on a connection.
///
/// The lock is never held across I/O or a caller's code.
#[derive(Debug)]
pub(super) struct Common<S> {
    builder: Builder,
    options: SessionOptions,
    /// Of the process that the session belongs to.
    generation: u32,
    inner: Mutex<Inner<S>>,
}

#[derive(Debug)]
struct Inner<S> {
    state: State,
    /// As long as the state is connected.
    sender: Option<S>,
    /// While the session disconnects.
    ending: Option<S>,
    /// What went over the connections before.
    former: Stats,
}

/// What sends on a connection.
pub(super) trait Sends: Clone {
    /// What has gone over the connection.
    fn stats(&self) -> Stats;
}

impl Sends for Sender {
    fn stats(&self) -> Stats {
        self.stats()
    }
}

#[cfg(feature = "tokio")]
impl Sends for crate::AsyncSender {
    fn stats(&self) -> Stats {
        self.stats()
    }
}

impl<S: Sends> Inner<S> {
    /// Takes the sender of a connection that is over.
    fn take(&mut self) -> Option<S> {
        let sender = self.sender.take()?;
        self.former = Stats { bytes_queued: 0, ..sender.stats().after(self.former) };
        Some(sender)
    }
}

/// The error of a session that has ended.
pub(super) fn ended() -> Error {
    Error::ShutDown
}

/// The error of a session without a connection, and of an attempt that lost its own.
pub(super) fn not_connected() -> Error {
    Error::closed()
}

impl<S: Sends> Common<S> {
    pub(super) fn new(builder: Builder, options: SessionOptions) -> Common<S> {
        let state = State::new(options.backoff, Instant::now());
        let former = Stats::default();
        let inner = Mutex::new(Inner { state, sender: None, ending: None, former });
        Common { builder, options, generation: spread_os::generation(), inner }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn builder(&self) -> &Builder {
        &self.builder
    }

    pub(super) fn retries_first(&self) -> bool {
        self.options.retry_first
    }

    /// Whether this process has begun the session, and not its parent.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == spread_os::generation()
    }

    pub(super) fn usable(&self) -> Result<(), Error> {
        if self.is_ours() { Ok(()) } else { Err(Error::Forked) }
    }

    pub(super) fn stats(&self) -> SessionStats {
        let inner = self.lock();
        let traffic = match &inner.sender {
            Some(sender) => sender.stats().after(inner.former),
            None => inner.former,
        };
        SessionStats { traffic, ..inner.state.stats() }
    }

    pub(super) fn groups(&self) -> Vec<GroupName> {
        self.lock().state.groups().collect()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.lock().state.has_ended()
    }

    pub(super) fn step(&self) -> Step {
        self.lock().state.step(Instant::now())
    }

    /// The sender of the present connection, if there is one.
    pub(super) fn current(&self) -> Option<S> {
        self.lock().sender.clone()
    }

    /// The sender of the present connection, for a message.
    pub(super) fn sender(&self) -> Result<S, Error> {
        let sender = self.live_sender();
        sender.inspect_err(|error| {
            if let Error::ConnectionClosed { .. } = error {
                self.lock().state.unsent();
            }
        })
    }

    /// The sender of the present connection.
    pub(super) fn live_sender(&self) -> Result<S, Error> {
        self.usable()?;
        let inner = self.lock();
        match &inner.sender {
            Some(sender) => Ok(sender.clone()),
            None if inner.state.has_ended() => Err(ended()),
            None => Err(not_connected()),
        }
    }

    /// Takes note of what came of the sending of a message.
    pub(super) fn sent(&self, sent: Result<(), Error>) -> Result<(), Error> {
        self.done(sent.inspect_err(|error| {
            if error.is_closed() {
                self.lock().state.unsent();
            }
        }))
    }

    /// Takes note of what came of a join or a leave: a loss is for the receive to tell, if
    /// somebody receives.
    pub(super) fn changed(&self, sent: Result<(), Error>) -> Result<(), Error> {
        match self.done(sent) {
            Err(error) if error.is_closed() && !self.has_ended() => Ok(()),
            done => done,
        }
    }

    /// Takes note of what came of any other call on a connection.
    pub(super) fn done<T>(&self, done: Result<T, Error>) -> Result<T, Error> {
        done.inspect_err(|error| {
            if error.is_closed() {
                let mut inner = self.lock();
                let former = if inner.state.found_closed() { inner.take() } else { None };
                drop(inner);
                drop(former);
            }
        })
    }

    /// Notes a join; returns the sender on which it is to be sent, if there is one.
    pub(super) fn join(&self, group: GroupName) -> Result<Option<S>, Error> {
        self.change(|state| state.join(group))
    }

    /// Notes a leave; returns the sender on which it is to be sent, if there is one.
    pub(super) fn leave(&self, group: GroupName) -> Result<Option<S>, Error> {
        self.change(|state| state.leave(group))
    }

    fn change(&self, change: impl FnOnce(&mut State) -> bool) -> Result<Option<S>, Error> {
        self.usable()?;
        let mut inner = self.lock();
        if inner.state.has_ended() {
            return Err(ended());
        }
        let is_to_be_sent = change(&mut inner.state);
        Ok(inner.sender.clone().filter(|_| is_to_be_sent))
    }

    /// Notes that the attempt has a connection.
    pub(super) fn connected(&self) {
        self.lock().state.connected();
    }

    /// Returns what is next to be sent on the new connection; once that is nothing, the
    /// connection is that of the session.
    pub(super) fn next_change(&self, sender: &S) -> Joining {
        let mut inner = self.lock();
        let next = inner.state.next_change(Instant::now());
        if next == Joining::Done {
            inner.sender = Some(sender.clone());
        }
        next
    }

    pub(super) fn restored(&self, private_group: PrivateGroup) -> SessionEvent {
        SessionEvent::Restored { private_group, attempts: self.lock().state.attempts() }
    }

    /// Takes note of an attempt that failed. The time is that of the next one.
    pub(super) fn failed(&self, error: Error) -> Result<(SessionEvent, Instant), Error> {
        let attempt = self.lock().state.attempts();
        // A policy that panics has not said to go on.
        let ends = EndOnDrop(self);
        if !self.options.retries(&error, attempt) {
            return Err(error);
        }
        std::mem::forget(ends);
        let next = self.lock().state.failed(Instant::now(), fastrand::f64());
        let next = next.ok_or_else(ended)?;
        Ok((SessionEvent::Retrying { error, attempt, next }, next))
    }

    /// Takes note of a connection that has ended. The time is that of the first attempt.
    pub(super) fn lost(&self, error: Error) -> Result<(SessionEvent, Instant), Error> {
        let mut inner = self.lock();
        let sender = inner.take();
        let lost = inner.state.lost(Instant::now(), fastrand::f64());
        drop(inner);
        drop(sender);
        let (unsent, next) = lost.ok_or_else(ended)?;
        Ok((SessionEvent::Lost { error, unsent }, next))
    }

    /// Fails as long as there is a receiver, which may be receiving.
    pub(super) fn check_receiver(&self) -> Result<(), Error> {
        match self.lock().state.has_receiver() {
            true => Err(Error::ReceiverExists),
            false => Ok(()),
        }
    }

    /// Ends the session; returns the sender of its connection, if there is one.
    pub(super) fn end(&self) -> Option<S> {
        let mut inner = self.lock();
        inner.state.end();
        inner.take()
    }

    /// Ends the session at once; returns the sender of its connection, if there is one, also if
    /// the session disconnects.
    pub(super) fn shut_down(&self) -> Option<S> {
        let mut inner = self.lock();
        inner.state.end();
        inner.take().or_else(|| inner.ending.take())
    }

    /// Ends the session to disconnect; returns the sender of its connection, and what is to be
    /// dropped when it has disconnected. The session has ended also if there is no connection.
    pub(super) fn end_connected(&self) -> Result<(S, Ending<'_, S>), Error> {
        self.usable()?;
        let mut inner = self.lock();
        if inner.state.has_ended() {
            return Err(ended());
        }
        inner.state.end();
        let sender = inner.take().ok_or_else(not_connected)?;
        inner.ending = Some(sender.clone());
        Ok((sender, Ending(self)))
    }

    /// Ends the session if it has no connection; returns whether it has one.
    pub(super) fn end_unless_connected(&self) -> bool {
        let state = &mut self.lock().state;
        let is_connected = state.is_connected();
        if !is_connected {
            state.end();
        }
        is_connected
    }

    /// Notes that the receiver has been dropped.
    pub(super) fn receiver_is_gone(&self) {
        self.lock().state.receiver_is_gone();
    }
}

/// A session that disconnects: until this is dropped, a shut-down ends the wait.
#[derive(Debug)]
pub(super) struct Ending<'a, S: Sends>(&'a Common<S>);

impl<S: Sends> Drop for Ending<'_, S> {
    fn drop(&mut self) {
        let ended = self.0.lock().ending.take();
        // Its drop may be long, and is not for the lock.
        drop(ended);
    }
}

/// Ends a session that has no connection, also if a panic passes.
struct EndOnDrop<'a, S: Sends>(&'a Common<S>);

impl<S: Sends> Drop for EndOnDrop<'_, S> {
    fn drop(&mut self) {
        self.0.end();
    }
}
