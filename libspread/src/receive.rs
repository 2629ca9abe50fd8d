//! Receives messages, reading ahead without the descriptor noticing.
//!
//! A caller that polls the descriptor must see it readable as long as there is a
//! message for it. So when several messages are there, all of them are taken off the
//! kernel's queue with one call, but for the last byte. That byte is taken with the
//! message it belongs to. Between calls therefore:
//!
//! - what is held here comes before what is in the queue;
//! - while a whole message is undelivered, the queue is not empty.
//!
//! Nothing is peeked at. That would copy all of it twice, a peek goes through the whole
//! queue of a unix socket, however little it asks for, and TCP may have no room for
//! the rest of a message while its beginning is in the queue with all the memory of the
//! segment that it came with.
//!
//! A burst costs two system calls for each [`READ_AHEAD`] bytes and two at its end, a
//! lone message two or three: its header, now and then whether others are behind it, and
//! the rest. A large message is not worth copying twice: after large ones bodies
//! are read to where the caller wants them.

use std::io;
use std::mem::MaybeUninit;

use bytes::buf::UninitSlice;
use spread_wire::limits::NAME_FIELD;
use spread_wire::{
    ByteOrder, ErrorCode, Groups, HEADER_LEN, Header, Limits, Name, ServiceType, native_body,
};

use crate::socket::{Piece, Stream};

/// Bytes that are taken off the queue at once when messages are small.
const READ_AHEAD: usize = 64 * 1024;

/// Bytes of a message from which on a second copy costs more than the system
/// calls it saves.
const LARGE: usize = 8 * 1024;

/// How many messages are received without a look whether there are others behind them,
/// after one that had none.
const ALONE: u8 = 3;

/// The memory of a caller.
pub(crate) struct Buffers<'a, 'p> {
    /// Where the groups go.
    pub(crate) groups: &'a mut [[MaybeUninit<u8>; NAME_FIELD]],
    /// Where the body goes, in order.
    pub(crate) body: &'a mut [Piece<'p>],
}

impl Buffers<'_, '_> {
    /// Bytes that there is room for.
    pub(crate) fn body_len(&self) -> usize {
        self.body.iter().fold(0, |sum, piece| sum.saturating_add(piece.len()))
    }
}

/// What came of a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) outcome: Outcome,
    /// The type; of a rejected message the one it was sent with, and `REJECT`.
    pub(crate) service_type: ServiceType,
    /// The sender; in a membership message the group.
    pub(crate) sender: Name,
    /// The type by the application; in a membership message the receiver's
    /// index among the members, -1 if it is not one of them or they were cut.
    pub(crate) message_type: i16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The message has been received; what did not fit has been cut off.
    Delivered {
        groups: usize,
        groups_cut: bool,
        data_len: usize,
        data_cut: bool,
        foreign_sender: bool,
    },
    /// The message is still there: what it takes where the caller's memory was
    /// too short.
    TooShort { groups: Option<usize>, data_len: Option<usize> },
}

/// What has been taken off the queue and not been delivered.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    /// Memory; what is held lies between `next` and `filled`.
    bytes: Vec<u8>,
    /// Where the next message begins.
    next: usize,
    filled: usize,
    /// About how long messages are of late.
    usual_len: usize,
    /// For how many messages it is not worth looking what is behind them.
    alone: u8,
}

impl ReadAhead {
    /// Receives the next message; `cut` says to cut it if it does not fit.
    ///
    /// An error leaves the stream out of step.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        stream: &Stream,
        own_name: &Name,
        cut: bool,
        mut buffers: Buffers<'_, '_>,
    ) -> Result<Received, ErrorCode> {
        let header = self.header(stream)?;
        let service_type = self.service_type(&header);
        let mut message_type = if is_typed(service_type) { header.hint.message_type() } else { 0 };
        let received = |outcome, message_type| Received {
            outcome,
            service_type,
            sender: header.name,
            message_type,
        };
        let len = header.frame_len();
        let needed = |needed: usize, there: usize| (needed > there).then_some(needed);
        let groups = needed(header.num_groups, buffers.groups.len());
        let data_len = needed(header.data_len, buffers.body_len());
        let (groups_cut, data_cut) = (groups.is_some(), data_len.is_some());
        if (groups_cut || data_cut) && !cut {
            return Ok(received(Outcome::TooShort { groups, data_len }, message_type));
        }

        self.usual_len = (3 * self.usual_len + len) / 4;
        if self.held() < len && self.reads_ahead() {
            match self.alone.checked_sub(1) {
                Some(fewer) => self.alone = fewer,
                None => self.take_several(len, stream.fionread().map_err(closed)?, stream)?,
            }
        }
        if self.held() >= len {
            let frame = &self.bytes[self.next..self.next + len];
            let index = deliver(&header, frame, own_name, &mut buffers)?;
            message_type = index.unwrap_or(message_type);
            self.next += len;
        } else if is_typed(service_type) {
            self.read(&header, stream, &mut buffers).map_err(closed)?;
        } else {
            let frame = self.read_whole(len, stream).map_err(closed)?;
            let index = deliver(&header, &frame, own_name, &mut buffers)?;
            message_type = index.unwrap_or(message_type);
        }
        let foreign_sender =
            is_typed(service_type) && header.hint.sender_order() != ByteOrder::NATIVE;
        let outcome = Outcome::Delivered {
            groups: header.num_groups,
            groups_cut,
            data_len: header.data_len,
            data_cut,
            foreign_sender,
        };
        Ok(received(outcome, message_type))
    }

    /// Bytes that have been taken off the queue and not been delivered.
    pub(crate) fn held(&self) -> usize {
        self.filled - self.next
    }

    /// Whether [`receive`](Self::receive) would not wait: the next message is all
    /// there, or none will come. What is there of a message that is not whole is taken
    /// off the queue, so that the descriptor does not poll true for it.
    pub(crate) fn is_ready(&mut self, stream: &Stream) -> Result<bool, ErrorCode> {
        loop {
            let held = self.held();
            let part = match self.next_header() {
                Ok(None) => HEADER_LEN - held,
                Ok(Some(header)) if header.frame_len() > held => {
                    let len = header.frame_len();
                    match stream.queued().map_err(closed)? {
                        Some(0) => return Ok(false),
                        Some(queued) if queued < len - held => queued,
                        Some(queued) => {
                            self.take_several(len, queued, stream)?;
                            return Ok(true);
                        }
                        // The end, which is for the receive to tell.
                        None => return Ok(true),
                    }
                }
                // So is what is wrong with a header.
                Ok(Some(_)) | Err(_) => return Ok(true),
            };
            match stream.try_recv(self.room(part)).map_err(closed)? {
                None => return Ok(false),
                Some(0) => return Ok(true),
                Some(count) => self.filled += count,
            }
        }
    }

    /// The header of the next message, with all of it that comes before the
    /// groups; waits for it.
    #[inline]
    fn header(&mut self, stream: &Stream) -> Result<Header, ErrorCode> {
        loop {
            let held = self.held();
            let wanted = match self.next_header()? {
                None => HEADER_LEN,
                Some(header) => {
                    let wanted = HEADER_LEN + header.old_type_len();
                    if held >= wanted {
                        return Ok(header);
                    }
                    wanted
                }
            };
            stream.read_exact(self.room(wanted - held)).map_err(closed)?;
            self.filled += wanted - held;
        }
    }

    /// The header of the next message, if it is there.
    #[inline]
    fn next_header(&self) -> Result<Option<Header>, ErrorCode> {
        let Some(bytes) = self.bytes[self.next..self.filled].first_chunk() else {
            return Ok(None);
        };
        let header = Header::decode(bytes, Limits::FROM_DAEMON);
        header.map(Some).map_err(|_| ErrorCode::IllegalMessage)
    }

    /// Whether messages are small enough of late to be worth copying twice.
    fn reads_ahead(&self) -> bool {
        self.usual_len < LARGE
    }

    /// Takes the rest of the next message, of `len` bytes, and what is behind it off the
    /// queue, but for the last byte. Takes nothing if there is nothing behind it, or it is
    /// not worth it.
    fn take_several(
        &mut self,
        len: usize,
        queued: usize,
        stream: &Stream,
    ) -> Result<(), ErrorCode> {
        let held = self.held();
        if queued > len - held && len <= READ_AHEAD && self.reads_ahead() {
            let most = (queued - 1).min(READ_AHEAD - held);
            self.filled += stream.try_recv(self.room(most)).map_err(closed)?.unwrap_or(0);
        } else if held == HEADER_LEN {
            self.alone = ALONE;
        }
        Ok(())
    }

    /// Room for so many bytes behind what is held.
    fn room(&mut self, len: usize) -> &mut [u8] {
        let held = self.held();
        if held == 0 || self.filled + len > self.bytes.len() {
            self.bytes.copy_within(self.next..self.filled, 0);
            self.next = 0;
            self.filled = held;
            if held + len > self.bytes.len() {
                self.bytes.resize((held + len).max(READ_AHEAD), 0);
            }
        }
        &mut self.bytes[self.filled..self.filled + len]
    }

    /// Reads the message with this header to where it is wanted: what is held of it, and
    /// the rest straight from the queue.
    fn read(
        &mut self,
        header: &Header,
        stream: &Stream,
        buffers: &mut Buffers<'_, '_>,
    ) -> io::Result<()> {
        self.next += HEADER_LEN + header.old_type_len();
        let groups_kept = header.num_groups.min(buffers.groups.len());
        let groups_cut = (header.num_groups - groups_kept) * NAME_FIELD;
        let groups = self.hand_over(buffers.groups[..groups_kept].as_flattened_mut());
        if groups_cut > 0 {
            stream.read(&mut [&mut *groups])?;
            self.discard(groups_cut, stream)?;
        }
        let mut body_cut = header.data_len;
        let mut body = buffers.body.iter_mut().map(|piece| {
            let kept = body_cut.min(piece.len());
            body_cut -= kept;
            self.hand_over(&mut piece[..kept])
        });
        // Most bodies are wanted in one piece, and then this allocates nothing.
        let first = body.next().unwrap_or_default();
        let mut more: Vec<Piece<'_>> = body.collect();
        let groups = if groups_cut == 0 { groups } else { &mut [] };
        stream.read(&mut [groups, first])?;
        stream.read(&mut more)?;
        self.discard(body_cut, stream)?;
        buffers.groups[..groups_kept].iter_mut().for_each(terminate);
        Ok(())
    }

    /// Copies what is held to the beginning of `piece`; returns the rest of it.
    fn hand_over<'a>(&mut self, piece: Piece<'a>) -> Piece<'a> {
        let (now, later) = piece.split_at_mut(self.held().min(piece.len()));
        copy(&self.bytes[self.next..self.next + now.len()], now);
        self.next += now.len();
        later
    }

    /// Drops so many bytes of the next message.
    fn discard(&mut self, len: usize, stream: &Stream) -> io::Result<()> {
        let dropped = self.held().min(len);
        self.next += dropped;
        stream.discard(len - dropped, &mut self.bytes)
    }

    /// Reads the next message, of so many bytes.
    fn read_whole(&mut self, len: usize, stream: &Stream) -> io::Result<Vec<u8>> {
        let mut frame = vec![0; len];
        let (held, rest) = frame.split_at_mut(self.held());
        held.copy_from_slice(&self.bytes[self.next..self.filled]);
        self.next = self.filled;
        stream.read_exact(rest)?;
        Ok(frame)
    }

    #[inline]
    fn service_type(&self, header: &Header) -> ServiceType {
        if !header.service_type.is_reject() {
            return header.service_type;
        }
        let after_header = &self.bytes[self.next..self.filled][HEADER_LEN..];
        let old_type = after_header.first_chunk().map(|bytes| header.old_type(*bytes));
        old_type.unwrap_or(header.service_type) | ServiceType::REJECT
    }
}

/// Copies a whole message to where it is wanted. In a new view, returns the
/// receiver's place in it.
#[inline]
fn deliver(
    header: &Header,
    frame: &[u8],
    own_name: &Name,
    buffers: &mut Buffers<'_, '_>,
) -> Result<Option<i16>, ErrorCode> {
    let (groups, body) =
        frame[HEADER_LEN + header.old_type_len()..].split_at(header.num_groups * NAME_FIELD);
    let native = native_body(header, body).map_err(|_| ErrorCode::IllegalMessage)?;
    let (fields, _) = groups.as_chunks::<NAME_FIELD>();
    for (to, from) in buffers.groups.iter_mut().zip(fields) {
        copy(from, to);
        terminate(to);
    }
    let mut body = &native[..];
    for piece in buffers.body.iter_mut() {
        let (now, later) = body.split_at(body.len().min(piece.len()));
        copy(now, piece);
        body = later;
    }
    let members_fit = fields.len() <= buffers.groups.len();
    let is_membership = !is_typed(header.service_type);
    Ok(is_membership.then(|| index(header, groups, own_name, members_fit)))
}

/// The receiver's place in a new view.
#[cold]
fn index(header: &Header, groups: &[u8], own_name: &Name, members_fit: bool) -> i16 {
    if !header.service_type.contains(ServiceType::REG_MEMB) || !members_fit {
        return -1;
    }
    let place = Groups::from_fields(groups).iter().position(|name| name == *own_name);
    place.and_then(|place| place.try_into().ok()).unwrap_or(-1)
}

/// Whether the message carries the type that an application gave it.
fn is_typed(service_type: ServiceType) -> bool {
    service_type.is_regular() || service_type.is_reject()
}

fn copy(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    UninitSlice::uninit(&mut to[..from.len()]).copy_from_slice(from);
}

/// Names end in a zero whatever the daemon sent: callers take them for C
/// strings.
fn terminate(name: &mut [MaybeUninit<u8>; NAME_FIELD]) {
    name[NAME_FIELD - 1].write(0);
}

fn closed(_: io::Error) -> ErrorCode {
    ErrorCode::ConnectionClosed
}
