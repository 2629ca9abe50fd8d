//! The half of a mailbox that sends.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::PrivateGroup;

use crate::connection::{Connection, Send};
use crate::multicast::{GroupList, group_name};
use crate::{Batch, Error, Library, SendOptions, Stats, ToGroup, ToGroups};

/// The half of a [`Mailbox`](crate::Mailbox) that joins, leaves and sends; clones
/// of it work side by side.
///
/// Messages of one sender keep their order. Those of two threads go out one
/// after the other, each of them whole.
#[derive(Clone, Debug)]
pub struct Sender {
    connection: Arc<Connection>,
}

impl Sender {
    pub(crate) fn new(connection: Arc<Connection>) -> Sender {
        Sender { connection }
    }

    /// See [`Mailbox::private_group`](crate::Mailbox::private_group).
    pub fn private_group(&self) -> PrivateGroup {
        self.connection.private_group()
    }

    /// Joins a group, as `SP_join(3)` does.
    ///
    /// The join takes effect with the [`View`](crate::View) that names this
    /// mailbox as joined: the first message that comes of the group, before any that
    /// was sent to it. Joining a group again changes nothing: no view comes, and no error. Waits
    /// while the daemon takes no more.
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
    pub fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        self.connection.send(&Send::join(&group_name(group)?.into()))
    }

    /// As [`join`](Sender::join), but waits for as long as `timeout` at most.
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
    /// - [`TimedOut`](Error::TimedOut) if no part of it had been sent by then: the connection is
    ///   as it was.
    /// - [`PartlySent`](Error::PartlySent) if a part of it had been sent: the connection has
    ///   ended.
    pub fn join_timeout(&self, group: impl ToGroup, timeout: Duration) -> Result<(), Error> {
        self.send_by(&Send::join(&group_name(group)?.into()), deadline(timeout))
    }

    /// Leaves a group, as `SP_leave(3)` does.
    ///
    /// The leave takes effect with the [`SelfLeave`](crate::SelfLeave) of the
    /// group. Leaving a group that one is not in changes nothing. Waits while the daemon takes
    /// no more.
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
    pub fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        self.connection.send(&Send::leave(&group_name(group)?.into()))
    }

    /// As [`leave`](Sender::leave), but waits for as long as `timeout` at most.
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
    /// - [`TimedOut`](Error::TimedOut) if no part of it had been sent by then: the connection is
    ///   as it was.
    /// - [`PartlySent`](Error::PartlySent) if a part of it had been sent: the connection has
    ///   ended.
    pub fn leave_timeout(&self, group: impl ToGroup, timeout: Duration) -> Result<(), Error> {
        self.send_by(&Send::leave(&group_name(group)?.into()), deadline(timeout))
    }

    /// Sends a message to all members of one or more groups, as
    /// `SP_multicast(3)` and `SP_multigroup_multicast(3)` do.
    ///
    /// The sender need not be a member, and to a member the message comes once,
    /// however many of its groups are named. A private group reaches one client.
    /// Returns when the message is on its way; it waits while the daemon takes
    /// no more. A message to a group that has no members, or to the private group of a client that
    /// has gone, is delivered to no one, and no error says so.
    ///
    /// A program that is a member of its groups has to receive between its sends, or in another
    /// thread: the daemon disconnects a client that leaves about 1,000 messages unread, and the
    /// next send fails.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let (groups, payload) = (GroupList::of(groups)?, payload.as_ref());
        groups.check_payload(payload.len())?;
        self.connection.multicast(options.into(), &groups, &[IoSlice::new(payload)])
    }

    /// As [`multicast`](Sender::multicast), but waits for as long as `timeout` at most. A
    /// timeout of zero sends what there is room for at once.
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
    /// use std::time::Duration;
    ///
    /// use spread::{Error, Service};
    ///
    /// match mailbox.multicast_timeout(Service::Agreed, "chat", b"hi", Duration::from_secs(1)) {
    ///     Ok(()) => println!("sent"),
    ///     Err(Error::TimedOut) => println!("not sent; try later"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Over `Library::Sys` a send with a deadline does not go through libspread, whose calls
    /// wait without end, but over the same socket.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    /// - [`TimedOut`](Error::TimedOut) if no part of it had been sent by then: the connection is
    ///   as it was.
    /// - [`PartlySent`](Error::PartlySent) if a part of it had been sent: the connection has
    ///   ended.
    pub fn multicast_timeout(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.multicast_by(options.into(), groups, payload.as_ref(), deadline(timeout))
    }

    /// As [`multicast_timeout`](Sender::multicast_timeout), until `deadline`.
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    /// - [`TimedOut`](Error::TimedOut) if no part of it had been sent by then: the connection is
    ///   as it was.
    /// - [`PartlySent`](Error::PartlySent) if a part of it had been sent: the connection has
    ///   ended.
    pub fn multicast_deadline(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.multicast_by(options.into(), groups, payload.as_ref(), Some(deadline))
    }

    /// Sends a message that lies in pieces, as `SP_multigroup_scat_multicast(3)`
    /// does: without putting them together first. (Over `Library::Sys` that holds for up to
    /// 100 pieces.)
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
    /// use std::io::IoSlice;
    ///
    /// use spread::{Message, Service};
    ///
    /// let pieces = [IoSlice::new(b"head "), IoSlice::new(b"and body")];
    /// mailbox.multicast_vectored(Service::Fifo, mailbox.private_group(), &pieces)?;
    /// let Message::Regular(message) = mailbox.receive()? else { panic!() };
    /// assert_eq!(message.payload(), b"head and body");
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
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing has been sent.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let groups = GroupList::of(groups)?;
        groups.check_pieces(payload)?;
        self.connection.multicast(options.into(), &groups, payload)
    }

    /// Sends all messages of a batch, and takes them out of it; waits while the daemon takes no
    /// more. Messages that other threads send may come in between.
    ///
    /// They go with one system call for as many as the socket has room for; over
    /// `Library::Sys` each is a call of `SP_multigroup_multicast(3)`.
    ///
    /// A daemon does not take more for ever from a client that does not read: a program that
    /// receives what it sends, in the same thread, may wait here without end if the batch is
    /// larger than the buffers on the way. Let another thread receive, or use
    /// [`try_multicast_batch`](Sender::try_multicast_batch) and receive between its calls.
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
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        self.connection.multicast_frames(batch.frames())
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// takes them out of the batch and returns their number, which is 0 also while another
    /// thread is sending.
    ///
    /// The last of them may have begun only. Its rest goes before whatever is sent next, or
    /// with [`try_flush`](Sender::try_flush), or when the connection ends.
    ///
    /// One call may leave messages though there is room. So, with edge-triggered pollers such as
    /// mio, call it until the batch is empty or it returns 0; then the mailbox polls writable once
    /// there is room again, unless it was another thread that was sending, which no event tells.
    ///
    /// They go with one system call, or a few; not through libspread, whose calls wait, but over
    /// the same socket, where the library is `Library::Sys`.
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
        self.connection.try_multicast_frames(batch.frames())
    }

    /// Sends the rest of a message that
    /// [`try_multicast_batch`](Sender::try_multicast_batch) has begun, as far as there is room;
    /// returns whether nothing is left. It does not wait for room, but for other threads: until
    /// none is in the middle of a send, for however long that send waits for room.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory; the rest is kept. No event tells
    ///   of its end: try again after 10 ms or more.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_flush(&self) -> Result<bool, Error> {
        self.connection.try_flush()
    }

    /// Sends the rest of a message that
    /// [`try_multicast_batch`](Sender::try_multicast_batch) has begun; waits while the daemon
    /// takes no more.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Resource`](Error::Resource) if the system lacks memory even to wait; the rest is kept.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn flush(&self) -> Result<(), Error> {
        self.connection.flush()
    }

    /// Ends the connection for all senders, and waits until the daemon has taken all that was
    /// sent before. See [`Mailbox::disconnect`](crate::Mailbox::disconnect).
    ///
    /// The [`Receiver`](crate::Receiver) has been dropped before: it may be receiving, and what
    /// comes until the end would be lost to it. If it is used, let it
    /// [disconnect](crate::Receiver::disconnect). Senders that are in the middle of a message
    /// send its rest; what is sent later fails with [`ShutDown`](Error::ShutDown).
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
    pub fn disconnect(self) -> Result<(), Error> {
        self.connection.usable()?;
        self.connection.check_receiver()?;
        self.connection.disconnect()
    }

    /// Ends the connection at once for all halves: receives and sends, also those that wait,
    /// return [`ShutDown`](Error::ShutDown).
    ///
    /// What has not been received is lost. To let the daemon take all that was
    /// sent before, [disconnect](crate::Mailbox::disconnect) instead.
    pub fn shut_down(&self) {
        self.connection.shut_down();
    }

    /// How much has been sent and received so far.
    pub fn stats(&self) -> Stats {
        self.connection.stats()
    }

    /// See [`Mailbox::library`](crate::Mailbox::library).
    pub fn library(&self) -> Library {
        self.connection.library()
    }

    fn multicast_by(
        &self,
        options: SendOptions,
        groups: impl ToGroups,
        payload: &[u8],
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let groups = GroupList::of(groups)?;
        groups.check_payload(payload.len())?;
        let payload = [IoSlice::new(payload)];
        self.send_by(&Send::multicast(options, &groups, &payload), deadline)
    }

    fn send_by(&self, send: &Send<'_>, deadline: Option<Instant>) -> Result<(), Error> {
        match deadline {
            Some(deadline) => self.connection.send_deadline(send, deadline),
            None => self.connection.send(send),
        }
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// `None` for a time that is out of reach: that is no deadline at all.
fn deadline(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}
