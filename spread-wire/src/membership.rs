//! The body of a membership message: which view, and who came together.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::limits::NAME_FIELD;
use crate::{ByteOrder, Groups, Header, Name, ServiceType};

/// Names one view of one group.
///
/// Two members that have seen the same view of a group have seen the same id
/// (`group_id` in `sp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct GroupId {
    /// Identifies the daemon that led the configuration of daemons.
    pub proc_id: i32,
    /// When that configuration was formed, in seconds.
    pub time: i32,
    /// Counts the views of the group in that configuration, from 1.
    pub index: i32,
}

impl GroupId {
    /// Bytes of an id on the wire.
    pub const LEN: usize = 12;

    /// Reads an id.
    pub fn decode(bytes: &[u8; GroupId::LEN], order: ByteOrder) -> GroupId {
        let word = |at: usize| order.i32([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        GroupId { proc_id: word(0), time: word(4), index: word(8) }
    }

    /// The id's bytes.
    pub fn encode(&self, order: ByteOrder) -> [u8; GroupId::LEN] {
        let mut bytes = [0; GroupId::LEN];
        bytes[..4].copy_from_slice(&order.i32_bytes(self.proc_id));
        bytes[4..8].copy_from_slice(&order.i32_bytes(self.time));
        bytes[8..].copy_from_slice(&order.i32_bytes(self.index));
        bytes
    }
}

impl std::fmt::Display for GroupId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{:x}.{}", self.proc_id, self.time, self.index)
    }
}

/// Why a view changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A member joined.
    Join,
    /// A member left.
    Leave,
    /// A member's connection ended.
    Disconnect,
    /// Daemons parted or came together.
    Network,
}

impl Cause {
    /// The flag that stands for the cause.
    pub fn flag(self) -> ServiceType {
        match self {
            Cause::Join => ServiceType::CAUSED_BY_JOIN,
            Cause::Leave => ServiceType::CAUSED_BY_LEAVE,
            Cause::Disconnect => ServiceType::CAUSED_BY_DISCONNECT,
            Cause::Network => ServiceType::CAUSED_BY_NETWORK,
        }
    }

    /// The cause in a service type, if it has exactly one.
    pub fn of(service_type: ServiceType) -> Option<Cause> {
        let all = [Cause::Join, Cause::Leave, Cause::Disconnect, Cause::Network];
        let flags = all.into_iter().fold(ServiceType::empty(), |flags, c| flags | c.flag());
        all.into_iter().find(|c| service_type & flags == c.flag())
    }
}

/// Why a body is not that of a membership message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// It ends before what it announces.
    #[error("a membership body of {len} bytes ends early")]
    Short {
        /// Bytes of the body.
        len: usize,
    },
    /// It goes on after its last set.
    #[error("a membership body has {extra} bytes too many")]
    Long {
        /// Bytes beyond the last set.
        extra: usize,
    },
    /// It has no set, or the receiver's own is not one of them.
    #[error("a membership body has no set at the receiver's offset {offset}")]
    NoOwnSet {
        /// The offset it gives.
        offset: u32,
    },
}

/// What the body of a regular membership message says.
///
/// After a join, leave or disconnect the one set holds the member that changed.
/// After a network change there is a set for every former view, of those who
/// came from it together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipBody {
    /// The id of the new view.
    pub group_id: GroupId,
    /// The sets of members, in the order in which they stand.
    pub vs_sets: Vec<Vec<Name>>,
    /// The place of the receiver's own set among them.
    pub my_vs_set: usize,
}

/// Bytes before the first set: the id, the number of sets, the offset of one.
const FIXED_LEN: usize = GroupId::LEN + 8;

impl MembershipBody {
    /// Reads a body; `order` is that of the message's header.
    ///
    /// # Errors
    ///
    /// [`MembershipError`] if the lengths and offsets in it do not fit it.
    pub fn parse(body: &[u8], order: ByteOrder) -> Result<MembershipBody, MembershipError> {
        let short = MembershipError::Short { len: body.len() };
        let word = |at: usize| {
            let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<4>());
            bytes.map(|bytes| order.u32(*bytes)).ok_or(short)
        };

        let id = body.first_chunk::<{ GroupId::LEN }>().ok_or(short)?;
        let count = word(GroupId::LEN)?;
        let offset = word(GroupId::LEN + 4)?;
        let mut my_vs_set = None;
        let mut vs_sets = Vec::new();
        let mut at = FIXED_LEN;
        for index in 0..count as usize {
            if offset as usize == at - FIXED_LEN {
                my_vs_set = Some(index);
            }
            let names = word(at)? as usize;
            let rest = &body[at + 4..];
            let len =
                names.checked_mul(NAME_FIELD).filter(|&len| len <= rest.len()).ok_or(short)?;
            vs_sets.push(Groups::from_fields(&rest[..len]).iter().collect());
            at += 4 + len;
        }
        if at < body.len() {
            return Err(MembershipError::Long { extra: body.len() - at });
        }
        Ok(MembershipBody {
            group_id: GroupId::decode(id, order),
            vs_sets,
            my_vs_set: my_vs_set.ok_or(MembershipError::NoOwnSet { offset })?,
        })
    }

    /// Bytes of the body.
    pub fn encoded_len(&self) -> usize {
        FIXED_LEN + self.vs_sets.iter().map(|set| set_len(set)).sum::<usize>()
    }

    /// Appends the body to `out`.
    pub fn encode(&self, order: ByteOrder, out: &mut BytesMut) {
        let offset: usize = self.vs_sets.iter().take(self.my_vs_set).map(|set| set_len(set)).sum();
        out.reserve(self.encoded_len());
        out.put_slice(&self.group_id.encode(order));
        out.put_slice(&order.u32_bytes(self.vs_sets.len() as u32));
        out.put_slice(&order.u32_bytes(offset as u32));
        for set in &self.vs_sets {
            out.put_slice(&order.u32_bytes(set.len() as u32));
            for name in set {
                out.put_slice(name.as_field());
            }
        }
    }
}

/// The body of a message, as `SP_receive` hands it over: in a membership message the
/// integers are in the order of this machine. Those of an application stay as they
/// were sent.
///
/// # Errors
///
/// [`MembershipError`] if they have to be turned round and are not where they should
/// be.
#[inline]
pub fn native_body<'a>(header: &Header, body: &'a [u8]) -> Result<Cow<'a, [u8]>, MembershipError> {
    let flags = header.service_type;
    if header.order == ByteOrder::NATIVE || flags.is_regular() || flags.is_reject() {
        return Ok(Cow::Borrowed(body));
    }
    turned_body(header, body).map(Cow::Owned)
}

/// The body of a membership message of the other byte order, with its integers turned
/// round.
fn turned_body(header: &Header, body: &[u8]) -> Result<Vec<u8>, MembershipError> {
    let mut native = BytesMut::with_capacity(body.len());
    if header.service_type.contains(ServiceType::REG_MEMB) {
        MembershipBody::parse(body, header.order)?.encode(ByteOrder::NATIVE, &mut native);
    } else if let Some((id, rest)) = body.split_first_chunk() {
        native.put_slice(&GroupId::decode(id, header.order).encode(ByteOrder::NATIVE));
        native.put_slice(rest);
    } else {
        native.put_slice(body);
    }
    Ok(native.into())
}

fn set_len(set: &[Name]) -> usize {
    4 + set.len() * NAME_FIELD
}
