//! The error of this crate, with one variant for each thing that a caller can act on.

use std::any::Any;

use spread::NameError;

use crate::codec::CodecError;
use crate::core::roster::Departure;
use crate::core::{Excess, Failure, JoinFailed};
use crate::map::Revision;

/// The error of every operation of this crate.
///
/// Its text does not repeat that of its [`source`](std::error::Error::source): print both, as
/// `anyhow` does with `{:#}`.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The first connection of a node failed. Later ones are tried again without end.
    #[error("cannot connect")]
    Connect(#[source] std::sync::Arc<spread::Error>),
    /// A thread could not be started, or the operating system gave no random numbers.
    #[error("the operating system refused a resource")]
    System(#[source] std::sync::Arc<std::io::Error>),
    /// A group is not 1 to 31 bytes of printable ASCII except space, `!`, `"` and `#`.
    #[error("illegal group name {name:?}")]
    IllegalGroup {
        /// The name given.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// The node is a member of the group already.
    #[error("the node is a member of {group} already")]
    AlreadyJoined {
        /// The group.
        group: String,
    },
    /// The group builder has a state machine of this name and type of operations already, or one
    /// with the same hash of 32 bits.
    #[error("the group has a state machine of the name {name} already")]
    AlreadyReplicated {
        /// The [name](crate::StateMachine::NAME) of the machine that was refused.
        name: &'static str,
    },
    /// Voters are 1 to 64 names of 1 to 64 bytes, with weights from 1. A node that votes is no
    /// observer.
    #[error("1 to 64 voters with names of 1 to 64 bytes and weights from 1; none is an observer")]
    IllegalVoters,
    /// No primary was [forced](crate::VotedGroup::force_primary).
    #[error("no primary was forced")]
    Unforced(#[source] crate::voters::Unforced),
    /// The metadata are longer than the limit.
    #[error("metadata of {len} bytes, the limit is {max}")]
    MetadataTooLong {
        /// Bytes given.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A value could not be encoded. Nothing was sent.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The operation or call was executed, and its answer cannot be decoded.
    #[error("the answer cannot be decoded")]
    UndecodableAnswer(#[source] CodecError),
    /// The operation was executed, and its answer was lost with the connection: the members keep
    /// the answers of a session that it may not have received, up to 4 MiB.
    #[error("the operation was executed, and its answer was lost with the connection")]
    AnswerForgotten,
    /// Too much is under way; this was not sent.
    #[error("too many operations, calls or messages of this member are under way")]
    Full,
    /// The payload is larger than can be sent; it was not.
    #[error("too large: {len} bytes, the limit is {max}")]
    TooLarge {
        /// Bytes given.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The name of a lock, barrier or sequence is longer than the limit. Nothing was sent.
    #[error("a name of {len} bytes, the limit is {max}")]
    NameTooLong {
        /// Bytes given.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The members had no room for the operation. It was not executed.
    #[error("the members have no room for the operation")]
    NoRoom,
    /// The condition of a put or a removal did not hold at its place. It had no effect.
    #[error("{}", conflict(*.expected, *.revision))]
    Conflict {
        /// The revision that the condition named; `None` if it was that the key is absent.
        expected: Option<Revision>,
        /// The revision that the key had there; `None` if it was not there.
        revision: Option<Revision>,
    },
    /// The members cannot read the operation. It was not executed.
    #[error("the members cannot read the operation")]
    Unreadable,
    /// The member is an observer: it submits nothing, and does not know the servers of calls.
    #[error("an observer submits nothing and calls no server")]
    Observer,
    /// The session expired while the member was away; the operation may have been executed.
    #[error("the session expired while this member was away; it may have been executed")]
    SessionExpired,
    /// The member is on a side without a majority of the [voters](crate::voters), where nothing is
    /// committed, or has no connection. Operations fail three seconds after the last majority was
    /// there; those that are submitted later fail at once, until there is one again.
    #[error("there is no majority of the voters{}", if *.may_have_executed { "; it may have been executed" } else { "" })]
    NoQuorum {
        /// Whether the operation was sent before: then it may be executed still.
        may_have_executed: bool,
    },
    /// The group does not admit the node, or the node cannot follow the group.
    #[error("the node cannot be a member")]
    JoinFailed {
        /// Why.
        #[source]
        why: JoinFailed,
        /// Whether the operation was sent before.
        may_have_executed: bool,
    },
    /// A state machine of the application panicked: the member has left the group.
    #[error("a state machine panicked; the member has left the group")]
    Poisoned,
    /// The state of this member differs from that of the others, as an audit has found; it has
    /// left the group. A state machine is not deterministic, or memory is damaged.
    #[error("the state of this member differs from that of the others; it has left the group")]
    Diverged,
    /// The member has left the group, or the node was shut down.
    #[error("the member has left the group")]
    Closed {
        /// Whether the operation was sent before.
        may_have_executed: bool,
    },
    /// There is no server, or the chosen member is none. The call was not executed.
    #[error("nobody can answer: {what}")]
    NoResponders {
        /// What is missing, such as the name of the service and its types.
        what: String,
    },
    /// Too many calls wait at the server. The call was not executed.
    #[error("the server is busy")]
    Busy,
    /// The handler of the server returned this error, or panicked.
    #[error("the handler of the server failed: {0}")]
    Failed(String),
    /// The server has departed; it may have executed the call.
    #[error("the server has departed ({0:?}); it may have executed the call")]
    ServerDeparted(Departure),
    /// There is no connection at present. The call was not sent.
    #[error("there is no connection; the call was not sent")]
    NotConnected,
    /// The connection was lost, and with it the answer; the call may have been executed.
    #[error("the connection was lost before the answer; the call may have been executed")]
    Disconnected,
    /// The request for a lock ended before it was granted: the member departed from the
    /// roster, or a merge took its side's operations back.
    #[error("the request for the lock ended: the member departed, or a merge took it back")]
    LockLost,
    /// The term of the member had ended at the place of its message, which had no effect.
    #[error("the member is not the leader any more")]
    Deposed,
    /// The leader departed before it answered; it may have executed the question.
    #[error("the leader has departed; it may have executed the question")]
    LeaderGone,
    /// This member departed while it waited at the barrier, or another one without which the
    /// barrier cannot open.
    #[error("a party of the barrier has departed")]
    BarrierBroken,
    /// A job was given up after its last attempt.
    #[error("the job was given up after {attempts} attempts; the last one failed: {why}")]
    GivenUp {
        /// How many attempts were made.
        attempts: u32,
        /// Why the last one failed.
        why: String,
    },
    /// The call would wait on a thread of this crate, such as that of
    /// [`StateMachine::apply`](crate::StateMachine::apply) or of a reactor's handler, and might
    /// wait for itself. Wait in a thread or a task of your own: hand it the [`Pending`](crate::Pending).
    #[error("a thread of spread-groups must not wait; wait in a thread of your own")]
    OwnThread,
    /// The timeout has passed. The operation may still be executed.
    #[error("the timeout has passed; the operation may still be executed")]
    TimedOut,
}

impl Error {
    /// Returns whether the same call may succeed later.
    ///
    /// It says nothing of what the failed call has done. Where a call must not be done twice, look
    /// at [`may_have_executed`](Error::may_have_executed) first: if that is `true`, a repetition may
    /// be the second execution.
    ///
    /// | error | retryable | may have executed |
    /// |---|---|---|
    /// | [`Connect`](Error::Connect) | if the client's error is | no |
    /// | [`Full`](Error::Full), [`NoRoom`](Error::NoRoom), [`NoResponders`](Error::NoResponders), [`Busy`](Error::Busy), [`NotConnected`](Error::NotConnected) | yes | no |
    /// | [`LockLost`](Error::LockLost), [`BarrierBroken`](Error::BarrierBroken) | yes | no: the request has ended |
    /// | [`NoQuorum`](Error::NoQuorum) | yes | as its field says |
    /// | [`SessionExpired`](Error::SessionExpired), [`ServerDeparted`](Error::ServerDeparted), [`LeaderGone`](Error::LeaderGone), [`Disconnected`](Error::Disconnected), [`TimedOut`](Error::TimedOut) | yes | yes |
    /// | [`Failed`](Error::Failed), [`GivenUp`](Error::GivenUp), [`UndecodableAnswer`](Error::UndecodableAnswer), [`AnswerForgotten`](Error::AnswerForgotten), [`Poisoned`](Error::Poisoned), [`Diverged`](Error::Diverged) | no | yes |
    /// | [`Closed`](Error::Closed), [`JoinFailed`](Error::JoinFailed) | no | as the field says |
    /// | [`Unforced`](Error::Unforced) | if it was interrupted | no |
    /// | all others | no | no |
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Full
            | Error::NoRoom
            | Error::NoQuorum { .. }
            | Error::SessionExpired
            | Error::TimedOut => true,
            Error::NoResponders { .. } | Error::Busy | Error::LockLost | Error::BarrierBroken => {
                true
            }
            Error::NotConnected => true,
            Error::ServerDeparted(_) | Error::LeaderGone | Error::Disconnected => true,
            Error::Connect(error) => error.is_retryable(),
            Error::Unforced(why) => *why == crate::voters::Unforced::Interrupted,
            _ => false,
        }
    }

    /// Returns whether the operation may have been executed, or may still be.
    pub fn may_have_executed(&self) -> bool {
        match self {
            Error::SessionExpired | Error::TimedOut | Error::Poisoned | Error::Diverged => true,
            Error::Failed(_) | Error::ServerDeparted(_) | Error::GivenUp { .. } => true,
            Error::LeaderGone | Error::Disconnected | Error::UndecodableAnswer(_) => true,
            Error::AnswerForgotten => true,
            Error::Closed { may_have_executed } => *may_have_executed,
            Error::NoQuorum { may_have_executed } => *may_have_executed,
            Error::JoinFailed { may_have_executed, .. } => *may_have_executed,
            _ => false,
        }
    }
}

/// Characters of the error of a handler; more are cut off.
const MAX_REASON: usize = 4096;

/// Returns the error of a handler, cut to the room that a message has for it.
pub(crate) fn reason(why: &str) -> String {
    why.chars().take(MAX_REASON).collect()
}

/// Returns why a handler failed that has panicked, with the text of the panic if it has one.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    match text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)) {
        Some(text) => format!("panicked: {text}"),
        None => "panicked".to_owned(),
    }
}

/// Checks the length of a name.
///
/// # Errors
///
/// [`Error::NameTooLong`].
pub(crate) fn check_name(name: &str, max: usize) -> Result<(), Error> {
    let len = name.len();
    if len > max { Err(Error::NameTooLong { len, max }) } else { Ok(()) }
}

/// Returns why the condition of a put or a removal did not hold.
fn conflict(expected: Option<Revision>, revision: Option<Revision>) -> &'static str {
    match (expected, revision) {
        (_, None) => "the key is absent",
        (None, Some(_)) => "the key is there",
        (Some(_), Some(_)) => "the key has another revision",
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Full => Error::Full,
            Failure::TooLarge(Excess { len, max }) => Error::TooLarge { len, max },
            Failure::Observer => Error::Observer,
            Failure::SessionExpired => Error::SessionExpired,
            Failure::NoQuorum { may_have_executed } => Error::NoQuorum { may_have_executed },
            Failure::Closed { may_have_executed } => Error::Closed { may_have_executed },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_may_have_been_executed_and_what_was_not_was_not() {
        let (why, codec) = (JoinFailed::TooSlow, CodecError::new("x", "y"));
        let sent =
            [true, false].map(|may_have_executed| Error::JoinFailed { why, may_have_executed });
        assert_eq!(sent.map(|error| error.may_have_executed()), [true, false]);
        assert!(Error::UndecodableAnswer(codec.clone()).may_have_executed());
        assert!(!Error::Codec(codec).may_have_executed());
        assert_eq!(reason(&"é".repeat(9999)), "é".repeat(MAX_REASON));
    }

    #[test]
    fn no_error_repeats_the_text_of_its_source() {
        use std::error::Error as _;
        let source = spread::GroupName::new("").unwrap_err();
        let system = std::io::Error::other("the cause");
        let errors = [
            Error::Connect(std::sync::Arc::new(spread::Error::NoGroups)),
            Error::System(std::sync::Arc::new(system)),
            Error::IllegalGroup { name: String::new(), source },
            Error::UndecodableAnswer(CodecError::new("x", "y")),
            Error::JoinFailed { why: JoinFailed::TooSlow, may_have_executed: false },
        ];
        for error in errors {
            let source = error.source().expect("a source").to_string();
            assert!(!error.to_string().contains(&source), "{error}: {source}");
        }
    }

    #[test]
    fn a_panic_is_told_with_its_text() {
        assert_eq!(panicked(&"a"), "panicked: a");
        assert_eq!(panicked(&String::from("b")), "panicked: b");
        assert_eq!(panicked(&7), "panicked");
    }
}
