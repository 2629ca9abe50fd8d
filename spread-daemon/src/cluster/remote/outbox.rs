//! Packets on their way to all daemons.

use std::collections::VecDeque;

use spread_wire::Name;

use super::wire;
use crate::cluster::component::What;

/// Bytes that a batch has at most, unless it is a single event. Below a message of 64 KiB
/// Corosync is at its fastest.
const BATCH: usize = 60_000;

/// Bytes that may be under way before another batch goes. Corosync sends 24 KB a round of the
/// token; when some 800 KB wait in it, it takes nothing more, and polls for room without a
/// pause.
const WINDOW: usize = 128 << 10;

/// Bytes of events that may wait before clients are not read.
const FULL: usize = 1 << 20;

/// What waits to be sent, and how much is under way.
///
/// Events go in batches: a lone one at once, those that come while a batch is under way
/// together in the next.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Packets of the exchange, which go before all events.
    control: VecDeque<Vec<u8>>,
    batches: VecDeque<Vec<u8>>,
    /// Bytes of all batches.
    bytes: usize,
    /// Packets that have not come back from the group.
    under_way: usize,
    /// Their bytes.
    bytes_under_way: usize,
    /// Those of them that have events.
    batches_under_way: usize,
}

impl Outbox {
    pub(super) fn push(&mut self, who: Name, what: &What) {
        self.append(0, |batch| wire::put_event(who, what, batch));
    }

    pub(super) fn push_multicast(&mut self, frame: &[u8]) {
        self.append(frame.len(), |batch| wire::put_multicast(frame, batch));
    }

    /// Appends an event of about so many bytes.
    fn append(&mut self, len: usize, put: impl FnOnce(&mut Vec<u8>)) {
        if self.batches.back().is_none_or(|batch| batch.len() + len > BATCH) {
            self.batches.push_back(wire::no_events());
        }
        if let Some(batch) = self.batches.back_mut() {
            let before = batch.len();
            put(batch);
            self.bytes += batch.len() - before;
        }
    }

    pub(super) fn push_control(&mut self, packet: Vec<u8>) {
        self.control.push_back(packet);
    }

    /// Drops the packets of an exchange that has ended before they were sent.
    pub(super) fn clear_control(&mut self) {
        self.control.clear();
    }

    /// Returns the next packet of the exchange.
    pub(super) fn control(&self) -> Option<&[u8]> {
        self.control.front().map(Vec::as_slice)
    }

    /// Returns the batch that may go now.
    pub(super) fn batch(&mut self) -> Option<&mut [u8]> {
        // One that is followed by another takes no more, and gains nothing from waiting.
        let is_full = self.batches.len() > 1 && self.bytes_under_way < WINDOW;
        let batch = self.batches.front_mut()?;
        (self.batches_under_way == 0 || is_full).then_some(batch)
    }

    /// Notes that a packet of so many bytes was sent.
    pub(super) fn sent(&mut self, what: Sent, len: usize) {
        self.under_way += 1;
        self.bytes_under_way += len;
        match what {
            Sent::Control => drop(self.control.pop_front()),
            Sent::Batch => {
                self.batches_under_way += 1;
                if let Some(batch) = self.batches.pop_front() {
                    self.bytes -= batch.len() - wire::EVENTS_HEAD;
                }
            }
            Sent::Other => {}
        }
    }

    /// Notes that a packet of this daemon has come back.
    pub(super) fn came_back(&mut self, packet: &[u8]) {
        self.under_way = self.under_way.saturating_sub(1);
        self.bytes_under_way = self.bytes_under_way.saturating_sub(packet.len());
        if wire::has_events(packet) {
            self.batches_under_way = self.batches_under_way.saturating_sub(1);
        }
    }

    /// Returns whether all that was sent has come back.
    pub(super) fn is_back(&self) -> bool {
        self.under_way == 0
    }

    /// Returns the bytes of the events that wait to be sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL
    }

    /// Returns whether nothing waits to be sent.
    pub(super) fn is_empty(&self) -> bool {
        self.control.is_empty() && self.batches.is_empty()
    }
}

/// Where a packet that was sent came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Control,
    Batch,
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_lone_event_goes_at_once_and_what_comes_meanwhile_goes_together() {
        let mut outbox = Outbox::default();
        outbox.push(name("#a#d1"), &What::End);
        let first = outbox.batch().unwrap().to_vec();
        outbox.sent(Sent::Batch, first.len());
        outbox.push(name("#b#d1"), &What::End);
        outbox.push(name("#c#d1"), &What::End);
        assert!(outbox.batch().is_none() && !outbox.is_back());
        outbox.came_back(&first);
        assert!(outbox.is_back());
        let second = outbox.batch().unwrap().len();
        assert_eq!(second - wire::EVENTS_HEAD, 2 * (first.len() - wire::EVENTS_HEAD));
        outbox.sent(Sent::Batch, second);
        assert!(outbox.batch().is_none() && outbox.is_empty());
    }

    /// Sends what may go; returns the packets.
    fn send(outbox: &mut Outbox) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        while let Some(batch) = outbox.batch().map(|batch| batch.to_vec()) {
            outbox.sent(Sent::Batch, batch.len());
            packets.push(batch);
        }
        packets
    }

    #[test]
    fn full_batches_go_while_the_window_has_room_and_too_many_fill_the_outbox() {
        let mut outbox = Outbox::default();
        while !outbox.is_full() {
            outbox.push_multicast(&[0; 16 << 10]);
        }
        assert!(outbox.bytes() >= FULL);
        let first = send(&mut outbox);
        let len: usize = first.iter().map(Vec::len).sum();
        assert!(first.iter().all(|batch| batch.len() <= BATCH && batch.len() > BATCH / 2));
        assert!((WINDOW..WINDOW + BATCH).contains(&len), "{len}");
        let mut under_way = VecDeque::from(first);
        while let Some(packet) = under_way.pop_front() {
            outbox.came_back(&packet);
            under_way.extend(send(&mut outbox));
        }
        assert!(!outbox.is_full() && outbox.is_empty() && outbox.is_back() && outbox.bytes() == 0);
    }

    #[test]
    fn an_event_that_is_longer_than_a_batch_goes_alone() {
        let mut outbox = Outbox::default();
        outbox.push_multicast(&[0; 10]);
        outbox.push_multicast(&[0; 2 * BATCH]);
        outbox.push_multicast(&[0; 10]);
        let lens: Vec<usize> = outbox.batches.iter().map(Vec::len).collect();
        assert!(lens[0] < BATCH && lens[1] > 2 * BATCH && lens[2] == lens[0]);
    }
}
