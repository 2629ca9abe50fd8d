//! What can go wrong, one variant for each thing a caller can act on.

use std::io;
use std::time::Duration;

use spread_core::AddressError;
use spread_wire::{DeliveryError, ErrorCode, FrameError, MembershipError, NameError};

/// The error of every operation of this crate.
///
/// [`code`](Error::code) gives the number that libspread has for it, if there
/// is one, and [`is_closed`](Error::is_closed) tells whether the mailbox has
/// come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon's address is neither `PORT` nor `PORT@HOST`.
    #[error(
        "illegal daemon address {address:?}: {reason}; write PORT or PORT@HOST, as in 4803@localhost"
    )]
    IllegalAddress {
        /// The address given.
        address: String,
        /// What is wrong with it.
        reason: AddressError,
    },
    /// The host in the daemon's address has no address.
    #[error("cannot find the host of the daemon {address}: {source}")]
    UnknownHost {
        /// The address given.
        address: String,
        /// What the look-up said.
        source: io::Error,
    },
    /// No daemon answers at the address.
    #[error("no Spread daemon answers at {address}: is it running, and is this its port?")]
    CouldNotConnect {
        /// The address given.
        address: String,
    },
    /// The daemon did not grant the connection in the time allowed.
    #[error("the Spread daemon at {address} did not answer within {timeout:?}")]
    ConnectTimeout {
        /// The address given.
        address: String,
        /// The time allowed.
        timeout: Duration,
    },
    /// What answers at the address does not speak the Spread protocol.
    #[error("what answers at {address} is no Spread daemon")]
    NotSpread {
        /// The address given.
        address: String,
    },
    /// The private name is not 1 to 10 bytes of printable ASCII except space, `!`, `"` and `#`.
    #[error("illegal private name {name:?}: {source}")]
    IllegalPrivateName {
        /// The name given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Another client of the daemon has the private name: take another one.
    #[error("the private name {name:?} is already in use at the daemon")]
    NameInUse {
        /// The name given.
        name: String,
    },
    /// The daemon, or this process, has as many sessions as it can take.
    #[error("the daemon accepts no more sessions")]
    TooManySessions,
    /// The daemon does not serve clients of this version.
    #[error("the daemon does not serve clients of this version")]
    IncompatibleVersion,
    /// The daemon asks for an authentication that this client did not give.
    #[error("the daemon did not accept the authentication")]
    NotAuthorized,
    /// An authentication failed at this end: see its source.
    #[error("authentication by {method} failed: {source}")]
    Authentication {
        /// The method.
        method: String,
        /// What the authenticator returned.
        source: io::Error,
    },
    /// A group is not 1 to 31 bytes of printable ASCII except space, `!`, `"` and `#`; a message can also go to a
    /// private group, `#name#daemon`.
    #[error("illegal group name {name:?}: {source}")]
    IllegalGroup {
        /// The name given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// A message goes to at least one group.
    #[error("a message needs at least one group")]
    NoGroups,
    /// Spread would deliver a message to that many groups to no one.
    #[error("{count} groups in one message, the limit is {max}")]
    TooManyGroups {
        /// Groups given.
        count: usize,
        /// The most that Spread delivers.
        max: usize,
    },
    /// Body and groups are longer than Spread's daemon survives.
    #[error("a message of {len} bytes (32 for each group) is too long, the limit is {max}")]
    MessageTooLong {
        /// Bytes of body and groups, 32 a group.
        len: usize,
        /// The most that can be sent.
        max: usize,
    },
    /// The daemon ended the connection, or went away. A client is cut off also
    /// if it leaves more than about a thousand messages unread, or breaks the
    /// protocol.
    #[error("the Spread daemon closed the connection")]
    ConnectionClosed,
    /// The daemon sent what Spread does not; the mailbox is closed.
    #[error("the daemon broke the protocol: {0}")]
    Protocol(#[source] ProtocolError),
    /// The receive was ended by an [`Interrupter`](crate::Interrupter); nothing is
    /// lost, receive again.
    #[error("the receive was interrupted")]
    Interrupted,
    /// The mailbox belongs to the process that forked this one. Connect anew in
    /// the child.
    #[error("the mailbox belongs to the parent of this process")]
    Forked,
    /// This process or this host lacks what the call takes, such as descriptors. A mailbox
    /// that exists is as it was.
    #[error("a resource of this host is exhausted: {0}")]
    Resource(#[source] io::Error),
    /// A system call on the mailbox failed.
    #[error("system call on the mailbox failed: {0}")]
    Io(#[source] io::Error),
    /// The library returned a code that it does not document for the call.
    #[error("libspread returned {code} from {call}")]
    Library {
        /// The function of libspread.
        call: &'static str,
        /// What it returned.
        code: i32,
    },
}

/// How the daemon broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A header that the library refused.
    #[error("a message with an illegal header")]
    Header,
    /// A message longer than any that a daemon sends.
    #[error("a message with {0} bytes, more than any daemon sends")]
    TooLong(usize),
    /// A message of no known type.
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A membership message whose body does not fit.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// A view without its receiver, or without the member that changed.
    #[error("a view that names neither its receiver nor who changed")]
    View,
}

impl Error {
    /// The number that libspread has for the error, as in `sp.h`.
    pub fn code(&self) -> Option<i32> {
        let code = match self {
            Error::IllegalAddress { .. } | Error::UnknownHost { .. } => ErrorCode::IllegalSpread,
            Error::CouldNotConnect { .. } | Error::ConnectTimeout { .. } => {
                ErrorCode::CouldNotConnect
            }
            Error::IllegalPrivateName { .. } => ErrorCode::RejectIllegalName,
            Error::NameInUse { .. } => ErrorCode::RejectNotUnique,
            Error::TooManySessions => ErrorCode::RejectQuota,
            Error::IncompatibleVersion => ErrorCode::RejectVersion,
            Error::NotAuthorized | Error::Authentication { .. } => ErrorCode::RejectAuth,
            Error::IllegalGroup { .. } | Error::NoGroups => ErrorCode::IllegalGroup,
            Error::TooManyGroups { .. } | Error::MessageTooLong { .. } => ErrorCode::MessageTooLong,
            Error::ConnectionClosed => ErrorCode::ConnectionClosed,
            Error::NotSpread { .. } | Error::Protocol(_) => ErrorCode::IllegalMessage,
            Error::Io(_) | Error::Resource(_) => ErrorCode::NetErrorOnSession,
            Error::Forked => ErrorCode::IllegalSession,
            Error::Interrupted => return None,
            Error::Library { code, .. } => return Some(*code),
        };
        Some(code.code())
    }

    /// Whether the mailbox has come to its end, so that every further call
    /// fails: connect anew.
    pub fn is_closed(&self) -> bool {
        matches!(self, Error::ConnectionClosed | Error::Protocol(_) | Error::Io(_) | Error::Forked)
    }

    /// Whether the same may succeed another time, or at another daemon: nothing
    /// is wrong with what was asked for.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Error::UnknownHost { .. }
                | Error::CouldNotConnect { .. }
                | Error::ConnectTimeout { .. }
                | Error::NotSpread { .. }
                | Error::TooManySessions
                | Error::ConnectionClosed
                | Error::Resource(_)
                | Error::Interrupted
        )
    }
}

impl From<spread_core::Error> for Error {
    #[cold]
    fn from(error: spread_core::Error) -> Error {
        match error {
            spread_core::Error::Protocol(error) => Error::Protocol(error.into()),
            _ => Error::ConnectionClosed,
        }
    }
}

impl From<FrameError> for ProtocolError {
    fn from(error: FrameError) -> ProtocolError {
        let len = |len: i32| usize::try_from(len).ok();
        let too_long = match error {
            FrameError::Groups { count, .. } => {
                len(count).map(|n| n.saturating_mul(spread_wire::limits::NAME_FIELD))
            }
            FrameError::Data { len: data, .. } => len(data),
            FrameError::Total { len, .. } => Some(len),
            _ => None,
        };
        too_long.map_or(ProtocolError::Header, ProtocolError::TooLong)
    }
}
