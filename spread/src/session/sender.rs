//! The half of a session that joins, leaves and sends.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::{GroupName, PrivateGroup};

use super::SessionStats;
use super::blocking::Shared;
use crate::multicast::group_name;
use crate::{Batch, Error, SendOptions, Sender, ToGroup, ToGroups};
#[cfg(doc)]
use crate::{Builder, SessionEvent};

/// The half of a [`Session`](crate::Session) that joins, leaves and sends; clones of it work side by side.
#[derive(Clone, Debug)]
pub struct SessionSender {
    shared: Arc<Shared>,
}

impl SessionSender {
    pub(super) fn new(shared: Arc<Shared>) -> SessionSender {
        SessionSender { shared }
    }

    /// Returns the name of this client, `None` while there is no connection. It may change
    /// with the daemon.
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.shared.common.current().map(|sender| sender.private_group())
    }

    /// Returns whether there is a connection, as far as is known: an end is noticed by the
    /// receive that returns [`Lost`](SessionEvent::Lost).
    pub fn is_connected(&self) -> bool {
        self.shared.common.current().is_some()
    }

    /// Returns the groups that the session is to be in, in alphabetical order.
    pub fn groups(&self) -> Vec<GroupName> {
        self.shared.common.groups()
    }

    /// Returns what has happened so far.
    pub fn stats(&self) -> SessionStats {
        self.shared.common.stats()
    }

    /// Joins a group, now and whenever the connection is restored. While there is no
    /// connection, the group is remembered.
    ///
    /// All groups are joined again before anything is received on a new connection. The
    /// daemon keeps about a thousand messages for a client that does not read: a session in
    /// so many groups that their views are more than that may be cut off by it.
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
    pub fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?;
        let _turn = self.shared.membership();
        self.change(self.shared.common.join(group)?, |sender| sender.join(group.as_str()))
    }

    /// Leaves a group, and does not join it again. While there is no connection, that is
    /// remembered. A [`SelfLeave`](crate::SelfLeave) follows if the session was in the group
    /// on its present connection.
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
    pub fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?;
        let _turn = self.shared.membership();
        self.change(self.shared.common.leave(group)?, |sender| sender.leave(group.as_str()))
    }

    /// Sends a message, as [`Sender::multicast`] does.
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
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.send(|sender| sender.multicast(options, groups, payload))
    }

    /// Sends a message, but waits for as long as `timeout` at most. See
    /// [`Sender::multicast_timeout`].
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
    /// - [`TimedOut`](Error::TimedOut) if the time has passed before a part of it was sent: the
    ///   connection is as it was.
    /// - [`PartlySent`](Error::PartlySent) if it has passed in the middle of the message: the
    ///   connection has ended, and the session makes another one.
    pub fn multicast_timeout(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.send(|sender| sender.multicast_timeout(options, groups, payload, timeout))
    }

    /// Sends a message, but waits until `deadline` at most. See
    /// [`Sender::multicast_deadline`].
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
    /// - [`TimedOut`](Error::TimedOut) if the time has passed before a part of it was sent: the
    ///   connection is as it was.
    /// - [`PartlySent`](Error::PartlySent) if it has passed in the middle of the message: the
    ///   connection has ended, and the session makes another one.
    pub fn multicast_deadline(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.send(|sender| sender.multicast_deadline(options, groups, payload, deadline))
    }

    /// Sends a message that lies in pieces, as [`Sender::multicast_vectored`] does.
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
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.send(|sender| sender.multicast_vectored(options, groups, payload))
    }

    /// Sends all messages of a batch and takes them out of it; waits while the daemon takes no
    /// more.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it ends
    ///   meanwhile: some of the messages may have gone, also of those that are still in the batch.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; what is still in the batch has not been
    ///   sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.multicast_batch(batch))
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// takes them out of the batch and returns their number. See
    /// [`Sender::try_multicast_batch`].
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

    /// Sends the rest of a message that
    /// [`try_multicast_batch`](SessionSender::try_multicast_batch) has begun, as far as there is
    /// room; returns whether nothing is left. Waits for other threads as [`Sender::try_flush`] does.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it
    ///   ends meanwhile: the rest is lost with it.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory; the rest is kept. No event tells
    ///   of its end: try again after 10 ms or more.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_flush(&self) -> Result<bool, Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.try_flush())
    }

    /// Sends the rest of a message that has begun; waits while the daemon takes no more. See
    /// [`Sender::flush`].
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) while there is no connection, and if it
    ///   ends meanwhile: the rest is lost with it.
    /// - [`ShutDown`](Error::ShutDown) if the session has ended.
    /// - [`Resource`](Error::Resource) if the system lacks memory even to wait; the rest is kept.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn flush(&self) -> Result<(), Error> {
        let sender = self.shared.common.live_sender()?;
        self.shared.common.done(sender.flush())
    }

    /// Ends the session for all senders. If there is a connection, waits, at most a second, until
    /// the daemon has taken all that was sent before.
    ///
    /// The receiver has been dropped before, as for [`Sender::disconnect`].
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
    pub fn disconnect(self) -> Result<(), Error> {
        self.shared.common.usable()?;
        self.shared.common.check_receiver()?;
        let (connection, _ending) = self.shared.common.end_connected()?;
        connection.disconnect()
    }

    /// Gives up the present connection, as if it had been lost: sends that wait fail, and the
    /// receiving half returns [`Lost`](SessionEvent::Lost) with [`ShutDown`](Error::ShutDown)
    /// and connects again. Without effect while there is no connection.
    pub fn reconnect(&self) {
        if self.shared.common.is_ours()
            && let Some(sender) = self.shared.common.current()
        {
            sender.shut_down();
        }
    }

    /// Ends the session at once for all halves: receives and sends that wait return
    /// [`ShutDown`](Error::ShutDown), and so do all later calls.
    ///
    /// An attempt to connect that is under way ends by itself, within the
    /// [`timeout`](Builder::timeout), and then ends its connection.
    pub fn shut_down(&self) {
        self.shared.shut_down();
    }

    fn send(&self, send: impl FnOnce(&Sender) -> Result<(), Error>) -> Result<(), Error> {
        self.shared.common.sent(send(&self.shared.common.sender()?))
    }

    /// Sends a change of the membership, if there is a connection.
    fn change(
        &self,
        sender: Option<Sender>,
        send: impl FnOnce(&Sender) -> Result<(), Error>,
    ) -> Result<(), Error> {
        sender.map_or(Ok(()), |sender| self.shared.common.changed(send(&sender)))
    }
}
