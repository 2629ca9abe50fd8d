//! The stream to the daemon: system calls, and what each of them does when interrupted.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};

use crate::error::is_resource;
use crate::poll::{Ready, wait};

/// Bytes that are sent over a unix socket at once, or up to twice as many. With more, the
/// peer waits longer before it can begin.
const UNIX_PIECE: usize = 32 * 1024;

/// When to try again to send what the kernel has no memory for: that cannot be polled for.
pub const MEMORY_PAUSE: Duration = Duration::from_millis(10);

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In the kernel, for as long as it takes.
    Wait,
    /// Until a deadline. For sends.
    Until(Instant),
    /// Not at all.
    Try,
}

/// A connected stream socket.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    fd: Arc<OwnedFd>,
    /// Twice as many bytes of messages, and more, are sent with several calls.
    piece: usize,
}

impl Stream {
    pub(crate) fn new(fd: OwnedFd, is_unix: bool) -> Stream {
        Stream { fd: Arc::new(fd), piece: if is_unix { UNIX_PIECE } else { usize::MAX } }
    }

    /// The socket of a stream that has not been shared.
    pub(crate) fn into_fd(self) -> OwnedFd {
        Arc::into_inner(self.fd).expect("the stream has not been shared")
    }

    pub(crate) fn fd(&self) -> &Arc<OwnedFd> {
        &self.fd
    }

    /// Sends bytes: all of them, or what there is room for. `sent` is raised by their number,
    /// also if an error comes after some of them.
    ///
    /// What `has_begun` waits for memory as it waits for room, unless the mode is `Try`.
    #[inline]
    pub(crate) fn send(
        &self,
        bytes: &[u8],
        mode: Mode,
        has_begun: bool,
        sent: &mut usize,
    ) -> io::Result<()> {
        let flags = send_flags(mode);
        let mut rest = bytes;
        while !rest.is_empty() {
            match send(&self.fd, rest, flags) {
                Ok(count) => {
                    rest = &rest[count..];
                    *sent += count;
                }
                Err(e) if self.goes_on(e, Ready::ToWrite, mode, has_begun || *sent > 0)? => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// As [`send`](Stream::send), for bytes in pieces, of which nothing has been sent.
    pub(crate) fn send_pieces(
        &self,
        mut pieces: &mut [IoSlice<'_>],
        mode: Mode,
        sent: &mut usize,
    ) -> io::Result<()> {
        let flags = send_flags(mode);
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match sendmsg(&self.fd, pieces, &mut SendAncillaryBuffer::default(), flags) {
                Ok(count) => {
                    IoSlice::advance_slices(&mut pieces, count);
                    *sent += count;
                }
                Err(e) if self.goes_on(e, Ready::ToWrite, mode, *sent > 0)? => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    /// Sends what there is room for of many messages, so that the peer can begin with the
    /// first while the last are sent. `sent` is raised as by [`send`](Stream::send).
    pub(crate) fn send_many(&self, bytes: &[u8], sent: &mut usize) -> io::Result<()> {
        let pieces = (bytes.len() / self.piece).max(1);
        for piece in bytes.chunks(bytes.len().div_ceil(pieces).max(1)) {
            let before = *sent;
            self.send(piece, Mode::Try, true, sent)?;
            if *sent - before < piece.len() {
                break;
            }
        }
        Ok(())
    }

    /// Receives up to `into.len()` bytes; in mode `Wait` at least one. `None` if there are
    /// none, in mode `Try`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end of the stream.
    #[inline]
    pub(crate) fn recv(&self, into: &mut [u8], mode: Mode) -> io::Result<Option<usize>> {
        self.recv_with(into, RecvFlags::empty(), mode)
    }

    /// Fills all of `into`, in mode `Try` as far as there are bytes, and in either mode as far
    /// as there is memory; returns their number.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end of the stream.
    #[inline]
    pub(crate) fn recv_all(&self, into: &mut [u8], mode: Mode) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            match self.recv_with(&mut into[filled..], RecvFlags::WAITALL, mode) {
                Ok(Some(count)) => filled += count,
                Ok(None) => break,
                // What has come is not to be lost; the next call is told.
                Err(e) if filled > 0 && is_resource(&e) => break,
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    /// The next byte in the queue, which stays there; `None` if there is none.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end of the stream.
    pub(crate) fn peek(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let there = self.recv_with(&mut byte, RecvFlags::PEEK, Mode::Try)?;
        Ok(there.map(|_| byte[0]))
    }

    /// Whether the peer has ended its side, also if there are bytes in the queue, as far as the
    /// system tells.
    pub(crate) fn is_ended_by_peer(&self) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return crate::poll::is_ended_by_peer(self.as_fd());
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        match self.peek() {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            peeked => peeked.map(|_| false),
        }
    }

    /// Bytes in the queue; `None` if there are none and none will come.
    pub(crate) fn queued(&self) -> io::Result<Option<usize>> {
        loop {
            let count = self.fionread()?;
            if count > 0 {
                return Ok(Some(count));
            }
            match self.peek() {
                // It has come just now.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(Some(0)),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    /// Bytes in the queue.
    #[inline]
    pub(crate) fn fionread(&self) -> io::Result<usize> {
        Ok(ioctl_fionread(&self.fd)?.try_into().unwrap_or(usize::MAX))
    }

    /// Tells the peer that nothing more will be sent.
    pub(crate) fn end_sending(&self) -> io::Result<()> {
        Ok(shutdown(&self.fd, Shutdown::Write)?)
    }

    /// Ends the stream both ways, which wakes the threads that wait on it.
    pub(crate) fn shut_down(&self) {
        // It fails only if the peer has ended the stream already.
        let _ = shutdown(&self.fd, Shutdown::Both);
    }

    #[inline]
    fn recv_with(
        &self,
        into: &mut [u8],
        flags: RecvFlags,
        mode: Mode,
    ) -> io::Result<Option<usize>> {
        // With WAITALL as well, Linux returns what there is.
        let flags = if mode == Mode::Try { flags | RecvFlags::DONTWAIT } else { flags };
        loop {
            match recv(&self.fd, &mut *into, flags) {
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((count, _)) => return Ok(Some(count)),
                Err(e) if self.goes_on(e, Ready::ToRead, mode, false)? => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Whether a call that failed is to be repeated: because a signal interrupted it, or, in
    /// mode `Wait`, because it did not wait on a descriptor that is non-blocking or has a
    /// time-out. If not, nothing can be done at present, in mode `Try`, or until the deadline.
    ///
    /// What `has_begun` waits for memory as it waits for room: TCP does so within the kernel. In
    /// mode `Try` a want of memory is an error always, since no event tells of its end.
    #[cold]
    fn goes_on(&self, error: Errno, ready: Ready, mode: Mode, has_begun: bool) -> io::Result<bool> {
        match error {
            Errno::INTR => Ok(true),
            Errno::AGAIN => match mode {
                Mode::Try => Ok(false),
                Mode::Wait => wait(self.as_fd(), ready, None),
                Mode::Until(deadline) => wait(self.as_fd(), ready, Some(deadline)),
            },
            Errno::NOBUFS | Errno::NOMEM if has_begun && mode != Mode::Try => {
                let again = Instant::now() + MEMORY_PAUSE;
                let until = match mode {
                    Mode::Until(deadline) => deadline.min(again),
                    _ => again,
                };
                wait(self.as_fd(), Ready::Ended, Some(until))?;
                Ok(until == again)
            }
            error => Err(error.into()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn send_flags(mode: Mode) -> SendFlags {
    match mode {
        Mode::Wait => SendFlags::NOSIGNAL,
        Mode::Until(_) | Mode::Try => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    }
}
