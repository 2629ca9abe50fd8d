//! Calls of the system on descriptors, with deadlines.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

/// Reads what is there, and waits for it until the deadline.
pub(crate) fn read_by(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    deadline: Option<Instant>,
) -> io::Result<usize> {
    when_ready(fd, libc::POLLIN, deadline, || {
        let (to, len) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: `buffer` is writable and has the length given.
        unsafe { libc::recv(fd.as_raw_fd(), to, len, libc::MSG_DONTWAIT) }
    })
}

/// Writes what there is room for, and waits for some until the deadline.
pub(crate) fn write_by(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    deadline: Option<Instant>,
) -> io::Result<usize> {
    when_ready(fd, libc::POLLOUT, deadline, || {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `bytes` has the length given.
        unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) }
    })
}

fn when_ready(
    fd: BorrowedFd<'_>,
    events: i16,
    deadline: Option<Instant>,
    mut call: impl FnMut() -> isize,
) -> io::Result<usize> {
    loop {
        let [ready] = poll([(fd.as_raw_fd(), events)], deadline)?;
        if !ready {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match usize::try_from(call()).map_err(|_| io::Error::last_os_error()) {
            Err(error) if is_transient(&error) => {}
            done => return done,
        }
    }
}

/// Waits until one of the descriptors is readable or the deadline has passed; says
/// which are readable. Without a deadline it waits without end.
pub(crate) fn wait_any<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    poll(fds.map(|fd| (fd.as_raw_fd(), libc::POLLIN)), deadline)
}

/// poll(2): which of the descriptors are ready, those below 0 never. None is when
/// the deadline has passed.
pub(super) fn poll<const N: usize>(
    fds: [(RawFd, i16); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut fds = fds.map(|(fd, events)| libc::pollfd { fd, events, revents: 0 });
    loop {
        let timeout = match deadline {
            None => -1,
            Some(deadline) => millis(deadline.saturating_duration_since(Instant::now())),
        };
        // SAFETY: `fds` has the length given and lives through the call.
        match unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, timeout) } {
            0 if deadline.is_some_and(|deadline| Instant::now() < deadline) => {}
            n if n >= 0 => return Ok(fds.map(|fd| fd.revents != 0)),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

pub(super) fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Milliseconds for poll(2), rounded up so that a wait does not spin at its end.
fn millis(duration: Duration) -> c_int {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    c_int::try_from(millis).unwrap_or(c_int::MAX)
}
