//! What a mailbox with view synchrony refuses, and what can go wrong with it.

use spread_core::flush::{self as layer, Refusal};
use spread_wire::Name;

/// The error of a [`Mailbox`](super::Mailbox) with view synchrony.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The group has been flushed and its next view has not been received: nothing can be sent
    /// to it until then (`ILLEGAL_STATE`).
    #[error("{group} is flushed: wait for its next view before sending to it")]
    Flushed {
        /// The group.
        group: Name,
    },
    /// The mailbox is not a member: it has received no view of the group, or is leaving it
    /// (`ILLEGAL_GROUP`).
    #[error("not a member of {group}")]
    NotMember {
        /// The group.
        group: Name,
    },
    /// The mailbox is in the group, or on the way in or out (`ILLEGAL_GROUP`).
    #[error("{group} is joined already")]
    AlreadyJoined {
        /// The group.
        group: Name,
    },
    /// The flush request was for an earlier stay in the group; now none is open
    /// (`ILLEGAL_STATE`).
    #[error("{group} is not to be flushed now")]
    NotRequested {
        /// The group.
        group: Name,
    },
    /// A receiver is not a member of the view of the group (`ILLEGAL_RECEIVERS`).
    #[error("a receiver is not in the view of {group}")]
    NotInView {
        /// The group.
        group: Name,
    },
    /// The message type is below [`MIN_MESSAGE_TYPE`](super::MIN_MESSAGE_TYPE)
    /// (`ILLEGAL_MESSAGE_TYPE`).
    #[error("illegal message type {message_type}: it is at least {}", super::MIN_MESSAGE_TYPE)]
    MessageType {
        /// The type given.
        message_type: i16,
    },
    /// There is more than the mailbox keeps: more than 64 MiB of messages and views wait until
    /// members have flushed a group, all groups take more than 256 MiB, or the daemon does not
    /// take the answers of the mailbox. The connection has been ended.
    #[error(
        "more than a mailbox keeps: 64 MiB that wait until members have flushed a group, 256 MiB \
         of all groups, or {} answers that the daemon does not take",
        layer::MAX_REPLIES
    )]
    Overrun,
    /// An error of the connection, or of a name or a length.
    #[error(transparent)]
    Spread(#[from] crate::Error),
}

impl Error {
    /// Whether the connection has come to its end, so that every further call fails: connect
    /// anew. See [`spread::Error::is_closed`](crate::Error::is_closed).
    pub fn is_closed(&self) -> bool {
        match self {
            Error::Overrun => true,
            Error::Spread(error) => error.is_closed(),
            _ => false,
        }
    }

    pub(super) fn of(refusal: Refusal, group: Name) -> Error {
        match refusal {
            Refusal::Group => Error::NotMember { group },
            Refusal::State => Error::Flushed { group },
            Refusal::Receivers => Error::NotInView { group },
        }
    }
}
