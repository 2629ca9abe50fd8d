//! Receives messages, reading ahead without the descriptor noticing.
//!
//! A caller that polls the descriptor must see it readable as long as there is
//! a message for it, so what is read ahead is copied off the kernel's queue but
//! left there ([`Stream::peek`]). Messages are delivered out of the copy without
//! a system call; with the last whole one in it, all of them are taken off the
//! queue at once. Between calls therefore:
//!
//! - the queue begins with a frame, or with the rest of one that the caller was told
//!   to make room for;
//! - while a whole message is undelivered, the queue is not empty.
//!
//! A header of which only a part has come is taken off the queue, not looked at
//! until the rest has come: TCP may have no room for the rest, because the few bytes
//! hold all the memory of the segment that they came with.
//!
//! A burst costs two system calls for each [`READ_AHEAD`] bytes, a lone message
//! two. A large message is not worth copying twice: after large ones headers are
//! taken off the queue, and bodies read to where the caller wants them. Not even headers
//! are peeked at then, because a peek goes through all that is in the queue of a unix
//! socket, however little it asks for.

use std::io;
use std::mem::MaybeUninit;

use bytes::buf::UninitSlice;
use spread_wire::limits::NAME_FIELD;
use spread_wire::{
    ByteOrder, ErrorCode, Groups, HEADER_LEN, Header, Limits, Name, ServiceType, native_body,
};

use crate::socket::{Piece, Stream};

/// Bytes that are peeked at when messages are small.
const READ_AHEAD: usize = 64 * 1024;

/// Bytes that are looked at when messages are large: a header and some.
const HEADER_ONLY: usize = 64;

/// Bytes of a message from which on a second copy costs more than the system
/// calls it saves.
const LARGE: usize = 8 * 1024;

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

/// The copy of the queue's beginning.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    copy: Vec<u8>,
    /// How much of it is filled.
    filled: usize,
    /// Where in it the next message begins. If the message is not whole, this
    /// is 0: the queue begins with it.
    next: usize,
    /// How much of it, the beginning of the next message, is not in the queue any
    /// more: nothing, or all that comes before the groups.
    taken: usize,
    /// About how long messages are of late.
    usual_len: usize,
    /// The queue could not be relieved of what was delivered.
    broken: bool,
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
        if self.broken {
            return Err(ErrorCode::ConnectionClosed);
        }
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
        let whole = self.filled - self.next >= len;
        let needed = |needed: usize, there: usize| (needed > there).then_some(needed);
        let groups = needed(header.num_groups, buffers.groups.len());
        let data_len = needed(header.data_len, buffers.body_len());
        let (groups_cut, data_cut) = (groups.is_some(), data_len.is_some());
        if (groups_cut || data_cut) && !cut {
            if !whole {
                self.filled = self.taken;
            }
            return Ok(received(Outcome::TooShort { groups, data_len }, message_type));
        }

        self.usual_len = (3 * self.usual_len + len) / 4;
        if whole {
            let frame = &self.copy[self.next..self.next + len];
            let index = deliver(&header, frame, own_name, &mut buffers)?;
            message_type = index.unwrap_or(message_type);
            self.delivered(self.next + len, stream);
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

    /// Bytes of the queue that have been delivered, less those of the next message
    /// that are not in it any more.
    pub(crate) fn surplus(&self) -> isize {
        self.next as isize - self.taken as isize
    }

    /// Whether [`receive`](Self::receive) would not wait: the next message is all
    /// there, or none will come. `None` if only a part of one is there.
    pub(crate) fn is_ready(&mut self, stream: &Stream) -> Result<Option<bool>, ErrorCode> {
        if self.broken || is_whole(&self.copy[self.next..self.filled]) {
            return Ok(Some(true));
        }
        if self.taken > 0 {
            let missing = frame_len(&self.copy[..self.taken]).map(|len| len - self.taken);
            let queued = stream.queued().map_err(closed)?;
            return Ok(Some(queued.is_none_or(|queued| Some(queued) >= missing)));
        }
        self.next = 0;
        self.filled = 0;
        let most = self.make_room();
        let Some(count) = stream.try_peek(&mut self.copy[..most]).map_err(closed)? else {
            return Ok(Some(false));
        };
        if count == 0 {
            return Ok(Some(true));
        }
        let all_there = match frame_len(&self.copy[..count]) {
            Some(len) if len > count => {
                stream.queued().map_err(closed)?.is_none_or(|queued| queued >= len)
            }
            len => len.is_some(),
        };
        if all_there {
            self.filled = count;
        }
        // A part may be taken off the queue by the caller, so it is not kept here.
        Ok(all_there.then_some(true))
    }

    /// The header of the next message, with all of it that comes before the
    /// groups in the copy; waits for it.
    fn header(&mut self, stream: &Stream) -> Result<Header, ErrorCode> {
        loop {
            let copy = &self.copy[self.next..self.filled];
            let wanted = match copy.first_chunk() {
                None => HEADER_LEN,
                Some(bytes) => {
                    let header = Header::decode(bytes, Limits::FROM_DAEMON)
                        .map_err(|_| ErrorCode::IllegalMessage)?;
                    let wanted = HEADER_LEN + header.old_type_len();
                    if copy.len() >= wanted {
                        return Ok(header);
                    }
                    wanted
                }
            };
            self.look(stream, wanted)?;
        }
    }

    /// Copies the beginning of the queue, at least `wanted` bytes. If they are not all
    /// there, or messages are large, takes them off it instead.
    fn look(&mut self, stream: &Stream, wanted: usize) -> Result<(), ErrorCode> {
        let most = self.make_room();
        if self.taken == 0 {
            self.next = 0;
            self.filled = 0;
            if self.reads_ahead() {
                self.filled = stream.peek(&mut self.copy[..most]).map_err(closed)?;
                if self.filled == 0 {
                    return Err(ErrorCode::ConnectionClosed);
                }
            }
        }
        if self.filled < wanted {
            stream.read_exact(&mut self.copy[self.taken..wanted]).map_err(closed)?;
            self.taken = wanted;
            self.filled = wanted;
        }
        Ok(())
    }

    /// Whether messages are small enough of late to be worth copying twice.
    fn reads_ahead(&self) -> bool {
        self.usual_len < LARGE
    }

    /// Makes room for the next copy; returns how much of the queue to copy.
    fn make_room(&mut self) -> usize {
        let most = if self.reads_ahead() { READ_AHEAD } else { HEADER_ONLY };
        if self.copy.len() < most {
            self.copy.resize(most, 0);
        }
        most
    }

    /// Notes that the copy has been delivered up to `end`.
    #[inline]
    fn delivered(&mut self, end: usize, stream: &Stream) {
        if is_whole(&self.copy[end..self.filled]) {
            self.next = end;
            return;
        }
        let queued = end - self.forget();
        // The message at hand is good even if the connection is not.
        self.broken = stream.discard(queued, &mut self.copy).is_err();
    }

    /// Reads the message with this header off the queue, straight to where it
    /// is wanted.
    fn read(
        &mut self,
        header: &Header,
        stream: &Stream,
        buffers: &mut Buffers<'_, '_>,
    ) -> io::Result<()> {
        let mut head = [MaybeUninit::uninit(); HEADER_ONLY];
        let head = &mut head[self.forget()..HEADER_LEN + header.old_type_len()];
        let groups_kept = header.num_groups.min(buffers.groups.len());
        let groups_cut = (header.num_groups - groups_kept) * NAME_FIELD;
        let groups = buffers.groups[..groups_kept].as_flattened_mut();
        let mut body_cut = header.data_len;
        let mut body = buffers.body.iter_mut().map(|piece| {
            let kept = body_cut.min(piece.len());
            body_cut -= kept;
            &mut piece[..kept]
        });
        // Most bodies are wanted in one piece, and then this allocates nothing.
        let first = body.next().unwrap_or_default();
        let mut more: Vec<Piece<'_>> = body.collect();

        if groups_cut == 0 {
            stream.read(&mut [head, groups, first])?;
        } else {
            stream.read(&mut [head, groups])?;
            stream.discard(groups_cut, &mut self.copy)?;
            stream.read(&mut [first])?;
        }
        stream.read(&mut more)?;
        stream.discard(body_cut, &mut self.copy)?;
        buffers.groups[..groups_kept].iter_mut().for_each(terminate);
        Ok(())
    }

    /// Reads the message with so many bytes off the queue.
    fn read_whole(&mut self, len: usize, stream: &Stream) -> io::Result<Vec<u8>> {
        let taken = self.forget();
        let mut frame = vec![0; len];
        let (head, rest) = frame.split_at_mut(taken);
        head.copy_from_slice(&self.copy[..taken]);
        stream.read_exact(rest)?;
        Ok(frame)
    }

    /// Begins with the next copy; returns how much of this one is not in the queue.
    fn forget(&mut self) -> usize {
        self.next = 0;
        self.filled = 0;
        std::mem::take(&mut self.taken)
    }

    #[inline]
    fn service_type(&self, header: &Header) -> ServiceType {
        if !header.service_type.is_reject() {
            return header.service_type;
        }
        let after_header = &self.copy[self.next..self.filled][HEADER_LEN..];
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

#[inline]
fn is_whole(bytes: &[u8]) -> bool {
    frame_len(bytes).is_some_and(|len| len <= bytes.len())
}

/// The length of the message that begins here. What is wrong is for the next receive
/// to find.
#[inline]
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let header = Header::decode(bytes.first_chunk()?, Limits::FROM_DAEMON).ok()?;
    Some(header.frame_len())
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
