//! What a member is told of its part in a group with voters.

use super::voters::Configured;
use crate::core::history::History;
use crate::core::roster::Incarnation;
use crate::core::{Core, Event, Output, Phase};

/// Where a member of a group with voters stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// There is no majority yet that could commit.
    Forming(Why),
    /// A majority of the voters commits with this member, in this epoch: a number that is raised
    /// whenever a majority forms anew.
    Primary(u64),
    /// This side has no majority of the voters: nothing is committed here.
    Minority,
    /// The view is about to end.
    Transitional,
    /// There is no connection.
    Lost,
}

/// Why there is no majority yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The members of the view say who they are. It stays so while a majority of the voters is
    /// here and one that it needs does not answer: it is slow or stopped.
    Exchanging,
    /// A majority has formed, and is given the log that is to stand.
    Synchronizing,
    /// The group has not been founded: not all the voters are here, with one configuration
    /// and without a state.
    Founding,
    /// A majority of the voters is here by name, but not by incarnation: some have started again,
    /// and have lost the state. Nothing goes on before enough of those that have it are connected
    /// again. If they have ended, what was committed may be lost, and the group waits for an
    /// operator ([`force_primary`](crate::VotedGroup::force_primary)).
    StateLost,
    /// Voters of two groups of this name, founded separately, are in this view: for example because
    /// voters that had been replaced were started again where they did not see the group. Each may
    /// have committed what the other does not know, so nothing goes on before an operator has ended
    /// the members of one of them. It cannot be forced.
    OtherGroup,
}

/// Why a primary was not [forced](crate::VotedGroup::force_primary).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unforced {
    /// This side may have a majority: the standing is neither [`Standing::Minority`] nor
    /// [`Why::StateLost`], which it is after an exchange of three seconds. A voter that is here and
    /// does not answer has to be ended first.
    #[error("this side is not known to be without a majority")]
    NotStopped,
    /// No member here has a state of the group, so that there is nothing to force: it has yet to be
    /// founded, or its members are elsewhere.
    #[error("no member here has a state of the group")]
    NoState,
    /// This member does not have the newest log of the members here.
    #[error("another member here has the newest log")]
    OtherLog,
    /// Voters of two groups are here ([`Why::OtherGroup`]): the members of one of them have to be
    /// ended.
    #[error("voters of two groups are here that were founded separately")]
    OtherGroup,
    /// No voter is here, nor a node that goes by the name of one.
    #[error("no voter is here, and no node by the name of one")]
    NoVoter,
    /// The members here changed before the group had formed. It can be forced again.
    #[error("the members here changed before the group had formed")]
    Interrupted,
}

/// A voter of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Voter {
    /// Its name.
    pub name: String,
    /// The incarnation that counts; zeros while the group is not founded and it is not present.
    pub incarnation: Incarnation,
    /// How much it counts.
    pub weight: u32,
    /// Whether it is in the roster; while the group is not founded, whether it is here, with the
    /// same list of voters and without a state, and nobody else of its name.
    pub present: bool,
}

/// How the voters of a group are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quorum {
    /// Where this member stands.
    pub standing: Standing,
    /// The voters after what this member has logged, by name. While the group is not founded, those
    /// that are configured; as long as this member has no log of a group that is, none.
    pub voters: Vec<Voter>,
    /// Raised by 1 with each change of the voters, and by 2^20 or more where a primary was forced.
    pub version: u64,
    /// The index up to which the log is known to be committed; 0 if there is no primary.
    pub committed: u64,
}

/// What the application is told of the side that a member is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Primary(u64),
    Minority,
}

impl Core {
    /// Tells the application when this member comes to the side with a majority of the voters, or
    /// to one without. What is granted under a Form is applied after this.
    pub(crate) fn tell_side(&mut self) {
        let side = match &self.phase {
            Phase::Formed(_) if self.is_confirmed() => {
                Some(Side::Primary(self.roster.history.epoch()))
            }
            Phase::Exchanging(_) if self.is_in_minority() => Some(Side::Minority),
            Phase::Out if self.voting.as_ref().is_some_and(|voting| voting.told.is_some()) => {
                Some(Side::Minority)
            }
            // It may turn out either way.
            Phase::Formed(_) | Phase::Exchanging(_) | Phase::Transitional => return,
            Phase::Out | Phase::Closed => None,
        };
        let Some(voting) = self.voting.as_mut().filter(|voting| voting.told != side) else {
            return;
        };
        voting.told = side;
        let event = side.map(|side| match side {
            Side::Primary(number) => Event::Primary(number),
            Side::Minority => Event::Minority,
        });
        self.outputs.extend(event.map(Output::Event));
    }

    /// Returns whether no majority of the voters is in the view: they are neither the clients that
    /// they were, nor have they said Hello under another name.
    fn is_in_minority(&self) -> bool {
        let (Phase::Exchanging(exchange), Some(voting)) = (&self.phase, &self.voting) else {
            return false;
        };
        let is_here = |voter: Incarnation| {
            let known = self.roster.by_incarnation(voter);
            exchange.has(voter)
                || known.is_some_and(|member| self.view.members.contains(&member.name))
        };
        voting.stood && !voting.chain.is_majority(is_here) || self.is_without_quorum()
    }

    /// Returns how the voters are; `None` in a group without.
    pub(crate) fn quorum(&self) -> Option<Quorum> {
        let voting = self.voting.as_ref()?;
        let voters = self.held_chain().and_then(|chain| chain.last());
        let present = |incarnation| self.roster.by_incarnation(incarnation).is_some();
        let voter = |(name, voter): (&str, super::voters::Voter)| Voter {
            name: name.to_owned(),
            incarnation: voter.incarnation,
            weight: voter.weight,
            present: present(voter.incarnation),
        };
        let known = voters.map(|voters| voters.iter().map(voter).collect());
        Some(Quorum {
            standing: self.voting_standing(voting),
            voters: known.unwrap_or_else(|| self.configured_voters(&voting.configured)),
            version: voters.map_or(0, |voters| voters.version),
            committed: voting.committed,
        })
    }

    /// Returns the configured voters; those are present that can found the group.
    fn configured_voters(&self, configured: &Configured) -> Vec<Voter> {
        let Phase::Exchanging(exchange) = &self.phase else {
            return Vec::new();
        };
        if exchange.base().is_some() {
            return Vec::new();
        }
        let voter = |(name, weight): (&String, &u32)| {
            let founder = exchange.founder(configured, name);
            Voter {
                name: name.clone(),
                incarnation: founder.unwrap_or(Incarnation([0; 16])),
                weight: *weight,
                present: founder.is_some(),
            }
        };
        configured.voters.iter().map(voter).collect()
    }

    fn voting_standing(&self, voting: &super::Voting) -> Standing {
        match &self.phase {
            Phase::Out | Phase::Closed => Standing::Lost,
            Phase::Transitional => Standing::Transitional,
            Phase::Formed(_) => match self.is_confirmed() {
                true => Standing::Primary(self.roster.history.epoch()),
                false => Standing::Forming(Why::Synchronizing),
            },
            Phase::Exchanging(exchange) if !exchange.waited => Standing::Forming(Why::Exchanging),
            Phase::Exchanging(exchange) if exchange.is_divided() => {
                Standing::Forming(Why::OtherGroup)
            }
            // It may come late, or be stopped.
            Phase::Exchanging(exchange) if self.may_have_a_majority(exchange) => {
                Standing::Forming(Why::Exchanging)
            }
            Phase::Exchanging(exchange) => match self.held_chain() {
                // By the voters of the last forced Form.
                Some(chain)
                    if exchange.base().map(History::forced)
                        == self.held_history().map(History::forced)
                        && exchange.has_named_majority(chain) =>
                {
                    Standing::Forming(Why::StateLost)
                }
                _ if !voting.stood && exchange.base().is_none() => Standing::Forming(Why::Founding),
                _ => Standing::Minority,
            },
        }
    }
}
