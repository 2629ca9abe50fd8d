//! Sessions for tokio.

mod receiver;
mod sender;

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use futures_sink::Sink;
use spread_wire::{GroupName, PrivateGroup};
use tokio::sync::Mutex as AsyncMutex;

use super::common::Common;
use super::{SessionEvent, SessionOptions, SessionStats};
use crate::{AsyncSender, Batch, Builder, Error, Outgoing, SendOptions, ToGroup, ToGroups};

pub use receiver::AsyncSessionReceiver;
pub use sender::AsyncSessionSender;

/// A [`Session`](crate::Session) for tokio: receiving and sending are futures that never
/// block the executor.
///
/// It is a [`Stream`](https://docs.rs/futures-core) of [events](SessionEvent), which ends with the
/// session, and a [`Sink`](https://docs.rs/futures-sink) for
/// [`Outgoing`] messages. It reconnects
/// while it is received from, in the task that receives; it starts no task. What a loss takes,
/// and how to account for it, is at [`Session`](crate::Session#what-a-loss-takes).
///
/// A program that reads standard input by `tokio::io::stdin` ends with
/// [`Runtime::shutdown_background`](https://docs.rs/tokio/latest/tokio/runtime/struct.Runtime.html#method.shutdown_background)
/// after its `block_on`, as the example `session_chat` does: a read that has begun cannot be
/// cancelled, and a runtime that is dropped waits for the next line.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::{AsyncSession, Backoff, Mailbox, SessionEvent};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let builder = Mailbox::builder(address).private_name("alice");
/// let mut session = AsyncSession::connect(builder, Backoff::default()).await?;
/// session.join("chat").await?;
/// match session.receive().await? {
///     SessionEvent::Message(message) => println!("{message:?}"),
///     SessionEvent::Lost { error, .. } => println!("alone: {error}"),
///     other => println!("{other:?}"),
/// }
/// session.disconnect().await
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AsyncSession {
    sender: AsyncSessionSender,
    receiver: AsyncSessionReceiver,
}

/// What the halves of an async session share.
#[derive(Debug)]
struct Shared {
    common: Common<AsyncSender>,
    /// Held while a join or a leave is noted and sent, which keeps them in one order.
    membership: AsyncMutex<()>,
    /// The task that the end of the session wakes.
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    /// Notes the task that the end of the session wakes.
    fn wake_at_end(&self, waker: &Waker) {
        let mut present = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *present {
            Some(present) => present.clone_from(waker),
            None => *present = Some(waker.clone()),
        }
    }

    fn shut_down(&self) {
        if !self.common.is_ours() {
            return;
        }
        if let Some(sender) = self.common.shut_down() {
            sender.shut_down();
        }
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl AsyncSession {
    /// Connects, for a session that connects again when the connection is lost.
    ///
    /// The runtime's I/O and time must be enabled. Cancel safe: dropping the future gives up.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncMailbox::connect`](crate::AsyncMailbox::connect), unless the options
    /// [retry the first connection](SessionOptions::retry_first).
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O or time is not enabled.
    pub async fn connect(
        builder: Builder,
        options: impl Into<SessionOptions>,
    ) -> Result<AsyncSession, Error> {
        // A mistake in an address or a method shows at once.
        builder.addresses()?;
        let shared = Arc::new(Shared {
            common: Common::new(builder, options.into()),
            membership: AsyncMutex::default(),
            waker: Mutex::default(),
        });
        let sender = AsyncSessionSender::new(Arc::clone(&shared));
        let receiver = AsyncSessionReceiver::begin(shared).await?;
        Ok(AsyncSession { sender, receiver })
    }

    /// Makes two halves of the session, for two tasks.
    ///
    /// The session ends with the last half, clones of the sender included, or with either's
    /// [`shut_down`](AsyncSessionSender::shut_down). Without the half that receives it does not
    /// reconnect: the first call that finds the connection closed returns
    /// [`ConnectionClosed`](Error::ConnectionClosed), or [`ShutDown`](Error::ShutDown) after a
    /// [`reconnect`](AsyncSessionSender::reconnect), and ends the session. Later ones return
    /// [`ShutDown`](Error::ShutDown).
    pub fn split(self) -> (AsyncSessionSender, AsyncSessionReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`SessionSender::private_group`](crate::SessionSender::private_group).
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.sender.private_group()
    }

    /// See [`SessionSender::is_connected`](crate::SessionSender::is_connected).
    pub fn is_connected(&self) -> bool {
        self.sender.is_connected()
    }

    /// See [`SessionSender::groups`](crate::SessionSender::groups).
    pub fn groups(&self) -> Vec<GroupName> {
        self.sender.groups()
    }

    /// See [`SessionSender::stats`](crate::SessionSender::stats).
    pub fn stats(&self) -> SessionStats {
        self.sender.stats()
    }

    /// Joins a group, now and whenever the connection is restored. See
    /// [`AsyncSessionSender::join`], also for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::join`], where they are listed.
    pub async fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.join(group).await
    }

    /// Leaves a group, and does not join it again. See [`AsyncSessionSender::leave`], also
    /// for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::leave`], where they are listed.
    pub async fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.leave(group).await
    }

    /// Sends a message once there is room for it. See [`AsyncSessionSender::multicast`], also
    /// for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::multicast`], where they are listed.
    pub async fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast(options, groups, payload).await
    }

    /// Sends a message that lies in pieces. See [`AsyncSessionSender::multicast_vectored`], also
    /// for cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::multicast_vectored`], where they are listed.
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
    /// What is buffered when the connection is lost is lost with it, and is not counted as
    /// [`unsent`](crate::SessionEvent::Lost): it is not known how much of it has gone.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::multicast_buffered`], where they are listed.
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
    /// Those of [`AsyncSessionSender::flush`], where they are listed.
    pub async fn flush(&self) -> Result<(), Error> {
        self.sender.flush().await
    }

    /// Sends all messages of a batch. See [`AsyncSessionSender::multicast_batch`], also for
    /// cancellation.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::multicast_batch`], where they are listed.
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        self.sender.multicast_batch(batch).await
    }

    /// Sends the first messages of a batch, without waiting. See
    /// [`AsyncSessionSender::try_multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionSender::try_multicast_batch`], where they are listed.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.try_multicast_batch(batch)
    }

    /// Receives the next event. See [`AsyncSessionReceiver::receive`]. Cancel safe.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionReceiver::receive`], where they are listed.
    pub async fn receive(&mut self) -> Result<SessionEvent, Error> {
        self.receiver.receive().await
    }

    /// Receives an event if that needs no waiting; `None` otherwise. See
    /// [`AsyncSessionReceiver::try_receive`].
    ///
    /// # Errors
    ///
    /// Those of [`AsyncSessionReceiver::try_receive`], where they are listed.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O or time is not enabled.
    pub fn try_receive(&mut self) -> Result<Option<SessionEvent>, Error> {
        self.receiver.try_receive()
    }

    /// Ends the session. If there is a connection, waits up to a second until the daemon has
    /// taken all that was sent on it.
    /// `Ok` says that the daemon has read it. After an error the session has ended as well, and some
    /// of what was sent last may not have been read. (A daemon on another host that ends the
    /// connection at the same moment is not told from one that has read everything.)
    ///
    /// Dropping the future ends the session all the same, without waiting.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if there is no connection: if the daemon or
    ///   the network has ended it, whether [`Lost`](crate::SessionEvent::Lost) has told of it or not.
    /// - [`ShutDown`](Error::ShutDown) if the session had ended before, or this program the
    ///   connection.
    /// - [`DisconnectTimeout`](Error::DisconnectTimeout) if the daemon did not end it within a
    ///   second, and [`Resource`](Error::Resource) if the system lacks memory to wait for that.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.receiver.disconnect().await
    }

    /// Ends the session, and drops the connection without a word to the daemon, as a crash
    /// would; what is buffered is lost. See [`Mailbox::kill`](crate::Mailbox::kill).
    pub fn kill(self) {
        if let Ok(Some(sender)) = self.sender.end() {
            sender.connection().kill();
        }
    }

    /// Gives up the present connection and connects again. See [`AsyncSessionSender::reconnect`].
    pub fn reconnect(&self) {
        self.sender.reconnect();
    }

    /// Ends the session at once, for clones of the sender, too. See
    /// [`AsyncSessionSender::shut_down`].
    pub fn shut_down(&self) {
        self.sender.shut_down();
    }
}

impl Sink<Outgoing> for AsyncSession {
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

impl Stream for AsyncSession {
    type Item = Result<SessionEvent, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}
