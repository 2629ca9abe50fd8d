//! The messages of Flush Spread, as they travel in messages of Spread.
//!
//! - A flush, and the confirmation of a view, are FIFO messages to the group with a type of
//!   their own, whose body is the id of the view in the byte order of the sender.
//! - A message that may overtake a view has another such type. Behind its body follow its own
//!   type and the id of the view it was sent in.
//! - A message to a subgroup is sent to the private groups of its receivers. Behind all of
//!   that follows the name of the group.

use spread_wire::limits::NAME_FIELD;
use spread_wire::{ByteOrder, GroupId, MembershipBody, Name, PrivateGroup, ServiceType};

use crate::Incoming;

/// The type of the message by which a member flushes the group.
pub(super) const FLUSH_OK: i16 = i16::MIN;
/// The type of the message by which a member confirms that it has installed a view.
pub(super) const CONFIRMED: i16 = i16::MIN + 1;
/// The type of a message that says which view it belongs to.
const IN_VIEW: i16 = i16::MIN + 2;

/// The lowest type that a message of an application can have.
pub const MIN_MESSAGE_TYPE: i16 = i16::MIN + 3;

/// The flag of a message that asks the application to flush a group.
pub const FLUSH_REQUEST: ServiceType = ServiceType::from_bits_retain(0x2000_0000);
/// The flag of a message to a subgroup.
pub const SUBGROUP: ServiceType = ServiceType::from_bits_retain(0x4000_0000);

/// A message as the application gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The type; [`FLUSH_REQUEST`] alone for a request.
    pub service_type: ServiceType,
    /// The sender; in a membership message the group.
    pub sender: Name,
    /// The groups; in a message to a subgroup the receivers and then the group, in a view the
    /// members.
    pub groups: Vec<Name>,
    /// The application's type; in a view the receiver's index among the members.
    pub message_type: i16,
    /// Whether the sender has another byte order.
    pub foreign_sender: bool,
    /// The body; of a view the id, the number of names and the names, in the byte order of
    /// this machine.
    pub body: Vec<u8>,
}

impl Message {
    /// A membership message about a group that has nothing but its type.
    pub(super) fn about(group: Name, service_type: ServiceType) -> Message {
        Message {
            service_type,
            sender: group,
            groups: Vec::new(),
            message_type: 0,
            foreign_sender: false,
            body: Vec::new(),
        }
    }

    /// The id of a view, and the names in its body: of the member that joined, left or
    /// disconnected, or after a network change of those who have come with the receiver. `None`
    /// for other messages.
    pub fn view(&self) -> Option<(GroupId, Vec<Name>)> {
        if !self.service_type.contains(ServiceType::REG_MEMB) {
            return None;
        }
        let (id, rest) = self.body.split_first_chunk()?;
        let names = rest.get(4..)?.as_chunks().0.iter().map(|field| Name::from_field(*field));
        Some((GroupId::decode(id, ByteOrder::NATIVE), names.collect()))
    }

    /// The group of a message of an application; of one to a subgroup it is taken from behind the
    /// receivers.
    pub fn take_group(&mut self) -> Name {
        let group = match self.service_type.contains(SUBGROUP) {
            true => self.groups.pop(),
            false => self.groups.first().copied(),
        };
        group.unwrap_or(Name::EMPTY)
    }

    /// Bytes that it is counted with while it is queued.
    pub(super) fn len(&self) -> usize {
        spread_wire::HEADER_LEN + self.groups.len() * NAME_FIELD + self.body.len()
    }
}

/// A view of Spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewView {
    /// The id of the view.
    pub id: GroupId,
    /// Its type, with its cause.
    pub service_type: ServiceType,
    /// The members.
    pub members: Vec<Name>,
    /// The receiver's place among the members.
    pub index: i16,
    /// After a join, leave or disconnect the member that changed; after a network change
    /// those who came with the receiver.
    pub set: Vec<Name>,
}

/// A message of Spread, as it is received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The type; of a rejected message the one it was sent with, and `REJECT`.
    pub service_type: ServiceType,
    /// The sender; in a membership message the group.
    pub sender: Name,
    /// The fields of the groups; in a view of the members.
    pub groups: &'a [[u8; NAME_FIELD]],
    /// The number that the sender gave it.
    pub message_type: i16,
    /// The byte order of the sender's machine.
    pub sender_order: ByteOrder,
    /// The byte order of the body of a membership message.
    pub order: ByteOrder,
    /// The body, as it came.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// A message of an inbox.
    pub fn of(incoming: &'a Incoming<'_>) -> Received<'a> {
        let header = incoming.header();
        Received {
            service_type: incoming.service_type(),
            sender: header.name,
            groups: incoming.groups(),
            message_type: header.hint.message_type(),
            sender_order: header.hint.sender_order(),
            order: header.order,
            body: incoming.body(),
        }
    }
}

/// What a message of Spread means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Packet {
    /// A member has flushed the group, to install this view.
    FlushOk { group: Name, sender: Name, id: GroupId },
    /// A member has installed this view.
    Confirmed { group: Name, sender: Name, id: GroupId },
    /// A message of the application, with its view if it was sent with it.
    Data { group: Name, view: Option<GroupId>, message: Message },
    /// A new view of a group.
    View { group: Name, view: NewView },
    /// The signal that a view ends.
    Signal { group: Name },
    /// The receiver has left a group.
    SelfLeave { group: Name },
    /// Something that concerns no group: a message that came back.
    Other(Message),
}

impl Packet {
    /// Reads a message of Spread for the client `own`; `None` if it is nothing that Flush Spread
    /// sends.
    pub fn read(received: &Received<'_>, own: PrivateGroup) -> Option<Packet> {
        let service_type = received.service_type;
        let groups: Vec<_> = received.groups.iter().map(|field| Name::from_field(*field)).collect();
        if service_type.is_membership() {
            let group = received.sender;
            if service_type.contains(ServiceType::REG_MEMB) {
                let parsed = MembershipBody::parse(received.body, received.order).ok()?;
                let set = parsed.vs_sets.into_iter().nth(parsed.my_vs_set)?;
                let index = groups.iter().position(|member| *member == own)?.try_into().ok()?;
                let id = parsed.group_id;
                let view = NewView { id, service_type, members: groups, index, set };
                return Some(Packet::View { group, view });
            }
            if service_type.contains(ServiceType::TRANSITION) {
                return Some(Packet::Signal { group });
            }
            return service_type.is_self_leave().then_some(Packet::SelfLeave { group });
        }
        let order = received.sender_order;
        let mut message = Message {
            service_type,
            sender: received.sender,
            groups,
            message_type: received.message_type,
            foreign_sender: order != ByteOrder::NATIVE,
            body: received.body.to_vec(),
        };
        if !service_type.is_regular() {
            return Some(Packet::Other(message));
        }
        if service_type.contains(SUBGROUP) {
            message.groups.push(Name::from_field(take(&mut message.body)?));
            let group = *message.groups.last()?;
            return Packet::regular(group, message, order);
        }
        let group = *message.groups.first()?;
        Packet::regular(group, message, order)
    }

    fn regular(group: Name, mut message: Message, order: ByteOrder) -> Option<Packet> {
        let sender = message.sender;
        match message.message_type {
            FLUSH_OK => {
                let id = GroupId::decode(&take(&mut message.body)?, order);
                Some(Packet::FlushOk { group, sender, id })
            }
            CONFIRMED => {
                let id = GroupId::decode(&take(&mut message.body)?, order);
                Some(Packet::Confirmed { group, sender, id })
            }
            IN_VIEW => {
                let id = GroupId::decode(&take(&mut message.body)?, order);
                message.message_type = order.i16(take(&mut message.body)?);
                Some(Packet::Data { group, view: Some(id), message })
            }
            _ => Some(Packet::Data { group, view: None, message }),
        }
    }
}

/// What follows the body of a message of the application, and the type it travels with.
pub fn trailer(
    message_type: i16,
    view: Option<GroupId>,
    subgroup_of: Option<Name>,
) -> (i16, Vec<u8>) {
    let mut bytes = Vec::new();
    if let Some(view) = view {
        bytes.extend(message_type.to_ne_bytes());
        bytes.extend(view.encode(ByteOrder::NATIVE));
    }
    if let Some(group) = subgroup_of {
        bytes.extend(group.as_field());
    }
    (if view.is_some() { IN_VIEW } else { message_type }, bytes)
}

/// Takes an array off the end.
fn take<const N: usize>(body: &mut Vec<u8>) -> Option<[u8; N]> {
    let array = *body.last_chunk()?;
    body.truncate(body.len() - N);
    Some(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    fn own() -> PrivateGroup {
        PrivateGroup::new("#me#d").unwrap()
    }

    fn sent(
        service_type: ServiceType,
        order: ByteOrder,
        message_type: i16,
        groups: &[&str],
        body: &[u8],
    ) -> Option<Packet> {
        let groups: Vec<_> = groups.iter().map(|group| *name(group).as_field()).collect();
        let received = Received {
            service_type,
            sender: name("#bob#d"),
            groups: &groups,
            message_type,
            sender_order: order,
            order: ByteOrder::NATIVE,
            body,
        };
        Packet::read(&received, own())
    }

    const ID: GroupId = GroupId { proc_id: 1, time: 2, index: 3 };

    #[test]
    fn a_flush_is_read_in_the_order_of_its_sender() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let packet = sent(ServiceType::FIFO, order, FLUSH_OK, &["g"], &ID.encode(order));
            let expected = Packet::FlushOk { group: name("g"), sender: name("#bob#d"), id: ID };
            assert_eq!(packet, Some(expected));
        }
    }

    #[test]
    fn what_follows_a_body_is_taken_off() {
        let (kind, trailer) = trailer(7, Some(ID), Some(name("g")));
        let body = [b"hello".as_slice(), &trailer].concat();
        let service_type = ServiceType::FIFO | SUBGROUP;
        let packet = sent(service_type, ByteOrder::NATIVE, kind, &["#me#d"], &body).unwrap();
        let Packet::Data { group, view, message } = packet else { panic!("{packet:?}") };
        assert_eq!((group, view), (name("g"), Some(ID)));
        assert_eq!((message.message_type, &*message.body), (7, b"hello".as_slice()));
        assert_eq!(message.groups, [name("#me#d"), name("g")]);
    }

    #[test]
    fn what_is_too_short_is_nothing() {
        for len in 0..GroupId::LEN + 2 {
            let body = vec![0; len];
            assert_eq!(sent(ServiceType::FIFO, ByteOrder::NATIVE, IN_VIEW, &["g"], &body), None);
        }
        let kinds = [FLUSH_OK, CONFIRMED, IN_VIEW];
        for kind in kinds {
            assert_eq!(sent(ServiceType::FIFO, ByteOrder::NATIVE, kind, &["g"], &[0; 11]), None);
        }
        let subgroup = ServiceType::FIFO | SUBGROUP;
        assert_eq!(sent(subgroup, ByteOrder::NATIVE, 0, &["g"], &[0; NAME_FIELD - 1]), None);
        assert_eq!(sent(ServiceType::REG_MEMB, ByteOrder::NATIVE, 0, &["#me#d"], &[0; 20]), None);
    }
}
