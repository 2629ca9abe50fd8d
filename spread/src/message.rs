//! What a mailbox receives.

use std::fmt;

use spread_wire::limits::NAME_FIELD;
use spread_wire::{
    ByteOrder, Cause as WireCause, DeliveryError, GroupId, MembershipBody, MembershipError, Name,
    Service, ServiceType,
};

use crate::ProtocolError;
use crate::backend::Received;

/// A message from the daemon: of an application, or about a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A message that a client multicast.
    Regular(RegularMessage),
    /// A group of which this mailbox is a member has a new view.
    Membership(View),
    /// The view of a group is about to end because daemons part: what comes
    /// between this and the next view of the group may not have reached all
    /// members of the old one.
    Transitional(Transitional),
    /// This mailbox has left a group: nothing more comes from it.
    SelfLeave(SelfLeave),
    /// The daemon refused to deliver a message of this mailbox.
    Rejected(RejectedMessage),
}

impl Message {
    /// The group that a membership message is about; `None` for others.
    pub fn group(&self) -> Option<Name> {
        match self {
            Message::Membership(view) => Some(view.group),
            Message::Transitional(signal) => Some(signal.group),
            Message::SelfLeave(leave) => Some(leave.group),
            Message::Regular(_) | Message::Rejected(_) => None,
        }
    }
}

/// A message of an application, as `SP_receive(3)` delivers it.
#[derive(Clone, PartialEq, Eq)]
pub struct RegularMessage {
    sender: Name,
    groups: Vec<Name>,
    service: Service,
    self_discard: bool,
    message_type: i16,
    endian_mismatch: bool,
    payload: Vec<u8>,
}

impl RegularMessage {
    /// The private group of the client that sent it, `#name#daemon`: multicast
    /// to it to answer that client alone.
    pub fn sender(&self) -> Name {
        self.sender
    }

    /// The groups it was sent to, all of them, whether or not this mailbox is a
    /// member.
    pub fn groups(&self) -> &[Name] {
        &self.groups
    }

    /// The guarantee it was sent with.
    pub fn service(&self) -> Service {
        self.service
    }

    /// Whether its sender asked for no copy of it.
    pub fn is_self_discard(&self) -> bool {
        self.self_discard
    }

    /// The number that the sender gave the message, of use to applications
    /// alone.
    pub fn message_type(&self) -> i16 {
        self.message_type
    }

    /// Whether the sender's machine has another byte order, so that integers in
    /// the payload may have to be turned round. The message type has been.
    pub fn endian_mismatch(&self) -> bool {
        self.endian_mismatch
    }

    /// The byte order of the sender's machine, for the integers in the payload.
    ///
    /// ```
    /// # fn show(message: spread::RegularMessage) {
    /// // A number that its sender copied into the payload as it was in memory.
    /// if let Some((bytes, _)) = message.payload().split_first_chunk() {
    ///     println!("{}", message.sender_order().u32(*bytes));
    /// }
    /// # }
    /// ```
    pub fn sender_order(&self) -> ByteOrder {
        sender_order(self.endian_mismatch)
    }

    /// What the message says.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What the message says.
    pub fn into_payload(self) -> Vec<u8> {
        self.payload
    }
}

impl fmt::Debug for RegularMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegularMessage")
            .field("sender", &self.sender)
            .field("groups", &self.groups)
            .field("service", &self.service)
            .field("self_discard", &self.self_discard)
            .field("message_type", &self.message_type)
            .field("endian_mismatch", &self.endian_mismatch)
            .field("payload", &format_args!("b\"{}\"", self.payload.escape_ascii()))
            .finish()
    }
}

/// A new view of a group: who its members are now, and why.
///
/// All members of a view get it at the same place among the agreed and safe
/// messages of the group, and with the members in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The group.
    pub group: Name,
    /// Names this view; the same for all its members.
    pub id: GroupId,
    /// The private groups of all members, in the order that all members see.
    pub members: Vec<Name>,
    /// The place of this mailbox among the members.
    pub my_index: usize,
    /// What changed.
    pub cause: Cause,
}

impl View {
    /// This mailbox's name among the members.
    pub fn me(&self) -> Name {
        self.members[self.my_index]
    }

    /// Whether a client is a member.
    pub fn contains(&self, member: impl Into<Name>) -> bool {
        self.members.contains(&member.into())
    }

    /// The members but this mailbox.
    pub fn others(&self) -> impl Iterator<Item = Name> + '_ {
        let me = self.me();
        self.members.iter().copied().filter(move |member| *member != me)
    }

    /// The first member: all members of the view agree on who it is.
    ///
    /// Members come in the order of their daemons and then of their names, not in
    /// that of their joining, so one who joins later may become the first.
    pub fn first(&self) -> Name {
        self.members[0]
    }

    /// Whether this mailbox is the first member, and so the one to do what is to
    /// be done once.
    pub fn am_first(&self) -> bool {
        self.my_index == 0
    }

    /// The members that are not in `former`, an earlier view of the group.
    pub fn new_since(&self, former: &View) -> Vec<Name> {
        let new = self.members.iter().filter(|member| !former.members.contains(member));
        new.copied().collect()
    }

    /// The members of `former`, an earlier view of the group, that are gone.
    pub fn gone_since(&self, former: &View) -> Vec<Name> {
        former.new_since(self)
    }
}

/// Why a group has a new view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// This client joined.
    Joined(Name),
    /// This client left.
    Left(Name),
    /// This client disconnected, or its connection broke.
    Disconnected(Name),
    /// Daemons parted or came together.
    Network {
        /// The members, by the view they come from: those in one set have seen
        /// the same messages so far.
        vs_sets: Vec<Vec<Name>>,
        /// The place of this mailbox's own set.
        mine: usize,
    },
}

impl Cause {
    /// The client that joined, left or disconnected; `None` for a network change.
    pub fn member(&self) -> Option<Name> {
        match self {
            Cause::Joined(member) | Cause::Left(member) | Cause::Disconnected(member) => {
                Some(*member)
            }
            Cause::Network { .. } => None,
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; members:", self.group, self.cause)?;
        for (index, member) in self.members.iter().enumerate() {
            write!(f, "{} {member}", if index > 0 { "," } else { "" })?;
        }
        write!(f, " (view {})", self.id)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Joined(member) => write!(f, "{member} joined"),
            Cause::Left(member) => write!(f, "{member} left"),
            Cause::Disconnected(member) => write!(f, "{member} disconnected"),
            Cause::Network { vs_sets, .. } => {
                write!(f, "the network changed, {} set", vs_sets.len())?;
                f.write_str(if vs_sets.len() == 1 { "" } else { "s" })
            }
        }
    }
}

/// The signal that a view ends because daemons part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transitional {
    /// The group.
    pub group: Name,
    /// The view that ends.
    pub id: GroupId,
}

impl fmt::Display for Transitional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: view {} ends", self.group, self.id)
    }
}

/// The answer to a leave of this mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfLeave {
    /// The group that it left.
    pub group: Name,
}

impl fmt::Display for SelfLeave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: left", self.group)
    }
}

/// A message that the daemon refused, back at its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedMessage {
    /// The type it was sent with: a service, join or leave, and flags.
    pub old_type: ServiceType,
    /// The groups it was sent to.
    pub groups: Vec<Name>,
    /// The number that was given to it.
    pub message_type: i16,
    /// What it said.
    pub payload: Vec<u8>,
}

impl Message {
    /// Makes a message of what was received for the client `me`.
    pub(crate) fn parse(
        received: &Received,
        groups: &[[u8; NAME_FIELD]],
        body: &[u8],
        me: Name,
    ) -> Result<Message, ProtocolError> {
        let flags = received.service_type;
        let unknown = ProtocolError::Delivery(DeliveryError::ServiceType(flags));
        if flags.is_reject() {
            return Ok(Message::Rejected(RejectedMessage {
                old_type: flags - ServiceType::REJECT,
                groups: names(groups),
                message_type: received.message_type,
                payload: body.to_vec(),
            }));
        }
        if flags.is_regular() {
            return Message::regular(received, groups, |payload| *payload = body.to_vec());
        }

        let group = received.sender;
        if flags.contains(ServiceType::REG_MEMB) {
            let body = MembershipBody::parse(body, received.order)?;
            let cause = WireCause::of(flags).ok_or(unknown)?;
            let members = names(groups);
            let my_index = members.iter().position(|member| *member == me);
            return Ok(Message::Membership(View {
                group,
                id: body.group_id,
                my_index: my_index.ok_or(ProtocolError::View)?,
                members,
                cause: Cause::new(cause, body)?,
            }));
        }
        if flags.contains(ServiceType::TRANSITION) {
            let short = MembershipError::Short { len: body.len() };
            let id = body.first_chunk::<{ GroupId::LEN }>().ok_or(short)?;
            let id = GroupId::decode(id, received.order);
            return Ok(Message::Transitional(Transitional { group, id }));
        }
        if flags.is_self_leave() {
            return Ok(Message::SelfLeave(SelfLeave { group }));
        }
        Err(unknown)
    }

    /// Makes a message of an application, whose payload `take` hands over.
    pub(crate) fn regular(
        received: &Received,
        groups: &[[u8; NAME_FIELD]],
        take: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Message, ProtocolError> {
        let flags = received.service_type;
        let unknown = DeliveryError::ServiceType(flags);
        let service = flags.service().ok_or(ProtocolError::Delivery(unknown))?;
        let mut payload = Vec::new();
        take(&mut payload);
        Ok(Message::Regular(RegularMessage {
            sender: received.sender,
            groups: names(groups),
            service,
            self_discard: flags.contains(ServiceType::SELF_DISCARD),
            message_type: received.message_type,
            endian_mismatch: received.endian_mismatch,
            payload,
        }))
    }
}

fn names(fields: &[[u8; NAME_FIELD]]) -> Vec<Name> {
    fields.iter().map(|field| Name::from_field(*field)).collect()
}

impl Cause {
    fn new(cause: WireCause, body: MembershipBody) -> Result<Cause, ProtocolError> {
        let changed = || {
            let set = body.vs_sets.get(body.my_vs_set);
            set.and_then(|set| set.first()).copied().ok_or(ProtocolError::View)
        };
        Ok(match cause {
            WireCause::Join => Cause::Joined(changed()?),
            WireCause::Leave => Cause::Left(changed()?),
            WireCause::Disconnect => Cause::Disconnected(changed()?),
            WireCause::Network => Cause::Network { mine: body.my_vs_set, vs_sets: body.vs_sets },
        })
    }
}

pub(crate) fn sender_order(mismatch: bool) -> ByteOrder {
    if mismatch { ByteOrder::NATIVE.opposite() } else { ByteOrder::NATIVE }
}
