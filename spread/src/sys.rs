//! The only unsafe code of the crate: calls of libspread and of the system,
//! behind types that cannot be used wrongly.
//!
//! What libspread leaves to its callers is done here: names are terminated and
//! within bounds, the input flag in `service_type` is cleared, the buffers are
//! as long as their lengths say, results are looked at before anything is read,
//! and a mailbox number lives exactly as long as its [`RawMailbox`].

mod arrival;
mod auth;
mod close;
mod connect;
#[cfg(feature = "tokio")]
mod outgoing;
mod receive;
mod send;
mod socket;

use std::ffi::c_int;
#[cfg(feature = "tokio")]
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
#[cfg(feature = "tokio")]
use std::sync::Mutex;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use spread_sys::mailbox;
use spread_wire::ErrorCode;
#[cfg(feature = "tokio")]
use tokio::io::unix::AsyncFd;

#[cfg(feature = "tokio")]
use crate::asynchronous::Held;
pub(crate) use connect::{ConnectError, ConnectRequest};
pub(crate) use receive::{Buffers, Readable, ReceiveError, Received};
pub(crate) use send::MAX_PIECES;
pub(crate) use socket::{read_by, wait_any, write_by};

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
        // Where `char` is unsigned, the C library hands on the bytes of the
        // handshake as positive numbers.
        let code = if (128..256).contains(&self.0) { self.0 - 256 } else { self.0 };
        ErrorCode::from_code(code)
    }
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
    /// The process that connected it, as [`fork_count`] tells it.
    process: u32,
    /// Dropped where it may block, though in a runtime of tokio.
    #[cfg(feature = "tokio")]
    may_block: bool,
    /// The rest of a message of which a part has gone.
    #[cfg(feature = "tokio")]
    unsent: Mutex<Vec<u8>>,
}

impl RawMailbox {
    fn new(mbox: mailbox) -> RawMailbox {
        RawMailbox {
            mbox,
            process: fork_count(),
            #[cfg(feature = "tokio")]
            may_block: false,
            #[cfg(feature = "tokio")]
            unsent: Mutex::default(),
        }
    }

    /// Whether this process has connected the mailbox, and not its parent.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == fork_count()
    }
}

impl AsFd for RawMailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the mailbox is an open descriptor as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.mbox) }
    }
}

impl AsRawFd for RawMailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.mbox
    }
}

/// How many forks lie between the first process and this one.
///
/// A child of fork(2) shares the parent's sockets, and libspread's state in it is
/// a copy that nobody holds: it must leave the parent's mailboxes alone.
fn fork_count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static REGISTERED: Once = Once::new();
    extern "C" fn in_child() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    REGISTERED.call_once(|| {
        // SAFETY: the handler does nothing but count, which is safe at any time.
        // It fails only without memory; then forks go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    COUNT.load(Ordering::Relaxed)
}

/// Has a runtime of tokio watch a mailbox.
#[cfg(feature = "tokio")]
pub(crate) fn register(connection: Held) -> io::Result<AsyncFd<Held>> {
    // SAFETY: the connection keeps its mailbox, and so the descriptor, open until
    // it is dropped, and the number stays the same.
    unsafe { AsyncFd::register(connection) }.map_err(io::Error::from)
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
