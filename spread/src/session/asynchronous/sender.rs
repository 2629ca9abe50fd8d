//! The half of an async session that sends.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;
use spread_wire::{GroupName, PrivateGroup};

use super::Shared;
use crate::multicast::group_name;
use crate::session::common::not_connected;
use crate::{AsyncSender, Batch, Error, Outgoing, SendOptions, SessionStats, ToGroup, ToGroups};

/// The half of an [`AsyncSession`](crate::AsyncSession) that joins, leaves and sends; clones
/// of it work side by side.
///
/// It is a [`Sink`](https://docs.rs/futures-sink) for [`Outgoing`] messages, as [`AsyncSender`] is.
#[derive(Debug)]
pub struct AsyncSessionSender {
    shared: Arc<Shared>,
    /// The connection whose buffer the sink fills, if there is one.
    sink: Option<AsyncSender>,
    /// Whether the sink has taken messages since its last flush, or since it has failed.
    has_taken: bool,
}

impl Clone for AsyncSessionSender {
    /// A sender whose sink has taken nothing yet.
    fn clone(&self) -> AsyncSessionSender {
        AsyncSessionSender {
            shared: Arc::clone(&self.shared),
            sink: self.sink.clone(),
            has_taken: false,
        }
    }
}

impl AsyncSessionSender {
    pub(super) fn new(shared: Arc<Shared>) -> AsyncSessionSender {
        AsyncSessionSender { shared, sink: None, has_taken: false }
    }

    /// Ends the session; returns the sender of its connection, if there is one.
    pub(super) fn end(self) -> Result<Option<AsyncSender>, Error> {
        self.shared.common.usable()?;
        Ok(self.shared.common.end())
    }

    /// See [`SessionSender::private_group`](crate::SessionSender::private_group).
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.shared.common.current().map(|sender| sender.private_group())
    }

    /// See [`SessionSender::is_connected`](crate::SessionSender::is_connected).
    pub fn is_connected(&self) -> bool {
        self.shared.common.current().is_some()
    }

    /// See [`SessionSender::groups`](crate::SessionSender::groups).
    pub fn groups(&self) -> Vec<GroupName> {
        self.shared.common.groups()
    }

    /// See [`SessionSender::stats`](crate::SessionSender::stats).
    pub fn stats(&self) -> SessionStats {
        self.shared.common.stats()
    }

    /// Joins a group, now and whenever the connection is restored. While there is no
    /// connection, the group is remembered. See [`SessionSender::join`](crate::SessionSender::join).
    ///
    /// If the future is dropped before it is done, either nothing has happened, or the group
    /// is remembered and may not be joined before the connection is restored. To join again
    /// is harmless.
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if the name is not 1 to 31 bytes of printable ASCII
    ///   except space, `!`, `"` and `#`, and [`PrivateGroup`](Error::PrivateGroup) if it is the private
    ///   group of a client.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended. A lost connection is not an error
    ///   here, unless the receiver has been dropped: then it is
    ///   [`ConnectionClosed`](Error::ConnectionClosed), and the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; the change is noted for the next
    ///   connection, and nothing has been sent on this one.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?;
        let _turn = self.shared.membership.lock().await;
        match self.shared.common.join(group)? {
            Some(sender) => self.shared.common.changed(sender.join(group.as_str()).await),
            None => Ok(()),
        }
    }

    /// Leaves a group, and does not join it again. See
    /// [`SessionSender::leave`](crate::SessionSender::leave).
    ///
    /// If the future is dropped before it is done, either nothing has happened, or the group
    /// is not joined again and may not be left before the connection is lost. To leave again
    /// is harmless.
    ///
    /// # Errors
    ///
    /// - [`IllegalGroup`](Error::IllegalGroup) if the name is not 1 to 31 bytes of printable ASCII
    ///   except space, `!`, `"` and `#`, and [`PrivateGroup`](Error::PrivateGroup) if it is the private
    ///   group of a client.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended. A lost connection is not an error
    ///   here, unless the receiver has been dropped: then it is
    ///   [`ConnectionClosed`](Error::ConnectionClosed), and the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; the change is noted for the next
    ///   connection, and nothing has been sent on this one.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?;
        let _turn = self.shared.membership.lock().await;
        match self.shared.common.leave(group)? {
            Some(sender) => self.shared.common.changed(sender.leave(group.as_str()).await),
            None => Ok(()),
        }
    }

    /// Sends a message once there is room for it, as [`AsyncSender::multicast`] does.
    ///
    /// Cancel safe: if the future is dropped before it is done, either nothing has been sent, or a part of
    /// the message; then the rest is sent all the same, as long as the connection lasts.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it ends
    ///   meanwhile: the message is not delivered to anyone, and not sent later.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let sent = self.shared.common.sender()?.multicast(options, groups, payload).await;
        self.shared.common.sent(sent)
    }

    /// Sends a message that lies in pieces, as [`AsyncSender::multicast_vectored`] does. See
    /// [`multicast`](AsyncSessionSender::multicast), also for cancellation.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it ends
    ///   meanwhile: the message is not delivered to anyone, and not sent later.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let sender = self.shared.common.sender()?;
        let sent = sender.multicast_vectored(options, groups, payload).await;
        self.shared.common.sent(sent)
    }

    /// Copies a message into the buffer of the connection, to be sent in the background. See
    /// [`AsyncSender::multicast_buffered`], also for cancellation.
    ///
    /// What is buffered when the connection is lost is lost with it, and is not counted as
    /// [`unsent`](crate::SessionEvent::Lost): it is not known how much of it has gone.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if sending
    ///   what was buffered before has failed.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_buffered(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let sender = self.shared.common.sender()?;
        let sent = sender.multicast_buffered(options, groups, payload).await;
        self.shared.common.sent(sent)
    }

    /// Waits until the kernel has all that was sent and buffered so far. See
    /// [`AsyncSender::flush`], also for cancellation.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it
    ///   ends meanwhile: it is not known how much of the buffer has gone.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn flush(&self) -> Result<(), Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.flush().await)
    }

    /// Sends all messages of a batch once there is room, and takes them out of it.
    ///
    /// Cancel safe: if the future is dropped before it is done, the messages that are still in
    /// the batch have not been sent.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it ends
    ///   meanwhile: some of the messages may have gone, also of those that are still in the batch.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; what is still in the batch has not been
    ///   sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.multicast_batch(batch).await)
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// takes them out of the batch and returns their number. See
    /// [`AsyncSender::try_multicast_batch`].
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it ends
    ///   meanwhile: some of the messages may have gone, also of those that are still in the batch.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory, perhaps after some of the
    ///   messages. No event tells of its end: try again after 10 ms or more.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.try_multicast_batch(batch))
    }

    /// Ends the session for all senders. If there is a connection, waits up to a second until the
    /// daemon has taken all that was sent before.
    ///
    /// The receiver has been dropped before, as for [`AsyncSender::disconnect`].
    ///
    /// Dropped before it is done, the future has ended the session all the same, or nothing has
    /// happened, if it was never polled.
    ///
    /// # Errors
    ///
    /// - [`ReceiverExists`](Error::ReceiverExists) if the receiver has not been dropped; the
    ///   session is as it was.
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if there is no connection: if the daemon or
    ///   the network has ended it, whether [`Lost`](crate::SessionEvent::Lost) has told of it or not.
    /// - [`ShutDown`](Error::ShutDown) if the session had ended before, or this program the
    ///   connection.
    /// - [`DisconnectTimeout`](Error::DisconnectTimeout) if the daemon did not end it within a
    ///   second, and [`Resource`](Error::Resource) if the system lacks memory to wait for that.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub async fn disconnect(self) -> Result<(), Error> {
        self.shared.common.usable()?;
        self.shared.common.check_receiver()?;
        let shared = Arc::clone(&self.shared);
        let (connection, _ending) = shared.common.end_connected()?;
        drop(self);
        connection.disconnect().await
    }

    /// Gives up the present connection, as if it had been lost: sends that wait fail, and the
    /// receiving half returns [`Lost`](crate::SessionEvent::Lost) with [`ShutDown`](Error::ShutDown)
    /// and connects again. Without effect while there is no connection.
    pub fn reconnect(&self) {
        if self.shared.common.is_ours()
            && let Some(sender) = self.shared.common.current()
        {
            sender.shut_down();
        }
    }

    /// Ends the session at once for all halves: futures that wait return
    /// [`ShutDown`](Error::ShutDown), and so do all later calls.
    pub fn shut_down(&self) {
        self.shared.shut_down();
    }
}

/// Takes messages into the buffer of the connection, as the sink of an [`AsyncSender`] does.
///
/// Without a connection it fails with [`ConnectionClosed`](Error::ConnectionClosed), and takes
/// messages again on the next one. What was taken and not flushed when a connection is lost is lost
/// with it, and is not counted as unsent: the next flush fails, or the next message is refused with
/// [`ConnectionClosed`](Error::ConnectionClosed), also if there is a connection again by then.
impl Sink<Outgoing> for AsyncSessionSender {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let present = self.shared.common.live_sender();
        // Without a connection, the error is that of what has been taken, too.
        let present = present.inspect_err(|_| self.has_taken = false)?;
        if !self.sink.as_ref().is_some_and(|sink| sink.is_same(&present)) {
            self.sink = Some(present);
            if std::mem::take(&mut self.has_taken) {
                return Poll::Ready(Err(not_connected()));
            }
        }
        self.on_sink(|sink| sink.poll_ready(cx))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Outgoing) -> Result<(), Error> {
        let taken = match &mut self.sink {
            Some(sink) => Pin::new(sink).start_send(message),
            None => Err(not_connected()),
        };
        self.has_taken |= taken.is_ok();
        self.shared.common.sent(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.on_sink(|sink| sink.poll_flush(cx)))?;
        self.has_taken = false;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_flush(cx)
    }
}

impl AsyncSessionSender {
    /// Polls the sink of the connection, and leaves it when it has failed.
    fn on_sink(
        &mut self,
        poll: impl FnOnce(Pin<&mut AsyncSender>) -> Poll<Result<(), Error>>,
    ) -> Poll<Result<(), Error>> {
        let Some(sink) = &mut self.sink else {
            return Poll::Ready(Ok(()));
        };
        let done = ready!(poll(Pin::new(sink)));
        if done.is_ok() {
            return Poll::Ready(done);
        }
        let present = self.shared.common.current();
        let is_present = present.is_some_and(|present| present.is_same(sink));
        self.sink = None;
        self.has_taken = false;
        // The end of a former connection tells nothing about the present one.
        Poll::Ready(if is_present { self.shared.common.done(done) } else { done })
    }
}
