//! Receives messages, reading ahead without the descriptor noticing.
//!
//! A caller that polls the descriptor must see it readable as long as there is a message
//! for it. So when several messages are there, all of them are taken off the kernel's queue
//! with one call, but for the last byte. That byte is taken with the message it belongs to.
//! Between calls therefore:
//!
//! - what is in the inbox comes before what is in the queue;
//! - while a whole message is undelivered, the queue is not empty.
//!
//! Nothing is peeked at. That would copy all of it twice, a peek goes through the whole
//! queue of a unix socket, however little it asks for, and TCP may have no room for the
//! rest of a message while its beginning is in the queue with all the memory of the segment
//! that it came with.
//!
//! A burst costs two system calls for each [`READ_AHEAD`] bytes and two at its end, a lone
//! message two or three: its head, now and then whether others are behind it, and the rest.
//! A large message is not worth copying twice: its body is received into a buffer of its
//! own, which [`Incoming::take_body`] hands over.

use std::io;
use std::mem;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{HEADER_LEN, Header, Limits, ServiceType};

use crate::stream::{Mode, Stream};
use crate::{Connection, Error};

/// Bytes that are taken off the queue at once when messages are small.
const READ_AHEAD: usize = 64 * 1024;

/// Bytes of a message from which on a second copy costs more than the system calls it saves.
const LARGE: usize = 8 * 1024;

/// Bytes that are taken off the queue before anything is known of a message: a header, and
/// one name behind it. The shortest message is a header, so this is less than two of them,
/// and never all of the last one that is there.
const HEAD: usize = HEADER_LEN + NAME_FIELD;

/// How many messages are received without a look whether there are others behind them,
/// after one that had none.
const ALONE: u8 = 3;

/// What has been taken off the queue and not been consumed: one receiver owns it.
#[derive(Debug, Default)]
pub struct Inbox {
    /// Memory; what is held lies between `next` and `filled`.
    bytes: Vec<u8>,
    /// Where the next message begins.
    next: usize,
    filled: usize,
    /// The body of the next message, if it is received apart.
    body: Body,
    /// About how long messages are of late.
    usual_len: usize,
    /// For how many messages it is not worth looking what is behind them.
    alone: u8,
}

/// Memory for the body of a large message, and how much of it has come; `None` while the
/// next message is not received so.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    filled: Option<usize>,
}

/// A whole message, in the memory of its [`Inbox`].
#[derive(Debug)]
pub struct Incoming<'a> {
    header: Header,
    /// What comes between the header and the body.
    head: &'a [u8],
    body: BodyRef<'a>,
}

#[derive(Debug)]
enum BodyRef<'a> {
    Shared(&'a [u8]),
    Apart(&'a mut Vec<u8>),
}

impl<'a> Incoming<'a> {
    /// The header, as it came.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The type; of a rejected message the one it was sent with, and `REJECT`.
    #[inline]
    pub fn service_type(&self) -> ServiceType {
        service_type(&self.header, self.head)
    }

    /// The names behind the header.
    #[inline]
    pub fn groups(&self) -> &'a [[u8; NAME_FIELD]] {
        self.head[self.header.old_type_len()..].as_chunks().0
    }

    /// The body, in the sender's byte order.
    #[inline]
    pub fn body(&self) -> &[u8] {
        match &self.body {
            BodyRef::Shared(body) => body,
            BodyRef::Apart(body) => body,
        }
    }

    /// Puts the body into `into`, without a copy if it is large; what was there is lost, and
    /// its memory serves for the next large message.
    #[inline]
    pub fn take_body(self, into: &mut Vec<u8>) {
        match self.body {
            BodyRef::Shared(body) => {
                into.clear();
                into.extend_from_slice(body);
            }
            BodyRef::Apart(body) => mem::swap(body, into),
        }
    }
}

impl Inbox {
    /// Waits for the next message. It stays the next one until it is
    /// [consumed](Inbox::consume).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Protocol`], [`Error::Failed`], [`Error::ShutDown`].
    #[inline]
    pub fn wait_message(&mut self, connection: &Connection) -> Result<Incoming<'_>, Error> {
        loop {
            if let Some(header) = self.receive(connection, Mode::Wait)? {
                return Ok(self.incoming(header));
            }
        }
    }

    /// The next message; `None` if it is not all there. It stays the next one until it is
    /// [consumed](Inbox::consume).
    ///
    /// What has come of a message that is not all there is taken off the queue, which may
    /// have no room for all of it.
    ///
    /// # Errors
    ///
    /// As for [`wait_message`](Inbox::wait_message).
    #[inline]
    pub fn try_message(&mut self, connection: &Connection) -> Result<Option<Incoming<'_>>, Error> {
        let header = self.receive(connection, Mode::Try)?;
        Ok(header.map(|header| self.incoming(header)))
    }

    /// The header of the next message, if it is there. Leaves the rest of a message with a
    /// body, or with more than `names` names, where it is, so that the descriptor remains
    /// readable until the message is received.
    ///
    /// # Errors
    ///
    /// As for [`wait_message`](Inbox::wait_message).
    pub fn try_header(
        &mut self,
        connection: &Connection,
        names: usize,
    ) -> Result<Option<Header>, Error> {
        connection.check()?;
        let most = if names == 0 { HEADER_LEN } else { HEAD };
        self.head(most, &connection.stream, Mode::Try).map_err(|e| e.ends(connection))
    }

    /// The type of the message whose header [`try_header`](Inbox::try_header) has returned;
    /// of a rejected message the one it was sent with, and `REJECT`.
    pub fn service_type(&self, header: &Header) -> ServiceType {
        let behind = self.bytes[self.next..self.filled].get(HEADER_LEN..);
        service_type(header, behind.unwrap_or_default())
    }

    /// Bytes that have come and not been consumed; 0 unless [`is_ready`](Inbox::is_ready),
    /// and `None` if there are none and none will come.
    ///
    /// # Errors
    ///
    /// As for [`is_ready`](Inbox::is_ready).
    pub fn waiting(&mut self, connection: &Connection) -> Result<Option<usize>, Error> {
        if !self.is_ready(connection)? {
            return Ok(Some(0));
        }
        let queued = connection.stream.queued();
        let queued = queued.map_err(|_| Failure::Io.ends(connection))?;
        let held = self.held();
        // The last message may have nothing but a header. What is there of another one
        // is lost with its end.
        let last = (held == HEADER_LEN).then_some(0);
        Ok(queued.or(last).map(|queued| held + queued))
    }

    /// Whether [`try_message`](Inbox::try_message) returns a message or an error. If it does
    /// not, the descriptor is readable once more has come.
    ///
    /// # Errors
    ///
    /// As for [`wait_message`](Inbox::wait_message), but not because of what a receive would
    /// find.
    pub fn is_ready(&mut self, connection: &Connection) -> Result<bool, Error> {
        connection.check()?;
        self.arrived(&connection.stream).map_err(|e| e.ends(connection))
    }

    /// Removes the message that was received last.
    #[inline]
    pub fn consume(&mut self) {
        let Ok(Some(header)) = self.next_header() else {
            return;
        };
        let len = header.frame_len();
        self.usual_len = (3 * self.usual_len + len) / 4;
        self.next += match self.body.filled.take() {
            None => len,
            Some(_) => head_len(&header),
        };
    }

    /// Bytes that have been taken off the queue and not been consumed.
    pub fn held(&self) -> usize {
        self.buffered() + self.body.filled.unwrap_or(0)
    }

    #[inline]
    fn receive(&mut self, connection: &Connection, mode: Mode) -> Result<Option<Header>, Error> {
        connection.check()?;
        self.whole(&connection.stream, mode).map_err(|e| e.ends(connection))
    }

    /// The message whose header is given, all of which is there.
    #[inline]
    fn incoming(&mut self, header: Header) -> Incoming<'_> {
        let head_len = head_len(&header);
        let frame = &self.bytes[self.next..self.filled];
        let body = match self.body.filled {
            Some(_) => BodyRef::Apart(&mut self.body.bytes),
            None => BodyRef::Shared(&frame[head_len..][..header.data_len]),
        };
        Incoming { header, head: &frame[HEADER_LEN..head_len], body }
    }

    /// The header of the next message once all of the message is there.
    #[inline]
    fn whole(&mut self, stream: &Stream, mode: Mode) -> Result<Option<Header>, Failure> {
        let Some(header) = self.head(HEAD, stream, mode)? else {
            return Ok(None);
        };
        let len = header.frame_len();
        if self.body.filled.is_none() {
            if self.buffered() < len && self.reads_ahead(len) {
                self.read_ahead(len, stream)?;
                let lacking = len.saturating_sub(self.buffered());
                self.fill(lacking, stream, mode)?;
            }
            if self.buffered() >= len {
                return Ok(Some(header));
            }
            if self.reads_ahead(len) {
                return Ok(None);
            }
        }
        let is_whole = self.receive_apart(&header, stream, mode)?;
        Ok(is_whole.then_some(header))
    }

    /// Receives the rest of the next message, and its body apart; says whether all of it is
    /// there.
    fn receive_apart(
        &mut self,
        header: &Header,
        stream: &Stream,
        mode: Mode,
    ) -> Result<bool, Failure> {
        let lacking = head_len(header).saturating_sub(self.buffered());
        if !self.fill(lacking, stream, mode)? {
            return Ok(false);
        }
        self.begin_apart(header);
        let lacking = header.data_len - self.body.filled.unwrap_or(0);
        self.fill(lacking, stream, mode)
    }

    /// Receives the body of the next message, whose head is there, apart from here on.
    fn begin_apart(&mut self, header: &Header) {
        if self.body.filled.is_some() {
            return;
        }
        self.body.bytes.resize(header.data_len, 0);
        // What has been read ahead of it moves.
        let begun = self.next + head_len(header)..self.filled;
        self.body.bytes[..begun.len()].copy_from_slice(&self.bytes[begun.clone()]);
        self.filled = begun.start;
        self.body.filled = Some(begun.len());
    }

    /// Whether the next message is all there, or its end or a wrong header is to be told.
    /// What is there of a message that is not whole is taken off the queue.
    fn arrived(&mut self, stream: &Stream) -> Result<bool, Failure> {
        loop {
            let held = self.held();
            let Ok(header) = self.next_header() else {
                return Ok(true);
            };
            let len = header.map_or(HEADER_LEN, |header| header.frame_len());
            if held >= len {
                return Ok(true);
            }
            let queued = match stream.queued()? {
                Some(0) => return Ok(false),
                // The end, which is for the receive to tell.
                None => return Ok(true),
                Some(queued) => queued,
            };
            let Some(header) = header else {
                self.fill(queued.min(len - held), stream, Mode::Try)?;
                continue;
            };
            if queued >= len - held {
                // The inbox takes the end of it only with something behind it.
                if self.body.filled.is_none() && self.reads_ahead(len) {
                    self.take(len, queued, stream)?;
                }
                return Ok(true);
            }
            let lacking = match head_len(&header).saturating_sub(self.buffered()) {
                0 if !self.reads_ahead(len) => {
                    self.begin_apart(&header);
                    queued
                }
                0 => queued,
                lacking => queued.min(lacking),
            };
            self.fill(lacking, stream, Mode::Try)?;
        }
    }

    /// The header of the next message, with all of it that comes before the names; takes up
    /// to `most` bytes of the message for it.
    #[inline]
    fn head(
        &mut self,
        most: usize,
        stream: &Stream,
        mode: Mode,
    ) -> Result<Option<Header>, Failure> {
        loop {
            let held = self.buffered();
            let mut most = most;
            if let Some(header) = self.next_header()? {
                let wanted = HEADER_LEN + header.old_type_len();
                if held >= wanted {
                    return Ok(Some(header));
                }
                most = most.max(wanted);
            }
            let Some(count) = stream.recv(self.room(most - held), mode)? else {
                return Ok(None);
            };
            self.filled += count;
        }
    }

    /// The header of the next message, if it is there.
    #[inline]
    fn next_header(&self) -> Result<Option<Header>, Failure> {
        let Some(bytes) = self.bytes[self.next..self.filled].first_chunk() else {
            return Ok(None);
        };
        Header::decode(bytes, Limits::FROM_DAEMON).map(Some).map_err(Failure::Header)
    }

    /// Whether a message of `len` bytes is received into the memory of small ones.
    fn reads_ahead(&self, len: usize) -> bool {
        self.usual_len < LARGE && len <= READ_AHEAD
    }

    /// Looks now and then what is behind the next message, of `len` bytes, and takes it.
    #[inline]
    fn read_ahead(&mut self, len: usize, stream: &Stream) -> Result<(), Failure> {
        match self.alone.checked_sub(1) {
            Some(fewer) => self.alone = fewer,
            None => self.take(len, stream.fionread()?, stream)?,
        }
        Ok(())
    }

    /// Takes the rest of the next message, of `len` bytes, and what is behind it off the
    /// queue, but for the last byte. Takes nothing if there is nothing behind it.
    fn take(&mut self, len: usize, queued: usize, stream: &Stream) -> Result<(), Failure> {
        let held = self.buffered();
        if queued > len - held {
            let most = (queued - 1).min(READ_AHEAD - held);
            self.filled += stream.recv(self.room(most), Mode::Try)?.unwrap_or(0);
        } else if held <= HEAD {
            self.alone = ALONE;
        }
        Ok(())
    }

    /// Takes so many bytes of the next message; says whether they were there, in mode `Try`.
    fn fill(&mut self, len: usize, stream: &Stream, mode: Mode) -> Result<bool, Failure> {
        if len == 0 {
            return Ok(true);
        }
        let count = match &mut self.body.filled {
            Some(filled) => {
                let count = stream.recv_all(&mut self.body.bytes[*filled..][..len], mode)?;
                *filled += count;
                count
            }
            None => {
                let count = stream.recv_all(self.room(len), mode)?;
                self.filled += count;
                count
            }
        };
        Ok(count == len)
    }

    /// Room for so many bytes behind what is held.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let held = self.buffered();
        if held == 0 || self.filled + len > self.bytes.len() {
            self.bytes.copy_within(self.next..self.filled, 0);
            (self.next, self.filled) = (0, held);
            if held + len > self.bytes.len() {
                self.bytes.resize((held + len).next_power_of_two(), 0);
            }
        }
        &mut self.bytes[self.filled..self.filled + len]
    }

    fn buffered(&self) -> usize {
        self.filled - self.next
    }
}

/// The type of a message; of a rejected one the type it was sent with, and `REJECT`.
#[inline]
fn service_type(header: &Header, behind: &[u8]) -> ServiceType {
    let flags = header.service_type;
    if !flags.is_reject() {
        return flags;
    }
    let old = behind.first_chunk().map(|bytes| header.old_type(*bytes));
    old.unwrap_or(flags) | ServiceType::REJECT
}

/// Bytes of a message before its body.
fn head_len(header: &Header) -> usize {
    header.frame_len() - header.data_len
}

/// Why a stream does not go on.
#[derive(Debug)]
enum Failure {
    Io,
    Header(spread_wire::FrameError),
}

impl Failure {
    /// The connection is of no more use.
    #[cold]
    fn ends(self, connection: &Connection) -> Error {
        connection.fail(match self {
            Failure::Io => Error::Closed,
            Failure::Header(error) => Error::Protocol(error),
        })
    }
}

impl From<io::Error> for Failure {
    // How the network failed makes no difference to the receiver.
    fn from(_: io::Error) -> Failure {
        Failure::Io
    }
}

#[cfg(test)]
mod tests;
