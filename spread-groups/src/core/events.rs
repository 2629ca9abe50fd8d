//! What goes into a [`Core`](super::Core), and what comes out of it.

use bytes::Bytes;
use spread::{GroupId, Name};

use super::envelope::Topic;
use super::history::Place;
use super::replica::{self, Entry};
use super::requests::{self, OperationId, Rewound};
use super::roster::{Change, Departure, Member, Refusal};
use super::sessions::Answer;

/// What happens to a member.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// It is connected under this private group.
    Connected(Name),
    /// The connection is lost.
    Lost,
    /// The group has a new view.
    View(View),
    /// The view is about to end, because daemons part.
    Signal,
    /// It has left the group.
    SelfLeave,
    /// A message with the type [`MESSAGE_TYPE`](super::envelope::MESSAGE_TYPE).
    Message {
        /// Who sent it.
        from: Name,
        /// Its payload.
        bytes: Bytes,
    },
    /// An operation is to be executed.
    Submit {
        /// Which it is.
        id: OperationId,
        /// Which machine it is for.
        channel: u32,
        /// What it says.
        payload: Bytes,
        /// Whether it waits for a majority of the voters, instead of [`Failure::NoQuorum`].
        patient: bool,
    },
    /// Messages are to be published.
    Publish {
        /// Each a [`TopicFrame`](super::envelope::TopicFrame).
        frames: Vec<Bytes>,
    },
    /// The replica has answered an operation of an entry of this generation.
    Answered(u64, replica::Answered),
    /// The replica's state at a cut of this generation.
    State {
        /// The generation.
        generation: u64,
        /// The index of the marker.
        cut: u64,
        /// What [`Replica::snapshot`](replica::Replica::snapshot) returned.
        state: Bytes,
    },
    /// The group is to be formed with the voters that are there.
    ForcePrimary,
    /// The replica could not restore a state.
    BadState,
    /// The time of [`Core::deadline`](super::Core::deadline) has come.
    Tick,
    /// The member is to leave the group.
    Close,
}

/// A view of a group, as the core needs it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// Which it is.
    pub id: GroupId,
    /// The private groups of all members.
    pub members: Vec<Name>,
    /// Whether nothing happened but that a member left or crashed.
    pub departure: Option<Departure>,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// Join the group.
    Join,
    /// Leave the group.
    Leave,
    /// Send a message, Agreed, to the group or to a private group.
    Send {
        /// The private group; `None` for the group.
        to: Option<Name>,
        /// The payload.
        bytes: Bytes,
    },
    /// Apply the next entry to the replica, and return its answer.
    Entry(Entry),
    /// Return the replica's state at this place.
    Cut(u64),
    /// Replace the replica's state; an empty one is that in which a group begins. Answers
    /// and states from here on are of this generation.
    Restore {
        /// The generation.
        generation: u64,
        /// The state.
        state: Bytes,
    },
    /// A request has ended.
    Done(OperationId, Result<Answer, Failure>),
    /// A message was published.
    Topic {
        /// Who sent it.
        from: Name,
        /// The message.
        topic: Topic,
    },
    /// Something to tell the application.
    Event(Event),
}

/// What the application may want to know.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The member is in the roster and has the state, which an observer does without.
    Ready,
    /// The member has no current state: it is to be given that of the others.
    Behind,
    /// The roster has changed.
    Roster {
        /// The members, by seniority.
        members: Vec<Member>,
        /// What has changed. Compared with what this member knew before there can be more
        /// changes, when it comes to the roster of another side.
        changes: Vec<Change>,
    },
    /// A majority of the voters commits with this member, in a group with
    /// [voters](crate::voters), in this epoch. Told again for each epoch: its number is raised
    /// whenever a majority forms anew.
    Primary(u64),
    /// This side has no majority of the voters, or this member has lost its connection: its terms
    /// and guards have ended.
    Minority,
    /// A merge took answered operations back. They are submitted again, and executed before what
    /// this member submits from now on: the answer of the next operation tells that they were.
    Rewound(Rewound),
    /// These operations, which a merge had taken back, are not executed again: the session
    /// had expired, or the members refused them.
    Lost(Vec<OperationId>),
    /// The state of this member differs from that of the others, as an audit has found. The
    /// member leaves the group.
    Diverged {
        /// The place of the audit.
        place: Place,
    },
    /// A state machine has panicked at this member, which leaves the group. Its operations end
    /// with [`Error::Poisoned`](crate::Error::Poisoned).
    Poisoned,
    /// The member leaves the group.
    Failed(JoinFailed),
}

/// By how much something is too large, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Excess {
    pub(crate) len: usize,
    pub(crate) max: usize,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Failure {
    /// Too many operations are open; this one was not sent.
    #[error("{} operations are open, which is the limit", requests::MAX_OPEN)]
    Full,
    /// The payload is too large; it was not sent.
    #[error("the payload has {} bytes, the limit is {}", .0.len, .0.max)]
    TooLarge(Excess),
    /// The member is an observer, and submits nothing.
    #[error("an observer submits nothing")]
    Observer,
    /// The session expired while the member was away. The operation may have been executed.
    #[error("the session expired while this member was away; it may have been executed")]
    SessionExpired,
    /// The member is on a side without a majority of the voters.
    #[error("there is no majority of the voters{}", if *.may_have_executed { "; it may have been executed" } else { "" })]
    NoQuorum {
        /// Whether the operation was sent.
        may_have_executed: bool,
    },
    /// The member has left the group.
    #[error("the member has left the group{}", if *.may_have_executed { "; it may have been executed" } else { "" })]
    Closed {
        /// Whether the operation was sent.
        may_have_executed: bool,
    },
}

/// Why a member leaves a group that it is in, or cannot be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum JoinFailed {
    /// The group does not admit it.
    #[error(transparent)]
    Refused(Refusal),
    /// More was counted while it was given the state than it may keep, three times without a join or
    /// a partition in between. A voter asks for the state again instead.
    #[error("the state came too slowly: too much was counted meanwhile")]
    TooSlow,
    /// The state that it was given is not that of its machines.
    #[error("the state of the group is not that of this member's machines")]
    BadState,
    /// The group has voters and this member is configured without, or the reverse. Or the member's
    /// list of voters is neither that of the group's present voters nor the list that one of these
    /// is configured with.
    #[error("this member's list of voters, or the lack of one, does not match the group")]
    OtherVoters,
}
