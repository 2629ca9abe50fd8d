//! The half of an async mailbox that sends.

use std::fmt;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use spread_core::Sent;
use spread_wire::{Name, PrivateGroup, ServiceType};
use tokio::sync::OwnedMutexGuard as Turn;

use super::Shared;
use crate::connection::Connection;
use crate::multicast::{self, GroupList};
#[cfg(doc)]
use crate::{AsyncMailbox, Mailbox};
use crate::{Batch, Error, Library, Outgoing, SendOptions, ToGroups};

/// A message on its way; in a mutex only so that it can be shared, and never locked.
type Sending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The half of an [`AsyncMailbox`] that joins, leaves and sends; clones of it work
/// side by side.
pub struct AsyncSender {
    shared: Arc<Shared>,
    /// What the sink has taken and not sent.
    pending: Option<Mutex<Sending>>,
}

impl Clone for AsyncSender {
    /// A sender with nothing pending.
    fn clone(&self) -> AsyncSender {
        AsyncSender::new(Arc::clone(&self.shared))
    }
}

impl fmt::Debug for AsyncSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncSender")
            .field("private_group", &self.private_group())
            .finish_non_exhaustive()
    }
}

impl AsyncSender {
    pub(super) fn new(shared: Arc<Shared>) -> AsyncSender {
        AsyncSender { shared, pending: None }
    }

    /// Sends what the sink has taken, ends the connection, and waits for the daemon.
    pub(super) async fn disconnect(mut self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let pending = poll_fn(move |cx| Pin::new(&mut self).poll_ready(cx));
        shared.disconnect(pending).await
    }

    /// See [`Mailbox::library`].
    pub fn library(&self) -> Library {
        self.connection().library()
    }

    /// See [`Mailbox::private_group`].
    pub fn private_group(&self) -> PrivateGroup {
        self.connection().private_group()
    }

    /// Joins a group. See [`Mailbox::join`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::join`].
    pub async fn join(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.send(ServiceType::JOIN, &[group.into()], 0, &[]).await
    }

    /// Leaves a group. See [`Mailbox::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::leave`].
    pub async fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.send(ServiceType::LEAVE, &[group.into()], 0, &[]).await
    }

    /// Sends a message once there is room for it. See [`Mailbox::multicast`].
    ///
    /// The payload lives in the future until it is done: give a slice or a `Vec`, since
    /// a large array by value, such as `[0; 140_000]`, makes a future that is too large
    /// for a stack.
    ///
    /// It never blocks the executor, however large the message and however slow the
    /// daemon. Messages go out one after the other, in the order in which their
    /// futures were first polled.
    ///
    /// Dropped before it is done, the future has either sent nothing, or a part of the
    /// message has gone; then the runtime sends the rest all the same, before
    /// anything else, for as long as there is a half of the mailbox. In the end the
    /// rest has the time that [`disconnect`](AsyncMailbox::disconnect) takes.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::multicast`].
    pub async fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (options, payload) = (options.into(), payload.as_ref());
        let groups = GroupList::of(groups)?;
        groups.check_payload(payload.len())?;
        self.send(options.service_type(), groups.names(), options.number(), payload).await
    }

    /// Sends the first messages of a batch, as many as there is room for, once there
    /// is room; takes them out of the batch and returns their number. The rest is for
    /// the next call. See [`Mailbox::multicast_batch`].
    ///
    /// They go with one system call, or a few. It never blocks the
    /// executor, and messages sent side by side go out one after the other, as with
    /// [`multicast`](AsyncSender::multicast). If the future is dropped before it is done,
    /// what is no longer in the batch goes all the same.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::multicast_batch`].
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        if batch.is_empty() {
            return Ok(0);
        }
        let turn = self.shared.turn().await;
        let send = |core: &spread_core::Connection| core.try_multicast_frames(batch.frames());
        let (count, sent) =
            self.shared.when_writable(send, |(_, sent)| *sent == Sent::Nothing).await?;
        self.finish(turn, sent).await.map(|()| count)
    }

    /// Ends the connection at once for all halves. See
    /// [`Sender::shut_down`](crate::Sender::shut_down).
    pub fn shut_down(&self) {
        self.connection().shut_down();
    }

    /// Sends as there is room.
    async fn send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[u8],
    ) -> Result<(), Error> {
        let turn = self.shared.turn().await;
        let body = [IoSlice::new(payload)];
        let send =
            |core: &spread_core::Connection| core.try_send(service_type, groups, number, &body);
        let sent = self.shared.when_writable(send, |sent| *sent == Sent::Nothing).await?;
        self.finish(turn, sent).await
    }

    /// Sends the rest of a message, if there is any.
    async fn finish(&self, turn: Turn<()>, sent: Sent) -> Result<(), Error> {
        if sent != Sent::Begun {
            return Ok(());
        }
        let mut rest = Rest { shared: &self.shared, turn: Some(turn) };
        let sent = self.shared.flush().await;
        rest.turn = None;
        sent
    }

    fn connection(&self) -> &Connection {
        self.shared.connection()
    }
}

/// The rest of a message that is on its way. If the future that began it is dropped, a task
/// sends it: nothing can follow half a message.
struct Rest<'a> {
    shared: &'a Arc<Shared>,
    turn: Option<Turn<()>>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.shared.flush_in_background(turn);
        }
    }
}

/// Takes one message at a time: it is sent by the time the sink is ready again or
/// has been flushed.
impl Sink<Outgoing> for AsyncSender {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(pending) = &mut self.pending else {
            return Poll::Ready(Ok(()));
        };
        let pending = pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        let sent = ready!(pending.as_mut().poll(cx));
        self.pending = None;
        Poll::Ready(sent)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Error> {
        let sender = self.clone();
        self.pending = Some(Mutex::new(Box::pin(async move {
            let Outgoing { options, groups, payload } = message;
            let (service_type, number) = (options.service_type(), options.number());
            sender.send(service_type, groups.names(), number, &payload).await
        })));
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_ready(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_ready(cx)
    }
}
