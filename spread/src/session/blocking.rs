//! Sessions of threads and event loops.

use std::io::IoSlice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use spread_wire::{GroupName, PrivateGroup};

use super::common::Common;
use super::watch::Watch;
use super::{SessionEvent, SessionOptions, SessionReceiver, SessionSender, SessionStats};
use crate::interrupt::Wake;
use crate::{Batch, Builder, Error, Interrupter, SendOptions, Sender, ToGroup, ToGroups};

/// A mailbox that connects again when its connection is lost, to the first of its daemons
/// that answers, and joins its groups again.
///
/// It does not hide the loss, because messages and views in between are missed for good:
/// [`receive`](Session::receive) returns [events](SessionEvent), which are messages and news
/// of the connection. Nothing is kept to be sent later: while there is no connection, sends
/// fail with [`ConnectionClosed`](Error::ConnectionClosed).
///
/// # What a loss takes
///
/// A multicast that returns an error is delivered to no one. One that returns `Ok` is on its way
/// to the daemon, and is lost with the connection if the daemon has not read it. Which of them
/// were, a member of the group can tell: join the group, and number the messages. Each that
/// comes back was delivered, in the order in which they were sent. What has not come back at
/// [`Lost`](SessionEvent::Lost), which comes after everything that is received on the old
/// connection, is unknown: it was delivered to the others, or lost. After
/// [`Restored`](SessionEvent::Restored) another member can say which.
///
/// # Threads
///
/// It reconnects while it is received from; a thread of its own connects meanwhile. Sending
/// takes `&self` and receiving `&mut self`; [`split`](Session::split) makes two halves of it,
/// for two threads. Dropping it ends the connection without waiting, as for a
/// [`Mailbox`](crate::Mailbox).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::{Backoff, Mailbox, SessionEvent};
///
/// let mut session = Mailbox::builder(address)
///     .or_address("4803@host2")
///     .private_name("alice")
///     .session(Backoff::default())?;
/// session.join("chat")?;
/// loop {
///     match session.receive()? {
///         SessionEvent::Message(message) => println!("{message:?}"),
///         SessionEvent::Lost { error, .. } => println!("alone: {error}"),
///         SessionEvent::Retrying { error, attempt, .. } => println!("{attempt}: {error}"),
///         SessionEvent::Restored { private_group, .. } => println!("back as {private_group}"),
///         _ => {}
///     }
/// #   break;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Session {
    sender: SessionSender,
    pub(super) receiver: SessionReceiver,
}

/// What the halves of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) common: Common<Sender>,
    /// Held while a join or a leave is noted and sent, which keeps them in one order. The
    /// receiver never takes it.
    membership: Mutex<()>,
    /// What interrupters wake.
    pub(super) wake: Arc<Wake>,
    /// Raised by the end of an attempt, and for good by the end of the session.
    pub(super) news: Wake,
    pub(super) watch: Watch,
}

impl Shared {
    pub(super) fn membership(&self) -> MutexGuard<'_, ()> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shut_down(&self) {
        if self.common.is_ours() {
            if let Some(sender) = self.common.shut_down() {
                sender.shut_down();
            }
            // Whoever is woken finds the connection shut down.
            self.news.wake();
        }
    }
}

impl Builder {
    /// Connects, as [`connect`](Builder::connect) does, for a [`Session`], which connects
    /// again when the connection is lost.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Builder::connect), unless the options
    /// [retry the first connection](SessionOptions::retry_first);
    /// [`Resource`](Error::Resource) if the descriptors of the session cannot be had.
    pub fn session(self, options: impl Into<SessionOptions>) -> Result<Session, Error> {
        // A mistake in an address or a method shows at once.
        self.addresses()?;
        let news = Wake::new().map_err(Error::Resource)?;
        let shared = Arc::new(Shared {
            common: Common::new(self, options.into()),
            membership: Mutex::default(),
            wake: Arc::new(Wake::new().map_err(Error::Resource)?),
            watch: Watch::new(news.as_fd()).map_err(Error::Resource)?,
            news,
        });
        let sender = SessionSender::new(Arc::clone(&shared));
        let mut receiver = SessionReceiver::new(shared);
        receiver.begin()?;
        Ok(Session { sender, receiver })
    }
}

impl Session {
    /// Makes two halves of the session, so that one thread receives while others send.
    ///
    /// The session ends with the last half, or with either's
    /// [`shut_down`](SessionSender::shut_down). To let the daemon take all that was sent,
    /// [disconnect](SessionReceiver::disconnect) the receiver; the [front page](crate#the-end)
    /// shows how if it waits in a thread. Without the half that receives it does not
    /// reconnect: the first call that finds the connection closed returns
    /// [`ConnectionClosed`](Error::ConnectionClosed), or [`ShutDown`](Error::ShutDown) after a
    /// [`reconnect`](SessionSender::reconnect), and ends the session. Later ones return
    /// [`ShutDown`](Error::ShutDown).
    pub fn split(self) -> (SessionSender, SessionReceiver) {
        (self.sender, self.receiver)
    }

    /// See [`SessionSender::private_group`].
    pub fn private_group(&self) -> Option<PrivateGroup> {
        self.sender.private_group()
    }

    /// See [`SessionSender::is_connected`].
    pub fn is_connected(&self) -> bool {
        self.sender.is_connected()
    }

    /// See [`SessionSender::groups`].
    pub fn groups(&self) -> Vec<GroupName> {
        self.sender.groups()
    }

    /// See [`SessionSender::stats`].
    pub fn stats(&self) -> SessionStats {
        self.sender.stats()
    }

    /// Joins a group, now and whenever the connection is restored. See
    /// [`SessionSender::join`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::join`], where they are listed.
    pub fn join(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.join(group)
    }

    /// Leaves a group, and does not join it again. See [`SessionSender::leave`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::leave`], where they are listed.
    pub fn leave(&self, group: impl ToGroup) -> Result<(), Error> {
        self.sender.leave(group)
    }

    /// Sends a message. See [`SessionSender::multicast`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::multicast`], where they are listed.
    pub fn multicast(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.sender.multicast(options, groups, payload)
    }

    /// Sends a message, but waits for as long as `timeout` at most. See
    /// [`Sender::multicast_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::multicast_timeout`], where they are listed.
    pub fn multicast_timeout(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.sender.multicast_timeout(options, groups, payload, timeout)
    }

    /// Sends a message, but waits until `deadline` at most. See
    /// [`Sender::multicast_deadline`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::multicast_deadline`], where they are listed.
    pub fn multicast_deadline(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: impl AsRef<[u8]>,
        deadline: Instant,
    ) -> Result<(), Error> {
        self.sender.multicast_deadline(options, groups, payload, deadline)
    }

    /// Sends a message that lies in pieces. See [`SessionSender::multicast_vectored`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::multicast_vectored`], where they are listed.
    pub fn multicast_vectored(
        &self,
        options: impl Into<SendOptions>,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.sender.multicast_vectored(options, groups, payload)
    }

    /// Sends all messages of a batch. See [`SessionSender::multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::multicast_batch`], where they are listed.
    pub fn multicast_batch(&self, batch: &mut Batch) -> Result<(), Error> {
        self.sender.multicast_batch(batch)
    }

    /// Sends the first messages of a batch. See [`SessionSender::try_multicast_batch`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::try_multicast_batch`], where they are listed.
    pub fn try_multicast_batch(&self, batch: &mut Batch) -> Result<usize, Error> {
        self.sender.try_multicast_batch(batch)
    }

    /// Sends the rest of a message that has begun, as far as there is room. See
    /// [`SessionSender::try_flush`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::try_flush`], where they are listed.
    pub fn try_flush(&self) -> Result<bool, Error> {
        self.sender.try_flush()
    }

    /// Sends the rest of a message that has begun; waits while the daemon takes no more. See
    /// [`SessionSender::flush`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionSender::flush`], where they are listed.
    pub fn flush(&self) -> Result<(), Error> {
        self.sender.flush()
    }

    /// Waits for the next event. See [`SessionReceiver::receive`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionReceiver::receive`], where they are listed.
    pub fn receive(&mut self) -> Result<SessionEvent, Error> {
        self.receiver.receive()
    }

    /// Waits for the next event for as long as `timeout`. See
    /// [`SessionReceiver::receive_timeout`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionReceiver::receive_timeout`], where they are listed.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<SessionEvent>, Error> {
        self.receiver.receive_timeout(timeout)
    }

    /// Waits for the next event until `deadline`. See [`SessionReceiver::receive_deadline`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionReceiver::receive_deadline`], where they are listed.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<SessionEvent>, Error> {
        self.receiver.receive_deadline(deadline)
    }

    /// Receives an event if that needs no waiting. See [`SessionReceiver::try_receive`].
    ///
    /// # Errors
    ///
    /// Those of [`SessionReceiver::try_receive`], where they are listed.
    pub fn try_receive(&mut self) -> Result<Option<SessionEvent>, Error> {
        self.receiver.try_receive()
    }

    /// Returns the events as they come. See [`SessionReceiver::events`].
    pub fn events(&mut self) -> impl Iterator<Item = Result<SessionEvent, Error>> + '_ {
        self.receiver.events()
    }

    /// Returns what ends a receive that waits. See [`SessionReceiver::interrupter`].
    ///
    /// # Errors
    ///
    /// [`Forked`](Error::Forked) in the child of a fork.
    pub fn interrupter(&self) -> Result<Interrupter, Error> {
        self.receiver.interrupter()
    }

    /// Ends the session. If there is a connection, waits, at most a second, until the daemon
    /// has taken all that was sent on it.
    /// `Ok` says that the daemon has read it. After an error the session has ended as well, and some
    /// of what was sent last may not have been read. (A daemon on another host that ends the
    /// connection at the same moment is not told from one that has read everything.)
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
    pub fn disconnect(self) -> Result<(), Error> {
        self.receiver.disconnect()
    }

    /// Ends the session, and drops the connection without a word to the daemon, as a crash
    /// would. See [`Mailbox::kill`](crate::Mailbox::kill).
    pub fn kill(self) {
        self.receiver.kill();
    }

    /// Gives up the present connection and connects again. See [`SessionSender::reconnect`].
    pub fn reconnect(&self) {
        self.sender.reconnect();
    }

    /// Ends the session at once, for clones of the sender, too. See
    /// [`SessionSender::shut_down`].
    pub fn shut_down(&self) {
        self.sender.shut_down();
    }
}
