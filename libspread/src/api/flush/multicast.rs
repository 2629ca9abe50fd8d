//! Sending in groups of Flush Spread.

use std::ffi::{c_char, c_int, c_short};
use std::io::IoSlice;
use std::slice;

use spread_core::flush::{Machine, SUBGROUP, trailer};
use spread_wire::limits::{MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, Name, ServiceType};

use super::{Attempt, count, send};
use crate::convert::{NAME_LEN, body, c_bytes, destination, elements, flags_of, pieces};
use crate::flush;
use crate::session::Session;
use crate::types::{
    FL_MAX_SCATTER_ELEMENTS, FL_MIN_LEGAL_MESS_TYPE, ILLEGAL_MESSAGE_TYPE, ILLEGAL_PARAM, mailbox,
    scatter, service,
};

/// Sends a message to a group, or to one client by its private group; returns `mess_len`.
/// See `FL_multicast(3)`.
///
/// # Errors
///
/// - `ILLEGAL_SERVICE`: `serv_type` is not one service, with or without `SELF_DISCARD`.
/// - `ILLEGAL_MESSAGE_TYPE`: `mess_type` is below `FL_MIN_LEGAL_MESS_TYPE`.
/// - `ILLEGAL_GROUP`: not a name, or no view with the client has been installed, or it is
///   leaving.
/// - `ILLEGAL_STATE`: the client has flushed the group and not received the next view.
/// - `ILLEGAL_MESSAGE`: `mess_len` is negative, or `mess` null and not empty.
/// - `MESSAGE_TOO_LONG`: as for [`SP_multicast`](crate::SP_multicast); the layer adds up to
///   46 bytes.
/// - `ILLEGAL_SESSION`, `CONNECTION_CLOSED`: as for [`FL_join`](crate::FL_join).
///
/// # Safety
///
/// `group_name` is null or ends in a zero; `mess` is null or `mess_len` bytes.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_multicast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    mess_type: c_short,
    mess_len: c_int,
    mess: *const c_char,
) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body) = unsafe { (c_bytes(group_name), body(mess, mess_len)?) };
        let call = Multicast { service_type: serv_type, mess_type, group, receivers: None };
        call.send(session, machine, &[body])
    })
}

/// As [`FL_multicast`], with a message that lies in several pieces.
///
/// # Errors
///
/// As for [`FL_multicast`]; `ILLEGAL_MESSAGE` if `scat_mess` is null, announces more than
/// `FL_MAX_SCATTER_ELEMENTS` pieces, or has a piece that is null and not empty.
///
/// # Safety
///
/// `group_name` is null or ends in a zero; `scat_mess` is null or a scatter with pieces that
/// are null or as long as told.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_scat_multicast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    mess_type: c_short,
    scat_mess: *const scatter,
) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body) = unsafe { (c_bytes(group_name), few_pieces(scat_mess)?) };
        let call = Multicast { service_type: serv_type, mess_type, group, receivers: None };
        call.send(session, machine, &body)
    })
}

/// Sends a message in a group to some of its members; returns `mess_len`. They get it in the
/// view, and see the receivers and, behind them, the group. See `FL_subgroupcast(3)`.
///
/// # Errors
///
/// As for [`FL_multicast`]; `ILLEGAL_PARAM` if `num_recvrs` is negative, `ILLEGAL_RECEIVERS`
/// if one of them was not a member when the view was installed, `ILLEGAL_GROUP` if there is
/// none, `MESSAGE_TOO_LONG` if there are more than 43.
///
/// # Safety
///
/// As for [`FL_multicast`]; `recvr_names` is null or `num_recvrs` names.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_subgroupcast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    num_recvrs: c_int,
    recvr_names: *const [c_char; NAME_LEN],
    mess_type: c_short,
    mess_len: c_int,
    mess: *const c_char,
) -> c_int {
    if num_recvrs < 0 {
        return ILLEGAL_PARAM;
    }
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body, receivers) = unsafe {
            (c_bytes(group_name), body(mess, mess_len)?, receivers(recvr_names, num_recvrs)?)
        };
        let call =
            Multicast { service_type: serv_type, mess_type, group, receivers: Some(&receivers) };
        call.send(session, machine, &[body])
    })
}

/// As [`FL_subgroupcast`], with a message that lies in several pieces.
///
/// # Errors
///
/// As for [`FL_subgroupcast`] and [`FL_scat_multicast`].
///
/// # Safety
///
/// As for [`FL_scat_multicast`]; `recvr_names` is null or `num_recvrs` names.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_scat_subgroupcast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    num_recvrs: c_int,
    recvr_names: *const [c_char; NAME_LEN],
    mess_type: c_short,
    scat: *const scatter,
) -> c_int {
    if num_recvrs < 0 {
        return ILLEGAL_PARAM;
    }
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body, receivers) = unsafe {
            (c_bytes(group_name), few_pieces(scat)?, receivers(recvr_names, num_recvrs)?)
        };
        let call =
            Multicast { service_type: serv_type, mess_type, group, receivers: Some(&receivers) };
        call.send(session, machine, &body)
    })
}

/// As [`FL_subgroupcast`], to one member. See `FL_unicast(3)`.
///
/// # Errors
///
/// As for [`FL_subgroupcast`].
///
/// # Safety
///
/// As for [`FL_multicast`]; `recvr_name` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_unicast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    recvr_name: *const c_char,
    mess_type: c_short,
    mess_len: c_int,
    mess: *const c_char,
) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body, receiver) =
            unsafe { (c_bytes(group_name), body(mess, mess_len)?, c_bytes(recvr_name)) };
        let receivers = [Name::new(receiver).unwrap_or(Name::EMPTY)];
        let call =
            Multicast { service_type: serv_type, mess_type, group, receivers: Some(&receivers) };
        call.send(session, machine, &[body])
    })
}

/// As [`FL_unicast`], with a message that lies in several pieces.
///
/// # Errors
///
/// As for [`FL_scat_subgroupcast`].
///
/// # Safety
///
/// As for [`FL_scat_multicast`]; `recvr_name` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_scat_unicast(
    mbox: mailbox,
    serv_type: service,
    group_name: *const c_char,
    recvr_name: *const c_char,
    mess_type: c_short,
    scat: *const scatter,
) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let (group, body, receiver) =
            unsafe { (c_bytes(group_name), few_pieces(scat)?, c_bytes(recvr_name)) };
        let receivers = [Name::new(receiver).unwrap_or(Name::EMPTY)];
        let call =
            Multicast { service_type: serv_type, mess_type, group, receivers: Some(&receivers) };
        call.send(session, machine, &body)
    })
}

/// The arguments of a multicast but for the message.
struct Multicast<'a> {
    service_type: service,
    mess_type: c_short,
    group: &'a [u8],
    receivers: Option<&'a [Name]>,
}

impl Multicast<'_> {
    fn send(
        &self,
        session: &Session,
        machine: &mut Machine,
        body: &[IoSlice<'_>],
    ) -> Result<Attempt, ErrorCode> {
        let service_type = flags_of(self.service_type) - SUBGROUP;
        let allowed = ServiceType::REGULAR | ServiceType::SELF_DISCARD;
        if service_type.service().is_none() || !allowed.contains(service_type) {
            return Err(ErrorCode::IllegalService);
        }
        if c_int::from(self.mess_type) < FL_MIN_LEGAL_MESS_TYPE {
            return Ok(Attempt::Refused(ILLEGAL_MESSAGE_TYPE));
        }
        let group = destination(self.group)?;
        let receivers = self.receivers.unwrap_or_default();
        let view = match machine.may_send(&group, service_type, receivers) {
            Ok(view) => view,
            Err(refusal) => return Ok(Attempt::Refused(flush::code_of(refusal))),
        };
        let subgroup_of = self.receivers.map(|_| group);
        let (message_type, trailer) = trailer(self.mess_type, view, subgroup_of);
        let mut whole = body.to_vec();
        whole.push(IoSlice::new(&trailer));
        let sent = match self.receivers {
            None => session.send(service_type, &[group], message_type, &whole)?,
            Some([]) => return Err(ErrorCode::IllegalGroup),
            Some(to) => session.send(service_type | SUBGROUP, to, message_type, &whole)?,
        };
        let len = body.iter().map(|piece| piece.len()).sum::<usize>();
        Ok(Attempt::Sent(count(len), sent))
    }
}

/// The pieces of a message that the layer can add one to.
///
/// # Safety
///
/// As for [`pieces`].
unsafe fn few_pieces<'a>(scat: *const scatter) -> Result<Vec<IoSlice<'a>>, ErrorCode> {
    // SAFETY: as the caller promises.
    unsafe {
        if elements(scat)?.len() > FL_MAX_SCATTER_ELEMENTS as usize {
            return Err(ErrorCode::IllegalMessage);
        }
        pieces(scat)
    }
}

/// The names of receivers; what is no name is nobody's.
///
/// # Errors
///
/// `MessageTooLong`: more than [`MAX_GROUPS`].
///
/// # Safety
///
/// `names` is null or `count` names.
unsafe fn receivers(
    names: *const [c_char; NAME_LEN],
    count: c_int,
) -> Result<Vec<Name>, ErrorCode> {
    let count = usize::try_from(count).unwrap_or(0);
    if count > MAX_GROUPS {
        return Err(ErrorCode::MessageTooLong);
    }
    if names.is_null() {
        return Ok(vec![Name::EMPTY; count]);
    }
    // SAFETY: it is not null, so it is so many names.
    let fields = unsafe { slice::from_raw_parts(names.cast::<[u8; NAME_FIELD]>(), count) };
    Ok(fields.iter().map(|field| Name::from_field(*field)).collect())
}
