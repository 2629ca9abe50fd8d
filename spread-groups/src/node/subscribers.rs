//! The subscribers of a topic at one node, and the memory of what they get.

use bytes::{Bytes, BytesMut};

use crate::inbox::{Inbox, Published};

/// Payloads from this length on have memory of their own.
const LARGE: usize = 4 << 10;

/// Bytes of memory that is shared by payloads.
const CHUNK: usize = 32 << 10;

/// The subscribers of a topic.
#[derive(Default)]
pub(super) struct Subscribers {
    pub(super) inboxes: Vec<Inbox>,
    /// What has come for them in this turn.
    pub(super) arrived: Vec<Published>,
}

impl Subscribers {
    /// Hands them what has come, and wakes those who wait.
    pub(super) fn tell(&mut self) {
        self.inboxes.retain(|inbox| inbox.push_all(&self.arrived));
        self.arrived.clear();
    }
}

/// Memory for small payloads, several in one piece. The thread that frees them is another one: for
/// the allocator a piece is cheaper than each payload.
#[derive(Default)]
pub(super) struct Memory(BytesMut);

impl Memory {
    /// Returns the same bytes, which may be kept for as long as a subscriber's queue keeps them.
    pub(super) fn keep(&mut self, payload: &Bytes) -> Bytes {
        if payload.len() >= LARGE {
            return payload.clone();
        }
        if self.0.capacity() < payload.len() {
            self.0.reserve(CHUNK);
        }
        self.0.extend_from_slice(payload);
        self.0.split().freeze()
    }
}
