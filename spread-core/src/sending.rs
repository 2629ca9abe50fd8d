//! What has not been sent of the messages that were begun.

use std::io::{self, IoSlice};

use spread_wire::{Header, Name};

use crate::error::is_resource;
use crate::frames::{Frames, encode_head};
use crate::outbox::{Buffered, Outbox};
use crate::stream::{Mode, Stream};

/// Bytes up to which a message is sent in one piece, which takes the kernel less time than
/// two.
const SHORT: usize = 1424;

/// Bytes of a batch from which on the next frames are left for another call: more than a
/// socket usually takes at once.
const BATCH: usize = 256 * 1024;

/// How far a send that does not wait has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The kernel has all of the message.
    All,
    /// The message has begun, and the connection keeps the rest of it; nothing can be sent
    /// before [`Connection::try_flush`](crate::Connection::try_flush) has sent that.
    Begun,
    /// There was no room; nothing has been sent.
    Nothing,
}

/// Sends messages one after the other, each of them whole.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// The rest of a message that has begun, and buffered messages.
    outbox: Outbox,
    /// Memory for what is sent in one piece.
    scratch: Vec<u8>,
    /// Whether the peer has been told that nothing more will come.
    has_ended: bool,
}

impl Sending {
    /// Sends a message, after the rest of the one before.
    #[inline]
    pub(crate) fn message(
        &mut self,
        stream: &Stream,
        header: &Header,
        groups: &[Name],
        body: &[IoSlice<'_>],
        mode: Mode,
    ) -> io::Result<Sent> {
        if !self.flush(stream, mode)? {
            return Ok(Sent::Nothing);
        }
        self.scratch.clear();
        encode_head(header, groups, &mut self.scratch);
        let (head_len, body_at_once) = (self.scratch.len(), header.frame_len() <= SHORT);
        let mut sent = 0;
        let result = if body_at_once {
            for piece in body {
                self.scratch.extend_from_slice(piece);
            }
            stream.send(&self.scratch, mode, false, &mut sent)
        } else {
            let head = IoSlice::new(&self.scratch);
            match body {
                [one] => stream.send_pieces(&mut [head, *one], mode, &mut sent),
                many => stream.send_pieces(&mut [&[head], many].concat(), mode, &mut sent),
            }
        };
        if sent == header.frame_len() {
            return Ok(Sent::All);
        }
        match result {
            // The flush of the rest is told.
            Err(error) if sent > 0 && is_resource(&error) => {}
            result => result?,
        }
        // Of a message of which nothing has gone, nothing is kept.
        if sent == 0 {
            return Ok(Sent::Nothing);
        }
        self.outbox.keep(&self.scratch[sent.min(self.scratch.len())..]);
        if !body_at_once {
            let mut skip = sent.saturating_sub(head_len);
            for piece in body {
                self.outbox.keep(&piece[skip.min(piece.len())..]);
                skip = skip.saturating_sub(piece.len());
            }
        }
        Ok(Sent::Begun)
    }

    /// Takes a message to be sent by a flush, behind all that was taken before, if the buffer
    /// has room.
    #[inline]
    pub(crate) fn buffer(&mut self, header: &Header, groups: &[Name], body: &[u8]) -> Buffered {
        self.outbox.buffer(header, groups, body)
    }

    /// Takes a message to be sent by a flush, whether or not the buffer has room.
    pub(crate) fn append(&mut self, header: &Header, groups: &[Name], body: &[u8]) -> Buffered {
        self.outbox.append(header, groups, body)
    }

    /// Whether the buffer has room.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// The position behind all that was taken and not sent at once.
    pub(crate) fn taken(&self) -> u64 {
        self.outbox.taken()
    }

    /// Bytes that were taken and have not gone.
    #[inline]
    pub(crate) fn kept(&self) -> usize {
        self.outbox.unsent().len()
    }

    /// Whether all that was taken up to a position has gone.
    pub(crate) fn has_sent(&self, position: u64) -> bool {
        self.outbox.has_sent(position)
    }

    /// Sends what was taken as far as there is room; says whether all up to a position has
    /// gone.
    pub(crate) fn flush_to(&mut self, stream: &Stream, position: u64) -> io::Result<bool> {
        if self.outbox.has_sent(position) {
            return Ok(true);
        }
        match self.flush(stream, Mode::Try) {
            // It is what comes behind that lacks memory.
            Err(error) if is_resource(&error) && self.outbox.has_sent(position) => Ok(true),
            flushed => flushed.map(|_| self.outbox.has_sent(position)),
        }
    }

    /// Sends the first frames, as many as there is room for, and removes them; keeps the
    /// rest of the one that was cut. Returns their number and their bytes, also if an error
    /// comes after some of them.
    pub(crate) fn frames(
        &mut self,
        stream: &Stream,
        sender: Name,
        frames: &mut Frames,
    ) -> (usize, usize, io::Result<Sent>) {
        match self.flush(stream, Mode::Try) {
            Ok(true) => {}
            flushed => return (0, 0, flushed.map(|_| Sent::Nothing)),
        }
        let mut sent = 0;
        let result = stream.send_many(frames.sign(sender, BATCH), &mut sent);
        let rest = frames.rest(sent);
        self.outbox.keep(rest);
        let end = sent + rest.len();
        let state = match (sent, rest) {
            (0, _) => Sent::Nothing,
            (_, []) => Sent::All,
            _ => Sent::Begun,
        };
        (frames.advance(end), end, result.map(|()| state))
    }

    /// Sends the rest of the message that has begun, and what is buffered; says whether all
    /// of it has gone. What has gone before an error does not go again.
    #[inline]
    pub(crate) fn flush(&mut self, stream: &Stream, mode: Mode) -> io::Result<bool> {
        if self.outbox.is_empty() {
            return Ok(true);
        }
        let (unsent, mut sent) = (self.outbox.unsent(), 0);
        let result = match mode {
            Mode::Try => stream.send_many(unsent, &mut sent),
            Mode::Wait | Mode::Until(_) => stream.send(unsent, mode, true, &mut sent),
        };
        self.outbox.advance(sent);
        result.map(|()| self.outbox.is_empty())
    }

    /// Sends what is left, and tells the peer that nothing more will come; says whether that
    /// has been done.
    pub(crate) fn try_end(&mut self, stream: &Stream) -> io::Result<bool> {
        if self.has_ended {
            return Ok(true);
        }
        if self.flush(stream, Mode::Try)? {
            stream.end_sending()?;
            self.has_ended = true;
        }
        Ok(self.has_ended)
    }
}
