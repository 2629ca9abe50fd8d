//! Waiting for a descriptor, with signals.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// Between attempts to send while the system lacks memory.
const MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// Waits until the descriptor has one of these events or has come to its end.
///
/// Other threads of Python run meanwhile. A signal runs its handler, as in the system calls of
/// Python (PEP 475): what the handler raises is returned, otherwise the wait goes on.
pub(crate) fn until(py: Python<'_>, fd: BorrowedFd<'_>, events: PollFlags) -> PyResult<()> {
    loop {
        let polled = py.detach(|| poll(&mut [PollFd::from_borrowed_fd(fd, events)], None));
        match polled {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => py.check_signals()?,
            Err(error) => return Err(system_error(error)),
        }
    }
}

/// Waits for a moment, after which the system may have memory again, which cannot be polled for.
pub(crate) fn for_memory(py: Python<'_>) -> PyResult<()> {
    py.detach(|| std::thread::sleep(MEMORY_PAUSE));
    py.check_signals()
}

/// Whether the descriptor has one of these events now, or has come to its end.
pub(crate) fn is_ready(fd: BorrowedFd<'_>, events: PollFlags) -> PyResult<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(fd, events)], Some(&now)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(system_error(error)),
        }
    }
}

fn system_error(error: Errno) -> PyErr {
    std::io::Error::from(error).into()
}
