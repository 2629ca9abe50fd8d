//! How a member takes part in a group.

use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use super::roster::Incarnation;
use super::voting::voters::Configured;
use super::{fragments, transfer};

/// The version of the protocol that this crate speaks.
pub(crate) const PROTOCOL: u32 = 1;

/// How a member takes part in a group.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The group.
    pub group: Name,
    /// What it is called in the roster; new for each join.
    pub incarnation: Incarnation,
    /// What the others are told of it, at most [`MAX_METADATA`](super::roster::MAX_METADATA) bytes.
    pub metadata: Bytes,
    /// Whether it takes no part in the replicated state.
    pub observer: bool,
    /// The newest version of the protocol that it speaks.
    pub protocol: u32,
    /// Milliseconds since 1970 at the time zero of the inputs.
    pub epoch: u64,
    /// How long members wait for a Hello of everybody in a view.
    pub exchange_wait: Duration,
    /// How long a newcomer waits for a chunk before it asks another donor; longer after each
    /// attempt.
    pub stall: Duration,
    /// How long a session outlives its client.
    pub session_life: Duration,
    /// Bytes that a newcomer keeps while it is given the state.
    pub newcomer_buffer: usize,
    /// Own messages that have not come back, and their bytes.
    pub window: (usize, usize),
    /// Bytes of incomplete operations that are kept; the same at all members.
    pub fragment_memory: usize,
    /// Bytes of payload that one message carries.
    pub fragment: usize,
    /// Bytes of state that one message carries.
    pub chunk: usize,
    /// The voters that are to found the group, if it has voters.
    pub voters: Option<Configured>,
    #[cfg(test)]
    pub(crate) broken: Option<Broken>,
}

impl Config {
    /// Returns how a node takes part in a group unless it is told otherwise.
    pub(crate) fn new(group: Name, incarnation: Incarnation) -> Config {
        Config {
            group,
            incarnation,
            metadata: Bytes::new(),
            observer: false,
            protocol: PROTOCOL,
            epoch: 0,
            exchange_wait: Duration::from_secs(1),
            stall: Duration::from_secs(5),
            session_life: Duration::from_secs(60),
            newcomer_buffer: 64 << 20,
            window: (256, 1 << 20),
            fragment_memory: 64 << 20,
            fragment: fragments::FRAGMENT,
            chunk: transfer::CHUNK,
            voters: None,
            #[cfg(test)]
            broken: None,
        }
    }
}

/// A rule that the simulation breaks, to see that it is caught.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Operations count after a signal.
    CountsAfterSignal,
    /// Operations count in an exchange.
    CountsInExchanges,
    /// Operations count whoever sent them, under whatever Form.
    CountsAnyones,
    /// A newcomer keeps nothing that is counted before the state has come.
    CutsAtTheEnd,
    /// Incomplete operations survive views.
    KeepsFragments,
    /// Open operations are not sent again.
    NeverSendsAgain,
    /// What a merge takes back is not submitted again.
    ForgetsWhatIsTakenBack,
    /// Whoever comes from another side keeps its state.
    KeepsOtherState,
    /// A session executes what it has executed before.
    ExecutesAgain,
    /// With voters: a Form takes no majority.
    FormsInMinorities,
    /// With voters: a Form stands where it is delivered.
    StandsAtTheForm,
    /// With voters: a log that is the base has the number of a Form from where its voter has
    /// accepted the Form, and not from where a majority has.
    TakesTheNumberAtTheForm,
    /// With voters: a Form's number is above that of its base, and not above what those that
    /// said Hello have accepted.
    NumbersAboveTheBase,
    /// With voters: what is logged is committed.
    CommitsAtOnce,
    /// With voters: the base is that of the largest side, as without voters.
    TakesTheLargestSide,
    /// With voters: where those of two groups meet that were founded separately, the greatest
    /// label of all stands.
    MixesGroups,
    /// With voters: any node that goes by the name of a voter is it.
    CountsNames,
    /// With voters: a change of the voters counts alone before it is committed.
    ChangesVotersAtOnce,
    /// With voters: a newcomer is given what is committed and not what is logged.
    ForgetsTheTail,
    /// With voters: reads are answered by the member's own state.
    ReadsLocally,
}
