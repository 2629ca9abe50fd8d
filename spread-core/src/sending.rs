//! What has not been sent of the messages that were begun.

use std::io::{self, IoSlice};

use spread_wire::{Header, Name};

use crate::frames::{Frames, encode_head};
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
    /// The rest of a message that has begun; memory for the next one while there is none.
    unsent: Vec<u8>,
    /// How much of `unsent` has gone.
    gone: usize,
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
        encode_head(header, groups, &mut self.unsent);
        let head_len = self.unsent.len();
        let sent = if header.frame_len() <= SHORT {
            for piece in body {
                self.unsent.extend_from_slice(piece);
            }
            stream.send(&self.unsent, mode)
        } else {
            let head = IoSlice::new(&self.unsent);
            match body {
                [one] => stream.send_pieces(&mut [head, *one], mode),
                many => stream.send_pieces(&mut [&[head], many].concat(), mode),
            }
        };
        // Of a message of which nothing has gone, nothing is kept.
        let sent = sent.inspect_err(|_| self.unsent.clear())?;
        if sent == header.frame_len() {
            self.unsent.clear();
            return Ok(Sent::All);
        }
        if sent == 0 {
            self.unsent.clear();
            return Ok(Sent::Nothing);
        }
        if self.unsent.len() == head_len {
            let mut skip = sent.saturating_sub(head_len);
            for piece in body {
                self.unsent.extend_from_slice(&piece[skip.min(piece.len())..]);
                skip = skip.saturating_sub(piece.len());
            }
            self.gone = sent.min(head_len);
        } else {
            self.gone = sent;
        }
        Ok(Sent::Begun)
    }

    /// Sends the first frames, as many as there is room for, and removes them; keeps the
    /// rest of the one that was cut. Returns their number.
    pub(crate) fn frames(
        &mut self,
        stream: &Stream,
        sender: Name,
        frames: &mut Frames,
    ) -> io::Result<(usize, Sent)> {
        if !self.flush(stream, Mode::Try)? {
            return Ok((0, Sent::Nothing));
        }
        let sent = stream.send_many(frames.sign(sender, BATCH))?;
        let rest = frames.rest(sent);
        self.unsent.extend_from_slice(rest);
        let end = sent + rest.len();
        let state = match (sent, rest) {
            (0, _) => Sent::Nothing,
            (_, []) => Sent::All,
            _ => Sent::Begun,
        };
        Ok((frames.advance(end), state))
    }

    /// Sends the rest of the message that has begun; says whether all of it has gone.
    #[inline]
    pub(crate) fn flush(&mut self, stream: &Stream, mode: Mode) -> io::Result<bool> {
        if self.unsent.is_empty() {
            return Ok(true);
        }
        self.gone += stream.send(&self.unsent[self.gone..], mode)?;
        if self.gone < self.unsent.len() {
            return Ok(false);
        }
        self.unsent.clear();
        self.gone = 0;
        Ok(true)
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
