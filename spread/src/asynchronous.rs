//! Mailboxes for tokio.

mod connect;
mod receiver;
mod sender;
mod shared;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_sink::Sink;
use spread_wire::PrivateGroup;

use crate::{Batch, Builder, Error, Library, Mailbox, Message, Outgoing, SendOptions, ToGroups};
pub use receiver::AsyncReceiver;
pub use sender::AsyncSender;
use shared::Shared;

/// A [`Mailbox`] for tokio: receiving and sending are futures that never block
/// the executor.
///
/// It is a [`Stream`] of messages, which ends with the mailbox, and a [`Sink`] for
/// [`Outgoing`] ones.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::{AsyncMailbox, Mailbox, Message, Service};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let mut mailbox = AsyncMailbox::connect(Mailbox::builder(address)).await?;
/// mailbox.multicast(Service::Fifo, mailbox.private_group(), b"note").await?;
/// let Message::Regular(message) = mailbox.receive().await? else { panic!() };
/// assert_eq!(message.payload(), b"note");
/// mailbox.disconnect().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncMailbox {
    sender: AsyncSender,
    receiver: AsyncReceiver,
}

impl AsyncMailbox {
    /// Connects. Dropping the future gives up; nothing of it keeps the program from ending.
    ///
    /// The runtime's I/O and time must be enabled.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::connect`] and [`new`](AsyncMailbox::new).
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O or time is not enabled.
    pub async fn connect(builder: Builder) -> Result<AsyncMailbox, Error> {
        AsyncMailbox::new(Mailbox::new(connect::open(&builder).await?))
    }

    /// Takes a mailbox into the runtime that the calling task runs in. It is bound to that
    /// runtime: when it has ended, calls fail with [`Io`](Error::Io).
    ///
    /// The runtime's I/O must be enabled.
    ///
    /// # Errors
    ///
    /// [`Resource`](Error::Resource) if the runtime cannot take its descriptor.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O is not enabled.
    pub fn new(mailbox: Mailbox) -> Result<AsyncMailbox, Error> {
        let (_, receiver) = mailbox.split();
        let connection = Arc::clone(receiver.connection());
        let shared = Arc::new(Shared::new(connection).map_err(Error::Resource)?);
        Ok(AsyncMailbox {
            sender: AsyncSender::new(Arc::clone(&shared)),
            receiver: AsyncReceiver::new(receiver, shared),
        })
    }

    /// Makes two halves of the mailbox, for two tasks.
    ///
    /// The connection ends with the last half, clones of the sender included, or with
    /// either's [`shut_down`](AsyncSender::shut_down). A half that is dropped before
    /// changes nothing for the other; but messages that nobody receives pile up at the
    /// daemon, which then cuts the connection off.
    pub fn split(self) -> (AsyncSender, AsyncReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`Mailbox::private_group`].
    pub fn private_group(&self) -> PrivateGroup {
        self.sender.private_group()
    }

    /// See [`Mailbox::library`].
    pub fn library(&self) -> Library {
        self.sender.library()
    }

    /// Joins a group. See [`Mailbox::join`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::join`].
    pub async fn join(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.sender.join(group).await
    }

    /// Leaves a group. See [`Mailbox::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::leave`].
    pub async fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.sender.leave(group).await
    }

    /// Sends a message once there is room for it. See [`AsyncSender::multicast`].
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
        self.sender.multicast(options, groups, payload).await
    }

    /// Sends the first messages of a batch once there is room for one. See
    /// [`AsyncSender::multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::multicast_batch`].
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.multicast_batch(batch).await
    }

    /// Receives the next message. See [`AsyncReceiver::receive`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::receive`].
    pub async fn receive(&mut self) -> Result<Message, Error> {
        self.receiver.receive().await
    }

    /// Ends the connection, and waits up to a second until the daemon has taken all that was
    /// sent before. See [`Mailbox::disconnect`].
    ///
    /// What the sink has taken is sent first. The connection ends for all clones of the
    /// sender, too: what they send later fails. Dropping the mailbox does not wait. The
    /// runtime's time must be enabled.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::disconnect`].
    pub async fn disconnect(self) -> Result<(), Error> {
        self.sender.disconnect().await
    }
}

impl Sink<Outgoing> for AsyncMailbox {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Error> {
        Pin::new(&mut self.sender).start_send(message)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Pin::new(&mut self.sender).poll_close(cx)
    }
}

impl Stream for AsyncMailbox {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}
