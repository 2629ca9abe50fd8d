//! The stream to the daemon.
//!
//! Calls block until they are through, whatever the user has set on the
//! descriptor: a signal does not interrupt them, and on a non-blocking
//! descriptor, or one with timeouts, they wait with `poll(2)`.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant};

/// Bytes to be filled, in order.
pub(crate) type Piece<'a> = &'a mut [MaybeUninit<u8>];

/// Bytes that are sent over a unix socket at once, or up to twice as many. With more, the
/// other side waits longer before it can begin.
const UNIX_PIECE: usize = 32 * 1024;

/// What is left until a deadline; `None` without one.
pub(crate) fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|at| at.saturating_duration_since(Instant::now()))
}

/// What to wait for.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    ToRead,
    ToWrite,
}

/// A connected stream socket.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: socket2::Socket,
    /// With MSG_TRUNC, TCP on Linux receives without a copy.
    truncates: bool,
    /// Twice as many bytes of messages, and more, are sent with several calls.
    piece: usize,
}

impl Stream {
    pub(crate) fn new(socket: socket2::Socket, domain: socket2::Domain) -> Stream {
        let is_unix = domain == socket2::Domain::UNIX;
        let truncates = cfg!(target_os = "linux") && !is_unix;
        let piece = if is_unix { UNIX_PIECE } else { usize::MAX };
        Stream { socket, truncates, piece }
    }

    /// Sends all of `pieces`, with one system call if the kernel has room.
    pub(crate) fn send(&self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            let sent = self.retry(Ready::ToWrite, || {
                self.socket.send_vectored_with_flags(pieces, libc::MSG_NOSIGNAL)
            })?;
            IoSlice::advance_slices(&mut pieces, sent);
        }
        Ok(())
    }

    /// Sends all of `bytes`.
    pub(crate) fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let send = || self.socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
            bytes = &bytes[self.retry(Ready::ToWrite, send)?..];
        }
        Ok(())
    }

    /// Sends what the kernel has room for; waits until that is something.
    pub(crate) fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let pieces = (bytes.len() / self.piece).max(1);
        let mut sent = 0;
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            let send = || self.socket.send_with_flags(piece, flags);
            let count = match sent {
                0 => self.retry(Ready::ToWrite, send)?,
                _ => match send() {
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    done => done?,
                },
            };
            sent += count;
            if count < piece.len() {
                break;
            }
        }
        Ok(sent)
    }

    /// Takes what is in the queue, up to `into.len()` bytes; `None` if there is nothing,
    /// 0 if nothing will come.
    pub(crate) fn try_recv(&self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.recv(into, libc::MSG_DONTWAIT) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(None),
                done => return done.map(Some),
            }
        }
    }

    /// Takes `len` bytes off the queue for nothing; `scratch` is overwritten.
    pub(crate) fn discard(&self, mut len: usize, scratch: &mut [u8]) -> io::Result<()> {
        let flags = if self.truncates { libc::MSG_TRUNC } else { 0 };
        while len > 0 {
            let most = len.min(scratch.len());
            let recv = || self.recv(&mut scratch[..most], flags);
            len -= some(self.retry(Ready::ToRead, recv)?)?;
        }
        Ok(())
    }

    /// Fills all of `pieces`.
    pub(crate) fn read(&self, pieces: &mut [Piece<'_>]) -> io::Result<()> {
        let mut filled = 0;
        loop {
            let mut iov = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 16];
            let mut count = 0;
            let mut skip = filled;
            for piece in pieces.iter_mut() {
                if skip >= piece.len() {
                    skip -= piece.len();
                    continue;
                }
                let Some(slot) = iov.get_mut(count) else { break };
                let rest = &mut piece[skip..];
                *slot = libc::iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() };
                skip = 0;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            filled += some(self.retry(Ready::ToRead, || {
                // SAFETY: all zeros is a message header without anything in it.
                let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
                header.msg_iov = iov.as_mut_ptr();
                header.msg_iovlen = count as _;
                // SAFETY: the header names `count` pieces, all of which are
                // borrowed for writing as long as the call lasts.
                result(unsafe { libc::recvmsg(self.fd(), &mut header, libc::MSG_WAITALL) })
            })?)?;
        }
    }

    /// Fills all of `bytes`.
    pub(crate) fn read_exact(&self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let recv = || self.recv(bytes, libc::MSG_WAITALL);
            let count = some(self.retry(Ready::ToRead, recv)?)?;
            bytes = &mut bytes[count..];
        }
        Ok(())
    }

    /// Receives up to `into.len()` bytes before the deadline, fewer only if
    /// the stream ends.
    pub(crate) fn read_by(&self, into: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            self.wait(Ready::ToRead, deadline)?;
            match self.recv(&mut into[filled..], libc::MSG_DONTWAIT) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// Sends no more, and receives for nothing until the peer does the same, an
    /// error ends the stream, or time is over.
    pub(crate) fn drain(&self, deadline: Instant) {
        // It fails only if the peer has ended the stream already.
        let _ = self.socket.shutdown(Shutdown::Write);
        let mut unread = [0; 4096];
        while let Ok(count) = self.read_by(&mut unread, Some(deadline))
            && count == unread.len()
        {}
    }

    /// Bytes in the queue.
    pub(crate) fn fionread(&self) -> io::Result<usize> {
        let mut count = 0;
        // SAFETY: FIONREAD writes one int.
        match unsafe { libc::ioctl(self.fd(), libc::FIONREAD, &mut count) } {
            0 => Ok(usize::try_from(count).unwrap_or(0)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Bytes in the queue; `None` if there are none and none will come.
    pub(crate) fn queued(&self) -> io::Result<Option<usize>> {
        let mut byte = [0];
        loop {
            let count = self.fionread()?;
            if count > 0 {
                return Ok(Some(count));
            }
            match self.recv(&mut byte, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
                Ok(0) => return Ok(None),
                // It came just now.
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Some(0)),
                Err(e) => return Err(e),
            }
        }
    }

    /// Ends the stream both ways: everyone who waits on it wakes up.
    pub(crate) fn shutdown(&self) {
        // It fails only if the peer has ended the stream already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Waits until a call would not block; errors and the end are found by
    /// that call.
    ///
    /// # Errors
    ///
    /// `TimedOut` if the deadline passes before.
    pub(crate) fn wait(&self, ready: Ready, deadline: Option<Instant>) -> io::Result<()> {
        wait(self.socket.as_fd(), ready, deadline)
    }

    fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    fn recv(&self, into: &mut [u8], flags: i32) -> io::Result<usize> {
        // SAFETY: the buffer is borrowed for writing as long as the call lasts.
        result(unsafe { libc::recv(self.fd(), into.as_mut_ptr().cast(), into.len(), flags) })
    }

    fn retry(
        &self,
        ready: Ready,
        mut call: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match call() {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(ready, None)?,
                done => return done,
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// As [`Stream::wait`], for any descriptor.
pub(crate) fn wait(fd: BorrowedFd<'_>, ready: Ready, deadline: Option<Instant>) -> io::Result<()> {
    let events = match ready {
        Ready::ToRead => libc::POLLIN,
        Ready::ToWrite => libc::POLLOUT,
    };
    loop {
        let millis = match time_left(deadline) {
            None => -1,
            // Rounded up, so as not to spin through the last millisecond.
            Some(left) => left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX),
        };
        let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
        // SAFETY: there is the one descriptor announced.
        let count = unsafe { libc::poll(&mut poll, 1, millis) };
        if count > 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if count < 0 && error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
        if deadline.is_some_and(|at| at <= Instant::now()) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
}

/// The count of a system call, or the error it left in `errno`.
fn result(count: isize) -> io::Result<usize> {
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// A count that is not that of an ended stream.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}
