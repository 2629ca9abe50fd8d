//! Lets a signal handler, or another thread, wake a loop that waits.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use spread_os::generation;

/// The end of the pipe to write to; -1 as long as there is none.
static WRITE_END: AtomicI32 = AtomicI32::new(-1);

/// A pipe that is readable once a loop has been told to wake up. It stays open
/// when the loop ends: a signal handler may be about to write to it.
struct Pipe {
    read_end: OwnedFd,
    _write_end: OwnedFd,
    generation: u32,
}

static PIPE: Mutex<Option<Pipe>> = Mutex::new(None);

/// The descriptor that a loop has to wait for, too; with nothing to read yet. The
/// child of a fork gets one of its own.
pub(super) fn prepare() -> io::Result<RawFd> {
    let mut pipe = PIPE.lock().unwrap_or_else(PoisonError::into_inner);
    if pipe.as_ref().is_none_or(|pipe| pipe.generation != generation()) {
        let [read_end, write_end] = open()?;
        WRITE_END.store(write_end.as_raw_fd(), Ordering::Release);
        *pipe = Some(Pipe { read_end, _write_end: write_end, generation: generation() });
    }
    let fd = pipe.as_ref().map_or(-1, |pipe| pipe.read_end.as_raw_fd());
    let mut bytes = [0u8; 16];
    // SAFETY: there is room for what is asked; the descriptor does not block.
    unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
    Ok(fd)
}

/// Wakes the loop. Does nothing that is forbidden in a signal handler.
pub(super) fn wake() {
    let fd = WRITE_END.load(Ordering::Acquire);
    if fd >= 0 {
        // SAFETY: one byte of a constant.
        unsafe { libc::write(fd, b"w".as_ptr().cast(), 1) };
    }
}

/// A pipe that does not block and does not survive `exec`.
fn open() -> io::Result<[OwnedFd; 2]> {
    let mut fds = [-1; 2];
    // SAFETY: there is room for the two descriptors.
    if unsafe { libc::pipe(fds.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just opened, and are no one else's.
    let fds = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    for fd in &fds {
        // SAFETY: takes numbers only; the descriptor is open.
        let set = unsafe {
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) == 0
                && libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) == 0
        };
        if !set {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(fds)
}
