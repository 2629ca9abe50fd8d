//! The half of a session that receives, and reconnects meanwhile.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_core::{Ready, wait_any};
use spread_wire::PrivateGroup;

use super::attempt::{self, Attempt};
use super::blocking::Shared;
use super::common::ended;
use super::state::Step;
use super::{SessionEvent, SessionStats};
use crate::connection::Wait;
use crate::{Error, Interrupter, Receiver};

/// The half of a [`Session`](crate::Session) that receives.
///
/// On Linux it is a descriptor ([`AsFd`]) that stays the same across connections and is readable
/// whenever an event can be received, with poll(2) and with level- or edge-triggered epoll(7):
/// after an edge, receive until [`try_receive`](SessionReceiver::try_receive) has nothing
/// more. It may also be readable when only a part of a message has come, or when an attempt to
/// connect is due, which [`try_receive`](SessionReceiver::try_receive) then begins.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// use rustix::event::{PollFd, PollFlags, poll};
/// use spread::{Backoff, Mailbox};
///
/// let mut session = Mailbox::builder(daemon.address()).session(Backoff::default())?;
/// session.join("chat")?;
/// poll(&mut [PollFd::new(&session, PollFlags::IN)], None)?;
/// while let Some(event) = session.try_receive()? {
///     println!("{event:?}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SessionReceiver {
    pub(super) shared: Arc<Shared>,
    /// The connection that is received from, if there is one.
    mailbox: Option<Receiver>,
    attempt: Option<Attempt>,
    has_ended: bool,
    takes_all: bool,
}

impl SessionReceiver {
    pub(super) fn new(shared: Arc<Shared>) -> SessionReceiver {
        SessionReceiver { shared, mailbox: None, attempt: None, has_ended: false, takes_all: false }
    }

    /// Makes the first connection, or begins to, if that is to be retried.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if self.shared.common.retries_first() {
            return self.shared.watch.set_time(Some(Instant::now())).map_err(Error::Resource);
        }
        if self.shared.common.step() == Step::Connect {
            let mailbox = attempt::connect(&self.shared)?;
            self.receive_from(mailbox)?;
        }
        Ok(())
    }

    fn receive_from(&mut self, mailbox: Receiver) -> Result<(), Error> {
        let mailbox = self.mailbox.insert(mailbox);
        if self.takes_all {
            mailbox.take_all();
        }
        self.shared.watch.enable(mailbox.as_fd()).map_err(Error::Resource)
    }

    /// Drops the attempt, so that it has no handle of the connection of the session.
    fn drop_attempt(&mut self, is_connected: bool) {
        if let Some(attempt) = self.attempt.take()
            && is_connected
        {
            // It has made the connection, and is about to hand it over.
            attempt.finish();
        }
    }

    /// See [`SessionSender::private_group`](crate::SessionSender::private_group).
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.shared.common.current().map(|sender| sender.private_group())
    }

    /// See [`SessionSender::stats`](crate::SessionSender::stats).
    pub fn stats(&self) -> SessionStats {
        self.shared.common.stats()
    }

    /// Waits for the next event: a message, or news of the connection.
    ///
    /// # Errors
    ///
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](SessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the wait failed, and [`Forked`](Error::Forked) in the
    ///   child of a fork.
    pub fn receive(&mut self) -> Result<SessionEvent, Error> {
        loop {
            if let Some(event) = self.take(Wait::Forever)? {
                return Ok(event);
            }
        }
    }

    /// Waits for the next event for as long as `timeout`; `None` if none came. An attempt to
    /// connect goes on meanwhile, and until the next receive.
    ///
    /// # Errors
    ///
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](SessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the wait failed, and [`Forked`](Error::Forked) in the
    ///   child of a fork.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<SessionEvent>, Error> {
        // A time that is out of reach is no deadline at all.
        self.take(Wait::until(Instant::now().checked_add(timeout)))
    }

    /// Waits for the next event until `deadline`; `None` if none came.
    ///
    /// # Errors
    ///
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](SessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the wait failed, and [`Forked`](Error::Forked) in the
    ///   child of a fork.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<SessionEvent>, Error> {
        self.take(Wait::Until(deadline))
    }

    /// Receives an event if that needs no waiting; `None` otherwise. Begins an attempt to
    /// connect when one is due. An [`Interrupter`] has no effect on it.
    ///
    /// # Errors
    ///
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](SessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the wait failed, and [`Forked`](Error::Forked) in the
    ///   child of a fork.
    pub fn try_receive(&mut self) -> Result<Option<SessionEvent>, Error> {
        self.take(Wait::No)
    }

    /// Takes all that has come off the socket at once from now on, on this connection and on later
    /// ones, with fewer system calls. For a program that does not poll the descriptor, which is then
    /// not readable for messages that have been taken already; receives return them as before.
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// use spread::{Backoff, Mailbox, Message, Service, SessionEvent};
    ///
    /// let session = Mailbox::builder(daemon.address()).session(Backoff::default())?;
    /// session.join("chat")?;
    /// let (sender, mut receiver) = session.split();
    /// receiver.take_all();
    /// for line in ["one", "two", "three"] {
    ///     sender.multicast(Service::Agreed, "chat", line)?;
    /// }
    /// let mut lines = Vec::new();
    /// while lines.len() < 3 {
    ///     if let SessionEvent::Message(Message::Regular(line)) = receiver.receive()? {
    ///         lines.push(line.into_payload());
    ///     }
    /// }
    /// assert_eq!(lines, ["one", "two", "three"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_all(&mut self) {
        self.takes_all = true;
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.take_all();
        }
    }

    /// Returns the events as they come, without end until the session has ended: then the
    /// error, and nothing more.
    pub fn events(&mut self) -> impl Iterator<Item = Result<SessionEvent, Error>> + '_ {
        std::iter::from_fn(move || {
            if self.has_ended {
                return None;
            }
            let next = self.receive();
            self.has_ended = next.is_err() && self.shared.common.has_ended();
            Some(next)
        })
    }

    /// Returns what ends a receive that waits, connected or not, from another thread. An
    /// attempt to connect goes on.
    ///
    /// # Errors
    ///
    /// [`Forked`](Error::Forked) in the child of a fork.
    pub fn interrupter(&self) -> Result<Interrupter, Error> {
        self.shared.common.usable()?;
        Ok(self.shared.wake.interrupter())
    }

    /// Ends the session for all halves. See [`Session::disconnect`](crate::Session::disconnect).
    ///
    /// # Errors
    ///
    /// Those of [`Session::disconnect`](crate::Session::disconnect), where they are listed.
    pub fn disconnect(mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let ended = shared.common.end_connected();
        if shared.common.is_ours() {
            self.drop_attempt(ended.is_ok());
        }
        drop(self);
        let (connection, _ending) = ended?;
        connection.disconnect()
    }

    /// See [`SessionSender::shut_down`](crate::SessionSender::shut_down).
    pub fn shut_down(&self) {
        self.shared.shut_down();
    }

    /// Ends the session without a word to the daemon.
    pub(super) fn kill(self) {
        if self.shared.common.is_ours()
            && let Some(sender) = self.shared.common.end()
        {
            sender.connection().kill();
        }
    }

    fn take(&mut self, wait: Wait) -> Result<Option<SessionEvent>, Error> {
        self.shared.common.usable()?;
        loop {
            if let Some(mailbox) = &mut self.mailbox {
                let received = match wait {
                    Wait::No => mailbox.try_receive(),
                    Wait::Until(deadline) => mailbox.receive_deadline(deadline),
                    Wait::Forever => mailbox.receive().map(Some),
                };
                return match received {
                    Ok(message) => Ok(message.map(SessionEvent::Message)),
                    Err(error) if error.is_closed() => self.lost(error).map(Some),
                    Err(error) => Err(error),
                };
            }
            let next = match self.shared.common.step() {
                Step::End => return Err(ended()),
                Step::Connect => match self.start() {
                    Ok(()) => None,
                    Err(error) => return self.failed(error).map(Some),
                },
                Step::Wait(next) => Some(next),
                // The attempt may have made its connection that of the session already.
                Step::Attempt | Step::Receive => {
                    if let Some(event) = self.arrived()? {
                        return Ok(Some(event));
                    }
                    None
                }
            };
            if !self.wait(wait, next)? {
                return Ok(None);
            }
        }
    }

    /// Waits for news, an interrupt or `next`; returns `false` when `wait` is over.
    fn wait(&self, wait: Wait, next: Option<Instant>) -> Result<bool, Error> {
        let deadline = match wait {
            Wait::No => return Ok(false),
            Wait::Until(deadline) if deadline <= Instant::now() => return Ok(false),
            Wait::Until(deadline) => Some(deadline),
            Wait::Forever => None,
        };
        let until = [deadline, next].into_iter().flatten().min();
        let fds =
            [(self.shared.news.as_fd(), Ready::ToRead), (self.shared.wake.as_fd(), Ready::ToRead)];
        let [_, woken] = wait_any(fds, until).map_err(Error::Resource)?;
        if woken && self.shared.wake.take() {
            return Err(Error::Interrupted);
        }
        Ok(true)
    }

    /// Begins an attempt.
    fn start(&mut self) -> Result<(), Error> {
        self.shared.watch.set_time(None).map_err(Error::Resource)?;
        self.attempt = Some(Attempt::start(&self.shared).map_err(Error::Resource)?);
        Ok(())
    }

    /// Takes the outcome of the attempt, if there is one.
    fn arrived(&mut self) -> Result<Option<SessionEvent>, Error> {
        let Some(outcome) = self.attempt.as_mut().and_then(Attempt::outcome) else {
            return Ok(None);
        };
        // News that are raised later would be taken for those of something else, for ever.
        if let Some(attempt) = self.attempt.take() {
            attempt.join();
        }
        self.shared.news.take();
        match outcome {
            Ok(mailbox) => {
                let private_group = mailbox.private_group();
                self.receive_from(mailbox)?;
                Ok(Some(self.shared.common.restored(private_group)))
            }
            Err(error) => self.failed(error).map(Some),
        }
    }

    fn failed(&self, error: Error) -> Result<SessionEvent, Error> {
        let (event, next) = self.shared.common.failed(error)?;
        self.shared.watch.set_time(Some(next)).map_err(Error::Resource)?;
        Ok(event)
    }

    fn lost(&mut self, error: Error) -> Result<SessionEvent, Error> {
        if let Some(mailbox) = self.mailbox.take() {
            self.shared.watch.remove(mailbox.as_fd());
            // The daemon is to forget this client before it comes back, and nobody is to
            // wait in a send any longer.
            mailbox.shut_down();
        }
        let (event, next) = self.shared.common.lost(error)?;
        self.shared.watch.set_time(Some(next)).map_err(Error::Resource)?;
        Ok(event)
    }
}

impl Drop for SessionReceiver {
    fn drop(&mut self) {
        if !self.shared.common.is_ours() {
            return;
        }
        // Whoever sees that the receiver is gone may disconnect: that of the connection has
        // gone before.
        let is_connected = self.shared.common.end_unless_connected();
        drop(self.mailbox.take());
        self.drop_attempt(is_connected);
        self.shared.common.receiver_is_gone();
    }
}
