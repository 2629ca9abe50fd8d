//! The half of a mailbox that sends.

use std::io::IoSlice;
use std::sync::Arc;

use spread_wire::PrivateGroup;

use crate::connection::Connection;
use crate::multicast::{GroupList, group_name};
use crate::{Batch, Error, Library, SendOptions, ToGroups};

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
    /// was sent to it. Joining again changes nothing.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup), and
    /// [`ConnectionClosed`](Error::ConnectionClosed).
    pub fn join(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.connection.join(group_name(group)?)
    }

    /// Leaves a group, as `SP_leave(3)` does.
    ///
    /// The leave takes effect with the [`SelfLeave`](crate::SelfLeave) of the
    /// group. Leaving a group that one is not in changes nothing.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup), and
    /// [`ConnectionClosed`](Error::ConnectionClosed).
    pub fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        self.connection.leave(group_name(group)?)
    }

    /// Sends a message to all members of one or more groups, as
    /// `SP_multicast(3)` and `SP_multigroup_multicast(3)` do.
    ///
    /// The sender need not be a member, and to a member the message comes once,
    /// however many of its groups are named. A private group reaches one client.
    /// Returns when the message is on its way; it waits while the daemon takes
    /// no more.
    ///
    /// # Errors
    ///
    /// [`IllegalGroup`](Error::IllegalGroup), [`NoGroups`](Error::NoGroups),
    /// [`TooManyGroups`](Error::TooManyGroups) (more than 43) and
    /// [`MessageTooLong`](Error::MessageTooLong) (payload and 32 bytes a group
    /// are more than 143,151 bytes): before anything is sent;
    /// [`ConnectionClosed`](Error::ConnectionClosed).
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
    /// Those of [`multicast`](Sender::multicast).
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let groups = GroupList::of(groups)?;
        let len = payload.iter().fold(0usize, |len, piece| len.saturating_add(piece.len()));
        groups.check_payload(len)?;
        self.connection.multicast(options.into(), &groups, payload)
    }

    /// Sends the first messages of a batch, as many as the daemon takes at once,
    /// but at least one, for which it waits; takes them out of the batch and returns
    /// their number. The rest is for the next call.
    ///
    /// They go with one system call, or a few; over `Library::Sys` each is a call of
    /// `SP_multigroup_multicast(3)`.
    ///
    /// A program that sends faster than it receives what comes back should receive
    /// between two calls: a daemon does not take more for ever from a client that
    /// does not read.
    ///
    /// # Errors
    ///
    /// [`ConnectionClosed`](Error::ConnectionClosed): some of the messages may have
    /// gone.
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.connection.multicast_frames(batch.frames())
    }

    /// Ends the connection at once for all halves: receives and sends that wait
    /// return [`ConnectionClosed`](Error::ConnectionClosed).
    ///
    /// What has not been received is lost. To let the daemon take all that was
    /// sent before, [disconnect](crate::Mailbox::disconnect) instead.
    pub fn shut_down(&self) {
        self.connection.shut_down();
    }

    /// See [`Mailbox::library`](crate::Mailbox::library).
    pub fn library(&self) -> Library {
        self.connection.library()
    }

    /// The connection, if this is the last half.
    pub(crate) fn into_connection(self) -> Option<Connection> {
        Arc::into_inner(self.connection)
    }
}
