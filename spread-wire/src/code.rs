//! The result codes of the handshake and of the C library.

/// A negative result, as the daemon sends it in the handshake and as the
/// functions of libspread return it.
///
/// [`Display`](std::fmt::Display) gives the meaning in a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[repr(i8)]
pub enum ErrorCode {
    /// `ILLEGAL_SPREAD`: the name of the daemon cannot be understood.
    #[error("illegal daemon name")]
    IllegalSpread = -1,
    /// `COULD_NOT_CONNECT`: no daemon answers at that address.
    #[error("could not connect to the daemon")]
    CouldNotConnect = -2,
    /// `REJECT_QUOTA`: the daemon, or this process, has too many sessions.
    #[error("rejected: too many sessions")]
    RejectQuota = -3,
    /// `REJECT_NO_NAME`: the connection request carried no name.
    #[error("rejected: no private name in the request")]
    RejectNoName = -4,
    /// `REJECT_ILLEGAL_NAME`: the private name has bytes that are not allowed.
    #[error("rejected: illegal private name")]
    RejectIllegalName = -5,
    /// `REJECT_NOT_UNIQUE`: another client of the daemon has the private name.
    #[error("rejected: private name already in use")]
    RejectNotUnique = -6,
    /// `REJECT_VERSION`: the daemon does not serve clients of this version.
    #[error("rejected: incompatible version")]
    RejectVersion = -7,
    /// `CONNECTION_CLOSED`: the connection ended.
    #[error("connection closed")]
    ConnectionClosed = -8,
    /// `REJECT_AUTH`: the daemon did not accept the authentication.
    #[error("rejected: not authorized")]
    RejectAuth = -9,
    /// `ILLEGAL_SESSION`: no such mailbox.
    #[error("illegal session")]
    IllegalSession = -11,
    /// `ILLEGAL_SERVICE`: not a service that can be multicast with.
    #[error("illegal service")]
    IllegalService = -12,
    /// `ILLEGAL_MESSAGE`: a message that breaks the protocol.
    #[error("illegal message")]
    IllegalMessage = -13,
    /// `ILLEGAL_GROUP`: not the name of a group.
    #[error("illegal group name")]
    IllegalGroup = -14,
    /// `BUFFER_TOO_SHORT`: the buffer does not hold the message.
    #[error("buffer too short")]
    BufferTooShort = -15,
    /// `GROUPS_TOO_SHORT`: the array does not hold the groups of the message.
    #[error("groups array too short")]
    GroupsTooShort = -16,
    /// `MESSAGE_TOO_LONG`: body and groups are beyond the limit.
    #[error("message too long")]
    MessageTooLong = -17,
    /// `NET_ERROR_ON_SESSION`: the mailbox failed earlier and cannot be used.
    #[error("network error on the session")]
    NetErrorOnSession = -18,
    /// `SP_BUG`: the library found itself in a state that cannot be.
    #[error("internal error of the library")]
    Bug = -19,
    /// `ILLEGAL_TIME`: not a length of time.
    #[error("illegal time")]
    IllegalTime = -20,
}

impl ErrorCode {
    /// Every code there is, from the highest down.
    pub const ALL: [ErrorCode; 19] = [
        ErrorCode::IllegalSpread,
        ErrorCode::CouldNotConnect,
        ErrorCode::RejectQuota,
        ErrorCode::RejectNoName,
        ErrorCode::RejectIllegalName,
        ErrorCode::RejectNotUnique,
        ErrorCode::RejectVersion,
        ErrorCode::ConnectionClosed,
        ErrorCode::RejectAuth,
        ErrorCode::IllegalSession,
        ErrorCode::IllegalService,
        ErrorCode::IllegalMessage,
        ErrorCode::IllegalGroup,
        ErrorCode::BufferTooShort,
        ErrorCode::GroupsTooShort,
        ErrorCode::MessageTooLong,
        ErrorCode::NetErrorOnSession,
        ErrorCode::Bug,
        ErrorCode::IllegalTime,
    ];

    /// The code of a negative result; `None` for a number that is no code.
    pub fn from_code(code: i32) -> Option<ErrorCode> {
        ErrorCode::ALL.into_iter().find(|e| e.code() == code)
    }

    /// The number, as in `sp.h`.
    pub fn code(self) -> i32 {
        self as i8 as i32
    }

    /// The byte that stands for the code in a handshake.
    pub fn byte(self) -> u8 {
        self as i8 as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_found_by_its_number() {
        for e in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(e.code()), Some(e));
            assert_eq!(e.byte() as i8 as i32, e.code());
        }
        for other in [1, 0, -10, -21, i32::MIN, 0xfa] {
            assert_eq!(ErrorCode::from_code(other), None);
        }
    }
}
