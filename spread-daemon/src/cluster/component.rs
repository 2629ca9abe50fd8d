//! The order in which the daemons of one component deliver, and how far each of
//! them is.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use spread_wire::limits::NAME_FIELD;
use spread_wire::{Groups, HEADER_LEN, Name, Service};

use super::{DaemonId, DaemonSet, SessionId};

/// Something that all daemons of a component do at the same place of their
/// order.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The daemon of the client that asked for it.
    pub(super) origin: DaemonId,
    /// That client's private group.
    pub(super) who: Name,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// The session is one of the origin; its serial tells it from a later one
    /// that has its place.
    Join {
        group: Name,
        session: SessionId,
        serial: u64,
    },
    Leave {
        group: Name,
    },
    /// The client has gone.
    End,
    Multicast(Message<Bytes>),
}

/// A message of an application, as it is delivered.
#[derive(Clone, Debug)]
pub(super) struct Message<B> {
    pub(super) service: Service,
    pub(super) self_discard: bool,
    pub(super) num_groups: usize,
    /// The whole frame.
    pub(super) bytes: B,
}

impl<B: AsRef<[u8]>> Message<B> {
    pub(super) fn groups(&self) -> Groups<'_> {
        Groups::from_fields(self.fields())
    }

    /// Returns the names of the groups as they stand in the message.
    pub(super) fn fields(&self) -> &[u8] {
        &self.bytes.as_ref()[HEADER_LEN..HEADER_LEN + self.num_groups * NAME_FIELD]
    }
}

impl Message<&[u8]> {
    /// Returns the message with its own bytes, to last.
    pub(super) fn to_owned(&self) -> Message<Bytes> {
        let &Message { service, self_discard, num_groups, bytes } = self;
        Message { service, self_discard, num_groups, bytes: Bytes::copy_from_slice(bytes) }
    }
}

impl What {
    /// Returns whether it may be delivered only when every daemon has it.
    pub(super) fn is_safe(&self) -> bool {
        matches!(self, What::Multicast(message) if message.service == Service::Safe)
    }
}

/// Daemons that see each other, and what they have not all delivered yet.
#[derive(Debug)]
pub(super) struct Component {
    pub(super) daemons: DaemonSet,
    /// Events in their order, from the first that some daemon has not delivered.
    log: VecDeque<Entry>,
    /// How many were before those in the log.
    start: u64,
}

#[derive(Debug)]
struct Entry {
    event: Event,
    /// The daemons that have received it.
    received: DaemonSet,
}

/// Links on which messages wait: from one daemon to another.
pub(super) type Held = HashSet<(DaemonId, DaemonId)>;

impl Component {
    /// Returns a component that has delivered nothing yet.
    pub(super) fn new(daemons: DaemonSet) -> Component {
        Component { daemons, log: VecDeque::new(), start: 0 }
    }

    /// Returns whether an event need not go through the log, because all daemons have
    /// delivered what was before it and get this one at once.
    pub(super) fn is_direct(&self, origin: DaemonId, held: &Held) -> bool {
        self.log.is_empty() && (held.is_empty() || self.reach(origin, held) == self.daemons)
    }

    /// Returns the daemons that get at once what this daemon sends.
    fn reach(&self, origin: DaemonId, held: &Held) -> DaemonSet {
        self.daemons.iter().filter(|&to| !held.contains(&(origin, to))).collect()
    }

    /// Gives an event the next place in the order.
    pub(super) fn push(&mut self, event: Event, held: &Held) {
        let received = self.reach(event.origin, held);
        self.log.push_back(Entry { event, received });
    }

    /// Hands over what waits on links that are no longer held.
    pub(super) fn flush(&mut self, held: &Held) {
        for entry in &mut self.log {
            let free = |&to: &DaemonId| !held.contains(&(entry.event.origin, to));
            let more = self.daemons.iter().filter(free).collect();
            entry.received = entry.received.union(more);
        }
    }

    /// Returns the next event for a daemon that has delivered `applied` events.
    pub(super) fn next(&self, daemon: DaemonId, applied: u64) -> Option<&Event> {
        let entry = self.at(applied)?;
        let deliverable = entry.received.contains(daemon)
            && (!entry.event.what.is_safe() || applied < self.stable());
        deliverable.then_some(&entry.event)
    }

    /// Returns the place up to which every daemon has received everything. A safe message
    /// beyond it could be cut off by something that is lost before it.
    fn stable(&self) -> u64 {
        let everywhere = |entry: &&Entry| entry.received == self.daemons;
        self.start + self.log.iter().take_while(everywhere).count() as u64
    }

    /// Forgets the events that every daemon has delivered, `applied` of them.
    pub(super) fn trim(&mut self, applied: u64) {
        let count = applied.saturating_sub(self.start).min(self.log.len() as u64);
        self.log.drain(..count as usize);
        self.start += count;
    }

    /// Returns how many events there have been.
    pub(super) fn end(&self) -> u64 {
        self.start + self.log.len() as u64
    }

    /// Returns the place of the transitional signal for the daemons that stay together
    /// when the component ends. They exchange all events that any of them has received;
    /// those up to the returned place come before the signal, and those of
    /// [`Component::after`] after it.
    ///
    /// The events before the signal are known to have been received as their services
    /// demand: there is no gap among them, and no safe message that a daemon that is gone
    /// may not have.
    pub(super) fn before(&self, together: DaemonSet) -> u64 {
        // Daemons that all stay have received everything after the exchange.
        let stable = if together == self.daemons { self.end() } else { self.stable() };
        let lost = |entry: &Entry| entry.received.common(together).is_empty();
        let doubtful = |(place, entry): (u64, &Entry)| {
            lost(entry) || (entry.event.what.is_safe() && place >= stable)
        };
        let mut places = (self.start..).zip(&self.log);
        places.position(doubtful).map_or(self.end(), |at| self.start + at as u64)
    }

    /// Returns the events that the daemons that stay together deliver after the signal:
    /// once an event is lost to them, only their own, because any other may be an answer
    /// to it.
    pub(super) fn after(&self, from: u64, together: DaemonSet) -> Vec<Event> {
        let mut gap = false;
        let rest = self.log.iter().skip((from - self.start) as usize);
        let kept = rest.filter(|entry| {
            gap |= entry.received.common(together).is_empty();
            !gap || together.contains(entry.event.origin)
        });
        kept.map(|entry| entry.event.clone()).collect()
    }

    /// Returns the events between two places.
    pub(super) fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Event> {
        (from..to).filter_map(|at| self.at(at)).map(|entry| &entry.event)
    }

    fn at(&self, place: u64) -> Option<&Entry> {
        self.log.get(usize::try_from(place.checked_sub(self.start)?).ok()?)
    }
}
