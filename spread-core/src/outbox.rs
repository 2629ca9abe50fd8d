//! What has been taken and not been sent, in bounded memory: a value without I/O.
//!
//! It holds the rest of a message that has begun, and buffered messages behind it. Bytes have
//! positions in the stream of all that it has ever taken, so that a flush can wait for what
//! was there when it was called, however much comes behind.

use spread_wire::limits::MAX_BODY_AND_GROUPS;
use spread_wire::{HEADER_LEN, Header, Name};

use crate::frames::encode_head;

/// Bytes that wait to be sent, at most, when another message is buffered.
pub const BUFFER: usize = 256 * 1024;

// Any message fits into an empty buffer.
const _: () = assert!(HEADER_LEN + MAX_BODY_AND_GROUPS <= BUFFER);

/// What has come of a message that was to be buffered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffered {
    /// It is the first one in the buffer, and somebody has to flush it.
    First,
    /// It is behind others, which somebody has to flush anyway.
    Behind,
    /// The buffer has no room for it; nothing was taken.
    Full,
}

/// Bytes in the order in which they are sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them have gone.
    gone: usize,
    /// Bytes taken so far, with those that have gone.
    taken: u64,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.gone == self.bytes.len()
    }

    /// Bytes that have not gone.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.bytes[self.gone..]
    }

    /// The position behind all that was taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether all that was taken up to a position has gone.
    pub(crate) fn has_sent(&self, position: u64) -> bool {
        self.taken - self.unsent().len() as u64 >= position
    }

    /// Takes a message if there is room.
    pub(crate) fn buffer(&mut self, header: &Header, groups: &[Name], body: &[u8]) -> Buffered {
        match self.unsent().len() {
            0 => {}
            unsent if unsent + header.frame_len() <= BUFFER => {}
            _ => return Buffered::Full,
        }
        self.append(header, groups, body)
    }

    /// Whether less than [`BUFFER`] waits to be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent().len() < BUFFER
    }

    /// Takes a message, also beyond [`BUFFER`].
    pub(crate) fn append(&mut self, header: &Header, groups: &[Name], body: &[u8]) -> Buffered {
        let result = if self.is_empty() { Buffered::First } else { Buffered::Behind };
        encode_head(header, groups, &mut self.bytes);
        self.bytes.extend_from_slice(body);
        self.taken += header.frame_len() as u64;
        result
    }

    /// Takes bytes of a message that has begun.
    pub(crate) fn keep(&mut self, rest: &[u8]) {
        self.bytes.extend_from_slice(rest);
        self.taken += rest.len() as u64;
    }

    /// Notes that the next `count` bytes have gone.
    pub(crate) fn advance(&mut self, count: usize) {
        self.gone += count;
        // As many bytes as move have gone before, so moving them is cheap.
        if self.gone >= self.bytes.len() - self.gone {
            self.bytes.drain(..self.gone);
            self.gone = 0;
        }
    }
}

#[cfg(test)]
mod tests;
