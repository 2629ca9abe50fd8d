//! Hands a message over to the memory of a C program.

use std::mem::MaybeUninit;
use std::ptr;

use spread_core::{Connection, Error, Inbox, Incoming};
use spread_wire::limits::NAME_FIELD;
use spread_wire::{ByteOrder, Header, Name, ServiceType, native_body};

/// Bytes to be filled, in order.
pub(crate) type Piece<'a> = &'a mut [MaybeUninit<u8>];

/// The memory of a caller.
pub(crate) struct Buffers<'a, 'p> {
    /// Where the groups go.
    pub(crate) groups: &'a mut [[MaybeUninit<u8>; NAME_FIELD]],
    /// Where the body goes, in order.
    pub(crate) body: &'a mut [Piece<'p>],
}

impl Buffers<'_, '_> {
    /// Bytes that there is room for.
    fn body_len(&self) -> usize {
        self.body.iter().fold(0, |sum, piece| sum.saturating_add(piece.len()))
    }
}

/// What a receive has come to.
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
    /// The message is not what its header says.
    Illegal,
}

/// Receives the next message, if it is all there; `cut` says to cut it if it does not fit.
/// If it does not and is not to be cut, its header is enough to tell so; the rest remains in
/// the socket, which stays readable.
#[inline]
pub(crate) fn receive(
    inbox: &mut Inbox,
    connection: &Connection,
    cut: bool,
    buffers: Buffers<'_, '_>,
) -> Result<Option<Received>, Error> {
    if !cut {
        let Some(header) = inbox.try_header(connection)? else {
            return Ok(None);
        };
        let (groups, data_len) = lacking(&header, &buffers);
        if groups.is_some() || data_len.is_some() {
            let service_type = inbox.service_type(&header);
            let outcome = Outcome::TooShort { groups, data_len };
            return Ok(Some(received(&header, service_type, outcome)));
        }
    }
    let Some(message) = inbox.try_message(connection)? else {
        return Ok(None);
    };
    let received = deliver(&message, connection, buffers);
    inbox.consume();
    Ok(Some(received))
}

/// The groups and the bytes that the message takes, if there is no room for them.
fn lacking(header: &Header, buffers: &Buffers<'_, '_>) -> (Option<usize>, Option<usize>) {
    let needed = |needed: usize, there: usize| (needed > there).then_some(needed);
    let groups = needed(header.num_groups, buffers.groups.len());
    (groups, needed(header.data_len, buffers.body_len()))
}

fn received(header: &Header, service_type: ServiceType, outcome: Outcome) -> Received {
    let message_type = if is_typed(service_type) { header.hint.message_type() } else { 0 };
    Received { outcome, service_type, sender: header.name, message_type }
}

/// Copies a message to where it is wanted.
#[inline]
fn deliver(message: &Incoming<'_>, connection: &Connection, buffers: Buffers<'_, '_>) -> Received {
    let (header, service_type) = (message.header(), message.service_type());
    let Ok(body) = native_body(header, message.body()) else {
        return received(header, service_type, Outcome::Illegal);
    };
    let (groups, data_len) = lacking(header, &buffers);
    for (to, from) in buffers.groups.iter_mut().zip(message.groups()) {
        copy(from, to);
        // Names end in a zero whatever the daemon sent: callers take them for C strings.
        to[NAME_FIELD - 1].write(0);
    }
    copy_in_pieces(&body, buffers.body);
    let outcome = Outcome::Delivered {
        groups: header.num_groups,
        groups_cut: groups.is_some(),
        data_len: header.data_len,
        data_cut: data_len.is_some(),
        foreign_sender: is_typed(service_type) && header.hint.sender_order() != ByteOrder::NATIVE,
    };
    let mut received = received(header, service_type, outcome);
    if !is_typed(service_type) {
        let own_name = connection.private_group().into();
        let is_whole = groups.is_none();
        received.message_type = index(service_type, message.groups(), own_name, is_whole);
    }
    received
}

/// Copies bytes into pieces, as far as there is room.
#[inline]
pub(crate) fn copy_in_pieces(mut from: &[u8], pieces: &mut [Piece<'_>]) {
    for piece in pieces {
        let (now, later) = from.split_at(from.len().min(piece.len()));
        copy(now, &mut piece[..now.len()]);
        from = later;
    }
}

/// Copies bytes into as many.
#[inline]
pub(crate) fn copy(from: &[u8], to: &mut [MaybeUninit<u8>]) {
    assert_eq!(from.len(), to.len());
    // SAFETY: both are that long, and they do not overlap, one of them being borrowed for
    // writing.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().cast(), from.len()) };
}

/// The receiver's place in a new view.
#[cold]
fn index(
    service_type: ServiceType,
    groups: &[[u8; NAME_FIELD]],
    own_name: Name,
    is_whole: bool,
) -> i16 {
    if !service_type.contains(ServiceType::REG_MEMB) || !is_whole {
        return -1;
    }
    let place = groups.iter().position(|group| Name::from_field(*group) == own_name);
    place.and_then(|place| place.try_into().ok()).unwrap_or(-1)
}

/// Whether the message carries the type that an application gave it.
fn is_typed(service_type: ServiceType) -> bool {
    service_type.is_regular() || service_type.is_reject()
}
