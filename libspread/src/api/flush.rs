//! The functions of `fl.h`: Flush Spread.
//!
//! They belong to a mailbox that [`FL_connect`] has opened. The `SP_` functions take such a
//! mailbox, too, but a program that sends or receives by them breaks what the layer promises.

pub(crate) mod multicast;
pub(crate) mod receive;

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};

use spread_core::flush::Machine;
use spread_wire::{ByteOrder, ErrorCode, GroupId, ServiceType};

use crate::api::{Progress, SP_connect, SP_disconnect, SP_error, complete_on, group_name};
use crate::flush;
use crate::session::{Flushed, Sent, Session, Taken};
use crate::table;
use crate::types::{
    ACCEPT_SESSION, ILLEGAL_MESSAGE_TYPE, ILLEGAL_PARAM, ILLEGAL_RECEIVERS, ILLEGAL_STATE,
    WOULD_BLOCK, mailbox,
};
use crate::wait::code;

/// The version of Flush Spread that the functions stand for: 2.0.0. See `FL_version(3)`.
///
/// # Safety
///
/// Each pointer is null or can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_version(
    major_ver: *mut c_int,
    minor_ver: *mut c_int,
    patch_ver: *mut c_int,
) {
    for (to, number) in [(major_ver, 2), (minor_ver, 0), (patch_ver, 0)] {
        if !to.is_null() {
            // SAFETY: not null, so it can be written through.
            unsafe { to.write(number) };
        }
    }
}

/// Does nothing: there is nothing to prepare. Returns 0, and [`ILLEGAL_STATE`] from the
/// second call on, as the original does.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_lib_init() -> c_int {
    static IS_CALLED: AtomicBool = AtomicBool::new(false);
    if IS_CALLED.swap(true, Ordering::Relaxed) { ILLEGAL_STATE } else { 0 }
}

/// Connects to a daemon; returns [`ACCEPT_SESSION`]. See `FL_connect(3)` and
/// [`SP_connect`].
///
/// # Errors
///
/// As for [`SP_connect`]; `COULD_NOT_CONNECT` also for want of descriptors, of which such a
/// mailbox takes three.
///
/// # Safety
///
/// As for [`SP_connect`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_connect(
    daemon_name: *const c_char,
    user_name: *const c_char,
    priority: c_int,
    mbox: *mut mailbox,
    private_name: *mut c_char,
) -> c_int {
    // SAFETY: the conditions are the same.
    let result = unsafe { SP_connect(daemon_name, user_name, priority, 1, mbox, private_name) };
    if result != ACCEPT_SESSION {
        return result;
    }
    // SAFETY: it could be written through just now.
    let mbox = unsafe { mbox.read() };
    code(|| match table::get(mbox)?.add_flush() {
        true => Ok(ACCEPT_SESSION),
        false => {
            table::remove(mbox)?.kill();
            Err(ErrorCode::CouldNotConnect)
        }
    })
}

/// Ends a session, as [`SP_disconnect`] does; returns 0. See `FL_disconnect(3)`.
///
/// # Errors
///
/// `ILLEGAL_SESSION`: no mailbox of [`FL_connect`].
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_disconnect(mbox: mailbox) -> c_int {
    let check = |is_used| if is_used { Ok(0) } else { Err(ErrorCode::IllegalSession) };
    match code(|| check(table::get(mbox)?.uses_flush())) {
        // SAFETY: always.
        0 => unsafe { SP_disconnect(mbox) },
        error => error,
    }
}

/// Joins a group; returns 0. The view with the client is received when all its members have
/// flushed the group. See `FL_join(3)`.
///
/// # Errors
///
/// - `ILLEGAL_GROUP`: not a group's name, or the client is in the group, or on the way in or
///   out.
/// - `ILLEGAL_SESSION`: no mailbox of [`FL_connect`].
/// - `CONNECTION_CLOSED`: the connection has ended, and the mailbox with it.
/// - `NET_ERROR_ON_SESSION`: the session has failed, or another thread was in a call on it when
///   this process was forked; disconnect or kill the mailbox.
///
/// # Safety
///
/// `group_name` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_join(mbox: mailbox, group_name: *const c_char) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let group = unsafe { self::group_name(group_name)? }.into();
        if let Err(refusal) = machine.may_join(&group) {
            return Ok(Attempt::Refused(flush::code_of(refusal)));
        }
        Ok(Attempt::Sent(0, session.send(ServiceType::JOIN, &[group], 0, &[])?))
    })
}

/// Leaves a group; returns 0. See `FL_leave(3)`.
///
/// # Errors
///
/// As for [`FL_join`]; `ILLEGAL_GROUP` also if no view with the client has been installed.
///
/// # Safety
///
/// `group_name` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_leave(mbox: mailbox, group_name: *const c_char) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let group = unsafe { self::group_name(group_name)? }.into();
        if let Err(refusal) = machine.may_leave(&group) {
            return Ok(Attempt::Refused(flush::code_of(refusal)));
        }
        let sent = session.send(ServiceType::LEAVE, &[group], 0, &[])?;
        if sent.has_begun() {
            machine.leave(&group);
        }
        Ok(Attempt::Sent(0, sent))
    })
}

/// Agrees to the next view of a group, after a message of type `FLUSH_REQ_MESS`; returns 0.
/// Until the view is received the client may not send to the group. See `FL_flush(3)`.
///
/// # Errors
///
/// - `ILLEGAL_STATE`: there is no new view, or the group has been flushed for it.
/// - `ILLEGAL_GROUP`: the client is not in the group, or is leaving it.
/// - `ILLEGAL_SESSION`, `CONNECTION_CLOSED`: as for [`FL_join`].
///
/// # Safety
///
/// `group_name` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn FL_flush(mbox: mailbox, group_name: *const c_char) -> c_int {
    send(mbox, |session, machine| {
        // SAFETY: as the caller promises.
        let group = unsafe { self::group_name(group_name)? }.into();
        let reply = match machine.may_flush(&group) {
            Ok(reply) => reply,
            Err(refusal) => return Ok(Attempt::Refused(flush::code_of(refusal))),
        };
        let id = reply.id.encode(ByteOrder::NATIVE);
        let body = [IoSlice::new(&id)];
        let sent = session.send(ServiceType::FIFO, &[group], reply.message_type, &body)?;
        if sent.has_begun() {
            machine.flush(&group);
        }
        Ok(Attempt::Sent(0, sent))
    })
}

/// The number of messages that can be received without looking at the descriptor. See
/// `FL_more_msgs(3)`.
///
/// # Errors
///
/// `ILLEGAL_SESSION`: no mailbox of [`FL_connect`].
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_more_msgs(mbox: mailbox) -> c_int {
    code(|| Ok(count(table::get(mbox)?.flush_layer()?.lock().deliveries())))
}

/// The bytes that wait, in the layer and below it; 0 if there are none. They may be messages
/// of the layer, so that a receive waits nevertheless, unless with `DONT_BLOCK`. See
/// `FL_poll(3)`.
///
/// # Errors
///
/// As for [`SP_poll`](crate::SP_poll).
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_poll(mbox: mailbox) -> c_int {
    code(|| {
        let session = table::get(mbox)?;
        let queued = session.flush_layer()?.lock().deliveries_len();
        match session.receive(|inbox, connection| inbox.waiting(connection)) {
            Ok(Taken::Value(below)) => Ok(count(queued + below)),
            _ if queued > 0 => Ok(count(queued)),
            Ok(Taken::Nothing) => Err(ErrorCode::ConnectionClosed),
            Ok(Taken::NoMemory) => Ok(0),
            Err(error) => Err(error),
        }
    })
}

/// Prints an error code and its meaning to standard output, as [`SP_error`] does. See
/// `FL_error(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_error(error_code: c_int) {
    // The original's texts, to the letter.
    let text = match error_code {
        ILLEGAL_PARAM => c"Illegal parameter (eg a negative size) passed to a function.",
        WOULD_BLOCK => c"Function call would have blocked.",
        ILLEGAL_MESSAGE_TYPE => {
            c"Illegal message type (int16) used, value < FL_MIN_LEGAL_MESS_TYPE(-32765)."
        }
        ILLEGAL_STATE => c"Function call peformed in a prohibited state.",
        ILLEGAL_RECEIVERS => c"Illegal receivers specified.",
        // SAFETY: always.
        _ => return unsafe { SP_error(error_code) },
    };
    code(|| {
        // SAFETY: the format takes one int and one text that ends in a zero.
        unsafe { libc::printf(c"FL_error: (%d) %s\n".as_ptr(), error_code, text.as_ptr()) };
        Ok(0)
    });
}

/// Where the body of a view has the id. See `FL_receive(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_get_gid_offset_memb_mess() -> c_int {
    0
}

/// Where the body of a view has the number of names. See `FL_receive(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_get_num_vs_offset_memb_mess() -> c_int {
    GroupId::LEN as c_int
}

/// Where the body of a view has the names. See `FL_receive(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn FL_get_vs_set_offset_memb_mess() -> c_int {
    GroupId::LEN as c_int + 4
}

/// What an attempt to send has come to.
enum Attempt {
    Refused(c_int),
    Sent(c_int, Sent),
}

/// Calls `body` until it is refused or its message has begun; then sends the rest of it. What
/// the layer has to send goes before.
fn send(
    mbox: mailbox,
    body: impl Fn(&Session, &mut Machine) -> Result<Attempt, ErrorCode> + Copy,
) -> c_int {
    let begun = Cell::new(None);
    complete_on(mbox, |session| {
        let go_on = || {
            if let Some(code) = begun.get() {
                return Ok(Progress::after(session.flush()?, code));
            }
            let mut machine = session.flush_layer()?.lock();
            let flushed = flush::send_replies(session, &mut machine)?;
            if flushed != Flushed::All {
                return Ok(Progress::after(flushed, 0));
            }
            Ok(match body(session, &mut machine)? {
                Attempt::Refused(code) => Progress::Done(code),
                Attempt::Sent(code, sent) => Progress::of(sent, code, &begun),
            })
        };
        go_on().inspect_err(|&error| discard_closed(session, error))
    })
}

/// The mailbox of a connection that has ended goes, as with the original.
fn discard_closed(session: &Session, error: ErrorCode) {
    if error == ErrorCode::ConnectionClosed && session.uses_flush() {
        table::discard(session);
    }
}

fn count(number: usize) -> c_int {
    number.try_into().unwrap_or(c_int::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::ffi::CString;
    use std::sync::Arc;

    use super::*;
    use crate::types::NET_ERROR_ON_SESSION;

    #[test]
    fn a_mailbox_whose_layer_was_in_use_at_a_fork_can_be_disconnected() {
        let daemon = spread_daemon::Daemon::builder().start().unwrap();
        let address = CString::new(daemon.address()).unwrap();
        let (mut mbox, mut own) = (-1, [0; crate::convert::NAME_LEN]);
        // SAFETY: the names end in a zero, the results have room.
        let code =
            unsafe { FL_connect(address.as_ptr(), c"".as_ptr(), 0, &mut mbox, own.as_mut_ptr()) };
        assert_eq!(code, ACCEPT_SESSION);
        let session = table::get(mbox).unwrap();
        let in_use = session.flush_layer().unwrap().lock();
        let child = session.in_child();
        drop(in_use);
        // The parent's session is that of another process, which the table would not drop.
        std::mem::forget(Arc::clone(&session));
        assert_eq!(table::insert(child), Ok(mbox));
        // SAFETY: the name ends in a zero.
        assert_eq!(unsafe { FL_join(mbox, c"g".as_ptr()) }, NET_ERROR_ON_SESSION);
        // SAFETY: takes a number only.
        unsafe {
            assert_eq!(FL_more_msgs(mbox), NET_ERROR_ON_SESSION);
            assert_eq!(FL_poll(mbox), NET_ERROR_ON_SESSION);
            assert_eq!(FL_disconnect(mbox), 0);
            assert_eq!(FL_disconnect(mbox), ErrorCode::IllegalSession.code());
        }
    }
}
