//! The constants of `sp.h`, and the two of the C module's own.

use pyo3::prelude::*;
use spread::ServiceType;

/// Errors, `ACCEPT_SESSION`, priorities and sizes.
const NUMBERS: &[(&str, i32)] = &[
    ("LOW_PRIORITY", 0),
    ("MEDIUM_PRIORITY", 1),
    ("HIGH_PRIORITY", 2),
    ("DEFAULT_SPREAD_PORT", spread::DEFAULT_SPREAD_PORT as i32),
    // One byte more than a name has: the C library's fields end with a zero.
    ("MAX_GROUP_NAME", spread::MAX_GROUP_NAME as i32 + 1),
    ("MAX_PRIVATE_NAME", spread::MAX_PRIVATE_NAME as i32),
    ("MAX_PROC_NAME", 20),
    ("ACCEPT_SESSION", 1),
    ("ILLEGAL_SPREAD", -1),
    ("COULD_NOT_CONNECT", -2),
    ("REJECT_QUOTA", -3),
    ("REJECT_NO_NAME", -4),
    ("REJECT_ILLEGAL_NAME", -5),
    ("REJECT_NOT_UNIQUE", -6),
    ("REJECT_VERSION", -7),
    ("CONNECTION_CLOSED", -8),
    ("REJECT_AUTH", -9),
    ("ILLEGAL_SESSION", -11),
    ("ILLEGAL_SERVICE", -12),
    ("ILLEGAL_MESSAGE", -13),
    ("ILLEGAL_GROUP", -14),
    ("BUFFER_TOO_SHORT", -15),
    ("GROUPS_TOO_SHORT", -16),
    ("MESSAGE_TOO_LONG", -17),
    ("NET_ERROR_ON_SESSION", -18),
    // Sizes of the first buffers of the C module; nothing depends on them here.
    ("DEFAULT_BUFFER_SIZE", 10_000),
    ("DEFAULT_GROUPS_SIZE", 10),
];

/// The bits of a service type.
const SERVICE_TYPES: &[(&str, ServiceType)] = &[
    ("UNRELIABLE_MESS", ServiceType::UNRELIABLE),
    ("RELIABLE_MESS", ServiceType::RELIABLE),
    ("FIFO_MESS", ServiceType::FIFO),
    ("CAUSAL_MESS", ServiceType::CAUSAL),
    ("AGREED_MESS", ServiceType::AGREED),
    ("SAFE_MESS", ServiceType::SAFE),
    ("REGULAR_MESS", ServiceType::REGULAR),
    ("SELF_DISCARD", ServiceType::SELF_DISCARD),
    ("DROP_RECV", ServiceType::DROP_RECV),
    ("REG_MEMB_MESS", ServiceType::REG_MEMB),
    ("TRANSITION_MESS", ServiceType::TRANSITION),
    ("CAUSED_BY_JOIN", ServiceType::CAUSED_BY_JOIN),
    ("CAUSED_BY_LEAVE", ServiceType::CAUSED_BY_LEAVE),
    ("CAUSED_BY_DISCONNECT", ServiceType::CAUSED_BY_DISCONNECT),
    ("CAUSED_BY_NETWORK", ServiceType::CAUSED_BY_NETWORK),
    ("MEMBERSHIP_MESS", ServiceType::MEMBERSHIP),
    ("REJECT_MESS", ServiceType::REJECT),
    ("ENDIAN_RESERVED", ServiceType::from_bits_retain(0x8000_0080)),
    ("RESERVED", ServiceType::from_bits_retain(0x003f_c000)),
];

pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, value) in NUMBERS {
        module.add(*name, value)?;
    }
    for (name, bits) in SERVICE_TYPES {
        module.add(*name, bits.bits())?;
    }
    // As in the sp.h of 5.0.1, which leaves the patch out.
    module.add("SPREAD_VERSION", 5 << 24)
}
