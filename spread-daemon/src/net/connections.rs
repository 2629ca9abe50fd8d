//! All connections, and how messages get into their queues.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use slab::Slab;

use super::batch::Batch;
use super::connection::{Connection, ConnectionId};
use super::gate::Gate;
use super::memory::Memory;
use crate::admin::status::{CutOff, CutOffReason, Status, Totals};
use crate::admin::views::Views;
use crate::cluster::{Change, Deliver, SessionId};
use crate::session::flow_control::{FlowControl, Verdict};
use crate::session::handshake::shown;
use crate::settings::Settings;

/// The connections by their keys, which are the numbers of their sessions, too.
#[derive(Debug)]
pub(crate) struct Connections {
    slab: Slab<Connection>,
    pub(crate) totals: Totals,
    pub(crate) flow: FlowControl,
    /// Bytes of messages that may wait for all of them.
    max_bytes: usize,
    /// The messages delivered in this turn.
    batch: Batch,
    /// The memory of what is left of former turns.
    memory: Memory,
    /// The receiver that is behind with the last message, and until when the sender
    /// should be paused.
    behind: Option<(usize, Option<Instant>)>,
    /// The last sessions that the daemon ended, the last one first.
    cut_offs: VecDeque<(Instant, CutOff)>,
    /// The last views of all groups.
    pub(crate) views: Views,
    /// Connections that may have more to read, though no event will say so.
    to_read: VecDeque<usize>,
    /// Sessions that are to be read once their requests can go on.
    held: Vec<usize>,
    /// Connections that got messages since they were flushed last.
    to_flush: Vec<usize>,
    /// Connections that are to be closed.
    to_close: VecDeque<usize>,
    serial: u64,
}

impl Connections {
    pub(crate) fn new(settings: &Settings) -> Connections {
        Connections {
            slab: Slab::new(),
            totals: Totals::default(),
            flow: FlowControl::new(settings.session_messages, settings.slow_receivers),
            max_bytes: settings.queued_bytes,
            batch: Batch::default(),
            memory: Memory::default(),
            behind: None,
            cut_offs: VecDeque::new(),
            views: Views::default(),
            to_read: VecDeque::new(),
            held: Vec::new(),
            to_flush: Vec::new(),
            to_close: VecDeque::new(),
            serial: 0,
        }
    }

    /// Takes over settings. A receiver whose queue is longer than it may be now has time to
    /// read it.
    pub(crate) fn reload(&mut self, settings: &Settings, now: Instant) {
        self.flow = FlowControl::new(settings.session_messages, settings.slow_receivers);
        self.max_bytes = settings.queued_bytes;
        for (_, connection) in &mut self.slab {
            let queued = connection.queued();
            self.flow.begin(&mut connection.congestion, queued, now);
        }
    }

    /// Returns the key that the next connection gets.
    pub(crate) fn vacant_key(&self) -> usize {
        self.slab.vacant_key()
    }

    /// Returns a serial number for the next connection.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(crate) fn insert(&mut self, connection: Connection) -> ConnectionId {
        let serial = connection.serial;
        ConnectionId { key: self.slab.insert(connection), serial }
    }

    pub(crate) fn remove(&mut self, key: usize) -> Option<Connection> {
        let removed = self.slab.try_remove(key)?;
        if removed.to_read {
            // The next connection with the key is another one.
            self.held.retain(|held| *held != key);
        }
        Some(removed)
    }

    /// Returns how many bytes of messages may wait for all of them.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn get(&self, key: usize) -> Option<&Connection> {
        self.slab.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut Connection> {
        self.slab.get_mut(key)
    }

    /// Returns the connection, if it has not been closed.
    pub(crate) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slab.get_mut(id.key).filter(|connection| connection.serial == id.serial)
    }

    pub(crate) fn id(&self, key: usize) -> Option<ConnectionId> {
        self.slab.get(key).map(|connection| ConnectionId { key, serial: connection.serial })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Connection)> {
        self.slab.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Connection)> {
        self.slab.iter_mut()
    }

    /// Bytes of memory that the messages that wait keep in use.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.memory.used() + self.batch.len()
    }

    /// Queues bytes of the daemon's own for a client.
    pub(crate) fn send(&mut self, key: usize, bytes: &[u8]) {
        if let Some(connection) = self.slab.get_mut(key)
            && !bytes.is_empty()
        {
            connection.queue(self.batch.push(bytes), &self.batch, &self.memory);
            self.flush_later(key);
        }
    }

    /// Queues what has waited at a connection's gate for long enough.
    pub(crate) fn pass(&mut self, key: usize, now: Instant) {
        while let Some(connection) = self.slab.get_mut(key)
            && let Some(message) = connection.gate.as_mut().and_then(|gate| gate.pop(now))
        {
            connection.queue.push(self.batch.push(&message));
            self.flush_later(key);
        }
    }

    /// Takes a connection's gate away, and queues all that has waited there.
    pub(crate) fn open_gate(&mut self, key: usize) {
        let gate = self.slab.get_mut(key).and_then(|connection| connection.gate.take());
        gate.into_iter().flat_map(Gate::into_messages).for_each(|message| self.send(key, &message));
    }

    /// Reads the connection in this turn or the next.
    pub(crate) fn read_later(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_read
        {
            connection.to_read = true;
            self.to_read.push_back(key);
        }
    }

    /// Returns how many connections are to be read.
    pub(crate) fn to_read(&self) -> usize {
        self.to_read.len()
    }

    /// Returns the next connection to be read.
    pub(crate) fn next_to_read(&mut self) -> Option<usize> {
        let key = self.to_read.pop_front()?;
        self.slab.get_mut(key)?.to_read = false;
        Some(key)
    }

    /// Reads the connection once [`Connections::release`] is called.
    pub(crate) fn hold(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_read
        {
            connection.to_read = true;
            self.held.push(key);
        }
    }

    /// Returns whether connections are held back that have something to be read.
    pub(crate) fn has_held(&self) -> bool {
        !self.held.is_empty()
    }

    /// Reads the connections that were held back in this turn or the next.
    pub(crate) fn release(&mut self) {
        self.to_read.extend(self.held.drain(..));
    }

    /// Writes to the connection with the next [`Connections::flush`].
    pub(crate) fn flush_later(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_flush
        {
            connection.to_flush = true;
            self.to_flush.push(key);
        }
    }

    /// Returns the receiver that is behind with the last message, and until when its
    /// sender should be paused.
    pub(crate) fn take_behind(&mut self) -> Option<(usize, Option<Instant>)> {
        self.behind.take()
    }

    /// Writes what has been queued, and keeps what the streams do not take, as far
    /// as there is room for it.
    pub(crate) fn flush(&mut self) {
        let mut left: Option<Range<usize>> = None;
        for key in &self.to_flush {
            let Some(connection) = self.slab.get_mut(*key) else {
                continue;
            };
            connection.to_flush = false;
            connection.flush(&self.batch);
            let queued = connection.queued();
            self.flow.drained(&mut connection.congestion, queued);
            if let Some(more) = connection.queue.unwritten() {
                let part = left.get_or_insert_with(|| more.clone());
                *part = part.start.min(more.start)..part.end.max(more.end);
            }
        }
        if let Some(part) = left {
            let kept = self.batch.keep(part, &self.memory);
            for key in &self.to_flush {
                if let Some(connection) = self.slab.get_mut(*key) {
                    connection.queue.keep(&kept);
                }
            }
        }
        self.to_flush.clear();
        self.batch.clear();
        // What is kept may take more than it took in the batch.
        self.make_room();
    }

    /// Writes what has been queued for a connection that is about to be closed.
    pub(crate) fn flush_last(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.queue.unblock();
            connection.flush(&self.batch);
        }
    }

    /// Closes the connection as soon as the message in work is delivered.
    pub(crate) fn close_later(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_close
        {
            connection.to_close = true;
            self.to_close.push_back(key);
        }
    }

    /// Returns whether there may be a connection to be closed.
    pub(crate) fn has_to_close(&self) -> bool {
        !self.to_close.is_empty()
    }

    /// Returns the next connection to be closed, in the order in which they were found
    /// to be at their end.
    pub(crate) fn next_to_close(&mut self) -> Option<usize> {
        let is_to_close = |key: &usize| self.slab.get(*key).is_some_and(|c| c.to_close);
        std::iter::from_fn(|| self.to_close.pop_front()).find(is_to_close)
    }

    /// Disconnects the clients that keep most memory in use, until there is room again.
    fn make_room(&mut self) {
        while let Some(excess) = self.queued_bytes().checked_sub(self.max_bytes)
            && excess > 0
        {
            let mut shares: Vec<(usize, usize)> =
                self.slab.iter().map(|(key, c)| (c.kept_bytes(), key)).collect();
            shares.retain(|(share, _)| *share > 0);
            shares.sort_unstable_by(|a, b| b.cmp(a));
            if shares.is_empty() {
                return;
            }
            let mut freed = 0;
            for (share, key) in shares {
                let detail = format!(
                    "it did not read: it kept most of the memory for waiting messages, {share} bytes"
                );
                self.cut_off(key, CutOffReason::Memory, &detail);
                // Also without a session, or if it is to be closed for another reason.
                if let Some(connection) = self.slab.get_mut(key) {
                    connection.mute();
                }
                self.close_later(key);
                freed += share;
                if freed >= excess {
                    break;
                }
            }
        }
    }

    /// Ends a session, and remembers why.
    pub(crate) fn cut_off(&mut self, key: usize, reason: CutOffReason, detail: &str) {
        let is_open = |c: &&mut Connection| c.has_session() && !c.to_close;
        let Some(connection) = self.slab.get_mut(key).filter(is_open) else {
            return;
        };
        let client = connection.private_group();
        tracing::warn!(
            %client,
            address = %shown(connection.address),
            "disconnected a client: {detail}"
        );
        let address = connection.address_text();
        match reason {
            CutOffReason::QueueFull | CutOffReason::Memory => {
                self.totals.cut_off += 1;
                connection.mute();
            }
            CutOffReason::Protocol => self.totals.protocol_errors += 1,
            CutOffReason::Kicked => self.totals.kicked += 1,
            CutOffReason::HostsGone | CutOffReason::Unknown => {}
        }
        self.cut_offs.truncate(Status::MAX_CUT_OFFS - 1);
        let detail = detail.to_owned();
        let ago = Duration::ZERO;
        let cut_off = CutOff { private_group: client, address, reason, detail, ago };
        self.cut_offs.push_front((Instant::now(), cut_off));
        self.close_later(key);
    }

    /// Returns the last sessions that the daemon ended, the last one first.
    pub(crate) fn cut_offs(&self, now: Instant) -> Vec<CutOff> {
        let list = self.cut_offs.iter().map(|(at, cut_off)| CutOff {
            ago: now.saturating_duration_since(*at),
            ..cut_off.clone()
        });
        list.collect()
    }

    /// Returns whether a client with a long queue can be sent one more message;
    /// disconnects it if it cannot.
    #[cold]
    fn has_room(&mut self, key: usize) -> bool {
        let Some(connection) = self.slab.get_mut(key) else {
            return false;
        };
        // Messages may wait only because nothing was written yet.
        if self.flow.is_full(connection.queued()) {
            connection.queue.unblock();
        }
        connection.flush(&self.batch);
        let queued = connection.queued();
        match self.flow.admit(&mut connection.congestion, queued, Instant::now()) {
            Verdict::Queue => {}
            Verdict::Pause(until) => self.behind = Some((key, until)),
            Verdict::Disconnect => {
                let detail = format!("it did not read: {queued} messages waited for it");
                self.cut_off(key, CutOffReason::QueueFull, &detail);
                return false;
            }
        }
        true
    }
}

impl Deliver for Connections {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let mut message = None;
        for SessionId(key) in to {
            let is_short = |c: &Connection| self.flow.is_short(c.queued());
            if !self.slab.get(key).is_some_and(is_short) && !self.has_room(key) {
                continue;
            }
            let message = *message.get_or_insert_with(|| self.batch.push(frame));
            self.totals.delivered += 1;
            self.totals.delivered_bytes += frame.len() as u64;
            if let Some(connection) = self.slab.get_mut(key) {
                connection.delivered += 1;
                connection.queue(message, &self.batch, &self.memory);
                if !std::mem::replace(&mut connection.to_flush, true) {
                    self.to_flush.push(key);
                }
            }
        }
        if self.batch.is_full() || self.queued_bytes() > self.max_bytes {
            self.flush();
        }
    }

    fn changed(&mut self, change: Change) {
        self.views.note(Instant::now(), change);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use mio::net::UnixStream;

    use super::*;
    use crate::cluster::DaemonId;
    use crate::net::connection::Phase;
    use crate::net::incoming::Origin;
    use crate::net::listener::Door;
    use crate::net::stream::Stream;

    /// Connects a client whose socket takes nothing more.
    fn connect_full(connections: &mut Connections) -> (usize, UnixStream) {
        connect_full_in(connections, Phase::Session)
    }

    fn connect_full_in(connections: &mut Connections, phase: Phase) -> (usize, UnixStream) {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        while ours.write(&[0; 1024]).is_ok() {}
        let door = Door::Clients(DaemonId::FIRST);
        let connection = Connection::new(Stream::Unix(ours), phase, door, Origin::default(), 0);
        (connections.insert(connection).key, theirs)
    }

    fn read_all(connections: &mut Connections, key: usize, client: &mut UnixStream) {
        let mut buffer = vec![0; 1 << 16];
        while connections.get(key).unwrap().queued() > 0 {
            while client.read(&mut buffer).is_ok() {}
            connections.get_mut(key).unwrap().queue.unblock();
            connections.flush_later(key);
            connections.flush();
        }
        while client.read(&mut buffer).is_ok() {}
        while connections.get_mut(key).unwrap().stream.write(&[0; 1024]).is_ok() {}
    }

    #[test]
    fn the_receiver_that_keeps_most_memory_in_use_is_disconnected() {
        let settings = Settings { queued_bytes: 600_000, ..Settings::default() };
        let mut connections = Connections::new(&settings);
        let (small, _small) = connect_full(&mut connections);
        let (reads, mut reader) = connect_full(&mut connections);
        let (large, _large) = connect_full(&mut connections);
        connections.deliver([SessionId(large)], &[1; 150_000]);
        connections.flush();
        for _ in 0..3 {
            // Of each turn a hundred bytes wait, and keep the memory of the others.
            connections.deliver([SessionId(small)], &[2; 100]);
            connections.deliver([SessionId(reads)], &[3; 200_000]);
            connections.flush();
            read_all(&mut connections, reads, &mut reader);
        }
        assert_eq!(connections.next_to_close(), Some(small));
        assert_eq!((connections.next_to_close(), connections.totals.cut_off), (None, 1));
        assert!(connections.queued_bytes() < 400_000, "{}", connections.queued_bytes());
    }

    #[test]
    fn a_connection_without_a_session_that_keeps_most_memory_in_use_is_closed() {
        let settings = Settings { queued_bytes: 100_000, ..Settings::default() };
        let mut connections = Connections::new(&settings);
        let (answered, _answered) = connect_full_in(&mut connections, Phase::Answered);
        connections.send(answered, &[1; 200_000]);
        connections.flush();
        assert_eq!(connections.next_to_close(), Some(answered));
        assert_eq!((connections.queued_bytes(), connections.totals.cut_off), (0, 0));
    }

    #[test]
    fn what_waits_for_a_session_that_is_to_be_closed_is_dropped_when_there_is_too_much() {
        let settings = Settings { queued_bytes: 100_000, ..Settings::default() };
        let mut connections = Connections::new(&settings);
        let (ending, _ending) = connect_full(&mut connections);
        connections.deliver([SessionId(ending)], &[1; 80_000]);
        connections.flush();
        connections.close_later(ending);
        connections.reload(&Settings { queued_bytes: 10_000, ..settings }, Instant::now());
        connections.flush();
        assert_eq!(connections.next_to_close(), Some(ending));
        assert_eq!((connections.queued_bytes(), connections.totals.cut_off), (0, 0));
    }
}
