//! A connection as programs use it: a mailbox, whole or in two halves.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::PrivateGroup;

use crate::connection::Connection;
use crate::receive::{MessageBuffer, MessageRef};
use crate::{
    Batch, Builder, Error, Interrupter, Library, Message, Receiver, SendOptions, Sender, Stats,
    ToGroup, ToGroups,
};

/// A connection to a Spread daemon: a place to join groups from, to multicast
/// from and to receive in.
///
/// Sending takes `&self` and receiving `&mut self`; [`split`](Mailbox::split)
/// makes two halves of it, for two threads. The mailbox is a descriptor
/// ([`AsFd`]) that is readable whenever a message can be received.
///
/// Dropping it ends the connection without waiting, so that its name may be in use for a
/// moment, and messages that the daemon has not taken may be lost:
/// [`disconnect`](Mailbox::disconnect) waits for the daemon.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::{Mailbox, Message, Service};
///
/// let mut mailbox = Mailbox::builder(address).private_name("alice").connect()?;
/// mailbox.join("chat")?;
/// mailbox.multicast(Service::Agreed, "chat", b"hello")?;
///
/// let Message::Membership(view) = mailbox.receive()? else { panic!() };
/// assert_eq!(view.members, ["#alice#localhost"]);
/// let Message::Regular(message) = mailbox.receive()? else { panic!() };
/// assert_eq!(message.payload(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mailbox {
    sender: Sender,
    receiver: Receiver,
}

impl Mailbox {
    /// Begins a connection to the daemon at `address`: `PORT@HOST` by TCP, `PORT` by the unix
    /// socket `/tmp/PORT`, the path of a unix socket elsewhere, or an empty text for `4803`.
    pub fn builder(address: impl Into<String>) -> Builder {
        Builder::new(address.into())
    }

    /// Connects under a name that the daemon makes up.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::connect`], where they are listed.
    pub fn connect(address: impl Into<String>) -> Result<Mailbox, Error> {
        Mailbox::builder(address).connect()
    }

    pub(crate) fn new(connection: Connection) -> Mailbox {
        let connection = Arc::new(connection);
        Mailbox {
            sender: Sender::new(Arc::clone(&connection)),
            receiver: Receiver::new(connection),
        }
    }

    /// Makes two halves of the mailbox, so that one thread receives while others
    /// send. The connection ends with the last half, or with either's
    /// [`shut_down`](Sender::shut_down). To let the daemon take all that was sent,
    /// [disconnect](Receiver::disconnect) the receiver; the [front page](crate#the-end) shows how
    /// if it waits in a thread.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// This mailbox's own group, `#name#daemon`: the sender of its messages, its
    /// name in every view, and where others send to it alone.
    pub fn private_group(&self) -> PrivateGroup {
        self.sender.private_group()
    }

    /// Joins a group. See [`Sender::join`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::join`], where they are listed.
    pub fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.join(group)
    }

    /// As [`join`](Mailbox::join), but waits for as long as `timeout` at most. See
    /// [`Sender::join_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::join_timeout`], where they are listed.
    pub fn join_timeout(&self, group: impl ToGroup, timeout: Duration) -> Result<(), Error> {
        self.sender.join_timeout(group, timeout)
    }

    /// Leaves a group. See [`Sender::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::leave`], where they are listed.
    pub fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.leave(group)
    }

    /// As [`leave`](Mailbox::leave), but waits for as long as `timeout` at most. See
    /// [`Sender::leave_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::leave_timeout`], where they are listed.
    pub fn leave_timeout(&self, group: impl ToGroup, timeout: Duration) -> Result<(), Error> {
        self.sender.leave_timeout(group, timeout)
    }

    /// Sends a message to all members of one or more groups. See
    /// [`Sender::multicast`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast`], where they are listed.
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast(options, groups, payload)
    }

    /// As [`multicast`](Mailbox::multicast), but waits for as long as `timeout` at most. See
    /// [`Sender::multicast_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast_timeout`], where they are listed.
    pub fn multicast_timeout(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.sender.multicast_timeout(options, groups, payload, timeout)
    }

    /// As [`multicast_timeout`](Mailbox::multicast_timeout), until `deadline`. See
    /// [`Sender::multicast_deadline`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast_deadline`], where they are listed.
    pub fn multicast_deadline(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.sender.multicast_deadline(options, groups, payload, deadline)
    }

    /// Sends a message that lies in pieces. See [`Sender::multicast_vectored`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast_vectored`], where they are listed.
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.sender.multicast_vectored(options, groups, payload)
    }

    /// Sends all messages of a batch; waits while the daemon takes no more, without end if it
    /// waits for this client to receive. See [`Sender::multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast_batch`], where they are listed.
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        self.sender.multicast_batch(batch)
    }

    /// Sends the first messages of a batch, as many as there is room for, without waiting;
    /// returns their number. See [`Sender::try_multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::try_multicast_batch`], where they are listed.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.try_multicast_batch(batch)
    }

    /// Sends the rest of a message that has begun, as far as there is room; returns whether
    /// nothing is left. See [`Sender::try_flush`], also for waiting for other threads.
    ///
    /// # Errors
    ///
    /// Those of [`Sender::try_flush`], where they are listed.
    pub fn try_flush(&self) -> Result<bool, Error> {
        self.sender.try_flush()
    }

    /// Sends the rest of a message that has begun; waits while the daemon takes no more. See
    /// [`Sender::flush`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::flush`], where they are listed.
    pub fn flush(&self) -> Result<(), Error> {
        self.sender.flush()
    }

    /// Waits for the next message. See [`Receiver::receive`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive`], where they are listed.
    pub fn receive(&mut self) -> Result<Message, Error> {
        self.receiver.receive()
    }

    /// Waits for the next message for as long as `timeout`. See
    /// [`Receiver::receive_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_timeout`], where they are listed.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        self.receiver.receive_timeout(timeout)
    }

    /// Waits for the next message until `deadline`. See
    /// [`Receiver::receive_deadline`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_deadline`], where they are listed.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        self.receiver.receive_deadline(deadline)
    }

    /// The library that the mailbox goes through.
    pub fn library(&self) -> Library {
        self.sender.library()
    }

    /// Receives a message if that needs no waiting. See
    /// [`Receiver::try_receive`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::try_receive`], where they are listed.
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        self.receiver.try_receive()
    }

    /// Waits for the next message and receives it into memory that is used
    /// again. See [`Receiver::receive_into`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_into`], where they are listed.
    pub fn receive_into<'a>(
        &mut self,
        buffer: &'a mut MessageBuffer,
    ) -> Result<MessageRef<'a>, Error> {
        self.receiver.receive_into(buffer)
    }

    /// As [`receive_into`](Mailbox::receive_into), if that needs no waiting. See
    /// [`Receiver::try_receive_into`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::try_receive_into`], where they are listed.
    pub fn try_receive_into<'a>(
        &mut self,
        buffer: &'a mut MessageBuffer,
    ) -> Result<Option<MessageRef<'a>>, Error> {
        self.receiver.try_receive_into(buffer)
    }

    /// The messages as they come. See [`Receiver::messages`].
    pub fn messages(&mut self) -> impl Iterator<Item = Result<Message, Error>> + '_ {
        self.receiver.messages()
    }

    /// What ends a receive from another thread. See [`Receiver::interrupter`].
    ///
    /// # Errors
    ///
    /// [`Resource`](Error::Resource) if the descriptors for it cannot be had,
    /// [`Forked`](Error::Forked) in the child of a fork.
    pub fn interrupter(&self) -> Result<Interrupter, Error> {
        self.receiver.interrupter()
    }

    /// Ends the connection, as `SP_disconnect(3)` does: this mailbox leaves its
    /// groups.
    ///
    /// Waits, at most a second, until the daemon has taken all that was sent before.
    /// `Ok` says that the daemon has read it. After an error the connection has ended as well, and some
    /// of what was sent last may not have been read. (A daemon on another host that ends the
    /// connection at the same moment is not told from one that has read everything.)
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network had ended the
    ///   connection before, whether a call has told of it or not.
    /// - [`ShutDown`](Error::ShutDown) if this program had.
    /// - [`DisconnectTimeout`](Error::DisconnectTimeout) if the daemon did not end it within a
    ///   second, and [`Resource`](Error::Resource) if the system lacks memory to wait for that.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn disconnect(self) -> Result<(), Error> {
        self.receiver.disconnect()
    }

    /// Drops the connection without a word to the daemon, as `SP_kill(3)` does
    /// and as a crash would. To the others it looks like a disconnect.
    pub fn kill(self) {
        self.sender.connection().kill();
    }

    /// Ends the connection at once: sends and receives, also those that wait, return
    /// [`ShutDown`](Error::ShutDown). See [`Sender::shut_down`].
    pub fn shut_down(&self) {
        self.sender.shut_down();
    }

    /// How much has been sent and received so far.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    #[cfg(feature = "mio")]
    pub(crate) fn receiver_mut(&mut self) -> &mut Receiver {
        &mut self.receiver
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

impl AsRawFd for Mailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.receiver.as_raw_fd()
    }
}
