//! A mailbox of a libspread, with the socket that it shares with the core.
//!
//! The only unsafe code of the crate: calls of libspread and of the system, behind types
//! that cannot be used wrongly. What libspread leaves to its callers is done here: names are
//! terminated and within bounds, the input flag in `service_type` is cleared, the buffers are
//! as long as their lengths say, results are looked at before anything is read, and a
//! mailbox number lives exactly as long as its [`RawMailbox`].
//!
//! libspread has no calls that do not wait. So async sends, and the end of a connection, go
//! through a [`spread_core::Connection`] on a descriptor of its own for the same socket; a
//! receive that must not wait is in `arrival`.

mod arrival;
mod auth;
mod connect;
mod receive;
mod send;

use std::ffi::c_int;

use spread_sys::mailbox;
use spread_wire::ErrorCode;

use crate::Error;
pub(crate) use connect::connect;
pub(crate) use receive::Inbox;

/// The result of a call: a code is negative.
type Result<T, E = Code> = std::result::Result<T, E>;

/// A negative result of libspread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Code {
        Code(code.code())
    }
}

impl Code {
    /// The code, if it is one that `sp.h` knows.
    pub(crate) fn known(self) -> Option<ErrorCode> {
        // Where `char` is unsigned, the C library hands on the bytes of the handshake as
        // positive numbers.
        let code = if (128..256).contains(&self.0) { self.0 - 256 } else { self.0 };
        ErrorCode::from_code(code)
    }

    /// What it means for a connection that receives; it ends with most of them.
    #[cold]
    fn of_session(self, call: &'static str, core: &spread_core::Connection) -> Error {
        match self.is_end() {
            true => ended(core),
            false => Error::Library { call, code: self.0 },
        }
    }

    /// What it means for a connection that sends: what has come can still be received.
    #[cold]
    fn of_send(self, call: &'static str, core: &spread_core::Connection) -> Error {
        match (self.is_end(), core.check()) {
            (false, _) => Error::Library { call, code: self.0 },
            (true, Err(spread_core::Error::ShutDown)) => Error::ShutDown,
            (true, _) => {
                core.set_cut();
                Error::closed()
            }
        }
    }

    fn is_end(self) -> bool {
        let ends =
            [ErrorCode::ConnectionClosed, ErrorCode::NetErrorOnSession, ErrorCode::IllegalSession];
        self.known().is_some_and(|code| ends.contains(&code))
    }
}

/// The end of a connection, which the library does not tell from a shut-down.
#[cold]
fn ended(core: &spread_core::Connection) -> Error {
    let ended = match core.check() {
        Err(spread_core::Error::ShutDown) => Error::ShutDown,
        _ => Error::closed(),
    };
    core.set_failed();
    ended
}

fn check(result: c_int) -> Result<usize> {
    usize::try_from(result).map_err(|_| Code(result))
}

/// The version of the library in use.
pub(crate) fn version() -> Option<(u32, u32, u32)> {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the three pointers are to integers that live through the call.
    let ok = unsafe { spread_sys::SP_version(&mut major, &mut minor, &mut patch) };
    let number = |n: c_int| u32::try_from(n).ok();
    (ok > 0).then_some((number(major)?, number(minor)?, number(patch)?))
}

/// A mailbox of libspread, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct RawMailbox {
    mbox: mailbox,
    /// Of the process that connected it.
    generation: u32,
}

impl Drop for RawMailbox {
    /// Closes without a word; the socket lasts as long as the core's descriptor.
    fn drop(&mut self) {
        if self.generation == spread_os::generation() {
            // SAFETY: takes no pointer; the mailbox is not used again.
            unsafe { spread_sys::SP_kill(self.mbox) };
        } else {
            // SAFETY: as above; the parent has a descriptor of its own.
            unsafe { libc::close(self.mbox) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_its_byte_whatever_the_sign_of_a_char() {
        for code in -20..=1 {
            let byte = code & 0xff;
            assert_eq!(Code(byte).known(), Code(code).known(), "{code}");
        }
        assert_eq!(Code(0xfa).known(), Some(ErrorCode::RejectNotUnique));
    }
}
