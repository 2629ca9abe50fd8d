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
//! A caller that receives until nothing is left before it waits for the descriptor, as after
//! an edge, does not need that: [`Inbox::take_all`] spares it the calls for the last byte.
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
    /// The header of the next message, once it is there.
    header: Option<Header>,
    /// The body of the next message, if it is received apart.
    body: Body,
    /// About how long messages are of late.
    usual_len: usize,
    /// For how many messages it is not worth looking what is behind them.
    alone: u8,
    /// Whether the last byte is taken off the queue with the others.
    takes_all: bool,
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
    header: &'a Header,
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
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// The type; of a rejected message the one it was sent with, and `REJECT`.
    #[inline]
    pub fn service_type(&self) -> ServiceType {
        service_type(self.header, self.head)
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
    /// Takes all that has come off the queue from now on, with one system call.
    ///
    /// The descriptor is then not readable for messages that the inbox holds: whoever waits
    /// for it receives until there is nothing left first.
    pub fn take_all(&mut self) {
        self.takes_all = true;
    }

    /// Waits for the next message. It stays the next one until it is
    /// [consumed](Inbox::consume).
    ///
    /// # Errors
    ///
    /// [`Error::Closed`], [`Error::Protocol`], [`Error::Resource`], [`Error::Failed`],
    /// [`Error::ShutDown`].
    #[inline]
    pub fn wait_message(&mut self, connection: &Connection) -> Result<Incoming<'_>, Error> {
        while !self.receive(connection, Mode::Wait)? {}
        // All of it is there.
        self.incoming().ok_or(Error::Failed)
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
        Ok(if self.receive(connection, Mode::Try)? { self.incoming() } else { None })
    }

    /// The header of the next message, if it is there. Leaves the rest of the message where it
    /// is, so that the descriptor remains readable until the message is received.
    ///
    /// # Errors
    ///
    /// As for [`wait_message`](Inbox::wait_message).
    pub fn try_header(&mut self, connection: &Connection) -> Result<Option<Header>, Error> {
        connection.check_receive()?;
        self.header_before_end(&connection.stream).map_err(|e| e.ends(connection))
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
        let queued = queued.map_err(|error| Failure::Io(error).ends(connection))?;
        Ok(queued.map(|queued| self.held() + queued))
    }

    /// Whether [`try_message`](Inbox::try_message) returns a message or an error. If it does
    /// not, the descriptor is readable once more has come.
    ///
    /// # Errors
    ///
    /// As for [`wait_message`](Inbox::wait_message), but not because of what a receive would
    /// find.
    pub fn is_ready(&mut self, connection: &Connection) -> Result<bool, Error> {
        connection.check_receive()?;
        self.arrived(&connection.stream).map_err(|e| e.ends(connection))
    }

    /// Removes the message that was received last.
    #[inline]
    pub fn consume(&mut self) {
        let Some(header) = self.header.take() else {
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

    /// Says whether the next message is all there, which it is in mode `Wait`.
    #[inline]
    fn receive(&mut self, connection: &Connection, mode: Mode) -> Result<bool, Error> {
        connection.check_receive()?;
        self.whole(&connection.stream, mode).map_err(|e| e.ends(connection))
    }

    /// The next message, all of which is there.
    #[inline]
    fn incoming(&mut self) -> Option<Incoming<'_>> {
        let header = self.header.as_ref()?;
        let head_len = head_len(header);
        let frame = &self.bytes[self.next..self.filled];
        let body = match self.body.filled {
            Some(_) => BodyRef::Apart(&mut self.body.bytes),
            None => BodyRef::Shared(&frame[head_len..][..header.data_len]),
        };
        Some(Incoming { header, head: &frame[HEADER_LEN..head_len], body })
    }

    #[inline]
    fn whole(&mut self, stream: &Stream, mode: Mode) -> Result<bool, Failure> {
        let most = if self.takes_all && self.usual_len < LARGE { READ_AHEAD } else { HEAD };
        if !self.head(most, stream, mode)? {
            return Ok(false);
        }
        let Some(header) = &self.header else { return Ok(false) };
        let len = header.frame_len();
        if self.body.filled.is_none() {
            if self.buffered() >= len {
                return Ok(true);
            }
            if self.reads_ahead(len) {
                return match self.takes_all {
                    true => self.receive_all(len, stream, mode),
                    false => self.receive_shared(len, stream, mode),
                };
            }
        }
        let header = *header;
        self.receive_apart(&header, stream, mode)
    }

    /// Receives the rest of the next message, of `len` bytes, into the memory of small ones;
    /// says whether all of it is there.
    fn receive_shared(&mut self, len: usize, stream: &Stream, mode: Mode) -> Result<bool, Failure> {
        match self.alone.checked_sub(1) {
            Some(fewer) => self.alone = fewer,
            // Now and then it looks what is behind it.
            None => self.take(len, stream.fionread()?, stream)?,
        }
        self.fill(len.saturating_sub(self.buffered()), stream, mode)
    }

    /// Receives the rest of the next message, of `len` bytes, and all that is behind it; says
    /// whether all of the message is there.
    fn receive_all(&mut self, len: usize, stream: &Stream, mode: Mode) -> Result<bool, Failure> {
        while self.buffered() < len {
            let most = READ_AHEAD - self.buffered();
            match stream.recv(self.room(most), mode)? {
                Some(count) => self.filled += count,
                None => return Ok(false),
            }
        }
        Ok(true)
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
            let header = match self.header_before_end(stream) {
                Ok(Some(header)) => header,
                Ok(None) => return Ok(false),
                // What is wrong, or the end, is for the receive to tell.
                Err(_) => return Ok(true),
            };
            let (len, held) = (header.frame_len(), self.held());
            if held >= len {
                return Ok(true);
            }
            let queued = match stream.queued()? {
                Some(0) => return Ok(false),
                None => return Ok(true),
                Some(queued) => queued,
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

    /// The header of the next message, if it is there, with all that comes before the names.
    /// Takes no byte of the message that may be its last: a message that is but a header is
    /// to be polled for as well.
    fn header_before_end(&mut self, stream: &Stream) -> Result<Option<Header>, Failure> {
        const LAST: usize = HEADER_LEN - 1;
        if self.header.is_some() {
            return Ok(self.header);
        }
        if self.buffered() < LAST && !self.fill(LAST - self.buffered(), stream, Mode::Try)? {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_LEN];
        let held = &self.bytes[self.next..self.filled];
        match held.first_chunk() {
            Some(all) => bytes = *all,
            None => {
                bytes[..LAST].copy_from_slice(held);
                let Some(last) = stream.peek()? else { return Ok(None) };
                bytes[LAST] = last;
            }
        }
        let header = Header::decode(&bytes, Limits::FROM_DAEMON).map_err(Failure::Header)?;
        let before_names = HEADER_LEN + header.old_type_len();
        if header.frame_len() == before_names {
            return Ok(Some(header));
        }
        let known = self.head(before_names, stream, Mode::Try)?;
        Ok(known.then_some(header))
    }

    /// Decodes the header of the next message once it is there, with all that comes before
    /// the names; takes up to `most` bytes of the message for it. Says whether it is there.
    #[inline]
    fn head(&mut self, most: usize, stream: &Stream, mode: Mode) -> Result<bool, Failure> {
        if self.header.is_some() {
            return Ok(true);
        }
        let mut most = most;
        loop {
            let held = &self.bytes[self.next..self.filled];
            if let Some(bytes) = held.first_chunk() {
                let header = Header::decode(bytes, Limits::FROM_DAEMON).map_err(Failure::Header)?;
                let wanted = HEADER_LEN + header.old_type_len();
                if held.len() >= wanted {
                    self.header = Some(header);
                    return Ok(true);
                }
                most = most.max(wanted);
            }
            let lacking = most - held.len();
            let Some(count) = stream.recv(self.room(lacking), mode)? else {
                return Ok(false);
            };
            self.filled += count;
        }
    }

    /// Whether a message of `len` bytes is received into the memory of small ones.
    fn reads_ahead(&self, len: usize) -> bool {
        self.usual_len < LARGE && len <= READ_AHEAD
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
    Io(io::Error),
    Header(spread_wire::FrameError),
}

impl Failure {
    /// The connection is of no more use, unless memory was lacking.
    #[cold]
    fn ends(self, connection: &Connection) -> Error {
        match self {
            Failure::Io(error) => connection.receive_failed(error),
            Failure::Header(error) => connection.fail(Error::Protocol(error)),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

#[cfg(test)]
mod tests;
