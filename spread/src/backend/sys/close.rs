//! The end of a mailbox.

use std::io;
use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use super::RawMailbox;
use super::socket::is_transient;

/// How long a disconnect waits for the daemon at most.
const LINGER: Duration = Duration::from_secs(1);

impl RawMailbox {
    /// Ends the session and waits, up to [`LINGER`], for the daemon to do the
    /// same: so that all that was sent before arrives.
    ///
    /// `SP_disconnect` closes at once. With messages still unread that resets a
    /// TCP connection, and the daemon never sees what was on its way.
    pub(crate) fn disconnect(self) -> io::Result<()> {
        let result = self.linger();
        self.kill();
        result
    }

    fn linger(&self) -> io::Result<()> {
        let deadline = Instant::now() + LINGER;
        #[cfg(feature = "tokio")]
        self.flush_by(deadline)?;
        // SAFETY: takes no pointer; the descriptor is open.
        if unsafe { libc::shutdown(self.mbox, libc::SHUT_WR) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut unread = [0; 16 * 1024];
        loop {
            if !self.wait_readable(None, Some(deadline))?.mailbox {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.recv(&mut unread, libc::MSG_DONTWAIT) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Ends the connection both ways: whoever waits in it wakes up.
    pub(crate) fn shut_down(&self) {
        if !self.is_ours() {
            return;
        }
        // SAFETY: takes no pointer; the descriptor is open. It fails only if the
        // daemon has ended the connection already.
        unsafe { libc::shutdown(self.mbox, libc::SHUT_RDWR) };
    }

    /// To be called once, as the last thing done with the mailbox.
    fn close(&self) {
        if self.is_ours() {
            // SAFETY: takes no pointer; the mailbox is not used again.
            unsafe { spread_sys::SP_kill(self.mbox) };
        } else {
            // SAFETY: as above; the parent has a descriptor of its own.
            unsafe { libc::close(self.mbox) };
        }
    }

    /// Closes without a word.
    pub(crate) fn kill(self) {
        let this = ManuallyDrop::new(self);
        #[cfg(feature = "tokio")]
        drop(std::mem::take(&mut *this.unsent()));
        this.close();
    }
}

impl Drop for RawMailbox {
    fn drop(&mut self) {
        #[cfg(feature = "tokio")]
        if !self.may_block
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let unsent = std::mem::take(&mut self.unsent);
            let this = RawMailbox { may_block: true, unsent, ..*self };
            runtime.spawn_blocking(move || drop(this));
            return;
        }
        if self.is_ours() {
            // There is nobody to tell that the daemon was gone already.
            let _ = self.linger();
        }
        self.close();
    }
}
