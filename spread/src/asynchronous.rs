//! Mailboxes for tokio.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_sink::Sink;
use spread_wire::{PrivateGroup, Request};
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard as Turn, watch};

use crate::connection::Connection;
use crate::multicast::{self, GroupList};
use crate::{
    Batch, Builder, Error, Mailbox, Message, Outgoing, Receiver, SendOptions, ToGroups, sys,
};

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
    /// Connects, on a thread where it may block.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::connect`] and [`new`](AsyncMailbox::new).
    pub async fn connect(builder: Builder) -> Result<AsyncMailbox, Error> {
        let connecting = tokio::task::spawn_blocking(move || builder.connect());
        AsyncMailbox::new(connecting.await.map_err(|error| Error::Io(error.into()))??)
    }

    /// Takes a mailbox into the runtime that the calling task runs in.
    ///
    /// The runtime's I/O must be enabled.
    ///
    /// # Errors
    ///
    /// [`Io`](Error::Io) if the runtime cannot take its descriptor.
    ///
    /// # Panics
    ///
    /// Outside a runtime, or in one whose I/O is not enabled.
    pub fn new(mailbox: Mailbox) -> Result<AsyncMailbox, Error> {
        let (_, receiver) = mailbox.split();
        let held = Held {
            connection: Arc::clone(receiver.connection()),
            runtime: Handle::current(),
            end: watch::Sender::new(()),
        };
        let io = Arc::new(sys::register(held).map_err(Error::Io)?);
        Ok(AsyncMailbox {
            sender: AsyncSender { io: Arc::clone(&io), turns: Arc::default(), pending: None },
            receiver: AsyncReceiver { receiver, io, ended: false },
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

    /// Ends the connection. See [`Mailbox::disconnect`].
    ///
    /// Dropping the mailbox does the same, on a thread where it may block. While
    /// there are clones of its sender, the connection lasts.
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::disconnect`].
    pub async fn disconnect(self) -> Result<(), Error> {
        let AsyncMailbox { sender, receiver } = self;
        drop(sender);
        let AsyncReceiver { receiver, io, .. } = receiver;
        drop(receiver);
        let connection =
            Arc::into_inner(io).and_then(|io| Arc::into_inner(io.into_inner().connection));
        let Some(connection) = connection else {
            return Ok(());
        };
        let disconnecting = tokio::task::spawn_blocking(|| connection.disconnect());
        disconnecting.await.map_err(|error| Error::Io(error.into()))?
    }
}

/// A message on its way; in a mutex only so that it can be shared, and never locked.
type Sending = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The half of an [`AsyncMailbox`] that joins, leaves and sends; clones of it work
/// side by side.
pub struct AsyncSender {
    io: Arc<AsyncFd<Held>>,
    /// Whose message is on its way.
    turns: Arc<Turns<()>>,
    /// What the sink has taken and not sent.
    pending: Option<Mutex<Sending>>,
}

impl Clone for AsyncSender {
    /// A sender with nothing pending.
    fn clone(&self) -> AsyncSender {
        AsyncSender { io: Arc::clone(&self.io), turns: Arc::clone(&self.turns), pending: None }
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
        self.send(Request::Join(group.into())).await
    }

    /// Leaves a group. See [`Mailbox::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Mailbox::leave`].
    pub async fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.send(Request::Leave(group.into())).await
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
        self.send(options.request(groups.names(), payload)).await
    }

    /// Sends the first messages of a batch, as many as there is room for, once there
    /// is room; takes them out of the batch and returns their number. The rest is for
    /// the next call. See [`Mailbox::multicast_batch`].
    ///
    /// Whatever library is in use, they go with one system call. It never blocks the
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
        let turn = Arc::clone(&self.turns).lock_owned().await;
        self.connection().usable()?;
        let mut start = |connection: &Connection| connection.start_batch(batch);
        let (count, is_whole) = poll_fn(|cx| poll_with_room(&self.io, cx, &mut start)).await?;
        self.finish(turn, is_whole).await.map(|()| count)
    }

    /// Ends the connection at once for all halves. See
    /// [`Sender::shut_down`](crate::Sender::shut_down).
    pub fn shut_down(&self) {
        self.connection().raw.shut_down();
    }

    /// Sends as there is room.
    ///
    /// The bytes go to the socket without libspread, which would wait for room.
    async fn send(&self, request: Request<'_>) -> Result<(), Error> {
        let turn = Arc::clone(&self.turns).lock_owned().await;
        self.connection().usable()?;
        let start = |connection: &Connection| connection.start_send(&request);
        let is_whole = poll_fn(|cx| poll_with_room(&self.io, cx, start)).await?;
        self.finish(turn, is_whole).await
    }

    /// Sends the rest of a message, if there is any.
    async fn finish(&self, turn: Turn<()>, is_whole: bool) -> Result<(), Error> {
        if is_whole {
            return Ok(());
        }
        let mut rest = Rest { io: &self.io, turn: Some(turn) };
        let sent = poll_fn(|cx| poll_flush(&self.io, cx)).await;
        rest.turn = None;
        sent
    }

    fn connection(&self) -> &Connection {
        &self.io.get_ref().connection
    }
}

/// The rest of a message that is on its way. If the future that began it is dropped,
/// a task sees it out: nothing can follow half a message.
struct Rest<'a> {
    io: &'a Arc<AsyncFd<Held>>,
    turn: Option<Turn<()>>,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn.take() {
            let held = self.io.get_ref();
            let end = held.end.subscribe();
            held.runtime.spawn(send_rest(Arc::downgrade(self.io), end, turn));
        }
    }
}

/// Sends the rest of a message, until the last half of the mailbox is dropped: then it
/// goes the way of the connection.
async fn send_rest(io: Weak<AsyncFd<Held>>, mut end: watch::Receiver<()>, _turn: Turn<()>) {
    let mut ended = pin!(end.changed());
    poll_fn(|cx| match io.upgrade() {
        Some(io) if ended.as_mut().poll(cx).is_pending() => poll_flush(&io, cx).map(drop),
        _ => Poll::Ready(()),
    })
    .await;
}

/// Sends the rest of a message as there is room.
fn poll_flush(io: &AsyncFd<Held>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
    poll_with_room(io, cx, |connection| connection.raw.flush())
}

/// Calls `send` until there is room; to be polled by whoever has the turn.
fn poll_with_room<T>(
    io: &AsyncFd<Held>,
    cx: &mut Context<'_>,
    mut send: impl FnMut(&Connection) -> io::Result<T>,
) -> Poll<Result<T, Error>> {
    loop {
        let mut ready = ready!(io.poll_write_ready(cx)).map_err(Error::Io)?;
        match ready.try_io(|io| send(&io.get_ref().connection)) {
            Ok(sent) => {
                return Poll::Ready(sent.map_err(|_| io.get_ref().connection.send_failed()));
            }
            // What comes after the look is an event again.
            Err(_would_block) => {}
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
            sender.send(options.request(groups.names(), &payload)).await
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

/// The half of an [`AsyncMailbox`] that receives.
#[derive(Debug)]
pub struct AsyncReceiver {
    receiver: Receiver,
    io: Arc<AsyncFd<Held>>,
    ended: bool,
}

impl AsyncReceiver {
    /// See [`Mailbox::private_group`].
    pub fn private_group(&self) -> PrivateGroup {
        self.receiver.private_group()
    }

    /// Receives the next message.
    ///
    /// Cancel safe: a message is taken only when the future is done in the same
    /// breath, so dropping it before loses nothing.
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
            let mut ready = ready!(self.io.poll_read_ready(cx)).map_err(Error::Io)?;
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

impl Stream for AsyncMailbox {
    type Item = Result<Message, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

/// The connection as a descriptor for tokio.
#[derive(Debug)]
pub(crate) struct Held {
    connection: Arc<Connection>,
    runtime: Handle,
    /// Tells tasks of the end by being dropped.
    end: watch::Sender<()>,
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> RawFd {
        self.connection.raw.as_raw_fd()
    }
}
