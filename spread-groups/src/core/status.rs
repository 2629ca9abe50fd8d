//! What a member can be asked about its group.

use spread::Name;

use super::history::Place;
use super::roster::Member;
use super::voting::standing::Quorum;
use super::{Core, Holdings, Phase};

/// Messages that had no effect, by the reason; for Form, session and entry see
/// [the words](crate#words).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Not of this protocol.
    pub malformed: u64,
    /// Of a version or kind of the future.
    pub unknown: u64,
    /// Of a session whose client is another one, or that is not in the roster.
    pub foreign: u64,
    /// Sent before the group formed anew, or while it does. Operations among them are sent again
    /// by their submitters.
    pub stale: u64,
    /// Own ones that could not be encoded, which is a fault of this crate.
    pub unsendable: u64,
    /// Entries of the log.
    pub entries: u64,
    /// Exchanges that began.
    pub exchanges: u64,
}

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Not connected, or not in the group yet.
    Out,
    /// In a view, without a roster for it yet.
    Exchanging,
    /// In a view, and not in the roster yet.
    Silent,
    /// In the roster, and being given the state.
    Behind,
    /// In the roster, with the state, or as an observer.
    Ready,
    /// It has left.
    Closed,
}

/// A member's view of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Where it stands.
    pub standing: Standing,
    /// The members, by seniority.
    pub roster: Vec<Member>,
    /// Members of the view that take no part: plain clients, stopped processes, former
    /// connections of members.
    pub silent: Vec<Name>,
    /// Where the log is.
    pub place: Place,
    /// Sessions whose clients are gone.
    pub absent: usize,
    /// The version of the protocol that the group speaks.
    pub protocol: u32,
    /// Own operations without an answer.
    pub open: usize,
    /// How the voters are, in a group with voters.
    pub quorum: Option<Quorum>,
    /// Messages that had no effect.
    pub counters: Counters,
}

impl Core {
    /// Returns how the group is.
    pub(crate) fn status(&self) -> Status {
        let silent = self.view.members.iter().filter(|name| self.roster.by_name(**name).is_none());
        Status {
            standing: self.standing(),
            roster: self.roster.members().to_vec(),
            silent: silent.copied().collect(),
            place: self.roster.history.place(),
            absent: self.roster.absent().count(),
            protocol: self.roster.protocol(),
            open: self.requests.open(),
            quorum: self.quorum(),
            counters: self.counters,
        }
    }

    /// Takes note that a message of this member cannot be encoded.
    pub(crate) fn count_unsendable(&mut self) {
        self.counters.unsendable += 1;
    }

    /// Returns whether a client is a member of the roster.
    pub(crate) fn has_member(&self, name: Name) -> bool {
        self.roster.by_name(name).is_some()
    }

    /// Returns the own session, once there is one.
    pub(crate) fn session(&self) -> Option<u32> {
        self.session
    }

    fn standing(&self) -> Standing {
        match self.phase {
            Phase::Out => Standing::Out,
            Phase::Transitional | Phase::Exchanging(_) => Standing::Exchanging,
            Phase::Closed => Standing::Closed,
            Phase::Formed(_) => match self.own() {
                None => Standing::Silent,
                Some(own) if own.observer || matches!(self.holdings, Holdings::Current) => {
                    Standing::Ready
                }
                Some(_) => Standing::Behind,
            },
        }
    }
}
