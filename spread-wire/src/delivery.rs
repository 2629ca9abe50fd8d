//! What a daemon delivers to its clients.

use bytes::{BufMut, BytesMut};

use crate::header::OLD_TYPE_LEN;
use crate::order::ENDIAN_BITS;
use crate::{
    ByteOrder, Cause, Frame, GroupId, Groups, Header, Hint, MembershipBody, MembershipError, Name,
    Service, ServiceType,
};

/// Why a frame is not one that a daemon delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The type is that of no message there is.
    #[error("type {:#x} is no regular, membership or rejected message", .0.bits())]
    ServiceType(ServiceType),
    /// The body of a membership message does not fit its type.
    #[error(transparent)]
    Membership(#[from] MembershipError),
}

/// A frame from daemon to client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// A message of an application.
    Regular(Regular<'a>),
    /// A new view of a group.
    View {
        /// The group.
        group: Name,
        /// Why it changed.
        cause: Cause,
        /// The members, in the order that is the same everywhere.
        members: Groups<'a>,
        /// The view's id, and who changed or came together.
        body: MembershipBody,
    },
    /// The signal that a view of a group ends because daemons part.
    Transitional {
        /// The group.
        group: Name,
        /// The id of the view that ends.
        group_id: GroupId,
    },
    /// The receiver has left a group.
    SelfLeave {
        /// The group.
        group: Name,
    },
    /// A message that the daemon refused, back at its sender.
    Rejected(Reject<'a>),
}

/// A message of an application, as it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regular<'a> {
    /// Who sent it: a private group.
    pub sender: Name,
    /// The guarantee it was sent with.
    pub service: Service,
    /// Whether its sender wanted no copy.
    pub self_discard: bool,
    /// The type that the application gave it.
    pub message_type: i16,
    /// The byte order of the sender.
    pub sender_order: ByteOrder,
    /// Where it was sent, all of it.
    pub groups: Groups<'a>,
    /// What it says.
    pub body: &'a [u8],
}

/// A message that the daemon refused to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject<'a> {
    /// The type it was sent with.
    pub old_type: ServiceType,
    /// Who sent it: the receiver itself.
    pub sender: Name,
    /// Whether its sender wanted no copy.
    pub self_discard: bool,
    /// The type that the application gave it.
    pub message_type: i16,
    /// The byte order of the sender.
    pub sender_order: ByteOrder,
    /// Where it was sent; a daemon adds the sender's private group at the end.
    pub groups: Groups<'a>,
    /// What it says.
    pub body: &'a [u8],
}

impl<'a> Delivery<'a> {
    /// Understands a frame, as a client does.
    ///
    /// # Errors
    ///
    /// [`DeliveryError`] if it is none of the messages there are.
    pub fn parse(frame: &'a Frame) -> Result<Delivery<'a>, DeliveryError> {
        let header = frame.header();
        let flags = header.service_type;
        let unknown = DeliveryError::ServiceType(flags);
        if let Some(old_type) = frame.old_type() {
            return Ok(Delivery::Rejected(Reject {
                old_type,
                sender: header.name,
                self_discard: flags.contains(ServiceType::SELF_DISCARD),
                message_type: header.hint.message_type(),
                sender_order: header.hint.sender_order(),
                groups: frame.groups(),
                body: frame.body(),
            }));
        }
        if flags.is_regular() {
            return Ok(Delivery::Regular(Regular {
                sender: header.name,
                service: flags.service().ok_or(unknown)?,
                self_discard: flags.contains(ServiceType::SELF_DISCARD),
                message_type: header.hint.message_type(),
                sender_order: header.hint.sender_order(),
                groups: frame.groups(),
                body: frame.body(),
            }));
        }
        if flags.contains(ServiceType::REG_MEMB) {
            return Ok(Delivery::View {
                group: header.name,
                cause: Cause::of(flags).ok_or(unknown)?,
                members: frame.groups(),
                body: MembershipBody::parse(frame.body(), header.order)?,
            });
        }
        if flags.contains(ServiceType::TRANSITION) {
            let short = MembershipError::Short { len: frame.body().len() };
            let id = frame.body().first_chunk::<{ GroupId::LEN }>().ok_or(short)?;
            return Ok(Delivery::Transitional {
                group: header.name,
                group_id: GroupId::decode(id, header.order),
            });
        }
        if flags.is_self_leave() {
            return Ok(Delivery::SelfLeave { group: header.name });
        }
        Err(unknown)
    }

    /// Appends the message to `out`, from a daemon of the given byte order.
    pub fn encode(&self, order: ByteOrder, out: &mut BytesMut) {
        let header = self.header(order);
        out.reserve(header.frame_len());
        out.put_slice(&header.encode());
        match self {
            Delivery::Regular(m) => {
                m.groups.encode(out);
                out.put_slice(m.body);
            }
            Delivery::View { members, body, .. } => {
                members.encode(out);
                body.encode(order, out);
            }
            Delivery::Transitional { group_id, .. } => out.put_slice(&group_id.encode(order)),
            Delivery::SelfLeave { .. } => {}
            Delivery::Rejected(m) => {
                let word = m.old_type.bits() & !ENDIAN_BITS | order.mark();
                let old_type: [u8; OLD_TYPE_LEN] = order.u32_bytes(word);
                out.put_slice(&old_type);
                m.groups.encode(out);
                out.put_slice(m.body);
            }
        }
    }

    fn header(&self, order: ByteOrder) -> Header {
        let none = Hint::new(0, order);
        let (service_type, name, num_groups, hint, data_len) = match self {
            Delivery::Regular(m) => (
                ServiceType::regular(m.service, m.self_discard),
                m.sender,
                m.groups.len(),
                Hint::new(m.message_type, m.sender_order),
                m.body.len(),
            ),
            Delivery::View { group, cause, members, body } => {
                let flags = ServiceType::REG_MEMB | cause.flag();
                (flags, *group, members.len(), none, body.encoded_len())
            }
            Delivery::Transitional { group, .. } => {
                (ServiceType::TRANSITION, *group, 0, none, GroupId::LEN)
            }
            Delivery::SelfLeave { group } => (ServiceType::CAUSED_BY_LEAVE, *group, 0, none, 0),
            Delivery::Rejected(m) => {
                let mut flags = ServiceType::REJECT;
                flags.set(ServiceType::SELF_DISCARD, m.self_discard);
                let hint = Hint::new(m.message_type, m.sender_order);
                (flags, m.sender, m.groups.len(), hint, m.body.len())
            }
        };
        Header { service_type, name, num_groups, hint, data_len, order }
    }
}
