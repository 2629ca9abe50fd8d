//! Events that a configuration has ordered and that wait for a safe message.

use std::collections::{BTreeMap, VecDeque};

use super::view::Fnv;
use crate::cluster::component::{Event, What};
use crate::cluster::{DaemonId, DaemonSet};

/// Bytes of messages that may wait for a safe one before no more are sent. What all senders
/// have under way comes on top.
const FULL: usize = 16 << 20;

/// What an event takes besides its bytes.
const EVENT: usize = size_of::<(u64, Event)>();

/// The order of a configuration, as far as it is not delivered.
///
/// A safe message is delivered when all daemons of the configuration that are still there
/// have acknowledged its position, and everything after it waits. A daemon counts its own
/// acknowledgement when that comes back, too: so each message is delivered at the same
/// place of the order everywhere.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The positions of the daemons; of none if there are no others.
    acknowledged: BTreeMap<DaemonId, u64>,
    /// How many packets with events have come.
    position: u64,
    /// Tells those packets from others.
    received: Fnv,
    /// How many events were delivered.
    delivered: u64,
    log: VecDeque<(u64, Event)>,
    /// Bytes of the messages in it.
    bytes: usize,
    /// A safe message has come since the position was told.
    to_acknowledge: bool,
}

impl Pending {
    /// Returns the order of a new configuration.
    pub(super) fn new(daemons: DaemonSet) -> Pending {
        let acknowledged: BTreeMap<_, _> = daemons.iter().map(|daemon| (daemon, 0)).collect();
        let acknowledged = if acknowledged.len() > 1 { acknowledged } else { BTreeMap::new() };
        Pending { acknowledged, ..Pending::default() }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Begins a packet of events, which has so many.
    pub(super) fn advance(&mut self, origin: DaemonId, events: usize) {
        self.position += 1;
        self.received.write(&[origin.0 as u8]);
        self.received.write(&(events as u32).to_le_bytes());
    }

    /// Returns a number that is the same if the same packets of events have come.
    pub(super) fn received(&self) -> u64 {
        self.received.finish()
    }

    /// Returns how many events were delivered.
    pub(super) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Notes the position of a daemon.
    pub(super) fn acknowledge(&mut self, daemon: DaemonId, position: u64) {
        if let Some(known) = self.acknowledged.get_mut(&daemon) {
            *known = position.max(*known);
        }
    }

    /// Takes the next event; [`Pending::next`] returns it when it can be delivered.
    pub(super) fn push(&mut self, event: Event) {
        self.to_acknowledge |= event.what.is_safe() && !self.acknowledged.is_empty();
        self.bytes += len(&event);
        self.log.push_back((self.position, event));
    }

    /// Returns the next event that can be delivered.
    pub(super) fn next(&mut self) -> Option<Event> {
        let (position, event) = self.log.front()?;
        if event.what.is_safe() && self.acknowledged.values().any(|at| at < position) {
            return None;
        }
        let (_, event) = self.log.pop_front()?;
        self.bytes -= len(&event);
        self.delivered += 1;
        Some(event)
    }

    /// Returns whether so much waits for a daemon that nothing more should be sent: it may
    /// be stopped, and would get no rest.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Returns how many packets of events the daemon that is furthest behind has not
    /// acknowledged; 0 if nothing waits for it.
    pub(super) fn lag(&self) -> u64 {
        match (self.log.is_empty(), self.acknowledged.values().min()) {
            (false, Some(position)) => self.position.saturating_sub(*position),
            _ => 0,
        }
    }

    /// Returns the daemons that are furthest behind, if the next event waits for them.
    pub(super) fn behind(&self) -> DaemonSet {
        let least = self.acknowledged.values().min();
        let (Some((position, _)), Some(least)) = (self.log.front(), least) else {
            return DaemonSet::default();
        };
        let last = self.acknowledged.iter().filter(|(_, at)| *at == least && *at < position);
        last.map(|(daemon, _)| *daemon).collect()
    }

    /// Returns what waits.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Event> {
        self.log.iter().map(|(_, event)| event)
    }

    /// Returns whether the others wait for the position.
    pub(super) fn is_to_acknowledge(&self) -> bool {
        self.to_acknowledge
    }

    /// Notes that the others were told the position.
    pub(super) fn acknowledged(&mut self) {
        self.to_acknowledge = false;
    }
}

fn len(event: &Event) -> usize {
    match &event.what {
        What::Multicast(message) => EVENT + message.bytes.len(),
        _ => EVENT,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spread_wire::{Name, Service};

    use super::*;
    use crate::cluster::component::Message;

    fn message(service: Service) -> Event {
        let message = Message { service, self_discard: false, num_groups: 0, bytes: Bytes::new() };
        let who = Name::new("#a#d1").unwrap();
        Event { origin: DaemonId(0), who, what: What::Multicast(message) }
    }

    fn came(pending: &mut Pending, service: Service) {
        pending.advance(DaemonId(0), 1);
        pending.push(message(service));
    }

    fn take(pending: &mut Pending) -> usize {
        std::iter::from_fn(|| pending.next()).count()
    }

    #[test]
    fn a_safe_message_waits_for_all_daemons_and_what_follows_for_it() {
        let mut pending = Pending::new((0..3).map(DaemonId).collect());
        came(&mut pending, Service::Agreed);
        assert!(take(&mut pending) == 1 && !pending.is_to_acknowledge());
        came(&mut pending, Service::Safe);
        came(&mut pending, Service::Agreed);
        assert!(take(&mut pending) == 0 && pending.is_to_acknowledge());
        pending.acknowledge(DaemonId(0), 3);
        pending.acknowledge(DaemonId(1), 2);
        pending.acknowledge(DaemonId(2), 1);
        assert_eq!((take(&mut pending), pending.lag()), (0, 2));
        assert_eq!(pending.behind(), DaemonSet::of(DaemonId(2)));
        pending.acknowledge(DaemonId(2), 2);
        assert_eq!((take(&mut pending), pending.lag()), (2, 0));
        assert_eq!(pending.behind(), DaemonSet::default());
    }

    #[test]
    fn alone_nothing_waits() {
        let mut pending = Pending::new(DaemonSet::of(DaemonId(2)));
        came(&mut pending, Service::Safe);
        assert_eq!((take(&mut pending), pending.delivered()), (1, 1));
        assert!(!pending.is_to_acknowledge());
    }

    #[test]
    fn what_was_received_differs_by_a_packet_that_is_missing() {
        let after = |origins: &[usize]| {
            let mut pending = Pending::default();
            origins.iter().for_each(|origin| pending.advance(DaemonId(*origin), 2));
            pending.received()
        };
        assert_eq!(after(&[0, 1]), after(&[0, 1]));
        assert!(after(&[0, 1]) != after(&[1, 0]) && after(&[0, 0]) != after(&[0]));
    }
}
