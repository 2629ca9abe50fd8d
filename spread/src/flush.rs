//! Flush Spread: messages are delivered in the view in which they were sent.
//!
//! In plain Spread a message may be delivered in a later view than the one its sender was in:
//! members that the sender did not know receive it, and members that it counted on may be gone.
//! A [`Mailbox`] of this module adds *view synchrony*: before a view changes, every member is
//! asked to flush the group, and the new view is installed once all its members have done so.
//! From its flush until the new view a member cannot send to the group.
//!
//! ```
//! # let daemon = spread_daemon::Daemon::builder().start()?;
//! # let address = daemon.address();
//! use spread::Service;
//! use spread::flush::{Error, Event, Mailbox};
//!
//! let mut alice = Mailbox::connect(spread::Mailbox::builder(&address).private_name("alice"))?;
//! let mut bob = Mailbox::connect(spread::Mailbox::builder(&address).private_name("bob"))?;
//! alice.join("chat")?;
//! let Event::View(view) = alice.receive()? else { panic!() };
//! assert_eq!(view.members, ["#alice#localhost"]);
//!
//! bob.join("chat")?;
//! let Event::FlushRequest(request) = alice.receive()? else { panic!() };
//! // This is still sent in the old view, and delivered there: Bob does not get it.
//! alice.multicast(Service::Fifo, "chat", b"I am alone")?;
//! alice.flush(request)?;
//! let refused = alice.multicast(Service::Fifo, "chat", b"Am I?");
//! assert!(matches!(refused, Err(Error::Flushed { .. })));
//!
//! let Event::Message { message, .. } = alice.receive()? else { panic!() };
//! assert_eq!(message.payload(), b"I am alone");
//! // A mailbox answers for its member within its receives, so all members have to receive.
//! let receiving = std::thread::spawn(move || bob.receive());
//! let Event::View(view) = alice.receive()? else { panic!() };
//! let Event::View(same) = receiving.join().unwrap()? else { panic!() };
//! assert_eq!((view.id, view.members.len()), (same.id, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! - A message is delivered in the view in which it was sent, to members of that view alone,
//!   and after the view. That holds for each service, and for messages to a subgroup.
//! - Members that go from one view to the next together have delivered the same messages in the
//!   first one, but for those to a subgroup and, with
//!   [`Unreliable`](crate::Service::Unreliable), those that were lost. In a view with
//!   [`Cause::Network`](crate::Cause::Network), `vs_sets` names those who have come together
//!   with this mailbox; it has only this set.
//! - Messages of one service keep the order that Spread gives them, within a view.
//! - If a member leaves, disconnects or is parted from this one, an [`Event::Transitional`] comes
//!   once in the view: messages that follow may not have reached that member.
//! - Messages to a private group belong to no view.
//!
//! # Limits
//!
//! - One member that does not answer its [`FlushRequest`], or does not receive, holds up the new
//!   view for all, and with it their sends. A member that ends or leaves does not.
//! - Several changes may become one view, of which not each is told: views that can no longer be
//!   installed are skipped.
//! - At most 64 MiB of messages and views wait until members have flushed a group, and all groups
//!   together take at most 256 MiB, some 160 bytes for each member of each group
//!   ([`Error::Overrun`]).
//! - A message goes to one group, or to at most 43 members of it; its type is at least
//!   [`MIN_MESSAGE_TYPE`]. What is added to it takes up to 46 bytes of the
//!   [limit](crate::MAX_BODY_AND_GROUPS).
//! - All members of a group use Flush Spread, through this module or `fl.h`, with which it shares
//!   its messages. Members over plain Spread never flush, so no view would come; what they send
//!   to the group is delivered without the guarantees.
//! - There is no reconnect: the guarantees are those of a connection.
//!
//! # Event loops
//!
//! The mailbox is a descriptor ([`AsFd`]). When it is readable, call
//! [`try_receive`](Mailbox::try_receive) until it returns `None`: one message of Spread may make
//! several events, which the descriptor does not show. Then call
//! [`try_send_rest`](Mailbox::try_send_rest): while it returns `false`, wait until the descriptor
//! is writable, too. What the mailbox has to answer by itself is sent by all its calls.

mod error;
mod event;
mod receive;

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use spread_core::Frames;
use spread_core::flush::{self as layer, Machine};
use spread_wire::{ByteOrder, Name, PrivateGroup, ServiceType};

use crate::connection::{Connection, Send};
use crate::multicast::{GroupList, group_name};
use crate::{
    Builder, Interrupter, Library, MessageBuffer, Receiver, SendOptions, Sender, Stats, ToGroup,
    ToGroups,
};

pub use error::Error;
pub use event::{Event, FlushRequest};

/// Answers that are encoded at a time. The others wait in the machine, which bounds them.
const BATCH: usize = 64;

/// The lowest message type of a message; those below are Flush Spread's
/// (`FL_MIN_LEGAL_MESS_TYPE`).
pub const MIN_MESSAGE_TYPE: i16 = layer::MIN_MESSAGE_TYPE;

/// A connection to a Spread daemon whose groups have view synchrony; see the
/// [module](crate::flush).
///
/// It belongs to one owner: all calls that send or receive take `&mut self`, so that what is sent
/// and what has been received have one order. Dropping it does not wait, as with
/// [`spread::Mailbox`](crate::Mailbox).
#[derive(Debug)]
pub struct Mailbox {
    sender: Sender,
    receiver: Receiver,
    buffer: MessageBuffer,
    machine: Machine,
    /// What the machine has to send.
    answers: Frames,
}

impl Mailbox {
    /// Connects, as `FL_connect(3)` does.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::connect`], where they are listed.
    pub fn connect(builder: Builder) -> Result<Mailbox, crate::Error> {
        let (sender, receiver) = builder.connect()?.split();
        let machine = Machine::new(sender.private_group().into());
        let (buffer, answers) = (MessageBuffer::new(), Frames::default());
        Ok(Mailbox { sender, receiver, buffer, machine, answers })
    }

    /// See [`spread::Mailbox::private_group`](crate::Mailbox::private_group).
    pub fn private_group(&self) -> PrivateGroup {
        self.sender.private_group()
    }

    /// Joins a group, as `FL_join(3)` does; waits while the daemon takes no more. Its view is
    /// received when all its members have flushed the group.
    ///
    /// # Errors
    ///
    /// - [`AlreadyJoined`](Error::AlreadyJoined) if a view of the group has been received from
    ///   the daemon since the mailbox was last out of it.
    /// - [`Spread`](Error::Spread): those of [`spread::Mailbox::join`](crate::Mailbox::join).
    pub fn join(&mut self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?.into();
        self.machine.may_join(&group).map_err(|_| Error::AlreadyJoined { group })?;
        self.send(&Send::join(&group))
    }

    /// Leaves a group, as `FL_leave(3)` does; waits while the daemon takes no more. The answer is
    /// [`Event::SelfLeave`]. Before it, messages and views of the group may still be received, but
    /// no flush is requested.
    ///
    /// # Errors
    ///
    /// - [`NotMember`](Error::NotMember) if no view of the group has been received, or the
    ///   mailbox is leaving it.
    /// - [`Spread`](Error::Spread): those of [`spread::Mailbox::leave`](crate::Mailbox::leave).
    pub fn leave(&mut self, group: impl ToGroup) -> Result<(), Error> {
        let group = group_name(group)?.into();
        self.machine.may_leave(&group).map_err(|refusal| Error::of(refusal, group))?;
        self.send(&Send::leave(&group))?;
        self.machine.leave(&group);
        Ok(())
    }

    /// Agrees to the next view of the group, as `FL_flush(3)` does; waits while the daemon takes
    /// no more. Until that view is received, nothing can be sent to the group.
    ///
    /// # Errors
    ///
    /// - [`NotMember`](Error::NotMember) if the mailbox has left the group, or is leaving it.
    /// - [`NotRequested`](Error::NotRequested) if the request is of an earlier stay in the group.
    /// - [`Spread`](Error::Spread) with [`Resource`](crate::Error::Resource) if the system lacks
    ///   memory; the group is flushed, and the answer goes with one of the next calls. Otherwise
    ///   those of an end of the connection.
    pub fn flush(&mut self, request: FlushRequest) -> Result<(), Error> {
        self.begin_flush(request)?;
        Ok(self.send_answers()?)
    }

    /// As [`flush`](Mailbox::flush), without waiting: the group is flushed, and the answer is
    /// sent as far as there is room. Returns what
    /// [`try_send_rest`](Mailbox::try_send_rest) does.
    ///
    /// # Errors
    ///
    /// Those of [`flush`](Mailbox::flush), where they are listed.
    pub fn try_flush(&mut self, request: FlushRequest) -> Result<bool, Error> {
        self.begin_flush(request)?;
        self.try_send_rest()
    }

    /// Sends a message to the members of the group's view, or to one client by its private group,
    /// as `FL_multicast(3)` does; waits while the daemon takes no more.
    ///
    /// A program has to receive between its sends; see
    /// [`spread::Mailbox::multicast`](crate::Mailbox::multicast).
    ///
    /// # Errors
    ///
    /// Nothing is sent:
    ///
    /// - [`Flushed`](Error::Flushed) from a flush of the group until its next view.
    /// - [`NotMember`](Error::NotMember) if no view of the group has been received, or the
    ///   mailbox is leaving it.
    /// - [`MessageType`](Error::MessageType) if the type is below [`MIN_MESSAGE_TYPE`].
    ///
    /// [`Spread`](Error::Spread): those of
    /// [`spread::Mailbox::multicast`](crate::Mailbox::multicast).
    pub fn multicast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let prepared = self.prepare(options.into(), group.to_group()?, None)?;
        self.send_prepared(&prepared, payload.as_ref())
    }

    /// As [`multicast`](Mailbox::multicast), without waiting: returns `false` if there is no
    /// room, and nothing has been sent. The message may have gone in part; its rest goes with the
    /// next call that sends, or with [`try_send_rest`](Mailbox::try_send_rest).
    ///
    /// # Errors
    ///
    /// Those of [`multicast`](Mailbox::multicast), where they are listed.
    pub fn try_multicast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        payload: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let prepared = self.prepare(options.into(), group.to_group()?, None)?;
        self.try_send_prepared(&prepared, payload.as_ref())
    }

    /// Sends a message in a group to some members of its view, as `FL_subgroupcast(3)` does;
    /// waits while the daemon takes no more.
    ///
    /// # Errors
    ///
    /// Those of [`multicast`](Mailbox::multicast), and:
    ///
    /// - [`NotInView`](Error::NotInView) if a receiver is not a member of the view.
    /// - [`Spread`](Error::Spread) with [`NoGroups`](crate::Error::NoGroups) or
    ///   [`TooManyGroups`](crate::Error::TooManyGroups) if there are not 1 to 43 receivers.
    pub fn subgroupcast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        receivers: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let receivers = GroupList::of(receivers)?;
        let prepared = self.prepare(options.into(), group.to_group()?, Some(receivers))?;
        self.send_prepared(&prepared, payload.as_ref())
    }

    /// As [`subgroupcast`](Mailbox::subgroupcast), without waiting, as
    /// [`try_multicast`](Mailbox::try_multicast) is.
    ///
    /// # Errors
    ///
    /// Those of [`subgroupcast`](Mailbox::subgroupcast), where they are listed.
    pub fn try_subgroupcast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        receivers: impl ToGroups,
        payload: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let receivers = GroupList::of(receivers)?;
        let prepared = self.prepare(options.into(), group.to_group()?, Some(receivers))?;
        self.try_send_prepared(&prepared, payload.as_ref())
    }

    /// Sends a message in a group to one member of its view, as `FL_unicast(3)` does; waits while
    /// the daemon takes no more.
    ///
    /// # Errors
    ///
    /// Those of [`subgroupcast`](Mailbox::subgroupcast), where they are listed.
    pub fn unicast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        receiver: impl ToGroup,
        payload: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.subgroupcast(options, group, receiver.to_group()?, payload)
    }

    /// As [`unicast`](Mailbox::unicast), without waiting, as
    /// [`try_multicast`](Mailbox::try_multicast) is.
    ///
    /// # Errors
    ///
    /// Those of [`subgroupcast`](Mailbox::subgroupcast), where they are listed.
    pub fn try_unicast(
        &mut self,
        options: impl Into<SendOptions>,
        group: impl ToGroup,
        receiver: impl ToGroup,
        payload: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.try_subgroupcast(options, group, receiver.to_group()?, payload)
    }

    /// Sends what is left to be sent, as far as there is room: answers of the mailbox, and the
    /// rest of a message that has begun. Returns whether nothing is left.
    ///
    /// # Errors
    ///
    /// [`Spread`](Error::Spread): those of
    /// [`spread::Mailbox::try_flush`](crate::Mailbox::try_flush).
    pub fn try_send_rest(&mut self) -> Result<bool, Error> {
        Ok(self.try_send_answers()?)
    }

    /// What ends a receive from another thread. See
    /// [`Receiver::interrupter`](crate::Receiver::interrupter).
    ///
    /// # Errors
    ///
    /// [`Resource`](crate::Error::Resource) if the descriptors for it cannot be had,
    /// [`Forked`](crate::Error::Forked) in the child of a fork.
    pub fn interrupter(&self) -> Result<Interrupter, crate::Error> {
        self.receiver.interrupter()
    }

    /// Ends the connection, as `FL_disconnect(3)` does. See
    /// [`spread::Mailbox::disconnect`](crate::Mailbox::disconnect).
    ///
    /// # Errors
    ///
    /// Those of [`spread::Mailbox::disconnect`](crate::Mailbox::disconnect), where they are
    /// listed.
    pub fn disconnect(self) -> Result<(), crate::Error> {
        self.receiver.disconnect()
    }

    /// Drops the connection without a word to the daemon. See
    /// [`spread::Mailbox::kill`](crate::Mailbox::kill).
    pub fn kill(self) {
        self.connection().kill();
    }

    /// How much has been sent and received so far, with the messages of the layer.
    pub fn stats(&self) -> Stats {
        self.sender.stats()
    }

    /// See [`spread::Mailbox::library`](crate::Mailbox::library).
    pub fn library(&self) -> Library {
        self.sender.library()
    }

    fn connection(&self) -> &Connection {
        self.sender.connection()
    }

    fn begin_flush(&mut self, request: FlushRequest) -> Result<(), Error> {
        let group = request.group();
        let reply = self.machine.may_flush(&group).map_err(|refusal| match refusal {
            layer::Refusal::State => Error::NotRequested { group },
            refusal => Error::of(refusal, group),
        })?;
        self.queue_replies(usize::MAX);
        self.queue(reply);
        self.machine.flush(&group);
        Ok(())
    }

    /// Checks that a message may be sent now, and says how.
    fn prepare(
        &self,
        options: SendOptions,
        group: Name,
        receivers: Option<GroupList>,
    ) -> Result<Prepared, Error> {
        if options.number() < MIN_MESSAGE_TYPE {
            return Err(Error::MessageType { message_type: options.number() });
        }
        let service_type = options.service_type();
        let to = receivers.as_ref().map(GroupList::names).unwrap_or_default();
        let view = self.machine.may_send(&group, service_type, to);
        let view = view.map_err(|refusal| Error::of(refusal, group))?;
        let subgroup_of = receivers.as_ref().map(|_| group);
        let (number, trailer) = layer::trailer(options.number(), view, subgroup_of);
        Ok(match receivers {
            Some(to) => {
                Prepared { service_type: service_type | layer::SUBGROUP, to, number, trailer }
            }
            None => Prepared { service_type, to: GroupList::of(group)?, number, trailer },
        })
    }

    fn send_prepared(&mut self, prepared: &Prepared, payload: &[u8]) -> Result<(), Error> {
        let Prepared { service_type, to, number, trailer } = prepared;
        let payload = [IoSlice::new(payload), IoSlice::new(trailer)];
        to.check_pieces(&payload)?;
        let (service_type, groups, number) = (*service_type, to.names(), *number);
        self.send(&Send { service_type, groups, number, payload: &payload })
    }

    fn try_send_prepared(&mut self, prepared: &Prepared, payload: &[u8]) -> Result<bool, Error> {
        let Prepared { service_type, to, number, trailer } = prepared;
        to.check_payload(payload.len() + trailer.len())?;
        if !self.try_send_answers()? {
            return Ok(false);
        }
        let mut frames = Frames::default();
        frames.push(*service_type, to.names(), *number, &[payload, trailer].concat());
        let sent = self.connection().try_multicast_frames(&mut frames);
        match frames.is_empty() {
            // If its rest could not be sent, the next call says so.
            true => Ok(true),
            false => Ok(sent.map(|_| false)?),
        }
    }

    /// Sends something of the application behind the answers.
    fn send(&mut self, send: &Send<'_>) -> Result<(), Error> {
        self.send_answers()?;
        Ok(self.connection().send(send)?)
    }

    fn send_answers(&mut self) -> Result<(), crate::Error> {
        loop {
            self.queue_replies(BATCH);
            if self.answers.is_empty() {
                return Ok(());
            }
            self.sender.connection().multicast_frames(&mut self.answers)?;
        }
    }

    /// Sends answers and the rest of a message as far as there is room; says whether that is all.
    fn try_send_answers(&mut self) -> Result<bool, crate::Error> {
        loop {
            self.queue_replies(BATCH);
            let connection = self.sender.connection();
            if self.answers.is_empty() {
                return connection.try_flush();
            }
            if connection.try_multicast_frames(&mut self.answers)? == 0 {
                return Ok(false);
            }
        }
    }

    /// Encodes what the machine has to send, until there are so many answers.
    fn queue_replies(&mut self, most: usize) {
        while self.answers.len() < most
            && let Some(reply) = self.machine.reply()
        {
            self.machine.replied();
            self.queue(reply);
        }
    }

    fn queue(&mut self, reply: layer::Reply) {
        let body = reply.id.encode(ByteOrder::NATIVE);
        self.answers.push(ServiceType::FIFO, &[reply.group], reply.message_type, &body);
    }
}

/// A message as it goes over the wire, but for the beginning of its body.
struct Prepared {
    service_type: ServiceType,
    to: GroupList,
    number: i16,
    /// What follows the payload.
    trailer: Vec<u8>,
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
