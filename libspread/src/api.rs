//! The functions of `sp.h`, each a thin skin over what does the work.
//!
//! Here are those about a session; the others are in the modules.

#![allow(non_snake_case)]

pub(crate) mod auth;
pub(crate) mod event;
pub(crate) mod flush;
pub(crate) mod message;
pub(crate) mod view;

use std::cell::Cell;
use std::ffi::{c_char, c_int};

use spread_core::{MEMORY_PAUSE, Ready, Request};
use spread_wire::handshake::Version;
use spread_wire::{ErrorCode, GroupName, PrivateName, ServiceType};

use crate::api::message::send;
use crate::connect::{Connecting, Next};
use crate::convert::{self, c_bytes, deadline, meaning, write_text};
use crate::held::{self, Held};
use crate::session::{Ending, Flushed, Sent, Session, Taken};
use crate::table;
use crate::types::{ACCEPT_SESSION, MAX_PRIVATE_NAME, group_id, mailbox, sp_time};
use crate::wait::{Step, Wait, attempt, code, complete};

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
pub unsafe extern "C-unwind" fn SP_connect(
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
///   this host. White space around it is ignored.
/// - `private_name`: 1 to 10 bytes of printable ASCII except space, `!`, `"` and `#`; a longer one is cut; null or
///   empty if the daemon is to make one up.
/// - `private_group`: the name that the daemon gave and a zero are written, and nothing
///   behind them.
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
pub unsafe extern "C-unwind" fn SP_connect_timeout(
    spread_name: *const c_char,
    private_name: *const c_char,
    priority: c_int,
    group_membership: c_int,
    mbox: *mut mailbox,
    private_group: *mut c_char,
    time_out: sp_time,
) -> c_int {
    let begin = || {
        let deadline = deadline(time_out)?;
        if mbox.is_null() || private_group.is_null() {
            return Err(ErrorCode::IllegalSession);
        }
        // SAFETY: both are null or end in a zero.
        let (spread_name, private_name) = unsafe { (c_bytes(spread_name), c_bytes(private_name)) };
        let address = convert::address(spread_name)?;
        let request = Request {
            version: Version::CURRENT,
            private_name: self::private_name(private_name)?,
            membership: group_membership != 0,
            priority: priority > 0,
        };
        Ok(Box::new(Connecting::new(address, request, deadline)))
    };
    let go_on = |answer: Option<c_int>| {
        let mut connecting = match held::take() {
            Some(Held::Connecting(connecting)) => connecting,
            _ => begin()?,
        };
        if let Some(answer) = answer {
            connecting.answered(answer)?;
        }
        let step = match connecting.next()? {
            Next::Connected(connection) => {
                let session = Session::new(connection);
                let own_name = session.private_group();
                let number = table::insert(session)?;
                // SAFETY: neither is null, so they can be written through; a name is
                // shorter than the array.
                unsafe {
                    mbox.write(number);
                    write_text(private_group, own_name);
                }
                return Ok(Step::Done(ACCEPT_SESSION));
            }
            Next::Wait(wait) => Step::Wait(wait),
            Next::Call { exchange, fd } => Step::Call { exchange, fd },
        };
        held::hold(Held::Connecting(connecting))?;
        Ok(step)
    };
    complete(|answer| attempt(|| go_on(answer)))
}

/// The private name that a client asks for. A longer one than there is room for is cut, as
/// programs rely on.
fn private_name(name: &[u8]) -> Result<Option<PrivateName>, ErrorCode> {
    let name = &name[..name.len().min(MAX_PRIVATE_NAME as usize)];
    if name.is_empty() {
        return Ok(None);
    }
    PrivateName::new(name).map(Some).map_err(|_| ErrorCode::RejectIllegalName)
}

/// Tells the daemon that the session ends, waits for it to end its side, and closes the
/// mailbox; returns 0. See `SP_disconnect(3)`.
///
/// A message that has begun goes first. From the beginning on other calls on the mailbox,
/// also those that wait, return `ILLEGAL_SESSION`. It takes a second at most, whatever the
/// daemon does. If another process has the mailbox by a fork, it ends there, too.
///
/// # Errors
///
/// `ILLEGAL_SESSION`: no such mailbox.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_disconnect(mbox: mailbox) -> c_int {
    let go_on = || {
        let mut ending = match held::take() {
            Some(Held::Ending(ending)) => ending,
            _ => Ending::new(table::remove(mbox)?),
        };
        let Some((fd, ready, time)) = ending.next() else {
            return Ok(Step::Done(0));
        };
        held::hold(Held::Ending(ending))?;
        Ok(Step::Wait(Wait::descriptor(fd, ready, Some(time))))
    };
    complete(|_| attempt(go_on))
}

/// Closes the mailbox without a word to the daemon, which sees it disconnect.
/// Threads that wait in the mailbox wake up. See `SP_kill(3)`.
///
/// If another process has the mailbox by a fork, it goes on there, unless a thread of this
/// process is inside the mailbox.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_kill(mbox: mailbox) {
    // A handle that a jump has left behind is not inside.
    held::drop_stale();
    code(|| {
        table::remove(mbox)?.kill();
        Ok(0)
    });
}

/// Joins a group; returns 0. The view that shows it is received as a message.
/// See `SP_join(3)`.
///
/// # Errors
///
/// - `ILLEGAL_GROUP`: not 1 to 31 bytes of printable ASCII except space, `!`, `"` and `#`.
/// - `ILLEGAL_SESSION`, `CONNECTION_CLOSED`, `NET_ERROR_ON_SESSION`: as for
///   [`SP_multigroup_multicast`](crate::SP_multigroup_multicast).
///
/// # Safety
///
/// `group` is null or ends in a zero.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C-unwind" fn SP_join(mbox: mailbox, group: *const c_char) -> c_int {
    send(mbox, |session| {
        // SAFETY: as the caller promises.
        let group = unsafe { group_name(group)? };
        Ok((0, session.send(ServiceType::JOIN, &[group.into()], 0, &[])?))
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
pub unsafe extern "C-unwind" fn SP_leave(mbox: mailbox, group: *const c_char) -> c_int {
    send(mbox, |session| {
        // SAFETY: as the caller promises.
        let group = unsafe { group_name(group)? };
        Ok((0, session.send(ServiceType::LEAVE, &[group.into()], 0, &[])?))
    })
}

/// The bytes that have come and not been received; 0 if there are none, or no whole
/// message, or no memory to find out. Does not wait. See `SP_poll(3)`; the C library counts parts of a message,
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
    code(|| match table::get(mbox)?.receive(|inbox, connection| inbox.waiting(connection))? {
        Taken::Value(waiting) => Ok(waiting.try_into().unwrap_or(c_int::MAX)),
        Taken::Nothing => Err(ErrorCode::ConnectionClosed),
        Taken::NoMemory => Ok(0),
    })
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

/// Prints an error code and its meaning to standard output, through C's `stdout` and in
/// order with what the program prints there. See `SP_error(3)`.
///
/// # Safety
///
/// Always safe; unsafe to have the type of the C function.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_error(error: c_int) {
    code(|| {
        // SAFETY: the format takes one int and one text that ends in a zero.
        unsafe { libc::printf(c"SP_error: (%d) %s\n".as_ptr(), error, meaning(error).as_ptr()) };
        Ok(0)
    });
}

/// # Safety
///
/// `group` is null or ends in a zero.
unsafe fn group_name(group: *const c_char) -> Result<GroupName, ErrorCode> {
    // SAFETY: as the caller promises.
    let group = unsafe { c_bytes(group) };
    GroupName::new(group).map_err(|_| ErrorCode::IllegalGroup)
}

/// How far a call on a session has come.
enum Progress {
    Done(c_int),
    Wait(Ready),
    /// Waits for memory.
    Pause,
}

impl Progress {
    /// Returns what a send comes to whose rest has been flushed so far.
    fn after(flushed: Flushed, code: c_int) -> Progress {
        match flushed {
            Flushed::All => Progress::Done(code),
            Flushed::NoRoom => Progress::Wait(Ready::ToWrite),
            Flushed::NoMemory => Progress::Pause,
        }
    }

    /// Returns what a send comes to; `begun` gets the code if the message has begun.
    fn of(sent: Sent, code: c_int, begun: &Cell<Option<c_int>>) -> Progress {
        match sent {
            Sent::All => Progress::Done(code),
            Sent::Begun => {
                begun.set(Some(code));
                Progress::Wait(Ready::ToWrite)
            }
            Sent::NoRoom => Progress::Wait(Ready::ToWrite),
            Sent::NoMemory => Progress::Pause,
        }
    }
}

/// Calls `body` with the session of a mailbox until it is done.
#[inline]
fn complete_on(
    mbox: mailbox,
    body: impl Fn(&Session) -> Result<Progress, ErrorCode> + Copy,
) -> c_int {
    let go_on = || {
        let session = match held::take() {
            Some(Held::Session(session)) => session,
            _ => table::get(mbox)?,
        };
        let (ready, time) = match body(&session)? {
            Progress::Done(code) => return Ok(Step::Done(code)),
            Progress::Wait(ready) => (ready, None),
            Progress::Pause => (Ready::Ended, Some(MEMORY_PAUSE)),
        };
        let wait = Wait::descriptor(session.mailbox(), ready, time);
        held::hold(Held::Session(session))?;
        Ok(Step::Wait(wait))
    };
    complete(|_| attempt(go_on))
}
