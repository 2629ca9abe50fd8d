//! The half of an async session that receives, and reconnects meanwhile.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use spread_wire::PrivateGroup;
use tokio::time::{Sleep, sleep_until, timeout_at};

use super::Shared;
use crate::session::common::{ended, not_connected};
use crate::session::state::{Change, Joining, Step};
use crate::{AsyncMailbox, AsyncReceiver, AsyncSender, Error, SessionEvent, SessionStats};

/// An attempt to connect; in a mutex only so that it can be shared, and never locked.
type Attempt = Mutex<Pin<Box<dyn Future<Output = Result<AsyncReceiver, Error>> + Send>>>;

/// The half of an [`AsyncSession`](crate::AsyncSession) that receives.
pub struct AsyncSessionReceiver {
    shared: Arc<Shared>,
    /// The connection that is received from, if there is one.
    mailbox: Option<AsyncReceiver>,
    attempt: Option<Attempt>,
    /// The wait for the next attempt.
    wait: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl AsyncSessionReceiver {
    /// Makes the first connection, or leaves it to the first receive, if it is to be retried.
    pub(super) async fn begin(shared: Arc<Shared>) -> Result<AsyncSessionReceiver, Error> {
        let mut mailbox = None;
        if !shared.common.retries_first() && shared.common.step() == Step::Connect {
            mailbox = Some(connect(&shared).await?);
        }
        Ok(AsyncSessionReceiver { shared, mailbox, attempt: None, wait: None, has_ended: false })
    }

    /// See [`SessionSender::private_group`](crate::SessionSender::private_group).
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.shared.common.current().map(|sender| sender.private_group())
    }

    /// See [`SessionSender::stats`](crate::SessionSender::stats).
    pub fn stats(&self) -> SessionStats {
        self.shared.common.stats()
    }

    /// Receives the next event: a message, or news of the connection.
    ///
    /// Cancel safe: an event is taken only when the future completes. An attempt to connect
    /// that is under way stays with the receiver, and goes on in the next receive.
    ///
    /// # Errors
    ///
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](AsyncSessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O or time is not enabled.
    pub async fn receive(&mut self) -> Result<SessionEvent, Error> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`receive`](AsyncSessionReceiver::receive), for futures made by hand.
    ///
    /// # Errors
    ///
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](AsyncSessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    ///
    /// # Panics
    ///
    /// As [`receive`](AsyncSessionReceiver::receive).
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<SessionEvent, Error>> {
        self.shared.common.usable()?;
        loop {
            if let Some(mailbox) = &mut self.mailbox {
                return Poll::Ready(match ready!(mailbox.poll_receive(cx)) {
                    Ok(message) => Ok(SessionEvent::Message(message)),
                    Err(error) if error.is_closed() => self.lost(error),
                    Err(error) => Err(error),
                });
            }
            // An end after the look is to wake this task.
            self.shared.wake_at_end(cx.waker());
            match self.shared.common.step() {
                Step::End => {
                    self.attempt = None;
                    return Poll::Ready(Err(ended()));
                }
                Step::Connect => {
                    let shared = Arc::clone(&self.shared);
                    let attempt = Box::pin(async move { connect(&shared).await });
                    self.attempt = Some(Mutex::new(attempt));
                }
                Step::Wait(next) => {
                    let wait = self.wait.get_or_insert_with(|| Box::pin(sleep_until(next.into())));
                    ready!(wait.as_mut().poll(cx));
                    self.wait = None;
                }
                Step::Attempt | Step::Receive => {
                    let outcome = ready!(self.poll_attempt(cx));
                    return Poll::Ready(self.arrived(outcome));
                }
            }
        }
    }

    /// Receives an event if that needs no waiting; `None` otherwise. Begins an attempt to
    /// connect when one is due.
    ///
    /// # Errors
    ///
    /// - The error of an attempt to connect that is not to be followed by another one; see
    ///   [`SessionOptions::retry_if`](crate::SessionOptions::retry_if). The session has ended.
    /// - [`ShutDown`](Error::ShutDown): the session had ended before, or by
    ///   [`shut_down`](AsyncSessionReceiver::shut_down).
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    ///
    /// # Panics
    ///
    /// As [`receive`](AsyncSessionReceiver::receive).
    pub fn try_receive(&mut self) -> Result<Option<SessionEvent>, Error> {
        match self.poll_receive(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => event.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Ends the session for all halves. See
    /// [`AsyncSession::disconnect`](crate::AsyncSession::disconnect), where the errors are listed,
    /// also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSession::disconnect`](crate::AsyncSession::disconnect).
    pub async fn disconnect(self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let ended = shared.common.end_connected();
        drop(self);
        let (connection, _ending) = ended?;
        connection.disconnect().await
    }

    /// See [`AsyncSessionSender::shut_down`](crate::AsyncSessionSender::shut_down).
    pub fn shut_down(&self) {
        self.shared.shut_down();
    }

    fn poll_attempt(&mut self, cx: &mut Context<'_>) -> Poll<Result<AsyncReceiver, Error>> {
        let Some(mut attempt) = self.attempt.take() else {
            // It has panicked within an authenticator, and is an attempt in vain.
            return Poll::Ready(Err(not_connected()));
        };
        let future = attempt.get_mut().unwrap_or_else(PoisonError::into_inner);
        let outcome = future.as_mut().poll(cx);
        self.attempt = outcome.is_pending().then_some(attempt);
        outcome
    }

    fn arrived(&mut self, outcome: Result<AsyncReceiver, Error>) -> Result<SessionEvent, Error> {
        match outcome {
            Ok(mailbox) => {
                let private_group = mailbox.private_group();
                self.mailbox = Some(mailbox);
                Ok(self.shared.common.restored(private_group))
            }
            Err(error) => self.shared.common.failed(error).map(|(event, _)| event),
        }
    }

    fn lost(&mut self, error: Error) -> Result<SessionEvent, Error> {
        if let Some(mailbox) = self.mailbox.take() {
            // The daemon is to forget this client before it comes back, and nobody is to
            // wait in a send any longer.
            mailbox.shut_down();
        }
        self.shared.common.lost(error).map(|(event, _)| event)
    }
}

/// Makes a connection that is in all groups of the session, and its connection.
async fn connect(shared: &Shared) -> Result<AsyncReceiver, Error> {
    let mailbox = AsyncMailbox::connect(shared.common.builder().clone()).await?;
    shared.common.connected();
    let (sender, receiver) = mailbox.split();
    let deadline = shared.common.builder().joined_by();
    let joined = timeout_at(deadline.into(), join_groups(shared, &sender)).await;
    let joined = joined.unwrap_or(Err(not_connected()));
    if joined.is_err() {
        // The daemon is to forget this client before the next attempt.
        sender.shut_down();
    }
    joined.map(|()| receiver)
}

async fn join_groups(shared: &Shared, sender: &AsyncSender) -> Result<(), Error> {
    loop {
        match shared.common.next_change(sender) {
            Joining::Send(Change::Join(group)) => sender.join(group.as_str()).await?,
            Joining::Send(Change::Leave(group)) => sender.leave(group.as_str()).await?,
            Joining::Done => return Ok(()),
            Joining::Ended => return Err(ended()),
        }
    }
}

/// The events as they come; after the error that ends the session, nothing more.
impl Stream for AsyncSessionReceiver {
    type Item = Result<SessionEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_receive(cx));
        self.has_ended = next.is_err() && self.shared.common.has_ended();
        Poll::Ready(Some(next))
    }
}

impl fmt::Debug for AsyncSessionReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSessionReceiver")
            .field("private_group", &self.private_group())
            .finish_non_exhaustive()
    }
}

impl Drop for AsyncSessionReceiver {
    fn drop(&mut self) {
        // Whoever sees that the receiver is gone may disconnect: that of the connection has
        // gone before.
        drop(self.mailbox.take());
        drop(self.attempt.take());
        if self.shared.common.is_ours() {
            self.shared.common.receiver_is_gone();
        }
    }
}
