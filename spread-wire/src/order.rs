//! Byte order: every Spread message is in the order of its sender.

/// The byte order of a sender's integers.
///
/// A sender marks its order with the bits `0x80000080` in the first word of a
/// header: all of them set in a little-endian word, none in a big-endian one,
/// so that they read the same whichever way the word is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first, as on x86 and ARM.
    Little,
    /// Most significant byte first, as on SPARC and s390x.
    Big,
}

/// The bits that tell the byte order of a word (`ENDIAN_RESERVED` in `sp.h`).
pub(crate) const ENDIAN_BITS: u32 = 0x8000_0080;

impl ByteOrder {
    /// The order of the machine that this code runs on.
    pub const NATIVE: ByteOrder =
        if cfg!(target_endian = "little") { ByteOrder::Little } else { ByteOrder::Big };

    /// The order that is not this one.
    pub(crate) fn other(self) -> ByteOrder {
        match self {
            ByteOrder::Little => ByteOrder::Big,
            ByteOrder::Big => ByteOrder::Little,
        }
    }

    /// Reads the order from the mark in a header's word.
    ///
    /// Returns `None` if the marking bits are neither all set nor all clear.
    pub fn of_word(bytes: [u8; 4]) -> Option<ByteOrder> {
        match u32::from_le_bytes(bytes) & ENDIAN_BITS {
            ENDIAN_BITS => Some(ByteOrder::Little),
            0 => Some(ByteOrder::Big),
            _ => None,
        }
    }

    /// The bits that a sender of this order sets in a marked word.
    pub(crate) fn mark(self) -> u32 {
        match self {
            ByteOrder::Little => ENDIAN_BITS,
            ByteOrder::Big => 0,
        }
    }

    /// The other order.
    pub fn opposite(self) -> ByteOrder {
        match self {
            ByteOrder::Little => ByteOrder::Big,
            ByteOrder::Big => ByteOrder::Little,
        }
    }

    /// Reads an unsigned integer of 16 bits.
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
    }

    /// Reads a signed integer of 16 bits.
    pub fn i16(self, bytes: [u8; 2]) -> i16 {
        match self {
            ByteOrder::Little => i16::from_le_bytes(bytes),
            ByteOrder::Big => i16::from_be_bytes(bytes),
        }
    }

    /// Reads an unsigned integer of 32 bits.
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// Reads a signed integer of 32 bits.
    pub fn i32(self, bytes: [u8; 4]) -> i32 {
        match self {
            ByteOrder::Little => i32::from_le_bytes(bytes),
            ByteOrder::Big => i32::from_be_bytes(bytes),
        }
    }

    /// Reads an unsigned integer of 64 bits.
    pub fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            ByteOrder::Little => u64::from_le_bytes(bytes),
            ByteOrder::Big => u64::from_be_bytes(bytes),
        }
    }

    /// Reads a signed integer of 64 bits.
    pub fn i64(self, bytes: [u8; 8]) -> i64 {
        match self {
            ByteOrder::Little => i64::from_le_bytes(bytes),
            ByteOrder::Big => i64::from_be_bytes(bytes),
        }
    }

    /// Writes an unsigned integer in this order.
    pub fn u32_bytes(self, value: u32) -> [u8; 4] {
        match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }

    /// Writes a signed integer in this order.
    pub fn i32_bytes(self, value: i32) -> [u8; 4] {
        match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }
}
