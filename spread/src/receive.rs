//! The half of a mailbox that receives.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::{ByteOrder, Name, PrivateGroup, Service, ServiceType};

use crate::backend::{Buffers, Inbox, Received};
use crate::connection::{Connection, Progress, Wait};
use crate::message::sender_order;
use crate::{Error, Interrupter, Library, Message, Stats};

/// Groups and bytes that can be received at first; more make the buffers grow.
const FIRST_GROUPS: usize = 64;
const FIRST_BODY: usize = 8 * 1024;

/// The half of a [`Mailbox`](crate::Mailbox) that receives.
///
/// It is a descriptor ([`AsFd`]) that is readable whenever a message can be
/// received, with poll(2) and with level- or edge-triggered epoll(7): after an
/// edge, receive until [`try_receive`](Receiver::try_receive) has nothing more.
/// It may also be readable when only a part of a message has come.
#[derive(Debug)]
pub struct Receiver {
    connection: Arc<Connection>,
    progress: Progress,
    ended: bool,
}

impl Receiver {
    pub(crate) fn new(connection: Arc<Connection>) -> Receiver {
        let progress = connection.progress();
        Receiver { connection, progress, ended: false }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// For a runtime, which is told of edges and has nobody else poll the descriptor.
    pub(crate) fn take_all(&mut self) {
        self.progress.take_all();
    }

    /// See [`Mailbox::private_group`](crate::Mailbox::private_group).
    pub fn private_group(&self) -> PrivateGroup {
        self.connection.private_group()
    }

    /// Waits for the next message, as `SP_receive(3)` does, whatever its size.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn receive(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.take(Wait::Forever)? {
                return Ok(message);
            }
        }
    }

    /// Waits for the next message for as long as `timeout`; `None` if none came.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn receive_timeout(&mut self, timeout: Duration) -> Result<Option<Message>, Error> {
        // A time that is out of reach is no deadline at all.
        self.receive_by(Instant::now().checked_add(timeout))
    }

    /// Waits for the next message until `deadline`; `None` if none came.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn receive_deadline(&mut self, deadline: Instant) -> Result<Option<Message>, Error> {
        self.receive_by(Some(deadline))
    }

    /// Without a deadline it waits without end.
    fn receive_by(&mut self, deadline: Option<Instant>) -> Result<Option<Message>, Error> {
        self.take(Wait::until(deadline))
    }

    /// Receives a message if that needs no waiting, not even for the rest of it;
    /// `None` otherwise. An [`Interrupter`] has no effect on it.
    ///
    /// What has come of a message that is not all there is taken off the socket,
    /// which may have no room for all of a large one. So the descriptor becomes
    /// readable with what comes next, and is readable as long as all of a message is
    /// there.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_receive(&mut self) -> Result<Option<Message>, Error> {
        self.take(Wait::No)
    }

    /// Waits for the next message and receives it into memory that is used again:
    /// regular messages are received without allocation.
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// # let mut mailbox = spread::Mailbox::connect(daemon.address())?;
    /// use spread::{MessageBuffer, MessageRef, Service};
    ///
    /// mailbox.multicast(Service::Fifo, mailbox.private_group(), b"note")?;
    /// let mut buffer = MessageBuffer::new();
    /// match mailbox.receive_into(&mut buffer)? {
    ///     MessageRef::Regular(message) => assert_eq!(message.payload(), b"note"),
    ///     MessageRef::Other(message) => println!("{message:?}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Interrupted`](Error::Interrupted) by an [`Interrupter`].
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn receive_into<'a>(
        &mut self,
        buffer: &'a mut MessageBuffer,
    ) -> Result<MessageRef<'a>, Error> {
        while !self.take_into(Wait::Forever, buffer)? {}
        self.message_ref(buffer)
    }

    /// As [`receive_into`](Receiver::receive_into), if that needs no waiting;
    /// `None` otherwise.
    ///
    /// # Errors
    ///
    /// - [`ConnectionClosed`](Error::ConnectionClosed) if the daemon or the network has ended the
    ///   connection, [`ShutDown`](Error::ShutDown) if this program has.
    /// - [`Protocol`](Error::Protocol) if the daemon sent what Spread does not.
    /// - [`Resource`](Error::Resource) if the system lacks memory; nothing is lost.
    /// - [`Forked`](Error::Forked) in the child of a fork.
    pub fn try_receive_into<'a>(
        &mut self,
        buffer: &'a mut MessageBuffer,
    ) -> Result<Option<MessageRef<'a>>, Error> {
        let received = self.take_into(Wait::No, buffer)?;
        received.then(|| self.message_ref(buffer)).transpose()
    }

    /// The messages as they come, without end until the mailbox has come to its
    /// own: then the error, and nothing more.
    pub fn messages(&mut self) -> impl Iterator<Item = Result<Message, Error>> + '_ {
        std::iter::from_fn(move || {
            if self.ended {
                return None;
            }
            let next = self.receive();
            self.ended = next.as_ref().is_err_and(Error::is_closed);
            Some(next)
        })
    }

    /// What ends a receive that waits, from another thread.
    ///
    /// # Errors
    ///
    /// [`Resource`](Error::Resource) if the descriptors for it cannot be had,
    /// [`Forked`](Error::Forked) in the child of a fork.
    pub fn interrupter(&self) -> Result<Interrupter, Error> {
        if !self.connection.is_ours() {
            return Err(Error::Forked);
        }
        Ok(self.connection.wake()?.interrupter())
    }

    /// Ends the connection for all halves, and waits until the daemon has taken all that was
    /// sent before. See [`Mailbox::disconnect`](crate::Mailbox::disconnect).
    ///
    /// Senders that are in the middle of a message send its rest; what is sent later fails with
    /// [`ShutDown`](Error::ShutDown).
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
        self.connection.disconnect()
    }

    /// Ends the connection at once. See [`Sender::shut_down`](crate::Sender::shut_down).
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

    #[inline]
    fn take(&mut self, wait: Wait) -> Result<Option<Message>, Error> {
        let connection = &*self.connection;
        let take = |inbox: &mut Inbox, mode| inbox.receive(connection, mode);
        connection.receive(&mut self.progress, wait, take, |message| match message {
            Message::Regular(message) => message.payload().len(),
            _ => 0,
        })
    }

    /// Waits until it is readable or writable; says whether it is readable.
    pub(crate) fn wait_either(&self, wait: Wait) -> Result<bool, Error> {
        self.connection.wait_either(wait)
    }

    #[inline]
    pub(crate) fn take_into(
        &mut self,
        wait: Wait,
        buffer: &mut MessageBuffer,
    ) -> Result<bool, Error> {
        let connection = &*self.connection;
        let take = |inbox: &mut Inbox, mode| {
            let received = inbox.receive_into(connection, mode, &mut buffer.buffers)?;
            Ok(received.then(|| buffer.buffers.parts().2.len()))
        };
        let received = connection.receive(&mut self.progress, wait, take, |len| *len)?;
        Ok(received.is_some())
    }

    /// The message that has been received into `buffer`.
    #[inline]
    fn message_ref<'a>(&self, buffer: &'a mut MessageBuffer) -> Result<MessageRef<'a>, Error> {
        let (received, groups, body) = buffer.buffers.parts();
        let flags = received.service_type;
        match flags.service() {
            Some(service) if flags.is_regular() => {
                Ok(MessageRef::Regular(RegularRef { received, service, groups, payload: body }))
            }
            _ => Message::parse(received, groups, body, self.connection.me())
                .map(MessageRef::Other)
                .map_err(|error| self.connection.broken(error)),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.connection.drop_receiver();
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

impl AsRawFd for Receiver {
    fn as_raw_fd(&self) -> RawFd {
        self.connection.as_raw_fd()
    }
}

/// Memory for one message, to be used for one after the other. It grows with the
/// largest one.
#[derive(Debug)]
pub struct MessageBuffer {
    pub(crate) buffers: Buffers,
}

impl MessageBuffer {
    /// Room for 64 groups and 8 KiB at first.
    pub fn new() -> MessageBuffer {
        MessageBuffer { buffers: Buffers::new(FIRST_GROUPS, FIRST_BODY) }
    }
}

impl Default for MessageBuffer {
    fn default() -> MessageBuffer {
        MessageBuffer::new()
    }
}

/// A message in a [`MessageBuffer`].
#[derive(Debug)]
pub enum MessageRef<'a> {
    /// A message that a client multicast.
    Regular(RegularRef<'a>),
    /// Any other message; those are rare, and have memory of their own.
    Other(Message),
}

/// A [`RegularMessage`](crate::RegularMessage) in a [`MessageBuffer`].
#[derive(Debug)]
pub struct RegularRef<'a> {
    received: &'a Received,
    service: Service,
    groups: &'a [[u8; spread_wire::limits::NAME_FIELD]],
    payload: &'a [u8],
}

impl<'a> RegularRef<'a> {
    /// See [`RegularMessage::sender`](crate::RegularMessage::sender).
    pub fn sender(&self) -> Name {
        self.received.sender
    }

    /// See [`RegularMessage::groups`](crate::RegularMessage::groups).
    pub fn groups(&self) -> impl ExactSizeIterator<Item = Name> + use<'a> {
        self.groups.iter().map(|field| Name::from_field(*field))
    }

    /// See [`RegularMessage::service`](crate::RegularMessage::service).
    pub fn service(&self) -> Service {
        self.service
    }

    /// See [`RegularMessage::is_self_discard`](crate::RegularMessage::is_self_discard).
    pub fn is_self_discard(&self) -> bool {
        self.received.service_type.contains(ServiceType::SELF_DISCARD)
    }

    /// See [`RegularMessage::message_type`](crate::RegularMessage::message_type).
    pub fn message_type(&self) -> i16 {
        self.received.message_type
    }

    /// See [`RegularMessage::endian_mismatch`](crate::RegularMessage::endian_mismatch).
    pub fn endian_mismatch(&self) -> bool {
        self.received.endian_mismatch
    }

    /// See [`RegularMessage::sender_order`](crate::RegularMessage::sender_order).
    pub fn sender_order(&self) -> ByteOrder {
        sender_order(self.received.endian_mismatch)
    }

    /// See [`RegularMessage::payload`](crate::RegularMessage::payload).
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }
}
