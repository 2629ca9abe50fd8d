//! The messages of a turn of the loop, each of them once, however many receive it.
//!
//! A message that is delivered is copied once, behind the one before it. What a
//! receiver's queue notes of it is a place, and messages that stand next to each
//! other are one [`Run`]: so a message takes a receiver no memory of its own, and
//! goes out in one piece with its neighbours.
//!
//! At the end of a turn almost all is written, and the memory serves the next one.
//! What some stream did not take is [kept](Batch::keep), together for all queues
//! that it waits in.

use std::ops::Range;
use std::sync::Arc;

use super::memory::{Charge, Memory};

/// Bytes after which a batch is written though the turn is not over, so that
/// its memory is bounded, and still in the processor's cache.
const FULL: usize = 256 * 1024;

/// Messages that stand next to each other: from a place to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// How many messages, the one included of which only the end is in it.
    pub(crate) messages: usize,
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }
}

/// Messages and where each of them ends.
#[derive(Debug, Default)]
struct Messages {
    /// The place of the first byte.
    start: usize,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Messages {
    fn bytes(&self, run: Run) -> &[u8] {
        &self.bytes[run.start - self.start..run.end - self.start]
    }

    /// Returns the rest of a run whose first bytes have been written.
    fn rest(&self, run: Run, written: usize) -> Run {
        let start = run.start + written;
        let before = self.ends.partition_point(|end| *end <= start);
        let messages = self.ends[before..].partition_point(|end| *end <= run.end);
        Run { start, messages, ..run }
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<usize>()
    }
}

/// The messages of this turn.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Messages,
}

/// Messages of a former turn, which are counted as long as they are kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<(Messages, Charge)>);

impl Batch {
    pub(crate) fn push(&mut self, message: &[u8]) -> Run {
        let Messages { bytes, ends, .. } = &mut self.messages;
        let start = bytes.len();
        bytes.extend_from_slice(message);
        ends.push(bytes.len());
        Run { start, end: bytes.len(), messages: 1 }
    }

    pub(crate) fn len(&self) -> usize {
        self.messages.bytes.len()
    }

    /// Returns whether it should be written before more is put into it.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= FULL
    }

    pub(crate) fn bytes(&self, run: Run) -> &[u8] {
        self.messages.bytes(run)
    }

    /// Returns the rest of a run whose first bytes have been written.
    pub(crate) fn rest(&self, run: Run, written: usize) -> Run {
        self.messages.rest(run, written)
    }

    /// Keeps a part of it beyond the turn. Runs in that part are the same there.
    pub(crate) fn keep(&mut self, part: Range<usize>, memory: &Memory) -> Kept {
        let whole = &mut self.messages;
        let kept = if part.len() >= whole.bytes.capacity() / 2 {
            let bytes = Vec::with_capacity(whole.bytes.capacity());
            let ends = Vec::with_capacity(whole.ends.capacity());
            std::mem::replace(whole, Messages { start: 0, bytes, ends })
        } else {
            // To keep all of it would take much more than what is waited for.
            let first = whole.ends.partition_point(|end| *end <= part.start);
            let count = whole.ends[first..].partition_point(|end| *end <= part.end);
            Messages {
                start: part.start,
                ends: whole.ends[first..first + count].to_vec(),
                bytes: whole.bytes[part].to_vec(),
            }
        };
        let charge = memory.charge(kept.capacity());
        Kept(Arc::new((kept, charge)))
    }

    /// Begins the next turn.
    pub(crate) fn clear(&mut self) {
        // A single message can be far longer than a batch should be.
        if self.messages.bytes.capacity() > 2 * FULL {
            self.messages = Messages::default();
        }
        self.messages.bytes.clear();
        self.messages.ends.clear();
    }
}

impl Kept {
    /// Returns the memory that this takes, divided by the number of its copies.
    pub(crate) fn share(&self) -> usize {
        self.0.0.capacity() / Arc::strong_count(&self.0)
    }

    pub(crate) fn bytes(&self, run: Run) -> &[u8] {
        self.0.0.bytes(run)
    }

    /// Returns the rest of a run whose first bytes have been written.
    pub(crate) fn rest(&self, run: Run, written: usize) -> Run {
        self.0.0.rest(run, written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_run_counts_the_message_that_was_written_in_part() {
        let mut batch = Batch::default();
        let runs = [&b"one"[..], b"two", b"three", b"four"].map(|message| batch.push(message));
        let run = Run { start: runs[1].start, end: runs[2].end, messages: 2 };
        assert_eq!(batch.bytes(run), b"twothree");
        assert_eq!(batch.rest(run, 0), run);
        assert_eq!(batch.rest(run, 2), Run { start: 5, end: 11, messages: 2 });
        assert_eq!(batch.rest(run, 3), Run { start: 6, end: 11, messages: 1 });
        assert_eq!(batch.rest(run, 8).messages, 0);
    }

    #[test]
    fn a_kept_part_takes_its_own_memory_and_the_whole_is_kept_as_it_is() {
        let memory = Memory::default();
        let mut batch = Batch::default();
        let first = batch.push(&[1; 10]);
        let second = batch.push(&[2; 10]);
        for _ in 0..100 {
            batch.push(&[3; 100]);
        }
        let some = batch.keep(second.start..second.end, &memory);
        assert_eq!((some.bytes(second), memory.used()), (&[2; 10][..], 10 + size_of::<usize>()));
        assert_eq!(some.rest(second, 1).messages, 1);
        let place = batch.bytes(first).as_ptr();
        let all = batch.keep(0..batch.len(), &memory);
        assert_eq!((all.bytes(first), all.bytes(first).as_ptr()), (&[1; 10][..], place));
        assert!(memory.used() >= 10_020 && batch.len() == 0);
        drop((some, all));
        assert_eq!(memory.used(), 0);
    }
}
