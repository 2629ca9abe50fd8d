//! Connecting.

use std::ffi::{CStr, c_char, c_int};
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use spread_sys::{SP_connect_timeout, mailbox, sp_time};
use spread_wire::Name;
use spread_wire::limits::NAME_FIELD;

use super::auth::{Exchanges, METHODS, set_null_method};
use super::{Code, RawMailbox, Result};
use crate::auth::Authenticator;

const ACCEPTED: c_int = spread_sys::ACCEPT_SESSION as c_int;

/// What to connect to, and as whom.
#[derive(Debug)]
pub(crate) struct ConnectRequest<'a> {
    pub(crate) address: &'a CStr,
    pub(crate) private_name: &'a CStr,
    pub(crate) priority: bool,
    pub(crate) membership: bool,
    /// Without one it waits without end.
    pub(crate) deadline: Option<Instant>,
    pub(crate) authenticators: &'a [Arc<dyn Authenticator>],
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Code(Code),
    /// An authenticator gave up.
    Authentication {
        method: String,
        source: io::Error,
    },
}

impl RawMailbox {
    /// Connects; returns the mailbox and its private group.
    pub(crate) fn connect(
        request: &ConnectRequest<'_>,
    ) -> Result<(RawMailbox, Name), ConnectError> {
        let mut exchanges = Exchanges::new(request);
        // The library has one list of methods for the whole process.
        let _reading;
        let _writing;
        if request.authenticators.is_empty() {
            _reading = METHODS.read().unwrap_or_else(PoisonError::into_inner);
        } else {
            _writing = METHODS.write().unwrap_or_else(PoisonError::into_inner);
            exchanges.set()?;
        }
        let result = RawMailbox::connect_with_methods(request);
        if !request.authenticators.is_empty() {
            set_null_method();
        }
        match exchanges.failure() {
            Some((method, source)) if result.is_err() => {
                Err(ConnectError::Authentication { method, source })
            }
            _ => result.map_err(ConnectError::Code),
        }
    }

    fn connect_with_methods(request: &ConnectRequest<'_>) -> Result<(RawMailbox, Name)> {
        let mut mbox: mailbox = -1;
        // One byte more than a name takes, so that it ends whatever comes.
        let mut private_group: [c_char; NAME_FIELD + 1] = [0; NAME_FIELD + 1];
        let left = request.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // SAFETY: both strings are terminated, `mbox` and `private_group` are
        // writable and the latter holds MAX_GROUP_NAME bytes. The methods set are
        // those of this connect, which lives through the call.
        let result = unsafe {
            SP_connect_timeout(
                request.address.as_ptr(),
                request.private_name.as_ptr(),
                c_int::from(request.priority),
                c_int::from(request.membership),
                &mut mbox,
                private_group.as_mut_ptr(),
                left.map_or(sp_time { sec: 0, usec: 0 }, time),
            )
        };
        if result != ACCEPTED || mbox < 0 {
            return Err(Code(result));
        }
        let raw = RawMailbox::new(mbox);
        raw.close_on_exec();
        #[cfg(all(feature = "system", target_os = "linux"))]
        raw.let_receive_buffer_grow();
        let mut field = [0; NAME_FIELD];
        for (byte, &c) in field.iter_mut().zip(&private_group) {
            *byte = c as u8;
        }
        Ok((raw, Name::from_field(field)))
    }

    fn close_on_exec(&self) {
        // SAFETY: takes no pointer; the descriptor is open.
        unsafe { libc::fcntl(self.mbox, libc::F_SETFD, libc::FD_CLOEXEC) };
    }

    /// Gives the size of the receive buffer, which the C library has fixed, back to the
    /// kernel. Else a send by TCP may wait for ever while there is much to receive; the
    /// bundled library says why, and does this by itself.
    #[cfg(all(feature = "system", target_os = "linux"))]
    fn let_receive_buffer_grow(&self) {
        // SOCK_SNDBUF_LOCK, without SOCK_RCVBUF_LOCK.
        let fixed: c_int = 1;
        // SAFETY: the option reads one int; the descriptor is open. It fails before Linux
        // 5.14, where there is no way.
        unsafe {
            libc::setsockopt(
                self.mbox,
                libc::SOL_SOCKET,
                libc::SO_BUF_LOCK,
                (&raw const fixed).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
    }
}

fn time(duration: Duration) -> sp_time {
    // A `long` has 32 bits somewhere; nobody waits for longer than that.
    let sec = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    // Zero would mean without end, so it becomes 1 us.
    let usec = if sec == 0 { duration.subsec_micros().max(1) } else { duration.subsec_micros() };
    sp_time { sec: sec.into(), usec: usec as _ }
}
