//! The 48 bytes in front of every message.

use crate::frame::FrameError;
use crate::limits::NAME_FIELD;
use crate::order::ENDIAN_BITS;
use crate::{ByteOrder, Limits, Name, ServiceType};

/// Bytes of a [`Header`] on the wire.
pub const HEADER_LEN: usize = 48;

/// Bytes of the old type that follows the header of a rejected message.
pub(crate) const OLD_TYPE_LEN: usize = 4;

/// The message type of the application, with the byte order of who wrote it.
///
/// A daemon turns the other integers of a header into its own order, but leaves
/// this one alone: that is how a receiver learns the order of the sender, and
/// so of the integers in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint([u8; 4]);

impl Hint {
    /// The hint of a message of the given type, by a sender of the given order.
    pub fn new(message_type: i16, order: ByteOrder) -> Hint {
        Hint(order.u32_bytes(u32::from(message_type as u16) << 8 | order.mark()))
    }

    /// As libspread does, takes for foreign what is not wholly marked as its own:
    /// real daemons let a half-marked hint pass.
    fn order(self) -> ByteOrder {
        ByteOrder::of_word(self.0).unwrap_or(ByteOrder::NATIVE.other())
    }

    /// The type that the application gave the message.
    pub fn message_type(self) -> i16 {
        (self.order().u32(self.0) >> 8) as u16 as i16
    }

    /// The byte order of the application that sent the message.
    pub fn sender_order(self) -> ByteOrder {
        self.order()
    }

    /// Whether all bits but those of type and byte order are clear, as a daemon
    /// demands.
    pub fn is_well_formed(self) -> bool {
        // The bits in question are the same in either order.
        u32::from_le_bytes(self.0) & !(ENDIAN_BITS | 0x00ff_ff00) == 0
    }
}

/// The header of a message, either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub service_type: ServiceType,
    /// `private_group_name`: the sender; in a membership message the group.
    pub name: Name,
    /// Names that follow the header.
    pub num_groups: usize,
    /// The message type of the application.
    pub hint: Hint,
    /// Bytes that follow the names.
    pub data_len: usize,
    /// The order of the integers in this header.
    pub order: ByteOrder,
}

impl Header {
    /// Reads a header and checks the lengths in it.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if the byte order is not marked as it must be, or if a
    /// length is negative or beyond `limits`.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_LEN], limits: Limits) -> Result<Header, FrameError> {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let order = ByteOrder::of_word(word(0)).ok_or(FrameError::ByteOrder)?;
        let mut field = [0; NAME_FIELD];
        field.copy_from_slice(&bytes[4..4 + NAME_FIELD]);

        let count = order.i32(word(36));
        let num_groups =
            within(count, limits.groups).ok_or(FrameError::Groups { count, max: limits.groups })?;
        let len = order.i32(word(44));
        let data_len =
            within(len, limits.data).ok_or(FrameError::Data { len, max: limits.data })?;
        let total = num_groups.saturating_mul(NAME_FIELD).saturating_add(data_len);
        // However wide the limits, the length of the frame must fit a usize.
        let max = limits.total.min(i32::MAX as usize);
        if total > max {
            return Err(FrameError::Total { len: total, max });
        }
        Ok(Header {
            service_type: ServiceType::from_bits_retain(order.u32(word(0)) & !ENDIAN_BITS),
            name: Name::from_field(field),
            num_groups,
            hint: Hint(word(40)),
            data_len,
            order,
        })
    }

    /// The header's bytes.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let word = self.service_type.bits() & !ENDIAN_BITS | self.order.mark();
        bytes[..4].copy_from_slice(&self.order.u32_bytes(word));
        bytes[4..36].copy_from_slice(self.name.as_field());
        bytes[36..40].copy_from_slice(&self.order.u32_bytes(self.num_groups as u32));
        bytes[40..44].copy_from_slice(&self.hint.0);
        bytes[44..].copy_from_slice(&self.order.u32_bytes(self.data_len as u32));
        bytes
    }

    /// Bytes between the header and the names: only a rejected message has any.
    pub fn old_type_len(&self) -> usize {
        if self.service_type.is_reject() { OLD_TYPE_LEN } else { 0 }
    }

    /// The type that a rejected message had when it was sent, from the bytes
    /// that follow its header.
    pub fn old_type(&self, bytes: [u8; OLD_TYPE_LEN]) -> ServiceType {
        ServiceType::from_bits_retain(self.order.u32(bytes) & !ENDIAN_BITS)
    }

    /// Bytes of the whole message, with this header.
    pub fn frame_len(&self) -> usize {
        HEADER_LEN + self.old_type_len() + self.num_groups * NAME_FIELD + self.data_len
    }
}

/// A length off the wire, if it is neither negative nor beyond `max`.
#[inline]
fn within(len: i32, max: usize) -> Option<usize> {
    usize::try_from(len).ok().filter(|&len| len <= max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_carries_every_message_type_in_both_orders() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for message_type in [0, 1, 7, -1, i16::MIN, i16::MAX, 0x0080, 0x0100] {
                let hint = Hint::new(message_type, order);
                assert_eq!(hint.message_type(), message_type);
                assert_eq!(hint.sender_order(), order);
                assert!(hint.is_well_formed());
            }
        }
        assert!(!Hint([0x80, 1, 0, 0x81]).is_well_formed());
        assert!(!Hint([0x81, 1, 0, 0x80]).is_well_formed());
    }

    #[test]
    fn a_half_marked_hint_passes_and_counts_as_foreign() {
        for hint in [Hint([0x80, 1, 0, 0]), Hint([0, 1, 0, 0x80])] {
            assert!(hint.is_well_formed());
            assert_eq!(hint.sender_order(), ByteOrder::NATIVE.other());
        }
    }
}
