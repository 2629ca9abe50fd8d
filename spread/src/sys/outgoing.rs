//! Sending without waiting.
//!
//! libspread sends all of a message before it returns, and nobody can tell before
//! whether there is room for it: the kernel counts memory, not bytes, and as it likes.
//! So where a send must not wait, a message goes to the socket as far as there is
//! room, and the rest is kept until there is more.

use std::io::{self, IoSlice};
use std::sync::{MutexGuard, PoisonError};
use std::time::Instant;

use super::RawMailbox;
use super::socket::{is_transient, poll};

impl RawMailbox {
    /// Sends a message as far as there is room, and says whether that is all of it;
    /// nothing else may be sent before [`flush`](Self::flush) has sent the rest.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room.
    pub(crate) fn start_send(&self, head: &[u8], body: &[u8]) -> io::Result<bool> {
        let sent = self.send_some(&[IoSlice::new(head), IoSlice::new(body)])?;
        self.send_later(&head[sent.min(head.len())..]);
        self.send_later(&body[sent.saturating_sub(head.len())..]);
        Ok(sent == head.len() + body.len())
    }

    /// Keeps the rest of a message for [`flush`](Self::flush).
    pub(crate) fn send_later(&self, rest: &[u8]) {
        self.unsent().extend_from_slice(rest);
    }

    /// Sends the rest of a message.
    ///
    /// # Errors
    ///
    /// `WouldBlock` as long as there is no room for all of it.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut unsent = self.unsent();
        while !unsent.is_empty() {
            let sent = self.send_some(&[IoSlice::new(&unsent)])?;
            unsent.drain(..sent);
        }
        Ok(())
    }

    /// As [`flush`](Self::flush), but waits for room until the deadline.
    pub(super) fn flush_by(&self, deadline: Instant) -> io::Result<()> {
        loop {
            match self.flush() {
                Err(error) if is_transient(&error) => {}
                done => return done,
            }
            let [writable] = poll([(self.mbox, libc::POLLOUT)], Some(deadline))?;
            if !writable {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Sends what there is room for.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room.
    pub(crate) fn send_some(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: all zeros is a message header without anything in it.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // An IoSlice is an iovec, by its documentation.
        message.msg_iov = pieces.as_ptr().cast_mut().cast();
        message.msg_iovlen = pieces.len() as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            // SAFETY: the header names the pieces given, which live through the call
            // and are only read.
            let sent = unsafe { libc::sendmsg(self.mbox, &message, flags) };
            match usize::try_from(sent).map_err(|_| io::Error::last_os_error()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    /// One message is on its way at a time, so nobody waits for this.
    pub(super) fn unsent(&self) -> MutexGuard<'_, Vec<u8>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
