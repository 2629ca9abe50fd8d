//! What waits to be written to a client.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};

use bytes::{Buf, Bytes};

/// Messages that go into one system call.
const SLICES: usize = 128;

/// A queue of messages, shared with the queues of the other receivers.
#[derive(Debug, Default)]
pub(crate) struct Output {
    queue: VecDeque<Bytes>,
    /// Bytes in the queue.
    bytes: usize,
}

impl Output {
    /// Messages that wait, the one included that has been written in part.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(&mut self, message: Bytes) {
        self.bytes += message.len();
        self.queue.push_back(message);
    }

    pub(crate) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    /// Writes until the queue is empty or the stream takes no more.
    pub(crate) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while !self.queue.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let count = self.queue.len().min(SLICES);
            for (slice, message) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(message);
            }
            match stream.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.queue.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a few bytes a call and, after `room` bytes, no more.
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(3).min(self.room);
            if len == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.taken.extend_from_slice(&bytes[..len]);
            self.room -= len;
            Ok(len)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_that_is_written_in_part_goes_on_where_it_stopped() {
        let mut output = Output::default();
        output.push(Bytes::from_static(b"hello "));
        output.push(Bytes::from_static(b"world"));
        let mut stream = Narrow { taken: Vec::new(), room: 7 };
        output.flush(&mut stream).unwrap();
        assert_eq!((&stream.taken[..], output.len()), (&b"hello w"[..], 1));
        assert_eq!(output.bytes(), 4);
        stream.room = 100;
        output.flush(&mut stream).unwrap();
        assert_eq!(stream.taken, b"hello world");
        assert!(output.is_empty());
    }

    #[test]
    fn more_messages_than_go_into_one_call_are_all_written() {
        let mut output = Output::default();
        for _ in 0..3 * SLICES {
            output.push(Bytes::from_static(b"x"));
        }
        let mut written = Vec::new();
        output.flush(&mut written).unwrap();
        assert_eq!(written, vec![b'x'; 3 * SLICES]);
    }
}
