//! Receives, and how long they wait.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use spread_core::{Ready, wait_any};

use super::Connection;
use crate::Error;
use crate::backend::{Inbox, Mode};
use crate::trace::Event;

/// Bytes of a message after which receives are not coalesced: that would save nothing.
const LARGE: usize = 8 * 1024;

/// How far a receiver has come.
#[derive(Debug)]
pub(crate) struct Progress {
    inbox: Inbox,
    /// When the last message came that receives are coalesced after.
    last: Option<Instant>,
    /// Whether the last receive found nothing, so that the next one need not look before it waits.
    is_drained: bool,
}

impl Progress {
    pub(super) fn new(inbox: Inbox) -> Progress {
        Progress { inbox, last: None, is_drained: false }
    }

    /// For a receiver whose descriptor nobody polls while a message may be held.
    pub(crate) fn take_all(&mut self) {
        self.inbox.take_all();
    }
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

    fn deadline(self) -> Option<Instant> {
        match self {
            Wait::No => Some(Instant::now()),
            Wait::Until(deadline) => Some(deadline),
            Wait::Forever => None,
        }
    }

    /// Whether the time has passed.
    pub(crate) fn is_over(self) -> bool {
        self.deadline().is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl Connection {
    /// Receives a message; `None` if none came in time.
    #[inline]
    pub(crate) fn receive<T>(
        &self,
        progress: &mut Progress,
        wait: Wait,
        mut take: impl FnMut(&mut Inbox, Mode) -> Result<Option<T>, Error>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<Option<T>, Error> {
        self.receivable()?;
        let mut is_drained = std::mem::take(&mut progress.is_drained);
        let received = match wait {
            Wait::No => {
                let received = take(&mut progress.inbox, Mode::Try);
                progress.is_drained = matches!(received, Ok(None));
                received
            }
            Wait::Until(_) | Wait::Forever => {
                if let Some(last) = progress.last.take() {
                    is_drained = false;
                    self.coalesce(progress, last, wait).map_err(|error| self.explain(error))?;
                }
                // Without an interrupter the system call may do the waiting.
                let may_block = self.wake.get().is_none() && progress.inbox.can_wait();
                match wait {
                    Wait::Forever if may_block => take(&mut progress.inbox, Mode::Wait),
                    _ => self.wait(wait, is_drained, || take(&mut progress.inbox, Mode::Try)),
                }
            }
        }
        .map_err(|error| self.explain(error))
        .inspect_err(|error| self.tell(Event::Failed { what: "receive", error }))?;
        if self.coalesce > Duration::ZERO
            && let Some(message) = &received
        {
            progress.last = (len(message) < LARGE).then(Instant::now);
        }
        Ok(received)
    }

    /// Tries again whenever the descriptor is readable, until the deadline or an interrupt; at first
    /// only then, if nothing is there.
    fn wait<T>(
        &self,
        wait: Wait,
        mut is_drained: bool,
        mut take: impl FnMut() -> Result<Option<T>, Error>,
    ) -> Result<Option<T>, Error> {
        let deadline = match wait {
            Wait::Until(deadline) => Some(deadline),
            _ => None,
        };
        loop {
            if !std::mem::take(&mut is_drained)
                && let Some(message) = take()?
            {
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

    /// Waits until the descriptor is readable or writable, or until the deadline; says whether it
    /// is readable. An interrupt ends the wait.
    pub(crate) fn wait_either(&self, wait: Wait) -> Result<bool, Error> {
        let fds = [
            (self.as_fd(), Ready::ToRead),
            (self.as_fd(), Ready::ToWrite),
            (self.wake()?.as_fd(), Ready::ToRead),
        ];
        let [readable, _, woken] = wait_any(fds, wait.deadline()).map_err(Error::Resource)?;
        match woken && self.wake()?.take() {
            true => Err(Error::Interrupted),
            false => Ok(readable),
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
}
