//! The sizes that Spread 5.0.1 keeps, and those that its users must keep for it.

/// Bytes of a name field on the wire; a name has at most one byte less
/// (`MAX_GROUP_NAME` in `sp.h`).
pub const NAME_FIELD: usize = 32;

/// Bytes of a group name.
pub const MAX_GROUP_NAME: usize = NAME_FIELD - 1;

/// Bytes of the private name that a client asks for (`MAX_PRIVATE_NAME`).
pub const MAX_PRIVATE_NAME: usize = 10;

/// Bytes of a daemon's name (`MAX_PROC_NAME` counts a terminating zero more).
pub const MAX_DAEMON_NAME: usize = 19;

/// Groups in one multicast, at most.
///
/// A daemon of Spread 5.0.1 takes a message with up to [`MAX_GROUPS_PER_MESSAGE`] groups, but
/// delivers one with more than 43 to no one, and reports no error. So clients refuse it.
pub const MAX_GROUPS: usize = 43;

/// Groups in one multicast above which the daemon closes the session.
pub const MAX_GROUPS_PER_MESSAGE: usize = 100;

/// Bytes of body and groups together (32 a group) that can be multicast.
///
/// A longer message ends a daemon of Spread 5.0.1, for all its clients, with a failed assertion.
/// So clients refuse it.
pub const MAX_BODY_AND_GROUPS: usize = 143_151;

/// Bytes of body and groups together that the daemon takes from a client
/// before it closes the session: [`MAX_DATA_LEN`] less a header.
pub const MAX_ACCEPTED: usize = MAX_DATA_LEN - super::HEADER_LEN;

/// The largest `data_len` that the daemon takes in a header.
pub const MAX_DATA_LEN: usize = 144_000;

/// How long the variable parts of a frame may be.
///
/// A decoder refuses a header beyond them before it waits for, or reserves
/// memory for, anything that the header announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names that follow the header.
    pub groups: usize,
    /// Bytes of the body.
    pub data: usize,
    /// Bytes of names and body together.
    pub total: usize,
}

impl Limits {
    /// What a daemon accepts from a client.
    pub const FROM_CLIENT: Limits =
        Limits { groups: MAX_GROUPS_PER_MESSAGE, data: MAX_DATA_LEN, total: MAX_ACCEPTED };

    /// What a client accepts from a daemon: a message has the limits above, but
    /// a membership message names every member of its group, and after a merge
    /// names them in its body once more. This has room for 16,384 members.
    pub const FROM_DAEMON: Limits =
        Limits { groups: 16_384, data: 1 << 20, total: (1 << 20) + (1 << 19) };
}
