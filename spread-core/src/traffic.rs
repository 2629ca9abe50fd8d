//! Counters of what has gone one way.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many messages have been sent, or received, and how many bytes they have, headers and
/// group names included. Both begin again at zero after `u64::MAX`.
///
/// It costs a few instructions a message, because only one thread at a time counts: the one that
/// has the right to send, or to receive. Any thread reads; a message may then be counted whose
/// bytes are not.
#[derive(Debug, Default)]
pub struct Traffic {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    /// Counts messages. No other thread may be within this call.
    #[inline]
    pub fn add(&self, messages: usize, bytes: usize) {
        let add = |counter: &AtomicU64, count: usize| {
            counter.store(
                counter.load(Ordering::Relaxed).wrapping_add(count as u64),
                Ordering::Relaxed,
            );
        };
        add(&self.messages, messages);
        add(&self.bytes, bytes);
    }

    /// Messages.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
