//! Sending and receiving, with a message in one piece or in several.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_short};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::slice;

use spread_core::Ready;
use spread_wire::limits::{MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, Name, ServiceType};

use crate::api::{Progress, complete_on};
use crate::convert::{
    NAME_LEN, body, c_bytes, destination, flags_of, pieces, results_of, room, room_in_pieces,
    write_name,
};
use crate::receive::{self, Buffers, Piece};
use crate::session::{Sent, Session, Taken};
use crate::types::{mailbox, scatter, service};

/// Sends a message to one group; returns `mess_len`. See `SP_multicast(3)` and
/// [`SP_multigroup_multicast`].
///
/// # Errors
///
/// As for [`SP_multigroup_multicast`].
///
/// # Safety
///
/// `group` is null or ends in a zero; `mess` is null or `mess_len` bytes.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_multicast(
    mbox: mailbox,
    service_type: service,
    group: *const c_char,
    mess_type: c_short,
    mess_len: c_int,
    mess: *const c_char,
) -> c_int {
    send(mbox, |session| {
        // SAFETY: as the caller promises.
        let (group, body) = unsafe { (c_bytes(group), body(mess, mess_len)?) };
        multicast(session, service_type, &[destination(group)?], mess_type, &[body])
    })
}

/// As [`SP_multicast`], with a message that lies in several pieces; returns its
/// length. See `SP_scat_multicast(3)`.
///
/// # Errors
///
/// As for [`SP_multigroup_scat_multicast`].
///
/// # Safety
///
/// `group` is null or ends in a zero; for `scat_mess` see
/// [`SP_multigroup_scat_multicast`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_scat_multicast(
    mbox: mailbox,
    service_type: service,
    group: *const c_char,
    mess_type: c_short,
    scat_mess: *const scatter,
) -> c_int {
    send(mbox, |session| {
        // SAFETY: as the caller promises.
        let (group, body) = unsafe { (c_bytes(group), pieces(scat_mess)?) };
        multicast(session, service_type, &[destination(group)?], mess_type, &body)
    })
}

/// Sends one message to several groups; returns `mess_len`. A group may be a
/// client's private group. See `SP_multigroup_multicast(3)`.
///
/// # Errors
///
/// - `ILLEGAL_SERVICE`: `service_type` is not one service, with or without
///   `SELF_DISCARD`.
/// - `ILLEGAL_GROUP`: no group, or one that is neither a group's name nor of
///   the form `#name#daemon`.
/// - `ILLEGAL_MESSAGE`: `mess_len` is negative, or `mess` null and not empty.
/// - `MESSAGE_TOO_LONG`: more than 43 groups, or more than 143,151 bytes of
///   body and groups, at 32 a group.
/// - `ILLEGAL_SESSION`: no such mailbox.
/// - `CONNECTION_CLOSED`: the connection has ended; kill the mailbox.
/// - `NET_ERROR_ON_SESSION`: it ended earlier.
///
/// # Safety
///
/// `groups` is null or `num_groups` names; `mess` is null or `mess_len` bytes.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_multigroup_multicast(
    mbox: mailbox,
    service_type: service,
    num_groups: c_int,
    groups: *const [c_char; NAME_LEN],
    mess_type: c_short,
    mess_len: c_int,
    mess: *const c_char,
) -> c_int {
    send(mbox, |session| {
        let mut names = [Name::EMPTY; MAX_GROUPS];
        // SAFETY: as the caller promises.
        let (names, body) =
            unsafe { (destinations(&mut names, num_groups, groups)?, body(mess, mess_len)?) };
        multicast(session, service_type, names, mess_type, &[body])
    })
}

/// As [`SP_multigroup_multicast`], with a message that lies in several pieces;
/// returns its length. Empty pieces are skipped. See
/// `SP_multigroup_scat_multicast(3)`.
///
/// # Errors
///
/// As for [`SP_multigroup_multicast`]; `ILLEGAL_MESSAGE` if `scat_mess` is null,
/// announces more than [`MAX_CLIENT_SCATTER_ELEMENTS`] pieces, or has a piece
/// that is null and not empty.
///
/// [`MAX_CLIENT_SCATTER_ELEMENTS`]: crate::MAX_CLIENT_SCATTER_ELEMENTS
///
/// # Safety
///
/// `groups` is null or `num_groups` names; `scat_mess` is null or a scatter with
/// pieces that are null or as long as told.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_multigroup_scat_multicast(
    mbox: mailbox,
    service_type: service,
    num_groups: c_int,
    groups: *const [c_char; NAME_LEN],
    mess_type: c_short,
    scat_mess: *const scatter,
) -> c_int {
    send(mbox, |session| {
        let mut names = [Name::EMPTY; MAX_GROUPS];
        // SAFETY: as the caller promises.
        let (names, body) =
            unsafe { (destinations(&mut names, num_groups, groups)?, pieces(scat_mess)?) };
        multicast(session, service_type, names, mess_type, &body)
    })
}

/// Receives the next message, and waits for it; returns the bytes of its body.
/// See `SP_receive(3)`.
///
/// `*service_type` is also read: with `DROP_RECV` in it a message that does
/// not fit is cut, otherwise it stays and can be received with more memory.
///
/// A negative `max_groups` or `max_mess_len`, or a null array, is one without
/// room.
///
/// # Errors
///
/// - `GROUPS_TOO_SHORT`, `BUFFER_TOO_SHORT`, the first if both apply: the
///   message is still there. `service_type`, `sender` and `mess_type` tell
///   about it (`mess_type` is 0 for a membership message), and `num_groups` and
///   `endian_mismatch` hold minus the number of groups and of bytes that it
///   takes, or 0 for what is long enough.
/// - `BUFFER_TOO_SHORT` with `DROP_RECV`: received, with its body cut. That
///   groups were cut shows only in `num_groups`, which then is minus their
///   number.
/// - `CONNECTION_CLOSED`: the connection has ended; kill the mailbox.
/// - `NET_ERROR_ON_SESSION`: it ended earlier.
/// - `ILLEGAL_MESSAGE`: the daemon does not keep to the protocol; kill the
///   mailbox. Or a pointer other than `groups` and `mess` is null, then
///   nothing has happened.
/// - `ILLEGAL_SESSION`: no such mailbox.
///
/// # Safety
///
/// Every pointer is null or can be written through: `sender` for
/// [`MAX_GROUP_NAME`](crate::MAX_GROUP_NAME) bytes, `groups` for `max_groups` names, `mess` for
/// `max_mess_len` bytes; and no two of them overlap.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_receive(
    mbox: mailbox,
    service_type: *mut service,
    sender: *mut c_char,
    max_groups: c_int,
    num_groups: *mut c_int,
    groups: *mut [c_char; NAME_LEN],
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
    max_mess_len: c_int,
    mess: *mut c_char,
) -> c_int {
    complete_on(mbox, |session| {
        let results = Results { service_type, sender, num_groups, mess_type, endian_mismatch };
        // SAFETY: as the caller promises.
        unsafe {
            let mut body = [room(mess.cast(), max_mess_len)];
            receive(session, &results, room(groups.cast(), max_groups), &mut body)
        }
    })
}

/// As [`SP_receive`], into a body that lies in several pieces, which are filled
/// in order; the scatter itself stays as it is. See `SP_scat_receive(3)`.
///
/// # Errors
///
/// As for [`SP_receive`]; `ILLEGAL_MESSAGE`, and nothing has happened, if
/// `scat_mess` is null, announces more than [`MAX_CLIENT_SCATTER_ELEMENTS`]
/// pieces, or has a piece that is null and not empty.
///
/// [`MAX_CLIENT_SCATTER_ELEMENTS`]: crate::MAX_CLIENT_SCATTER_ELEMENTS
///
/// # Safety
///
/// As for [`SP_receive`]; `scat_mess` is null or a scatter with pieces that are
/// null or can be written through for as long as told, no two of which overlap.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_scat_receive(
    mbox: mailbox,
    service_type: *mut service,
    sender: *mut c_char,
    max_groups: c_int,
    num_groups: *mut c_int,
    groups: *mut [c_char; NAME_LEN],
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
    scat_mess: *mut scatter,
) -> c_int {
    complete_on(mbox, |session| {
        let results = Results { service_type, sender, num_groups, mess_type, endian_mismatch };
        // SAFETY: as the caller promises.
        unsafe {
            let mut body = room_in_pieces(scat_mess)?;
            receive(session, &results, room(groups.cast(), max_groups), &mut body)
        }
    })
}

/// Takes the names of the groups apart, into `names`.
///
/// # Safety
///
/// `groups` is null or `num_groups` names.
unsafe fn destinations(
    names: &mut [Name; MAX_GROUPS],
    num_groups: c_int,
    groups: *const [c_char; NAME_LEN],
) -> Result<&[Name], ErrorCode> {
    let count = usize::try_from(num_groups).map_err(|_| ErrorCode::IllegalGroup)?;
    if count == 0 || groups.is_null() {
        return Err(ErrorCode::IllegalGroup);
    }
    let names = names.get_mut(..count).ok_or(ErrorCode::MessageTooLong)?;
    // SAFETY: it is not null, so it is so many names.
    let fields = unsafe { slice::from_raw_parts(groups.cast::<[u8; NAME_FIELD]>(), count) };
    for (name, field) in names.iter_mut().zip(fields) {
        let len = field.iter().position(|&b| b == 0).unwrap_or(NAME_FIELD);
        *name = destination(&field[..len])?;
    }
    Ok(names)
}

/// Sends a message as far as there is room; returns its length, too.
fn multicast(
    session: &Session,
    service_type: service,
    groups: &[Name],
    mess_type: c_short,
    body: &[IoSlice<'_>],
) -> Result<(c_int, Sent), ErrorCode> {
    let service_type = flags_of(service_type);
    if service_type.service().is_none()
        || !(ServiceType::REGULAR | ServiceType::SELF_DISCARD).contains(service_type)
    {
        return Err(ErrorCode::IllegalService);
    }
    let sent = session.send(service_type, groups, mess_type, body)?;
    let len = body.iter().map(|piece| piece.len()).sum::<usize>();
    Ok((c_int::try_from(len).map_err(|_| ErrorCode::Bug)?, sent))
}

/// Calls `body`, which sends a message as far as there is room, until the message has
/// begun; then sends the rest of it. Returns the code that `body` has returned.
///
/// If the thread is cancelled meanwhile, the rest goes before the next message.
#[inline]
pub(super) fn send(
    mbox: mailbox,
    body: impl Fn(&Session) -> Result<(c_int, Sent), ErrorCode> + Copy,
) -> c_int {
    let begun = Cell::new(None);
    complete_on(mbox, |session| {
        if let Some(code) = begun.get() {
            return Ok(Progress::after(session.flush()?, code));
        }
        let (code, sent) = body(session)?;
        Ok(Progress::of(sent, code, &begun))
    })
}

/// Where a receive tells what it received.
#[derive(Clone, Copy)]
struct Results {
    service_type: *mut service,
    sender: *mut c_char,
    num_groups: *mut c_int,
    mess_type: *mut c_short,
    endian_mismatch: *mut c_int,
}

impl Results {
    fn are_there(&self) -> bool {
        let numbers = [self.service_type, self.num_groups, self.endian_mismatch];
        !(numbers.iter().any(|p| p.is_null()) || self.sender.is_null() || self.mess_type.is_null())
    }
}

/// # Safety
///
/// The results are null or can be written through.
unsafe fn receive(
    session: &Session,
    results: &Results,
    groups: &mut [[MaybeUninit<u8>; NAME_FIELD]],
    body: &mut [Piece<'_>],
) -> Result<Progress, ErrorCode> {
    if !results.are_there() {
        return Err(ErrorCode::IllegalMessage);
    }
    // SAFETY: not null, so it can be read.
    let flags = unsafe { results.service_type.read() };
    let cut = flags_of(flags).contains(ServiceType::DROP_RECV);
    let buffers = Buffers { groups, body };
    let received =
        session.receive(|inbox, connection| receive::receive(inbox, connection, cut, buffers))?;
    let received = match received {
        Taken::Value(received) => received,
        Taken::Nothing => return Ok(Progress::Wait(Ready::ToRead)),
        Taken::NoMemory => return Ok(Progress::Pause),
    };
    let (code, count, mismatch) = results_of(&received);
    // SAFETY: none is null, so each can be written through.
    unsafe {
        results.service_type.write(received.service_type.bits() as service);
        write_name(results.sender, received.sender);
        results.mess_type.write(received.message_type);
        results.num_groups.write(count);
        results.endian_mismatch.write(mismatch);
    }
    Ok(Progress::Done(code))
}
