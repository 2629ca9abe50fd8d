//! The half of an async mailbox that receives.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use spread_wire::PrivateGroup;

use super::Shared;
#[cfg(doc)]
use crate::{AsyncMailbox, Mailbox};
use crate::{Error, Library, Message, Receiver, Stats};

/// The half of an [`AsyncMailbox`] that receives.
#[derive(Debug)]
pub struct AsyncReceiver {
    receiver: Receiver,
    shared: Arc<Shared>,
    ended: bool,
}

impl AsyncReceiver {
    pub(super) fn new(receiver: Receiver, shared: Arc<Shared>) -> AsyncReceiver {
        AsyncReceiver { receiver, shared, ended: false }
    }

    /// See [`Mailbox::private_group`].
    pub fn private_group(&self) -> PrivateGroup {
        self.receiver.private_group()
    }

    /// See [`Mailbox::library`].
    pub fn library(&self) -> Library {
        self.shared.connection().library()
    }

    /// Receives the next message.
    ///
    /// Cancel safe: a message is taken only when the future completes, so dropping it before
    /// loses nothing.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`receive`](AsyncReceiver::receive), for futures made by hand.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        loop {
            let Poll::Ready(ready) = self.shared.io().poll_read_ready(cx) else {
                // What the task has buffered would wait for another one to be woken.
                return match self.shared.try_flush() {
                    Ok(_) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                };
            };
            let mut ready = ready.map_err(Error::Io)?;
            match self.receiver.try_receive() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                // What comes after the look is an event again.
                Ok(None) => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Receives a message if that needs no waiting; `None` otherwise. Begins to send what is
    /// buffered.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        let message = self.receiver.try_receive()?;
        if message.is_none() {
            self.shared.try_flush()?;
        }
        Ok(message)
    }

    /// Ends the connection for all halves, and waits up to a second until the daemon has taken
    /// all that was sent before. See [`AsyncMailbox::disconnect`], also for cancellation.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network had ended the
    ///   connection before, whether a call has told of it or not.
    /// - [`ShutDown`](Error::ShutDown) if this program had.
    /// - [`DisconnectTimeout`](Error::DisconnectTimeout) if the daemon did not end it within a
    ///   second, and [`Resource`](Error::Resource) if the system lacks memory to wait for that.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.shared.disconnect().await
    }

    /// How much has been sent and received so far.
    pub fn stats(&self) -> Stats {
        self.receiver.stats()
    }

    /// Ends the connection at once for all halves. See
    /// [`Sender::shut_down`](crate::Sender::shut_down).
    pub fn shut_down(&self) {
        self.receiver.shut_down();
    }
}

/// The messages as they come; after the error that ends the mailbox, nothing more.
impl Stream for AsyncReceiver {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll_receive(cx));
        self.ended = next.as_ref().is_err_and(Error::is_closed);
        Poll::Ready(Some(next))
    }
}
