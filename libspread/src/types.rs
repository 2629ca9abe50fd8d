//! The types and constants of `sp.h`, under their C names.

#![allow(non_camel_case_types)]

use std::ffi::{c_char, c_int, c_long, c_uint, c_void};

/// A session with a daemon: the number of its descriptor.
pub type mailbox = c_int;

/// A service type: what a message is, and its guarantee.
pub type service = c_int;

/// Does the client's part of an authentication method on a descriptor; returns
/// 0 if it gives up. See [`SP_set_auth_method`](crate::SP_set_auth_method).
pub type auth_function = unsafe extern "C" fn(c_int, *mut c_void) -> c_int;

/// Is called with the code and the data of an event when its time has come. See
/// [`E_queue`](crate::E_queue).
pub type time_function = unsafe extern "C" fn(c_int, *mut c_void);

/// Is called with a descriptor that is ready, and with the code and the data of
/// the event. See [`E_attach_fd`](crate::E_attach_fd).
pub type fd_function = unsafe extern "C" fn(c_int, c_int, *mut c_void);

/// A length of time, or a time; both parts have the same sign.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct sp_time {
    /// Seconds.
    pub sec: c_long,
    /// Microseconds, less than a million.
    pub usec: c_long,
}

/// One piece of a message that lies in several.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct scat_element {
    /// Where the piece begins.
    pub buf: *mut c_char,
    /// Its bytes.
    pub len: usize,
}

/// A message that lies in several pieces.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct scatter {
    /// How many of the elements count.
    pub num_elements: usize,
    /// The pieces, in order.
    pub elements: [scat_element; MAX_CLIENT_SCATTER_ELEMENTS as usize],
}

/// Names one view of one group.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct group_id {
    /// The daemon that led the configuration, its time, the view's index.
    pub id: [c_int; 3],
}

/// Where the body of a membership message has a set of members.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct vs_set_info {
    /// Members in the set.
    pub num_members: c_uint,
    /// Where their names begin, in bytes from the beginning of the body.
    pub members_offset: c_uint,
}

/// What the body of a membership message says.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct membership_info {
    /// The id of the view.
    pub gid: group_id,
    /// Who joined, left or disconnected.
    pub changed_member: [c_char; MAX_GROUP_NAME as usize],
    /// Sets of members that came together.
    pub num_vs_sets: c_uint,
    /// The receiver's own set.
    pub my_vs_set: vs_set_info,
}

/// Declares the constants of one paragraph of `sp.h`.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:expr;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*
    };
}

constants! {
    /// The port of a daemon that is not told another.
    DEFAULT_SPREAD_PORT: i32 = 4803;
    /// The version of the interface, for comparisons.
    SPREAD_VERSION: i32 = 5 << 24;

    /// Bytes of a name with its terminating zero.
    MAX_GROUP_NAME: i32 = 32;
    /// Bytes of a private name, without a terminating zero.
    MAX_PRIVATE_NAME: i32 = 10;
    /// Bytes of the name of a daemon, with its terminating zero.
    MAX_PROC_NAME: i32 = 20;
    /// Pieces of a [`scatter`].
    MAX_CLIENT_SCATTER_ELEMENTS: i32 = 100;
}

constants! {
    /// May be lost, duplicated or reordered.
    UNRELIABLE_MESS: i32 = 0x0000_0001;
    /// Arrives, in no particular order.
    RELIABLE_MESS: i32 = 0x0000_0002;
    /// Arrives, in the order of its sender.
    FIFO_MESS: i32 = 0x0000_0004;
    /// Arrives after all messages that its sender had seen.
    CAUSAL_MESS: i32 = 0x0000_0008;
    /// Arrives at the same place of one total order everywhere.
    AGREED_MESS: i32 = 0x0000_0010;
    /// As agreed, and only once every daemon has it.
    SAFE_MESS: i32 = 0x0000_0020;
    /// Any of the six services.
    REGULAR_MESS: i32 = 0x0000_003f;
    /// The sender wants no copy.
    SELF_DISCARD: i32 = 0x0000_0040;
    /// Input flag of [`SP_receive`](crate::SP_receive): cut what does not fit.
    DROP_RECV: i32 = 0x0100_0000;
    /// A new view.
    REG_MEMB_MESS: i32 = 0x0000_1000;
    /// The signal that a view ends.
    TRANSITION_MESS: i32 = 0x0000_2000;
    /// A view changed by a join.
    CAUSED_BY_JOIN: i32 = 0x0000_0100;
    /// A view changed by a leave.
    CAUSED_BY_LEAVE: i32 = 0x0000_0200;
    /// A view changed because a client went away.
    CAUSED_BY_DISCONNECT: i32 = 0x0000_0400;
    /// A view changed because daemons parted or merged.
    CAUSED_BY_NETWORK: i32 = 0x0000_0800;
    /// Any bit of a membership message.
    MEMBERSHIP_MESS: i32 = 0x0000_3f00;
    /// The bits that mark the byte order on the wire.
    ENDIAN_RESERVED: i64 = 0x8000_0080;
    /// Bits that are kept for later.
    RESERVED: i32 = 0x003f_c000;
    /// A message that came back to its sender.
    REJECT_MESS: i32 = 0x0040_0000;
}

constants! {
    /// Connected.
    ACCEPT_SESSION: i32 = 1;
    /// The name of the daemon cannot be understood.
    ILLEGAL_SPREAD: i32 = -1;
    /// No daemon answers, or not in time.
    COULD_NOT_CONNECT: i32 = -2;
    /// Too many sessions.
    REJECT_QUOTA: i32 = -3;
    /// No private name in the request.
    REJECT_NO_NAME: i32 = -4;
    /// Not a private name.
    REJECT_ILLEGAL_NAME: i32 = -5;
    /// Another client has the private name.
    REJECT_NOT_UNIQUE: i32 = -6;
    /// The daemon does not serve this version.
    REJECT_VERSION: i32 = -7;
    /// The connection ended.
    CONNECTION_CLOSED: i32 = -8;
    /// The daemon did not accept the authentication.
    REJECT_AUTH: i32 = -9;
    /// No such mailbox.
    ILLEGAL_SESSION: i32 = -11;
    /// Not a service to multicast with.
    ILLEGAL_SERVICE: i32 = -12;
    /// A message that breaks the protocol, or a call without the memory for it.
    ILLEGAL_MESSAGE: i32 = -13;
    /// Not the name of a group.
    ILLEGAL_GROUP: i32 = -14;
    /// The buffer does not hold the message.
    BUFFER_TOO_SHORT: i32 = -15;
    /// The array does not hold the groups.
    GROUPS_TOO_SHORT: i32 = -16;
    /// Body and groups are beyond the limit.
    MESSAGE_TOO_LONG: i32 = -17;
    /// The mailbox failed earlier; kill it.
    NET_ERROR_ON_SESSION: i32 = -18;
    /// The library is in a state that cannot be.
    SP_BUG: i32 = -19;
    /// Not a length of time.
    ILLEGAL_TIME: i32 = -20;
}

constants! {
    /// Priority of an event, lowest.
    LOW_PRIORITY: i32 = 0;
    /// Priority of an event.
    MEDIUM_PRIORITY: i32 = 1;
    /// Priority of an event, highest.
    HIGH_PRIORITY: i32 = 2;
    /// Priorities there are.
    NUM_PRIORITY: i32 = 3;
    /// Descriptors that events can be attached to.
    MAX_FD_EVENTS: i32 = 2000;
    /// Kinds of events of a descriptor.
    NUM_FDTYPES: i32 = 3;
    /// The descriptor can be read.
    READ_FD: i32 = 0;
    /// The descriptor can be written.
    WRITE_FD: i32 = 1;
    /// The descriptor has an exceptional condition.
    EXCEPT_FD: i32 = 2;
}

constants! {
    /// Input flag of [`FL_receive`](crate::FL_receive): do not wait.
    DONT_BLOCK: i32 = 0x1000_0000;
    /// The application is asked to flush the group.
    FLUSH_REQ_MESS: i32 = 0x2000_0000;
    /// A message to some of the members of a group.
    SUBGROUP_CAST: i32 = 0x4000_0000;
    /// A parameter of an `FL_` function is out of range.
    ILLEGAL_PARAM: i32 = -24;
    /// There is no message.
    WOULD_BLOCK: i32 = -25;
    /// The message type belongs to Flush Spread.
    ILLEGAL_MESSAGE_TYPE: i32 = -26;
    /// The group is flushed, or not to be flushed.
    ILLEGAL_STATE: i32 = -27;
    /// A receiver is not in the view.
    ILLEGAL_RECEIVERS: i32 = -28;
    /// Pieces of a message of Flush Spread.
    FL_MAX_SCATTER_ELEMENTS: i32 = MAX_CLIENT_SCATTER_ELEMENTS - 1;
    /// The lowest message type of an application.
    FL_MIN_LEGAL_MESS_TYPE: i32 = -32765;
}

#[cfg(test)]
mod tests {
    use super::*;
    use spread_wire::{ErrorCode, ServiceType, limits};

    #[test]
    fn the_constants_are_those_of_the_protocol() {
        assert_eq!(REGULAR_MESS, ServiceType::REGULAR.bits() as i32);
        assert_eq!(MEMBERSHIP_MESS, ServiceType::MEMBERSHIP.bits() as i32);
        assert_eq!(REJECT_MESS, ServiceType::REJECT.bits() as i32);
        assert_eq!(DROP_RECV, ServiceType::DROP_RECV.bits() as i32);
        assert_eq!(MAX_GROUP_NAME as usize, limits::NAME_FIELD);
        assert_eq!(MAX_PRIVATE_NAME as usize, limits::MAX_PRIVATE_NAME);
        assert_eq!(MAX_PROC_NAME as usize, limits::MAX_DAEMON_NAME + 1);
        assert_eq!(ILLEGAL_TIME, ErrorCode::IllegalTime.code());
        assert_eq!(ILLEGAL_SESSION, ErrorCode::IllegalSession.code());
    }
}
