//! What a mailbox receives.

use std::fmt;

use bytes::Bytes;
use spread_wire::limits::NAME_FIELD;
use spread_wire::{
    ByteOrder, Cause as WireCause, DeliveryError, GroupId, MembershipBody, MembershipError, Name,
    Service, ServiceType,
};

use crate::backend::Received;
use crate::{ProtocolError, ToGroup};

/// A message from the daemon: of an application, or about a group's members.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// A message that a client multicast.
    Regular(RegularMessage),
    /// A group of which this mailbox is a member has a new view.
    Membership(View),
    /// The view of a group is about to end because members are lost with their daemons: what
    /// comes between this and the next view of the group may not have reached all members of
    /// the old one. When daemons come together, none comes, unless others are lost then.
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
    groups: Groups,
    service: Service,
    self_discard: bool,
    message_type: i16,
    endian_mismatch: bool,
    payload: Bytes,
}

/// Most messages go to one group, and need no memory for it.
#[derive(Clone, PartialEq, Eq)]
enum Groups {
    One(Name),
    Several(Vec<Name>),
}

impl RegularMessage {
    /// Returns a message as it is received, for tests: with type 0, from a sender of the same
    /// byte order that asked for a copy of it.
    ///
    /// ```
    /// use spread::{GroupName, PrivateGroup, RegularMessage, Service};
    ///
    /// let (sender, group) = (PrivateGroup::new("#alice#host")?, GroupName::new("chat")?);
    /// let message = RegularMessage::new(sender, [group], Service::Agreed, "hello");
    /// assert_eq!(message.with_message_type(7).message_type(), 7);
    /// # Ok::<(), spread::NameError>(())
    /// ```
    pub fn new(
        sender: impl Into<Name>,
        groups: impl IntoIterator<Item = impl Into<Name>>,
        service: Service,
        payload: impl Into<Bytes>,
    ) -> RegularMessage {
        let groups = owned(groups);
        let groups = match groups[..] {
            [one] => Groups::One(one),
            _ => Groups::Several(groups),
        };
        RegularMessage {
            sender: sender.into(),
            groups,
            service,
            self_discard: false,
            message_type: 0,
            endian_mismatch: false,
            payload: payload.into(),
        }
    }

    /// Sets the number that the sender gave the message.
    #[must_use]
    pub fn with_message_type(self, message_type: i16) -> RegularMessage {
        RegularMessage { message_type, ..self }
    }

    /// Sets whether the sender asked for no copy of the message.
    #[must_use]
    pub fn with_self_discard(self, self_discard: bool) -> RegularMessage {
        RegularMessage { self_discard, ..self }
    }

    /// Sets whether the sender's machine has another byte order.
    #[must_use]
    pub fn with_endian_mismatch(self, endian_mismatch: bool) -> RegularMessage {
        RegularMessage { endian_mismatch, ..self }
    }

    /// The private group of the client that sent it, `#name#daemon`: multicast
    /// to it to answer that client alone.
    pub fn sender(&self) -> Name {
        self.sender
    }

    /// The groups it was sent to, all of them, whether or not this mailbox is a
    /// member.
    pub fn groups(&self) -> &[Name] {
        match &self.groups {
            Groups::One(name) => std::slice::from_ref(name),
            Groups::Several(names) => names,
        }
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

    /// What the message says. Clones of it, for other tasks, share its memory.
    ///
    /// Below 8 KiB it has been copied into memory of its own size, so that keeping it keeps
    /// nothing of what was read ahead with it. From 8 KiB on it is the memory that it was
    /// received into.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}

impl fmt::Debug for RegularMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegularMessage")
            .field("sender", &self.sender)
            .field("groups", &self.groups())
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
///
/// A view with [`Cause::Network`] follows a [`Transitional`] signal if members of the view before
/// have been lost with their daemons. At a merge, in which nobody is lost, it comes without one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "raw::View"))]
#[non_exhaustive]
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
    /// Returns a view as it is received, for tests.
    ///
    /// # Panics
    ///
    /// If `my_index` is not the place of a member.
    ///
    /// ```
    /// use spread::{Cause, GroupId, GroupName, PrivateGroup, View};
    ///
    /// let (alice, bob) = (PrivateGroup::new("#alice#host")?, PrivateGroup::new("#bob#host")?);
    /// let id = GroupId { proc_id: 1, time: 1, index: 2 };
    /// let cause = Cause::Joined(bob.into());
    /// let view = View::new(GroupName::new("chat")?, id, [alice, bob], 0, cause);
    /// assert_eq!(view.me(), alice);
    /// # Ok::<(), spread::NameError>(())
    /// ```
    pub fn new(
        group: impl Into<Name>,
        id: GroupId,
        members: impl IntoIterator<Item = impl Into<Name>>,
        my_index: usize,
        cause: Cause,
    ) -> View {
        let (group, members) = (group.into(), owned(members));
        assert!(my_index < members.len(), "member {my_index} of {}", members.len());
        View { group, id, members, my_index, cause }
    }

    /// This mailbox's name among the members.
    pub fn me(&self) -> Name {
        self.members[self.my_index]
    }

    /// Returns whether a client is a member, of whom the private group is given: as a text or
    /// a name, `#name#daemon`.
    ///
    /// ```
    /// # let daemon = spread_daemon::Daemon::builder().start()?;
    /// # let mut mailbox = spread::Mailbox::builder(daemon.address()).private_name("alice").connect()?;
    /// # mailbox.join("chat")?;
    /// # let spread::Message::Membership(view) = mailbox.receive()? else { panic!() };
    /// assert!(view.contains("#alice#localhost") && view.contains(mailbox.private_group()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contains(&self, member: impl ToGroup) -> bool {
        self.members.iter().any(|name| name.as_bytes() == member.group_bytes())
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
    /// be done once about this view.
    ///
    /// It is no leader for longer than the view: a client that joins later may come first.
    /// [`Views::longest_member`](crate::Views::longest_member) changes less often.
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
        /// the same messages so far. The order of the sets is arbitrary, and the same for all
        /// members of the view; `mine` says which of them is this mailbox's own.
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

/// A view before it has been checked.
#[cfg(feature = "serde")]
mod raw {
    use spread_wire::{GroupId, Name};

    use super::Cause;

    #[derive(serde::Deserialize)]
    pub(super) struct View {
        group: Name,
        id: GroupId,
        members: Vec<Name>,
        my_index: usize,
        cause: Cause,
    }

    impl TryFrom<View> for super::View {
        type Error = &'static str;

        fn try_from(view: View) -> Result<super::View, &'static str> {
            let View { group, id, members, my_index, cause } = view;
            if my_index >= members.len() {
                return Err("my_index is not the place of a member");
            }
            match &cause {
                Cause::Network { vs_sets, mine } if *mine >= vs_sets.len() => {
                    Err("mine is not the place of a set")
                }
                _ => Ok(super::View { group, id, members, my_index, cause }),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn a_view_without_its_receiver_is_refused() {
            let id = r#""group":"g","id":{"proc_id":1,"time":2,"index":3},"members":["\u0023a#d"]"#;
            let view = |rest: &str| {
                serde_json::from_str::<super::super::View>(&format!("{{{id},{rest}}}"))
            };
            let joined = r#""cause":{"Joined":"\u0023a#d"}"#;
            assert!(view(&format!(r#""my_index":0,{joined}"#)).is_ok());
            assert!(view(&format!(r#""my_index":1,{joined}"#)).is_err());
            let network = r#""my_index":0,"cause":{"Network":{"vs_sets":[],"mine":0}}"#;
            assert!(view(network).is_err());
        }
    }
}

/// The signal that a view ends because members are lost with their daemons: daemons part, or
/// one crashes. The next view of the group, with [`Cause::Network`], ends what it announces.
///
/// What comes between the two may not have reached those who are lost. No signal comes when
/// daemons find each other again: then nobody is lost, and the next view follows the last message
/// of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Transitional {
    /// The group.
    pub group: Name,
    /// The view that ends.
    pub id: GroupId,
}

impl Transitional {
    /// Returns a signal as it is received, for tests.
    pub fn new(group: impl Into<Name>, id: GroupId) -> Transitional {
        Transitional { group: group.into(), id }
    }
}

impl fmt::Display for Transitional {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: view {} ends", self.group, self.id)
    }
}

/// The answer to a leave of this mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SelfLeave {
    /// The group that it left.
    pub group: Name,
}

impl SelfLeave {
    /// Returns the answer to a leave as it is received, for tests.
    pub fn new(group: impl Into<Name>) -> SelfLeave {
        SelfLeave { group: group.into() }
    }
}

impl fmt::Display for SelfLeave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: left", self.group)
    }
}

/// A message that the daemon refused, back at its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedMessage {
    /// The type it was sent with: a service, join or leave, and flags.
    pub old_type: ServiceType,
    /// The groups it was sent to.
    pub groups: Vec<Name>,
    /// The number that was given to it.
    pub message_type: i16,
    /// What it said.
    pub payload: Bytes,
}

impl RejectedMessage {
    /// Returns a refused message as it is received, for tests: with type 0.
    pub fn new(
        groups: impl IntoIterator<Item = impl Into<Name>>,
        old_type: ServiceType,
        payload: impl Into<Bytes>,
    ) -> RejectedMessage {
        let (groups, payload) = (owned(groups), payload.into());
        RejectedMessage { old_type, groups, message_type: 0, payload }
    }

    /// Sets the number that was given to the message.
    #[must_use]
    pub fn with_message_type(self, message_type: i16) -> RejectedMessage {
        RejectedMessage { message_type, ..self }
    }
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
                payload: Bytes::copy_from_slice(body),
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
            groups: match groups {
                [one] => Groups::One(Name::from_field(*one)),
                several => Groups::Several(names(several)),
            },
            service,
            self_discard: flags.contains(ServiceType::SELF_DISCARD),
            message_type: received.message_type,
            endian_mismatch: received.endian_mismatch,
            payload: payload.into(),
        }))
    }
}

fn owned(names: impl IntoIterator<Item = impl Into<Name>>) -> Vec<Name> {
    names.into_iter().map(Into::into).collect()
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
