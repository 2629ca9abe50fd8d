//! The messages that wait to be written to one client.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use super::batch::{Batch, Kept, Run};

/// Runs of messages that go into one system call.
const SLICES: usize = 64;

/// A queue of messages. Their bytes are shared with the queues of the other
/// receivers, and so are in the batch of the turn or what was kept of former ones.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// The rest of former turns.
    kept: VecDeque<(Kept, Run)>,
    /// The messages of this turn.
    runs: VecDeque<Run>,
    messages: usize,
    /// The stream takes no more; an event will tell when it does.
    blocked: bool,
}

impl Queue {
    /// Messages that wait, the one included that has been written in part.
    pub(crate) fn len(&self) -> usize {
        self.messages
    }

    /// Returns whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Bytes that wait.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.kept.iter().map(|(_, run)| run).chain(&self.runs).map(Run::len).sum()
    }

    /// Bytes of memory that this queue keeps in use: those of this turn's messages, and
    /// its share of the memory of former turns, in which its messages may be a small
    /// part.
    pub(crate) fn kept_bytes(&self) -> usize {
        let former = self.kept.iter().map(|(kept, _)| kept.share());
        former.chain(self.runs.iter().map(Run::len)).sum()
    }

    /// Puts messages of this turn's batch behind all others.
    pub(crate) fn push(&mut self, run: Run) {
        self.messages += run.messages;
        match self.runs.back_mut() {
            Some(last) if last.end == run.start => {
                last.end = run.end;
                last.messages += run.messages;
            }
            _ => self.runs.push_back(run),
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Queue::default();
    }

    /// The stream may take something again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Writes until nothing waits or the stream takes no more.
    pub(crate) fn flush(&mut self, batch: &Batch, stream: &mut impl Write) -> io::Result<()> {
        while !self.blocked && !self.is_empty() {
            let (asked, written) = self.write(batch, stream);
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.advance(batch, written);
                    self.blocked = written < asked;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Writes once; returns how much it tried to write, and how much it did.
    fn write(&self, batch: &Batch, stream: &mut impl Write) -> (usize, io::Result<usize>) {
        let kept = self.kept.iter().map(|(kept, run)| kept.bytes(*run));
        let mut waiting = kept.chain(self.runs.iter().map(|run| batch.bytes(*run)));
        if self.kept.len() + self.runs.len() == 1 {
            let only = waiting.next().unwrap_or_default();
            return (only.len(), stream.write(only));
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut count, mut asked) = (0, 0);
        for (slice, bytes) in slices.iter_mut().zip(waiting) {
            *slice = IoSlice::new(bytes);
            count += 1;
            asked += bytes.len();
        }
        (asked, stream.write_vectored(&slices[..count]))
    }

    fn advance(&mut self, batch: &Batch, mut written: usize) {
        while let Some((kept, run)) = self.kept.front_mut() {
            self.messages -= run.messages;
            if written < run.len() {
                *run = kept.rest(*run, written);
                self.messages += run.messages;
                return;
            }
            written -= run.len();
            self.kept.pop_front();
        }
        while let Some(run) = self.runs.front_mut() {
            self.messages -= run.messages;
            if written < run.len() {
                *run = batch.rest(*run, written);
                self.messages += run.messages;
                return;
            }
            written -= run.len();
            self.runs.pop_front();
        }
    }

    /// Returns the part of this turn's batch that has not been written.
    pub(crate) fn unwritten(&self) -> Option<std::ops::Range<usize>> {
        Some(self.runs.front()?.start..self.runs.back()?.end)
    }

    /// Ends the turn: what has not been written is in `kept` from now on.
    pub(crate) fn keep(&mut self, kept: &Kept) {
        self.kept.extend(self.runs.drain(..).map(|run| (kept.clone(), run)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::Memory;

    /// Takes a few bytes a call.
    struct Narrow {
        taken: Vec<u8>,
        width: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.width);
            self.taken.extend_from_slice(&bytes[..len]);
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Ends a turn as all queues do together.
    fn end_turn(batch: &mut Batch, queue: &mut Queue) {
        if let Some(part) = queue.unwritten() {
            queue.keep(&batch.keep(part, &Memory::default()));
        }
        batch.clear();
    }

    #[test]
    fn a_message_that_is_written_in_part_goes_on_where_it_stopped() {
        let (mut batch, mut queue) = (Batch::default(), Queue::default());
        queue.push(batch.push(b"hello "));
        queue.push(batch.push(b"world"));
        let mut stream = Narrow { taken: Vec::new(), width: 7 };
        queue.flush(&batch, &mut stream).unwrap();
        assert_eq!((&stream.taken[..], queue.len()), (&b"hello w"[..], 1));
        assert_eq!(queue.bytes(), 4);
        end_turn(&mut batch, &mut queue);
        queue.push(batch.push(b"!"));
        queue.flush(&batch, &mut stream).unwrap();
        assert_eq!((stream.taken.len(), queue.len()), (7, 2), "it takes no more");
        while !queue.is_empty() {
            queue.unblock();
            queue.flush(&batch, &mut stream).unwrap();
        }
        assert_eq!((&stream.taken[..], queue.bytes()), (&b"hello world!"[..], 0));
    }

    #[test]
    fn however_a_queue_is_written_its_messages_come_in_order_and_count_right() {
        for width in 1..40 {
            let (mut batch, mut queue) = (Batch::default(), Queue::default());
            let mut stream = Narrow { taken: Vec::new(), width };
            let (mut wanted, mut ends) = (Vec::new(), Vec::new());
            for turn in 0..10_u8 {
                for number in 0..10 {
                    let run = batch.push(&[10 * turn + number; 7]);
                    // The others are for someone else.
                    if number % (1 + turn % 4) == 0 {
                        queue.push(run);
                        wanted.extend_from_slice(&[10 * turn + number; 7]);
                        ends.push(wanted.len());
                    }
                }
                queue.unblock();
                queue.flush(&batch, &mut stream).unwrap();
                end_turn(&mut batch, &mut queue);
                let waiting = ends.iter().filter(|end| **end > stream.taken.len()).count();
                assert_eq!(queue.len(), waiting);
                assert_eq!(queue.bytes(), wanted.len() - stream.taken.len());
            }
            while !queue.is_empty() {
                queue.unblock();
                queue.flush(&batch, &mut stream).unwrap();
            }
            assert_eq!(stream.taken, wanted);
        }
    }

    #[test]
    fn more_runs_than_go_into_one_call_are_all_written() {
        let (mut batch, mut queue) = (Batch::default(), Queue::default());
        for _ in 0..3 * SLICES {
            batch.push(b"for someone else");
            queue.push(batch.push(b"x"));
        }
        let mut written = Vec::new();
        queue.flush(&batch, &mut written).unwrap();
        assert_eq!(written, vec![b'x'; 3 * SLICES]);
    }
}
