//! Waiting for descriptors until a deadline.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a descriptor is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// A read would not block.
    ToRead,
    /// A write would not block.
    ToWrite,
    /// The stream has ended both ways, or failed.
    Ended,
}

impl Ready {
    fn flags(self) -> PollFlags {
        match self {
            Ready::ToRead => PollFlags::IN,
            Ready::ToWrite => PollFlags::OUT,
            // poll(2) tells of it without being asked.
            Ready::Ended => PollFlags::empty(),
        }
    }
}

/// Waits until a descriptor is ready, or its peer is gone; without a deadline for as long
/// as it takes. Returns `false` if the deadline passes before. Signals do not end the wait.
///
/// # Errors
///
/// What `poll(2)` returns, except `EINTR`.
pub fn wait(fd: BorrowedFd<'_>, ready: Ready, deadline: Option<Instant>) -> io::Result<bool> {
    Ok(wait_any([(fd, ready)], deadline)? != [false])
}

/// As [`wait`], for the first of several descriptors; says which are ready.
///
/// # Errors
///
/// What `poll(2)` returns, except `EINTR`.
pub fn wait_any<const N: usize>(
    fds: [(BorrowedFd<'_>, Ready); N],
    deadline: Option<Instant>,
) -> io::Result<[bool; N]> {
    let mut polled = fds.each_ref().map(|(fd, ready)| PollFd::new(fd, ready.flags()));
    wait_polled(&mut polled, deadline)?;
    Ok(polled.each_ref().map(|fd| !fd.revents().is_empty()))
}

/// As [`wait_any`], for a number of descriptors that is not known before.
///
/// # Errors
///
/// What `poll(2)` returns, except `EINTR`.
pub fn wait_slice(
    fds: &[(BorrowedFd<'_>, Ready)],
    deadline: Option<Instant>,
) -> io::Result<Vec<bool>> {
    let mut polled: Vec<_> = fds.iter().map(|(fd, ready)| PollFd::new(fd, ready.flags())).collect();
    wait_polled(&mut polled, deadline)?;
    Ok(polled.iter().map(|fd| !fd.revents().is_empty()).collect())
}

/// Whether the peer of a stream has ended its side, or the stream has failed.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_ended_by_peer(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    wait_polled(&mut polled, Some(Instant::now()))?;
    Ok(!polled[0].revents().is_empty())
}

fn wait_polled(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        match poll(fds, left.map(timespec).as_ref()) {
            Ok(0) if deadline.is_some_and(|at| Instant::now() < at) => {}
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map(drop).map_err(io::Error::from),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timespec { tv_sec: seconds, tv_nsec: time.subsec_nanos().into() }
}
