//! All connections, and how messages get into their queues.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use slab::Slab;

use crate::batch::Batch;
use crate::cluster::{Deliver, SessionId};
use crate::connection::Connection;
use crate::gate::Gate;
use crate::memory::Memory;
use crate::pacing::Patience;
use crate::settings::{Settings, SlowReceivers};
use crate::status::Totals;

/// The connections by their keys, which name their sessions, too.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) slab: Slab<Connection>,
    pub(crate) totals: Totals,
    /// Messages that wait for a client before its senders are spared it for a
    /// while.
    many_messages: usize,
    /// Messages that may wait for a client.
    max_messages: usize,
    /// Bytes of messages that may wait for all of them.
    max_bytes: usize,
    slow_receivers: SlowReceivers,
    /// What has been delivered in this turn.
    batch: Batch,
    /// What is left of former turns.
    memory: Memory,
    /// A receiver whose queue the last message found too full, and for how long
    /// it should be spared.
    crowded: Option<(usize, Patience)>,
    /// Those that got messages since they were flushed last.
    to_flush: Vec<usize>,
    /// Those that are to be closed.
    to_close: VecDeque<usize>,
}

impl Connections {
    pub(crate) fn new(settings: &Settings) -> Connections {
        let Settings { session_messages, slow_receivers, sessions, .. } = *settings;
        Connections {
            slab: Slab::new(),
            totals: Totals::default(),
            many_messages: session_messages / 2,
            // Those who are to wait have sent a message each before they do.
            max_messages: match slow_receivers {
                SlowReceivers::Disconnect => session_messages,
                SlowReceivers::Backpressure => session_messages.saturating_add(sessions),
            },
            max_bytes: settings.queued_bytes,
            slow_receivers,
            batch: Batch::default(),
            memory: Memory::default(),
            crowded: None,
            to_flush: Vec::new(),
            to_close: VecDeque::new(),
        }
    }

    /// Bytes of the messages that wait; each counts once.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.memory.used() + self.batch.len()
    }

    /// Disconnects the clients for whom most waits, until there is room again.
    fn make_room(&mut self) {
        while self.queued_bytes() > self.max_bytes {
            let queued = |(_, connection): &(usize, &Connection)| connection.queued_bytes();
            let longest =
                self.slab.iter().max_by_key(queued).map(|(key, c)| (key, c.queued_bytes()));
            match longest {
                Some((key, 1..)) => self.cut_off(key),
                _ => return,
            }
        }
    }

    fn cut_off(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key) {
            tracing::warn!(session = key, "cut off: it does not read its messages");
            self.totals.cut_off += 1;
            connection.mute();
            self.close_later(key);
        }
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
            connection.output.push(self.batch.push(&message));
            self.flush_later(key);
        }
    }

    /// Takes a connection's gate away, and queues all that has waited there.
    pub(crate) fn open_gate(&mut self, key: usize) {
        let gate = self.slab.get_mut(key).and_then(|connection| connection.gate.take());
        gate.into_iter().flat_map(Gate::into_messages).for_each(|message| self.send(key, &message));
    }

    /// Has [`Connections::flush`] write to the connection.
    pub(crate) fn flush_later(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_flush
        {
            connection.to_flush = true;
            self.to_flush.push(key);
        }
    }

    /// The receiver that should be spared after the last message, and for how long.
    pub(crate) fn take_crowded(&mut self) -> Option<(usize, Patience)> {
        self.crowded.take()
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
            if connection.queued() <= self.many_messages / 2 {
                connection.crowded = None;
            }
            if let Some(more) = connection.output.unwritten() {
                let part = left.get_or_insert_with(|| more.clone());
                *part = part.start.min(more.start)..part.end.max(more.end);
            }
        }
        if let Some(part) = left {
            let kept = self.batch.keep(part, &self.memory);
            for key in &self.to_flush {
                if let Some(connection) = self.slab.get_mut(*key) {
                    connection.output.keep(&kept);
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
            connection.output.unblock();
            connection.flush(&self.batch);
        }
    }

    /// Has the connection closed as soon as the message in work is delivered.
    pub(crate) fn close_later(&mut self, key: usize) {
        if let Some(connection) = self.slab.get_mut(key)
            && !connection.to_close
        {
            connection.to_close = true;
            self.to_close.push_back(key);
        }
    }

    /// Whether there may be a connection to be closed.
    pub(crate) fn has_to_close(&self) -> bool {
        !self.to_close.is_empty()
    }

    /// The next connection to be closed, in the order in which they were found to
    /// be at their end.
    pub(crate) fn next_to_close(&mut self) -> Option<usize> {
        let is_to_close = |key: &usize| self.slab.get(*key).is_some_and(|c| c.to_close);
        std::iter::from_fn(|| self.to_close.pop_front()).find(is_to_close)
    }

    /// Whether a client for which many messages wait can be sent one more; cuts it
    /// off if too many wait that its stream does not take.
    #[cold]
    fn has_room(&mut self, key: usize) -> bool {
        let Some(connection) = self.slab.get_mut(key) else {
            return false;
        };
        // They may wait only because nothing was written yet.
        if connection.queued() >= self.max_messages {
            connection.output.unblock();
        }
        connection.flush(&self.batch);
        if connection.queued() >= self.max_messages {
            self.cut_off(key);
            return false;
        }
        if connection.queued() > self.many_messages {
            let begin = || Patience::new(self.slow_receivers);
            let patience = *connection.crowded.get_or_insert_with(begin);
            if patience.lasts(Instant::now()) {
                self.crowded = Some((key, patience));
            }
        }
        true
    }
}

impl Deliver for Connections {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let mut message = None;
        for SessionId(key) in to {
            let is_crowded = |c: &Connection| c.queued() > self.many_messages;
            if self.slab.get(key).is_none_or(is_crowded) && !self.has_room(key) {
                continue;
            }
            let message = *message.get_or_insert_with(|| self.batch.push(frame));
            self.totals.delivered += 1;
            self.totals.delivered_bytes += frame.len() as u64;
            if let Some(connection) = self.slab.get_mut(key) {
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
}
