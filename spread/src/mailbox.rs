//! A connection as programs use it: a mailbox, whole or in two halves.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::PrivateGroup;

use crate::connection::Connection;
use crate::receive::{MessageBuffer, MessageRef};
use crate::{
    Batch, Builder, Error, Interrupter, Library, Message, Receiver, SendOptions, Sender, ToGroups,
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
    /// Those of [`Builder::connect`].
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
    /// [`shut_down`](Sender::shut_down).
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
    /// Those of [`Sender::join`].
    pub fn join(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.sender.join(group)
    }

    /// Leaves a group. See [`Sender::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::leave`].
    pub fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.sender.leave(group)
    }

    /// Sends a message to all members of one or more groups. See
    /// [`Sender::multicast`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast`].
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast(options, groups, payload)
    }

    /// Sends a message that lies in pieces. See [`Sender::multicast_vectored`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast`].
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.sender.multicast_vectored(options, groups, payload)
    }

    /// Sends the first messages of a batch. See [`Sender::multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`Sender::multicast_batch`].
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.multicast_batch(batch)
    }

    /// Waits for the next message. See [`Receiver::receive`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive`].
    pub fn receive(&mut self) -> Result<Message, Error> {
        self.receiver.receive()
    }

    /// Waits for the next message for as long as `timeout`. See
    /// [`Receiver::receive_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_timeout`].
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        self.receiver.receive_timeout(timeout)
    }

    /// Waits for the next message until `deadline`. See
    /// [`Receiver::receive_deadline`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_deadline`].
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        self.receiver.receive_deadline(deadline)
    }

    /// The library that the mailbox goes through.
    pub fn library(&self) -> Library {
        self.sender.library()
    }

    pub(crate) fn receive_by(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Message>, Error> {
        self.receiver.receive_by(deadline)
    }

    /// Receives a message if that needs no waiting. See
    /// [`Receiver::try_receive`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::try_receive`].
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        self.receiver.try_receive()
    }

    /// Waits for the next message and receives it into memory that is used
    /// again. See [`Receiver::receive_into`].
    ///
    /// # Errors
    ///
    /// Those of [`Receiver::receive_into`].
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
    /// Those of [`Receiver::try_receive_into`].
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
    /// Those of [`Receiver::interrupter`].
    pub fn interrupter(&self) -> Result<Interrupter, Error> {
        self.receiver.interrupter()
    }

    /// Ends the connection, as `SP_disconnect(3)` does: this mailbox leaves its
    /// groups.
    ///
    /// Waits, at most a second, until the daemon has taken all that was sent before.
    ///
    /// # Errors
    ///
    /// [`ConnectionClosed`](Error::ConnectionClosed) if it had ended already,
    /// [`Io`](Error::Io) if the daemon did not end it in time.
    pub fn disconnect(self) -> Result<(), Error> {
        self.into_connection().map_or(Ok(()), Connection::disconnect)
    }

    /// Drops the connection without a word to the daemon, as `SP_kill(3)` does
    /// and as a crash would. To the others it looks like a disconnect.
    pub fn kill(self) {
        if let Some(connection) = self.into_connection() {
            connection.kill();
        }
    }

    /// Ends the connection at once. See [`Sender::shut_down`].
    pub(crate) fn shut_down(&self) {
        self.sender.shut_down();
    }

    #[cfg(feature = "mio")]
    pub(crate) fn receiver_mut(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    /// The connection; no other handle exists, since the mailbox was not split.
    fn into_connection(self) -> Option<Connection> {
        drop(self.receiver);
        self.sender.into_connection()
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
