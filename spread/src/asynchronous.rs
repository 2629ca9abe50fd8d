//! Mailboxes for tokio.

mod connect;
mod flusher;
mod receiver;
mod sender;
mod shared;

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_sink::Sink;
use spread_wire::PrivateGroup;

use crate::{
    Batch, Builder, Error, Library, Mailbox, Message, Outgoing, SendOptions, Stats, ToGroup,
    ToGroups,
};
pub use receiver::AsyncReceiver;
pub use sender::AsyncSender;
use shared::Shared;

/// A [`Mailbox`] for tokio: receiving and sending are futures that never block
/// the executor.
///
/// It is a [`Stream`](https://docs.rs/futures-core) of messages, which ends with the mailbox, and a
/// [`Sink`](https://docs.rs/futures-sink) for
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
    /// Connects. Cancel safe: dropping the future gives up; nothing of it keeps the program from ending.
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
    /// The runtime's I/O and time must be enabled.
    ///
    /// # Errors
    ///
    /// [`Resource`](Error::Resource) if the runtime cannot take its descriptor.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O or time is not enabled.
    pub fn new(mailbox: Mailbox) -> Result<AsyncMailbox, Error> {
        let (_, mut receiver) = mailbox.split();
        receiver.take_all();
        let connection = Arc::clone(receiver.connection());
        let shared = Arc::new(Shared::new(connection).map_err(Error::Resource)?);
        // A `try_multicast_batch` may have begun a message; whoever comes next is told what
        // goes wrong.
        if !matches!(shared.try_flush(), Ok(true)) {
            shared.flush_in_background();
        }
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

    /// Joins a group. See [`AsyncSender::join`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::join`], where they are listed.
    pub async fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.join(group).await
    }

    /// Leaves a group. See [`AsyncSender::leave`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::leave`], where they are listed.
    pub async fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.leave(group).await
    }

    /// Sends a message once there is room for it. See [`AsyncSender::multicast`], also for
    /// cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::multicast`], where they are listed.
    pub async fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast(options, groups, payload).await
    }

    /// Sends a message that lies in pieces, without putting them together first. See
    /// [`AsyncSender::multicast_vectored`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::multicast_vectored`], where they are listed.
    pub async fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.sender.multicast_vectored(options, groups, payload).await
    }

    /// Copies a message into the buffer of the connection, to be sent in the background. See
    /// [`AsyncSender::multicast_buffered`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::multicast_buffered`], where they are listed.
    pub async fn multicast_buffered(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast_buffered(options, groups, payload).await
    }

    /// Waits until the kernel has all that was sent and buffered so far. See
    /// [`AsyncSender::flush`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::flush`], where they are listed.
    pub async fn flush(&self) -> Result<(), Error> {
        self.sender.flush().await
    }

    /// Sends all messages of a batch as there is room. See [`AsyncSender::multicast_batch`], also
    /// for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::multicast_batch`], where they are listed.
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        self.sender.multicast_batch(batch).await
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// returns their number. See [`AsyncSender::try_multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSender::try_multicast_batch`], where they are listed.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.try_multicast_batch(batch)
    }

    /// Receives the next message. Cancel safe. See [`AsyncReceiver::receive`].
    ///
    /// # Errors
    ///
    /// Those of [`AsyncReceiver::receive`], where they are listed.
    pub async fn receive(&mut self) -> Result<Message, Error> {
        self.receiver.receive().await
    }

    /// Receives a message if that needs no waiting; `None` otherwise. See
    /// [`AsyncReceiver::try_receive`].
    ///
    /// # Errors
    ///
    /// Those of [`AsyncReceiver::try_receive`], where they are listed.
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        self.receiver.try_receive()
    }

    /// Ends the connection, and waits up to a second until the daemon has taken all that was
    /// sent before.
    /// `Ok` says that the daemon has read it. After an error the connection has ended as well, and some
    /// of what was sent last may not have been read. (A daemon on another host that ends the
    /// connection at the same moment is not told from one that has read everything.)
    ///
    /// What is buffered, and what the sink has taken, is sent first, within the same second.
    /// The connection ends for all clones of the sender, too: what they send later fails.
    /// Dropping the mailbox does not wait.
    ///
    /// Dropped before it is done, the future may have ended the connection for all halves;
    /// what was not sent goes the way of a drop.
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
        drop(self.receiver);
        self.sender.disconnect().await
    }

    /// Drops the connection without a word to the daemon, as `SP_kill(3)` does and as a crash
    /// would; what is buffered is lost. See [`Mailbox::kill`].
    pub fn kill(self) {
        self.sender.connection().kill();
    }

    /// Ends the connection at once, for clones of the sender, too. See
    /// [`Sender::shut_down`](crate::Sender::shut_down).
    pub fn shut_down(&self) {
        self.sender.shut_down();
    }

    /// How much has been sent and received so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
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
