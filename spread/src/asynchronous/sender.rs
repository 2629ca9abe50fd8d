//! The half of an async mailbox that sends.

use std::fmt;
use std::io::IoSlice;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use spread_core::Sent;
use spread_wire::{Name, PrivateGroup, ServiceType};
use tokio::sync::MutexGuard as AsyncMutexGuard;

use super::Shared;
use crate::connection::Connection;
use crate::multicast::{self, GroupList};
#[cfg(doc)]
use crate::{AsyncMailbox, AsyncReceiver, Mailbox};
use crate::{Batch, Error, Library, Outgoing, SendOptions, Stats, ToGroup, ToGroups};

/// A wait of the sink; in a mutex only so that it can be shared, and never locked.
type Waiting = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// The half of an [`AsyncMailbox`] that joins, leaves and sends; clones of it work
/// side by side.
pub struct AsyncSender {
    shared: Arc<Shared>,
    /// The wait of the sink for room in the buffer.
    room: Option<Mutex<Waiting>>,
    /// The flush that the sink has begun.
    flush: Option<Mutex<Waiting>>,
}

impl Clone for AsyncSender {
    /// A sender whose sink waits for nothing.
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
        AsyncSender { shared, room: None, flush: None }
    }

    /// Ends the connection for all senders, and waits up to a second until the daemon has taken
    /// all that was sent before. See [`AsyncMailbox::disconnect`], also for cancellation.
    ///
    /// The [`AsyncReceiver`](crate::AsyncReceiver) has been dropped before: it may be receiving,
    /// and what comes until the end would be lost to it. If it is used, let it
    /// [disconnect](crate::AsyncReceiver::disconnect).
    ///
    /// # Errors
    ///
    /// - [`ReceiverExists`](Error::ReceiverExists) if the receiver has not been dropped; the
    ///   connection is as it was for the other handles.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network had ended the
    ///   connection before, whether a call has told of it or not.
    /// - [`ShutDown`](Error::ShutDown) if this program had.
    /// - [`DisconnectTimeout`](Error::DisconnectTimeout) if the daemon did not end it within a
    ///   second, and [`Resource`](Error::Resource) if the system lacks memory to wait for that.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.connection().usable()?;
        self.connection().check_receiver()?;
        let AsyncSender { shared, .. } = self;
        shared.disconnect().await
    }

    /// See [`Mailbox::library`].
    pub fn library(&self) -> Library {
        self.connection().library()
    }

    /// See [`Mailbox::private_group`].
    pub fn private_group(&self) -> PrivateGroup {
        self.connection().private_group()
    }

    /// Joins a group, behind what is buffered. See [`Mailbox::join`].
    ///
    /// Cancel safe as [`multicast`](AsyncSender::multicast) is: dropped before it is done, the
    /// future has sent nothing, or the join goes all the same.
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if the name is not 1 to 31 bytes of printable ASCII
    ///   except space, `!`, `"` and `#`, and [`PrivateGroup`](Error::PrivateGroup) if it is the private
    ///   group of a client.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.send(ServiceType::JOIN, &[group.into()], 0, &[]).await
    }

    /// Leaves a group, behind what is buffered. See [`Mailbox::leave`].
    ///
    /// Cancel safe as [`multicast`](AsyncSender::multicast) is: dropped before it is done, the
    /// future has sent nothing, or the leave goes all the same.
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if the name is not 1 to 31 bytes of printable ASCII
    ///   except space, `!`, `"` and `#`, and [`PrivateGroup`](Error::PrivateGroup) if it is the private
    ///   group of a client.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
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
    /// Cancel safe: dropped before it is done, the future has either sent nothing, or a part of
    /// the message has gone; then the runtime sends the rest all the same, before
    /// anything else, for as long as there is a half of the mailbox. In the end the
    /// rest has the time that [`disconnect`](AsyncMailbox::disconnect) takes.
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if a name is neither that of a group nor that of a
    ///   private group.
    /// - [`NoGroups`](Error::NoGroups) and [`TooManyGroups`](Error::TooManyGroups) if there are
    ///   not 1 to 43 groups.
    /// - [`MessageTooLong`](Error::MessageTooLong) if payload plus 32 bytes a group are more than
    ///   143,151 bytes.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (options, payload) = (options.into(), payload.as_ref());
        let groups = GroupList::of(groups)?;
        groups.check_payload(payload.len())?;
        let payload = [IoSlice::new(payload)];
        self.send(options.service_type(), groups.names(), options.number(), &payload).await
    }

    /// Sends a message that lies in pieces, without putting them together first, as
    /// [`multicast`](AsyncSender::multicast) does, also if it is dropped. See
    /// [`Sender::multicast_vectored`](crate::Sender::multicast_vectored).
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if a name is neither that of a group nor that of a
    ///   private group.
    /// - [`NoGroups`](Error::NoGroups) and [`TooManyGroups`](Error::TooManyGroups) if there are
    ///   not 1 to 43 groups.
    /// - [`MessageTooLong`](Error::MessageTooLong) if payload plus 32 bytes a group are more than
    ///   143,151 bytes.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let options = options.into();
        let groups = GroupList::of(groups)?;
        groups.check_pieces(payload)?;
        self.send(options.service_type(), groups.names(), options.number(), payload).await
    }

    /// Sends all messages of a batch as there is room, and takes them out of it. See
    /// [`Mailbox::multicast_batch`].
    ///
    /// They go with one system call for as many as the socket has room for. It never blocks
    /// the executor, and messages sent side by side go out one after the other, as with
    /// [`multicast`](AsyncSender::multicast). Cancel safe: if the future is dropped before it is
    /// done, what is no longer in the batch goes all the same.
    ///
    /// A daemon does not take more for ever from a client that does not read: receive in
    /// another task, or at the same time.
    ///
    /// # Errors
    ///
    /// What has not been sent remains in the batch, but a message of which a part was sent:
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; what is still in the batch has
    ///   not been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        while !batch.is_empty() {
            let turn = self.shared.turn().await;
            // A flush in another thread, as by the receiver, is not a want of room.
            let send =
                |core: &spread_core::Connection| core.try_multicast_frames_in_turn(batch.frames());
            let sent = self.shared.when_writable(send, |(_, sent)| *sent != Sent::Nothing).await;
            // A message may have begun before the memory was lacking.
            let (_, sent) = sent.inspect_err(|_| self.shared.flush_in_background())?;
            self.finish(turn, sent).await?;
        }
        Ok(())
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// takes them out of the batch and returns their number, which is 0 also while another
    /// message is on its way. See [`Mailbox::try_multicast_batch`].
    ///
    /// If the last of them has begun only, the runtime sends its rest, before anything else.
    ///
    /// # Errors
    ///
    /// What has not been sent remains in the batch, but a message of which a part was sent:
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory, perhaps after some of the
    ///   messages. No event tells of its end: try again after 10 ms or more.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.connection().usable()?;
        let Some(_turn) = self.shared.try_turn() else {
            return Ok(0);
        };
        let sent = self.connection().core().try_multicast_frames(batch.frames());
        if !matches!(sent, Ok((_, Sent::All | Sent::Nothing))) {
            self.shared.flush_in_background();
        }
        sent.map(|(count, _)| count).map_err(|error| self.connection().send_failed(error))
    }

    /// Copies a message into the buffer of the connection, from where it is sent in the
    /// background, many with one system call; waits only while the buffer is full. While the
    /// system lacks memory, the messages stay in the buffer.
    ///
    /// All halves and clones share one buffer, in which up to 256 KiB wait to be sent. It is
    /// sent whenever the [`AsyncReceiver`] has nothing to receive, and otherwise by a task of
    /// the runtime as soon as the tasks that fill it wait for something.
    ///
    /// The order is kept: joins, leaves, [`multicast`](AsyncSender::multicast) and
    /// [`multicast_batch`](AsyncSender::multicast_batch) come behind what was buffered before
    /// they were called.
    ///
    /// Returning does not mean that the kernel or the daemon has the message:
    /// [`flush`](AsyncSender::flush) waits for the kernel. What is buffered when the last
    /// half of the mailbox is dropped is sent as a drop of a mailbox does it, for up to a
    /// second; [`disconnect`](AsyncMailbox::disconnect) waits for it.
    ///
    /// Cancel safe: dropped before it returns, the future has taken nothing; after that the
    /// message is sent unless the connection fails.
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// # let address = daemon.address();
    /// use spread::{AsyncMailbox, Mailbox, Service};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let mailbox = AsyncMailbox::connect(Mailbox::builder(address)).await?;
    /// for reading in 0..1000u32 {
    ///     mailbox.multicast_buffered(Service::Fifo, "sensors", reading.to_le_bytes()).await?;
    /// }
    /// mailbox.flush().await
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Before anything is sent:
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if a name is neither that of a group nor that of a
    ///   private group.
    /// - [`NoGroups`](Error::NoGroups) and [`TooManyGroups`](Error::TooManyGroups) if there are
    ///   not 1 to 43 groups.
    /// - [`MessageTooLong`](Error::MessageTooLong) if payload plus 32 bytes a group are more than
    ///   143,151 bytes.
    ///
    /// Then:
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the connection has ended, also if sending
    ///   what was buffered before has failed: then it is not known how much of it has gone.
    /// - [`ShutDown`](Error::ShutDown) if this program has ended the connection.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_buffered(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (options, payload) = (options.into(), payload.as_ref());
        let groups = GroupList::of(groups)?;
        groups.check_payload(payload.len())?;
        let (service_type, number) = (options.service_type(), options.number());
        self.shared.buffer(service_type, groups.names(), number, payload).await
    }

    /// Waits until the kernel has all that was sent and buffered before the call, by any half
    /// or clone; what comes behind meanwhile is not waited for.
    ///
    /// Cancel safe: dropped, it leaves what is buffered to be sent in the background.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the connection has ended, or failed while
    ///   something was sent: it is not known how much of the buffer has gone.
    /// - [`ShutDown`](Error::ShutDown) if this program has ended the connection: neither is it then.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn flush(&self) -> Result<(), Error> {
        self.shared.flush().await
    }

    /// Ends the connection at once for all halves. See
    /// [`Sender::shut_down`](crate::Sender::shut_down).
    pub fn shut_down(&self) {
        self.connection().shut_down();
    }

    /// How much has been sent and received so far.
    pub fn stats(&self) -> Stats {
        self.connection().stats()
    }

    /// Sends as there is room.
    async fn send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        number: i16,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let turn = self.shared.turn().await;
        let send =
            |core: &spread_core::Connection| core.try_send(service_type, groups, number, payload);
        let sent = self.shared.when_writable(send, |sent| *sent != Sent::Nothing).await?;
        self.finish(turn, sent).await
    }

    /// Waits until the rest of a message that has begun has gone. If the future is dropped,
    /// the flusher sends it: nothing can follow half a message.
    async fn finish(&self, turn: AsyncMutexGuard<'_, ()>, sent: Sent) -> Result<(), Error> {
        if sent != Sent::Begun {
            return Ok(());
        }
        self.shared.flush_in_background();
        drop(turn);
        self.shared.flush().await
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.shared.connection()
    }

    /// Whether both send on the same connection.
    pub(crate) fn is_same(&self, other: &AsyncSender) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

/// Takes messages into the buffer of the connection, as
/// [`multicast_buffered`](AsyncSender::multicast_buffered) does: it is ready while less than
/// 256 KiB wait, so the last message may go beyond them. A flush, and so a close, waits until
/// the kernel has them.
impl Sink<Outgoing> for AsyncSender {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.shared.try_room()? {
            self.room = None;
            return Poll::Ready(Ok(()));
        }
        let sender = &mut *self;
        sender.room.get_or_insert_with(|| {
            let shared = Arc::clone(&sender.shared);
            Mutex::new(Box::pin(async move { shared.room().await }))
        });
        poll_some(&mut sender.room, cx)
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Error> {
        self.flush = None;
        let Outgoing { options, groups, payload } = message;
        let (service_type, number) = (options.service_type(), options.number());
        self.shared.buffer_beyond(service_type, groups.names(), number, &payload)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self.shared.try_flush()? {
            self.flush = None;
            return Poll::Ready(Ok(()));
        }
        let sender = &mut *self;
        sender.flush.get_or_insert_with(|| {
            let shared = Arc::clone(&sender.shared);
            Mutex::new(Box::pin(async move { shared.flush().await }))
        });
        poll_some(&mut sender.flush, cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(cx)
    }
}

/// Polls a future if there is one, and drops it at its end.
fn poll_some(future: &mut Option<Mutex<Waiting>>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
    let Some(some) = future else {
        return Poll::Ready(Ok(()));
    };
    let some = some.get_mut().unwrap_or_else(PoisonError::into_inner);
    let done = ready!(some.as_mut().poll(cx));
    *future = None;
    Poll::Ready(done)
}
