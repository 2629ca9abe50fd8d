//! Slowing down a client that sends faster than its receivers read.
//!
//! The daemon is so much faster than a client that a burst would overrun the
//! queue of a receiver that reads as fast as it can. So a client whose message
//! finds a receiver's queue more than half full is not read on, until that queue
//! is down to a quarter. This lasts only for a moment: a receiver that takes
//! longer than [`GRACE`] is not busy but stuck, and is left to be cut off. And so
//! a client that sends to itself and does not read is read on, too.
//!
//! With [`SlowReceivers::Backpressure`] there is no such limit: senders wait for
//! as long as it takes.

use std::time::{Duration, Instant};

use crate::server::Server;
use crate::settings::SlowReceivers;

/// How long a receiver may take to catch up before its senders go on.
const GRACE: Duration = Duration::from_millis(100);

/// For how long those wait who send to a receiver that is crowded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    Until(Instant),
    ForEver,
}

impl Patience {
    pub(crate) fn new(receivers: SlowReceivers) -> Patience {
        match receivers {
            SlowReceivers::Disconnect => Patience::Until(Instant::now() + GRACE),
            SlowReceivers::Backpressure => Patience::ForEver,
        }
    }

    pub(crate) fn lasts(self, now: Instant) -> bool {
        match self {
            Patience::Until(until) => now < until,
            Patience::ForEver => true,
        }
    }

    fn end(self) -> Option<Instant> {
        match self {
            Patience::Until(until) => Some(until),
            Patience::ForEver => None,
        }
    }
}

/// A connection that is not read on until a receiver has caught up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paused {
    /// Key and serial of the connection.
    sender: (usize, u64),
    /// Those of the receiver.
    receiver: (usize, u64),
    patience: Patience,
}

impl Server {
    /// Pauses a client if its last message found a receiver's queue too full;
    /// tells whether it did.
    pub(crate) fn pause(&mut self, key: usize) -> bool {
        let Some((receiver, patience)) = self.connections.take_crowded() else {
            return false;
        };
        let slab = &mut self.connections.slab;
        let Some(receiver) = slab.get(receiver).map(|c| (receiver, c.serial)) else {
            return false;
        };
        let Some(sender) = slab.get_mut(key) else {
            return false;
        };
        sender.paused = true;
        sender.has_backlog = true;
        self.paused.push(Paused { sender: (key, sender.serial), receiver, patience });
        true
    }

    /// Goes on with the clients whose receivers have caught up, or will not.
    pub(crate) fn resume(&mut self) {
        if self.paused.is_empty() {
            return;
        }
        let now = Instant::now();
        for paused in std::mem::take(&mut self.paused) {
            let (receiver, serial) = paused.receiver;
            let receiver = self.connections.slab.get(receiver).filter(|c| c.serial == serial);
            if paused.patience.lasts(now) && receiver.is_some_and(|c| c.crowded.is_some()) {
                self.paused.push(paused);
                continue;
            }
            let (key, serial) = paused.sender;
            let sender = self.connections.slab.get_mut(key).filter(|c| c.serial == serial);
            if let Some(sender) = sender {
                sender.paused = false;
                self.read_later(key);
            }
        }
    }

    /// When a client is to go on even if nothing happens until then.
    pub(crate) fn next_resume(&self) -> Option<Instant> {
        self.paused.iter().filter_map(|paused| paused.patience.end()).min()
    }
}
