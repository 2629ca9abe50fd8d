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
use crate::{Error, Message, Receiver};

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

    /// Receives the next message.
    ///
    /// Cancel safe: a message is taken only when the future completes, so dropping it before
    /// loses nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::receive`].
    pub async fn receive(&mut self) -> Result<Message, Error> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// As [`receive`](AsyncReceiver::receive), for futures made by hand.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::receive`].
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        loop {
            let mut ready = ready!(self.shared.io().poll_read_ready(cx)).map_err(Error::Io)?;
            match self.receiver.try_receive() {
                Ok(Some(message)) => return Poll::Ready(Ok(message)),
                // What comes after the look is an event again.
                Ok(None) => ready.clear_ready(),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
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
