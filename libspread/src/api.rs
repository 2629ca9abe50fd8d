//! The functions of `sp.h`, each a thin skin over what does the work.
//!
//! Here are those about a session; the others are in the modules.

#![allow(non_snake_case)]

pub(crate) mod auth;
pub(crate) mod event;
pub(crate) mod message;
pub(crate) mod view;

use std::ffi::{c_char, c_int};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use spread_wire::handshake::{Connect, Version};
use spread_wire::{ErrorCode, GroupName, PrivateName};

use crate::address::Address;
use crate::connect::connect;
use crate::convert::{c_bytes, deadline, meaning, write_name};
use crate::session::Session;
use crate::table;
use crate::types::{ACCEPT_SESSION, SP_BUG, group_id, mailbox, sp_time};

/// The version of Spread that the library stands for; returns 1, or 0 and
/// nothing else if a pointer is null. See `SP_version(3)`.
///
/// # Safety
///
/// Each pointer is null or can be written through.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_version(
    major_version: *mut c_int,
    minor_version: *mut c_int,
    patch_version: *mut c_int,
) -> c_int {
    if major_version.is_null() || minor_version.is_null() || patch_version.is_null() {
        return 0;
    }
    let version = Version::CURRENT;
    // SAFETY: none is null, so each can be written through.
    unsafe {
        major_version.write(version.major.into());
        minor_version.write(version.minor.into());
        patch_version.write(version.patch.into());
    }
    1
}

/// Connects to the daemon `spread_name`, and waits for it as long as it takes.
/// See `SP_connect(3)` and [`SP_connect_timeout`].
///
/// # Safety
///
/// As for [`SP_connect_timeout`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_connect(
    spread_name: *const c_char,
    private_name: *const c_char,
    priority: c_int,
    group_membership: c_int,
    mbox: *mut mailbox,
    private_group: *mut c_char,
) -> c_int {
    let no_timeout = sp_time::default();
    // SAFETY: the conditions are the same.
    unsafe {
        SP_connect_timeout(
            spread_name,
            private_name,
            priority,
            group_membership,
            mbox,
            private_group,
            no_timeout,
        )
    }
}

/// Connects to a daemon; returns [`ACCEPT_SESSION`], and only then fills
/// `mbox` and `private_group`. See `SP_connect_timeout(3)`.
///
/// - `spread_name`: `PORT` for the unix socket `/tmp/PORT`, `PORT@HOST` for
///   TCP, of which all addresses are tried; null or empty for port 4803 of
///   this host.
/// - `private_name`: 1 to 10 bytes from `$` to `~`; null or empty to have the
///   daemon make one up.
/// - `priority`: no effect. `group_membership`: not 0 to get membership
///   messages.
/// - `time_out`: for all of it, the lookup of the host too. (0, 0) is none.
///
/// # Errors
///
/// - `ILLEGAL_TIME`: `usec` is a second or more, or its sign not that of `sec`.
/// - `ILLEGAL_SPREAD`: `spread_name` cannot be understood, or no such host.
/// - `COULD_NOT_CONNECT`: nobody listens there, or the time is over.
/// - `REJECT_ILLEGAL_NAME`, `REJECT_NOT_UNIQUE`, `REJECT_QUOTA`,
///   `REJECT_VERSION`, `REJECT_AUTH`: what the daemon minds, or would.
/// - `CONNECTION_CLOSED`: the daemon closed without an answer.
/// - `ILLEGAL_MESSAGE`: what answers is no Spread daemon.
/// - `ILLEGAL_SESSION`: `mbox` or `private_group` is null.
///
/// # Safety
///
/// `spread_name` and `private_name` are null or end in a zero. `mbox` and
/// `private_group` are null or can be written through, `private_group` for
/// [`MAX_GROUP_NAME`](crate::MAX_GROUP_NAME) bytes.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_connect_timeout(
    spread_name: *const c_char,
    private_name: *const c_char,
    priority: c_int,
    group_membership: c_int,
    mbox: *mut mailbox,
    private_group: *mut c_char,
    time_out: sp_time,
) -> c_int {
    code(|| {
        let deadline = deadline(time_out)?;
        if mbox.is_null() || private_group.is_null() {
            return Err(ErrorCode::IllegalSession);
        }
        // SAFETY: both are null or end in a zero.
        let (spread_name, private_name) = unsafe { (c_bytes(spread_name), c_bytes(private_name)) };
        let address = str::from_utf8(spread_name).map_err(|_| ErrorCode::IllegalSpread)?;
        let address = Address::parse(address)?;
        let private_name = match private_name {
            [] => None,
            name => Some(PrivateName::new(name).map_err(|_| ErrorCode::RejectIllegalName)?),
        };
        let request = Connect {
            version: Version::CURRENT,
            private_name,
            membership: group_membership != 0,
            priority: priority > 0,
        };

        let session = Arc::new(connect(&address, request, deadline)?);
        let own_name = session.private_group();
        let number = table::insert(session)?;
        // SAFETY: neither is null, so they can be written through; a name is
        // shorter than the array.
        unsafe {
            mbox.write(number);
            write_name(private_group, own_name);
        }
        Ok(ACCEPT_SESSION)
    })
}

/// Tells the daemon that the session ends, and kills the mailbox; returns 0.
/// See `SP_disconnect(3)`. Messages that other threads are sending go first;
/// [`SP_kill`] does not wait for them.
///
/// # Errors
///
/// `ILLEGAL_SESSION`: no such mailbox.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_disconnect(mbox: mailbox) -> c_int {
    with_session(mbox, |session| {
        // If the daemon cannot be told, it will see the socket close.
        let _ = session.disconnect();
        kill(mbox);
        Ok(0)
    })
}

/// Closes the mailbox without a word to the daemon, which sees it disconnect.
/// Threads that wait in the mailbox wake up. See `SP_kill(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_kill(mbox: mailbox) {
    code(|| {
        kill(mbox);
        Ok(0)
    });
}

/// Joins a group; returns 0. The view that shows it is received as a message.
/// See `SP_join(3)`.
///
/// # Errors
///
/// - `ILLEGAL_GROUP`: not 1 to 31 bytes from `$` to `~`.
/// - `ILLEGAL_SESSION`, `CONNECTION_CLOSED`, `NET_ERROR_ON_SESSION`: as for
///   [`SP_multigroup_multicast`](crate::SP_multigroup_multicast).
///
/// # Safety
///
/// `group` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_join(mbox: mailbox, group: *const c_char) -> c_int {
    with_session(mbox, |session| {
        // SAFETY: as the caller promises.
        let group = unsafe { c_bytes(group) };
        let group = GroupName::new(group).map_err(|_| ErrorCode::IllegalGroup)?;
        session.join(group).map(|()| 0)
    })
}

/// Leaves a group; returns 0. See `SP_leave(3)`.
///
/// # Errors
///
/// As for [`SP_join`].
///
/// # Safety
///
/// `group` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_leave(mbox: mailbox, group: *const c_char) -> c_int {
    with_session(mbox, |session| {
        // SAFETY: as the caller promises.
        let group = unsafe { c_bytes(group) };
        let group = GroupName::new(group).map_err(|_| ErrorCode::IllegalGroup)?;
        session.leave(group).map(|()| 0)
    })
}

/// The bytes that have come and not been received; 0 if there are none, or no whole
/// message. Does not wait. See `SP_poll(3)`; the C library counts parts of a message,
/// too, and may then wait in a receive.
///
/// # Errors
///
/// - `CONNECTION_CLOSED`: there are none, and none will come.
/// - `NET_ERROR_ON_SESSION`: the connection ended earlier.
/// - `ILLEGAL_SESSION`: no such mailbox.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_poll(mbox: mailbox) -> c_int {
    with_session(mbox, |session| Ok(session.poll()?.try_into().unwrap_or(c_int::MAX)))
}

/// Whether two ids name the same view; 1 or 0. See `SP_equal_group_ids(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_equal_group_ids(g1: group_id, g2: group_id) -> c_int {
    c_int::from(g1.id == g2.id)
}

/// The meaning of an error code, as a text that lives as long as the program.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_strerror(error: c_int) -> *const c_char {
    meaning(error).as_ptr()
}

/// Prints an error code and its meaning to standard output. See `SP_error(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_error(error: c_int) {
    code(|| {
        let text = meaning(error).to_str().unwrap_or_default();
        // There is no one to tell that this failed.
        let _ = writeln!(io::stdout(), "SP_error: ({error}) {text}");
        Ok(0)
    });
}

/// Calls `body`, and makes a code of what comes of it.
#[inline]
fn code(body: impl FnOnce() -> Result<c_int, ErrorCode>) -> c_int {
    // What a panic leaves half done is behind locks and atomics.
    let code = || body().unwrap_or_else(ErrorCode::code);
    catch_unwind(AssertUnwindSafe(code)).unwrap_or(SP_BUG)
}

/// Calls `body` with the session of a mailbox.
#[inline]
fn with_session(mbox: mailbox, body: impl FnOnce(&Session) -> Result<c_int, ErrorCode>) -> c_int {
    code(|| body(&*table::get(mbox)?))
}

/// The descriptor is closed here, or by the last thread that is still in.
fn kill(mbox: mailbox) {
    if let Ok(session) = table::remove(mbox) {
        session.kill();
    }
}
