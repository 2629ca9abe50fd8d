//! What the halves of a mailbox have in common: the connection.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use spread_core::{Closing, Ready, wait, wait_any};
use spread_wire::{GroupName, Name, PrivateGroup};

use crate::backend::{Backend, Inbox, Library, Mode};
use crate::interrupt::Wake;
use crate::multicast::GroupList;
use crate::{Error, ProtocolError, SendOptions, closing};

/// How long a disconnect waits for the daemon at most.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a message after which receives are not coalesced: that would save nothing.
const LARGE: usize = 8 * 1024;

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    core: Arc<spread_core::Connection>,
    backend: Backend,
    /// Of the process that connected it.
    generation: u32,
    /// Whether nothing is left for a drop to do but to close the socket.
    is_over: AtomicBool,
    /// What interrupts a receive, once somebody has asked for it.
    wake: OnceLock<Arc<Wake>>,
    /// See [`Builder::coalesce`](crate::Builder::coalesce).
    coalesce: Duration,
}

/// How far a receiver has come.
#[derive(Debug)]
pub(crate) struct Progress {
    inbox: Inbox,
    /// When the last message came that receives are coalesced after.
    last: Option<Instant>,
}

/// How long a receive waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    No,
    Until(Instant),
    Forever,
}

impl Wait {
    pub(crate) fn until(deadline: Option<Instant>) -> Wait {
        deadline.map_or(Wait::Forever, Wait::Until)
    }
}

impl Connection {
    pub(crate) fn new(
        core: spread_core::Connection,
        backend: Backend,
        coalesce: Duration,
    ) -> Connection {
        Connection {
            core: Arc::new(core),
            backend,
            generation: spread_os::generation(),
            is_over: AtomicBool::new(false),
            wake: OnceLock::new(),
            coalesce,
        }
    }

    /// Lets the interrupters of `wake` end its receives, too.
    pub(crate) fn woken_by(self, wake: Arc<Wake>) -> Connection {
        // A connection that is new has none.
        let _ = self.wake.set(wake);
        self
    }

    pub(crate) fn core(&self) -> &spread_core::Connection {
        &self.core
    }

    #[cfg(feature = "sys")]
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn library(&self) -> Library {
        self.backend.library()
    }

    /// For the only receiver of the connection.
    pub(crate) fn progress(&self) -> Progress {
        Progress { inbox: self.backend.inbox(), last: None }
    }

    pub(crate) fn private_group(&self) -> PrivateGroup {
        self.core.private_group()
    }

    /// This client's name in views.
    pub(crate) fn me(&self) -> Name {
        self.private_group().into()
    }

    pub(crate) fn join(&self, group: GroupName) -> Result<(), Error> {
        self.usable()?;
        match &self.backend {
            Backend::Native => Ok(self.core.join(group)?),
            #[cfg(feature = "sys")]
            Backend::Sys(raw) => raw.join(group.into()),
        }
    }

    pub(crate) fn leave(&self, group: GroupName) -> Result<(), Error> {
        self.usable()?;
        match &self.backend {
            Backend::Native => Ok(self.core.leave(group)?),
            #[cfg(feature = "sys")]
            Backend::Sys(raw) => raw.leave(group.into()),
        }
    }

    /// Sends what has been checked.
    #[inline]
    pub(crate) fn multicast(
        &self,
        options: SendOptions,
        groups: &GroupList,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.usable()?;
        let (service_type, number) = (options.service_type(), options.number());
        match &self.backend {
            Backend::Native => {
                Ok(self.core.multicast(service_type, groups.names(), number, payload)?)
            }
            #[cfg(feature = "sys")]
            Backend::Sys(raw) => raw.multicast(service_type, groups.names(), number, payload),
        }
    }

    /// Sends the first messages of a batch, at least one; returns their number.
    pub(crate) fn multicast_frames(
        &self,
        frames: &mut spread_core::Frames,
    ) -> Result<usize, Error> {
        if frames.is_empty() {
            return Ok(0);
        }
        self.usable()?;
        match &self.backend {
            Backend::Native => Ok(self.core.multicast_frames(frames)?),
            #[cfg(feature = "sys")]
            Backend::Sys(raw) => raw.multicast_frames(self.as_fd(), frames),
        }
    }

    /// Receives a message; `None` if none came in time.
    #[inline]
    pub(crate) fn receive<T>(
        &self,
        progress: &mut Progress,
        wait: Wait,
        mut take: impl FnMut(&mut Inbox, Mode) -> Result<Option<T>, Error>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<Option<T>, Error> {
        self.usable()?;
        let received = match wait {
            Wait::No => take(&mut progress.inbox, Mode::Try),
            Wait::Until(_) | Wait::Forever => {
                if let Some(last) = progress.last.take() {
                    self.coalesce(progress, last, wait)?;
                }
                // Without an interrupter the system call may do the waiting.
                let may_block = self.wake.get().is_none() && progress.inbox.can_wait();
                match wait {
                    Wait::Forever if may_block => take(&mut progress.inbox, Mode::Wait),
                    _ => self.wait(wait, || take(&mut progress.inbox, Mode::Try)),
                }
            }
        }?;
        if self.coalesce > Duration::ZERO
            && let Some(message) = &received
        {
            progress.last = (len(message) < LARGE).then(Instant::now);
        }
        Ok(received)
    }

    /// Tries again whenever the descriptor is readable, until the deadline or an interrupt.
    fn wait<T>(
        &self,
        wait: Wait,
        mut take: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let deadline = match wait {
            Wait::Until(deadline) => Some(deadline),
            _ => None,
        };
        loop {
            if let Some(message) = take()? {
                return Ok(Some(message));
            }
            let readable = match self.wake.get() {
                None => spread_core::wait(self.as_fd(), Ready::ToRead, deadline)
                    .map_err(Error::Resource)?,
                Some(wake) => {
                    let fds = [(self.as_fd(), Ready::ToRead), (wake.as_fd(), Ready::ToRead)];
                    let [readable, woken] = wait_any(fds, deadline).map_err(Error::Resource)?;
                    if woken && wake.take() {
                        return Err(Error::Interrupted);
                    }
                    readable
                }
            };
            if !readable && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }

    /// Waits for a moment if a message has to be waited for while they keep coming, so that
    /// several come meanwhile. An interrupt ends it, and so does a shut-down.
    #[cold]
    fn coalesce(&self, progress: &mut Progress, last: Instant, wait: Wait) -> Result<(), Error> {
        if last.elapsed() >= self.coalesce || progress.inbox.is_ready(self)? {
            return Ok(());
        }
        let mut until = Instant::now() + self.coalesce;
        if let Wait::Until(deadline) = wait {
            until = until.min(deadline);
        }
        let fds = [(self.as_fd(), Ready::Ended), (self.wake()?.as_fd(), Ready::ToRead)];
        // What has ended the wait is for the receive to see.
        wait_any(fds, Some(until)).map(drop).map_err(Error::Resource)
    }

    /// What interrupts the receives of this connection.
    pub(crate) fn wake(&self) -> Result<&Wake, Error> {
        if let Some(wake) = self.wake.get() {
            return Ok(wake);
        }
        let wake = Arc::new(Wake::new().map_err(Error::Resource)?);
        Ok(self.wake.get_or_init(|| wake))
    }

    /// Notes that the daemon broke the protocol: nothing more can be received.
    #[cold]
    pub(crate) fn broken(&self, error: ProtocolError) -> Error {
        self.core.shut_down();
        Error::Protocol(error)
    }

    /// Whether this process has connected it, and not its parent.
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == spread_os::generation()
    }

    #[inline]
    pub(crate) fn usable(&self) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        Ok(self.core.check()?)
    }

    /// Ends the connection both ways, which wakes the threads that wait in it.
    pub(crate) fn shut_down(&self) {
        if self.is_ours() {
            self.core.shut_down();
        }
    }

    /// Ends the connection, and waits until the daemon has taken everything.
    pub(crate) fn disconnect(self) -> Result<(), Error> {
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        self.is_over.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LINGER;
        loop {
            let ready = match self.core.try_close() {
                Ok(Closing::Done) => return Ok(()),
                Ok(Closing::Again) => None,
                Ok(Closing::Wait(ready)) => Some(ready),
                Err(_) => return Err(Error::ConnectionClosed),
            };
            if let Some(ready) = ready {
                wait(self.as_fd(), ready, Some(deadline)).map_err(Error::Resource)?;
            }
            if Instant::now() >= deadline {
                return Err(late());
            }
        }
    }

    /// Closes the socket without a word, when it is dropped.
    pub(crate) fn kill(self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Ends the connection once a disconnect has done what it can.
    #[cfg(feature = "tokio")]
    pub(crate) fn closed(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.core.shut_down();
    }
}

/// A daemon that did not end a connection in time.
pub(crate) fn late() -> Error {
    let reason = "the daemon did not end the connection within a second";
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, reason))
}

impl Drop for Connection {
    fn drop(&mut self) {
        // In the child of a fork, or after a kill, the socket is closed and that is all.
        if self.is_ours() && !*self.is_over.get_mut() {
            closing::close(Arc::clone(&self.core));
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.core.as_raw_fd()
    }
}
