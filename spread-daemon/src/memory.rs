//! How much memory waiting messages take, all together.
//!
//! A message that waits in the queues of many clients takes its memory once. So
//! it carries a charge with it, which ends with its last copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Shorter messages are copied out of the buffer that they were read into: they
/// would keep all of it, which may be many times their length.
const COPIED: usize = 64 * 1024;

/// What a longer message keeps of such a buffer, at most, as a multiple of its
/// length: a turn's reading and a whole message before it.
const KEPT: usize = 4;

/// Counts the bytes of messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<AtomicUsize>);

/// A message that is counted.
struct Charged {
    bytes: Bytes,
    charge: usize,
    memory: Memory,
}

impl Memory {
    /// The bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// The same message, counted until its last clone is dropped.
    pub(crate) fn charge(&self, message: &Bytes) -> Bytes {
        let is_short = message.len() < COPIED;
        let bytes = if is_short { Bytes::copy_from_slice(message) } else { message.clone() };
        let charge = if is_short { message.len() } else { message.len() * KEPT };
        self.0.fetch_add(charge, Ordering::Relaxed);
        Bytes::from_owner(Charged { bytes, charge, memory: self.clone() })
    }
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.memory.0.fetch_sub(self.charge, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_once_and_until_its_last_clone_is_gone() {
        let memory = Memory::default();
        let message = memory.charge(&Bytes::from_static(b"hello"));
        let clones = vec![message.clone(); 10];
        assert_eq!((memory.used(), &message[..]), (5, &b"hello"[..]));
        drop(message);
        assert_eq!(memory.used(), 5);
        drop(clones);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_short_message_does_not_keep_the_buffer_that_it_came_in() {
        let buffer = Bytes::from(vec![1; 1000]);
        let short = Memory::default().charge(&buffer.slice(10..20));
        assert_ne!(short.as_ptr(), buffer[10..].as_ptr());
        let buffer = Bytes::from(vec![1; 2 * COPIED]);
        let memory = Memory::default();
        let long = memory.charge(&buffer);
        assert_eq!(long.as_ptr(), buffer.as_ptr());
        assert_eq!(memory.used(), KEPT * buffer.len());
    }
}
