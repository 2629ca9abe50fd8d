//! All connections, and how messages get into their queues.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use crate::cluster::{Deliver, SessionId};
use crate::connection::Connection;
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
    memory: Memory,
    /// The last message, as it came and as it is counted.
    last: Option<(Bytes, Bytes)>,
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
            memory: Memory::default(),
            last: None,
            crowded: None,
            to_flush: Vec::new(),
            to_close: VecDeque::new(),
        }
    }

    /// Bytes of the messages that wait; each counts once.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.memory.used()
    }

    /// The message as it is counted, once for all its receivers.
    fn charged(&mut self, message: &Bytes) -> Bytes {
        if let Some((came, charged)) = &self.last
            && (came.as_ptr(), came.len()) == (message.as_ptr(), message.len())
        {
            return charged.clone();
        }
        let charged = self.memory.charge(message);
        self.last = Some((message.clone(), charged.clone()));
        charged
    }

    /// Disconnects the clients for whom most waits, until there is room again.
    fn make_room(&mut self) {
        while self.memory.used() > self.max_bytes {
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
    pub(crate) fn send(&mut self, key: usize, bytes: impl Into<Bytes>) {
        if let Some(connection) = self.slab.get_mut(key) {
            connection.queue(bytes.into());
            self.flush_later(key);
        }
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

    /// Writes what has been queued.
    pub(crate) fn flush(&mut self) {
        self.last = None;
        for key in self.to_flush.drain(..) {
            if let Some(connection) = self.slab.get_mut(key) {
                connection.to_flush = false;
                connection.flush();
                if connection.queued() <= self.many_messages / 2 {
                    connection.crowded = None;
                }
            }
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

    /// The next connection to be closed, in the order in which they were found to
    /// be at their end.
    pub(crate) fn next_to_close(&mut self) -> Option<usize> {
        let is_to_close = |key: &usize| self.slab.get(*key).is_some_and(|c| c.to_close);
        std::iter::from_fn(|| self.to_close.pop_front()).find(is_to_close)
    }
}

impl Deliver for Connections {
    /// Queues a message for a client, and cuts the client off if too many wait
    /// that its stream does not take.
    fn deliver(&mut self, to: SessionId, frame: &Bytes) {
        let Some(connection) = self.slab.get_mut(to.0) else {
            return;
        };
        if connection.queued() > self.many_messages {
            // They may wait only because nothing was written yet.
            connection.flush();
            if connection.queued() >= self.max_messages {
                return self.cut_off(to.0);
            }
            if connection.queued() > self.many_messages {
                let begin = || Patience::new(self.slow_receivers);
                let patience = *connection.crowded.get_or_insert_with(begin);
                if patience.lasts(Instant::now()) {
                    self.crowded = Some((to.0, patience));
                }
            }
        }
        let message = self.charged(frame);
        self.totals.delivered += 1;
        self.totals.delivered_bytes += frame.len() as u64;
        if let Some(connection) = self.slab.get_mut(to.0) {
            connection.queue(message);
        }
        self.flush_later(to.0);
        if self.memory.used() > self.max_bytes {
            // Much of it may wait only because nothing was written yet.
            self.flush();
            self.make_room();
        }
    }
}
