//! What the handles of a group see without asking the node's thread.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use spread::Name;

use super::outlet::{ConnectionId, Outlet};
use crate::calls::{Calls, Ended};
use crate::core::Event;
use crate::core::envelope::Topic;
use crate::core::requests::OperationId;
use crate::core::roster::{Change, Member};
use crate::leader::Revocation;
use crate::{Error, pending};

/// Bytes of topic messages that wait to be sent.
const TOPIC_QUEUE: usize = 4 << 20;
/// Events that wait for a listener.
const EVENTS: usize = 1024;

/// Bytes that messages of topics are encoded into at once.
const CHUNK: usize = 32 << 10;

pub(crate) struct Shared {
    pub(crate) group: Name,
    pub(crate) outlet: Outlet,
    /// The time zero of the node.
    began: Instant,
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the member has left, or has been told to.
    has_ended: AtomicBool,
    is_observer: AtomicBool,
    topics: Mutex<Topics>,
    topic_bytes: AtomicUsize,
    calls: Mutex<Calls>,
    /// Counts the calls, so that they can go round.
    turns: AtomicU64,
    messages: AtomicU64,
    operations: AtomicU64,
}

/// Messages of topics that the node's thread has not taken.
#[derive(Default)]
struct Topics {
    frames: Vec<Bytes>,
    /// Memory for the next ones.
    chunk: BytesMut,
}

#[derive(Debug)]
struct State {
    roster: Arc<[Member]>,
    /// The private group of the node, or the last one it had.
    name: Name,
    is_connected: bool,
    /// The side that this member is on, in a group with voters and as long as it is known.
    side: Option<Side>,
    /// Terms that end when the connection is lost, or the member leaves.
    terms: Vec<Weak<Revocation>>,
    /// What ends when the member comes to a minority.
    doubts: Vec<Weak<Revocation>>,
    /// Why the member has left.
    end: Option<Error>,
    listeners: Vec<SyncSender<Event>>,
}

/// The side of a partition that a member of a group with voters is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Primary,
    Minority,
}

impl Shared {
    pub(super) fn new(group: Name, name: Name, outlet: Outlet, began: Instant) -> Shared {
        let state = State {
            roster: Arc::default(),
            name,
            is_connected: false,
            side: None,
            terms: Vec::new(),
            doubts: Vec::new(),
            end: None,
            listeners: Vec::new(),
        };
        Shared {
            group,
            outlet,
            began,
            state: Mutex::new(state),
            changed: Condvar::new(),
            has_ended: AtomicBool::new(false),
            topics: Mutex::default(),
            topic_bytes: AtomicUsize::new(0),
            calls: Mutex::default(),
            turns: AtomicU64::new(0),
            // Keyed by random numbers.
            messages: AtomicU64::new(RandomState::new().build_hasher().finish()),
            operations: AtomicU64::new(1),
            is_observer: AtomicBool::new(false),
        }
    }

    /// Takes note that the member is an observer, before it joins.
    pub(super) fn observe(&self) {
        self.is_observer.store(true, Ordering::Relaxed);
    }

    /// Returns whether the member is an observer.
    pub(crate) fn is_observer(&self) -> bool {
        self.is_observer.load(Ordering::Relaxed)
    }

    /// Returns whether the member takes part, as long as it has not left.
    ///
    /// # Errors
    ///
    /// Why it has left; [`Error::Closed`] if it is told to.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if !self.has_ended() {
            return Ok(());
        }
        let closed = Error::Closed { may_have_executed: false };
        Err(self.lock().end.clone().unwrap_or(closed))
    }

    pub(crate) fn roster(&self) -> Arc<[Member]> {
        self.lock().roster.clone()
    }

    /// Waits until the roster fulfils a condition; returns it.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`]; the reason for which the member has left; [`Error::OwnThread`] on
    /// a thread of this crate.
    pub(crate) fn wait_for_roster(
        &self,
        timeout: Duration,
        condition: impl Fn(&[Member]) -> bool,
    ) -> Result<Arc<[Member]>, Error> {
        self.wait_until(timeout, |roster, _| condition(roster).then(|| roster.clone()))
    }

    /// Waits until the roster, and whether a majority of the voters is known to be here, have what
    /// is looked for; returns it.
    ///
    /// # Errors
    ///
    /// Those of [`wait_for_roster`](Shared::wait_for_roster).
    pub(crate) fn wait_until<T>(
        &self,
        timeout: Duration,
        look: impl Fn(&Arc<[Member]>, bool) -> Option<T>,
    ) -> Result<T, Error> {
        pending::refuse_own_threads()?;
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.end {
                return Err(error.clone());
            }
            if let Some(found) = look(&state.roster, state.side == Some(Side::Primary)) {
                return Ok(found);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.unwrap_or(Duration::MAX);
            if left.is_zero() {
                return Err(Error::TimedOut);
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Returns the private group of the node, or the last one it had.
    pub(crate) fn name(&self) -> Name {
        self.lock().name
    }

    pub(super) fn connected(&self, name: Name, connection: ConnectionId) {
        let mut state = self.lock();
        (state.name, state.is_connected) = (name, true);
        drop(state);
        self.calls(|calls| calls.connected(connection));
    }

    pub(super) fn lost(&self) {
        let mut state = self.lock();
        (state.is_connected, state.side) = (false, None);
        let terms = std::mem::take(&mut state.terms);
        drop(state);
        terms.iter().filter_map(Weak::upgrade).for_each(|term| term.revoke());
        self.calls(Calls::lost);
    }

    /// Takes note of the side that this member has come to. In a minority its terms end.
    pub(super) fn stand_on(&self, side: Side) {
        let mut state = self.lock();
        state.side = Some(side);
        let ended = match side {
            Side::Primary => Vec::new(),
            Side::Minority => {
                let mut ended = std::mem::take(&mut state.terms);
                ended.append(&mut state.doubts);
                ended
            }
        };
        drop(state);
        self.changed.notify_all();
        ended.iter().filter_map(Weak::upgrade).for_each(|term| term.revoke());
    }

    /// Revokes something when the member comes to a minority.
    pub(crate) fn revoke_in_minority(&self, doubt: &Arc<Revocation>) {
        let mut state = self.lock();
        state.doubts.retain(|doubt| doubt.strong_count() > 0);
        state.doubts.push(Arc::downgrade(doubt));
    }

    /// Returns the side that this member is on, in a group with voters and as long as it is known.
    pub(crate) fn side(&self) -> Option<Side> {
        self.lock().side
    }

    /// Returns whether this member is known to be on the side with a majority of the voters.
    pub(crate) fn is_primary(&self) -> bool {
        self.side() == Some(Side::Primary)
    }

    /// Ends a term when the connection is lost, the member leaves or comes to a minority; returns
    /// whether there is a connection and no minority, without which it does not.
    pub(crate) fn revoke_when_lost(&self, term: &Arc<Revocation>) -> bool {
        let mut state = self.lock();
        let holds = state.is_connected && state.side != Some(Side::Minority);
        if holds {
            state.terms.retain(|term| term.strong_count() > 0);
            state.terms.push(Arc::downgrade(term));
        }
        holds
    }

    pub(crate) fn listen(&self) -> Receiver<Event> {
        let (listener, events) = sync_channel(EVENTS);
        let mut state = self.lock();
        if state.end.is_none() {
            state.listeners.push(listener);
        }
        events
    }

    /// Does something with the calls that are under way, and tells the callers of those that it
    /// ends.
    pub(crate) fn calls<T>(&self, act: impl FnOnce(&mut Calls) -> T) -> T {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut calls);
        let ended = calls.take_ended();
        drop(calls);
        ended.into_iter().for_each(Ended::tell);
        result
    }

    /// Returns the time of the node, from which the deadlines of calls are counted.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Counts the calls, so that they can go round.
    pub(crate) fn next_call(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed)
    }

    /// Returns an id that no other operation of this member has.
    pub(crate) fn next_operation(&self) -> OperationId {
        OperationId(self.operations.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns a number for a topic's message that no other one has, because each member
    /// counts from a random number.
    pub(crate) fn next_message(&self) -> u64 {
        self.messages.fetch_add(1, Ordering::Relaxed).max(1)
    }

    /// Queues a message of a topic; returns whether nothing else waits for the node's thread to
    /// [take](Shared::take_topics) it.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if 4 MiB wait; [`Error::Closed`] if nothing is published any more.
    pub(crate) fn publish(&self, topic: &Topic) -> Result<bool, Error> {
        if self.has_ended() {
            return Err(Error::Closed { may_have_executed: false });
        }
        let frame = topic.to_frame();
        let len = frame.len();
        let fits = |bytes: usize| bytes.checked_add(len).filter(|bytes| *bytes <= TOPIC_QUEUE);
        let fits = self.topic_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        fits.map_err(|_| Error::Full)?;
        let mut topics = self.topics();
        if topics.chunk.capacity() < len {
            // Memory for many costs less than for each, and is freed by another thread.
            topics.chunk.reserve(len.max(CHUNK));
        }
        frame.write(&mut topics.chunk);
        let frame = topics.chunk.split().freeze();
        topics.frames.push(frame);
        Ok(topics.frames.len() == 1)
    }

    /// Takes the messages of topics that are queued.
    pub(super) fn take_topics(&self) -> Vec<Bytes> {
        std::mem::take(&mut self.topics().frames)
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the member has left, or has been told to.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Takes no topic messages any more.
    pub(crate) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Takes note that topic messages have been sent.
    pub(super) fn release(&self, len: usize) {
        self.topic_bytes.fetch_sub(len, Ordering::Relaxed);
    }

    pub(super) fn set_roster(&self, roster: Vec<Member>, changes: &[Change]) {
        let roster: Arc<[Member]> = roster.into();
        self.lock().roster = roster.clone();
        self.changed.notify_all();
        self.calls(|calls| calls.roster(roster, changes));
    }

    /// Tells an event; a listener that is too slow is removed.
    pub(crate) fn tell(&self, event: &Event) {
        self.lock().listeners.retain(|listener| listener.try_send(event.clone()).is_ok());
    }

    /// Takes note that the member has left, and why.
    pub(super) fn close(&self, error: Error) {
        self.end();
        let mut state = self.lock();
        state.end.get_or_insert(error);
        state.listeners.clear();
        drop(state);
        self.changed.notify_all();
        self.lost();
        self.calls(Calls::close);
        drop(self.take_topics());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("group", &self.group).finish_non_exhaustive()
    }
}
