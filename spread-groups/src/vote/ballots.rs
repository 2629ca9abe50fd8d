//! Proposals, ballots and results: replicated state.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::machines::Present;
use crate::replicated::StateMachine;

/// Open proposals and decided actions of a group, and the bytes of what they say.
pub(super) const MAX_OPEN: usize = 256;
pub(super) const MAX_BYTES: usize = 4 << 20;
/// Results that are remembered, and the bytes of what they are about.
const MAX_DECIDED: usize = 256;
const MAX_DECIDED_BYTES: usize = 1 << 20;

/// The rule by which a proposal is accepted. The electorate are the members that take part in
/// the replicated state at the place of the proposal; it does not shrink.
///
/// Members that have left, or are on another side of a partition, before that place are not asked:
/// without [voters](crate::voters) a member that is cut off decides alone, by either rule. Where
/// that matters, compare [`VoteOutcome::electorate`] with the number of members that there should
/// be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rule {
    /// More than half of the electorate have to say yes.
    Majority,
    /// All of the electorate have to say yes; not all members that there ever were.
    Unanimous,
}

/// The result of a vote, the same at all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum VoteResult {
    /// There are as many yeses as the rule requires.
    Yes,
    /// There are too many noes for the rule.
    No,
    /// The time ran out before the result was certain.
    Expired,
    /// Too many members departed without a ballot.
    Unreachable,
}

/// The outcome of a vote, the same at all members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VoteOutcome {
    /// The result.
    pub result: VoteResult,
    /// Yeses at the place of the decision.
    pub yes: u32,
    /// Noes at the place of the decision.
    pub no: u32,
    /// Members that had a vote.
    pub electorate: u32,
    /// The [sessions](crate::Member::session) of the members that had a vote and had not given it
    /// at the place of the decision, in ascending order: in a vote that has
    /// [expired](VoteResult::Expired) those that did not answer.
    pub missing: Vec<u32>,
}

/// A proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Motion {
    /// What kind of topic it is.
    pub(super) channel: u32,
    pub(super) payload: Vec<u8>,
    pub(super) rule: Rule,
    /// Milliseconds that the vote may take.
    pub(super) within: u64,
    /// When the action takes place, if it is one, in milliseconds since 1970.
    pub(super) at: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Propose(u128, Motion),
    /// The sender's vote. Its first one counts.
    Ballot(u128, bool),
    /// The time of a vote is over, as the senior member says.
    Expire(u128),
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.VoteStep";
    type Codec = Postcard;
}

/// The answer to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Taken,
    Full,
    /// The proposal was decided before.
    Decided(VoteOutcome, bool),
}

impl Message for Answer {
    const NAME: &'static str = "spread.groups.VoteAnswer";
    type Codec = Postcard;
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Proposal {
    pub(super) motion: Motion,
    /// The session of the proposer.
    pub(super) proposer: u32,
    /// The sessions that have a vote, with their ballots.
    pub(super) ballots: BTreeMap<u32, Option<bool>>,
}

/// A proposal with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) ticket: u128,
    pub(super) motion: Motion,
    pub(super) outcome: VoteOutcome,
    /// Whether the time of an accepted action was past.
    pub(super) missed: bool,
}

/// The votes of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Votes {
    pub(super) present: Present,
    open: BTreeMap<u128, Proposal>,
    /// Accepted actions whose time is not known to be past.
    scheduled: BTreeMap<u128, Motion>,
    /// The oldest first.
    decided: VecDeque<Decided>,
    decided_bytes: usize,
    /// What the last change decided. It is not part of the state.
    #[serde(skip)]
    pub(super) news: Vec<Decided>,
    /// Whether the state was replaced, so that its news are not all.
    #[serde(skip, default = "by_default")]
    pub(super) replaced: bool,
}

fn by_default() -> bool {
    true
}

impl Proposal {
    fn count(&self, ballot: bool) -> usize {
        self.ballots.values().filter(|given| **given == Some(ballot)).count()
    }

    /// Returns the result if it is certain.
    fn judge(&self, present: &[u32]) -> Option<VoteResult> {
        let (members, yes, no) = (self.ballots.len(), self.count(true), self.count(false));
        let needed = match self.motion.rule {
            Rule::Majority => members / 2 + 1,
            Rule::Unanimous => members.max(1),
        };
        let may_come = |(session, ballot): &(&u32, &Option<bool>)| {
            ballot.is_none() && present.contains(session)
        };
        let may_come = self.ballots.iter().filter(may_come).count();
        if yes >= needed {
            Some(VoteResult::Yes)
        } else if members < needed + no {
            // Without members nobody says no.
            Some(if members == 0 { VoteResult::Unreachable } else { VoteResult::No })
        } else if yes + may_come < needed {
            Some(VoteResult::Unreachable)
        } else {
            None
        }
    }
}

impl Votes {
    fn propose(&mut self, at: At, ticket: u128, motion: Motion) -> Answer {
        if self.open.contains_key(&ticket) {
            return Answer::Taken;
        }
        if let Some(decided) = self.decided(ticket) {
            return Answer::Decided(decided.outcome.clone(), decided.missed);
        }
        let motions = self.open.values().map(|open| &open.motion).chain(self.scheduled.values());
        let (count, bytes) = motions.fold((0, motion.payload.len()), |(count, bytes), motion| {
            (count + 1, bytes.saturating_add(motion.payload.len()))
        });
        if count >= MAX_OPEN || bytes > MAX_BYTES {
            return Answer::Full;
        }
        let ballots = self.present.sessions().iter().map(|session| (*session, None)).collect();
        self.open.insert(ticket, Proposal { motion, proposer: at.session, ballots });
        self.judge(at.time, ticket);
        Answer::Taken
    }

    fn ballot(&mut self, at: At, ticket: u128, yes: bool) {
        let proposal = self.open.get_mut(&ticket);
        if let Some(ballot) = proposal.and_then(|open| open.ballots.get_mut(&at.session)) {
            ballot.get_or_insert(yes);
            self.judge(at.time, ticket);
        }
    }

    /// Decides a proposal as soon as its result is certain.
    fn judge(&mut self, time: u64, ticket: u128) {
        let proposal = self.open.get(&ticket);
        if let Some(result) = proposal.and_then(|open| open.judge(self.present.sessions())) {
            self.decide(time, ticket, result);
        }
    }

    fn decide(&mut self, time: u64, ticket: u128, result: VoteResult) {
        let Some(proposal) = self.open.remove(&ticket) else {
            return;
        };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (yes, no) = (count(proposal.count(true)), count(proposal.count(false)));
        let electorate = count(proposal.ballots.len());
        let missing = proposal.ballots.iter().filter(|(_, ballot)| ballot.is_none());
        let missing = missing.map(|(session, _)| *session).collect();
        let outcome = VoteOutcome { result, yes, no, electorate, missing };
        let motion = proposal.motion;
        let accepted = motion.at.filter(|_| result == VoteResult::Yes);
        let missed = accepted.is_some_and(|at| at <= time);
        if accepted.is_some() && !missed {
            self.scheduled.insert(ticket, motion.clone());
        }
        self.decided_bytes += motion.payload.len();
        let decided = Decided { ticket, motion, outcome, missed };
        self.decided.push_back(decided.clone());
        while self.decided.len() > MAX_DECIDED || self.decided_bytes > MAX_DECIDED_BYTES {
            let Some(oldest) = self.decided.pop_front() else {
                break;
            };
            self.decided_bytes = self.decided_bytes.saturating_sub(oldest.motion.payload.len());
        }
        self.news.push(decided);
    }

    pub(super) fn proposals(&self) -> &BTreeMap<u128, Proposal> {
        &self.open
    }

    pub(super) fn scheduled(&self) -> &BTreeMap<u128, Motion> {
        &self.scheduled
    }

    pub(super) fn all_decided(&self) -> &VecDeque<Decided> {
        &self.decided
    }

    /// Returns whether this is an action that is to be done.
    pub(super) fn has_accepted(&self, ticket: u128) -> bool {
        let accepted = |decided: &Decided| decided.outcome.result == VoteResult::Yes;
        self.decided(ticket).is_some_and(|decided| accepted(decided) && !decided.missed)
    }

    pub(super) fn decided(&self, ticket: u128) -> Option<&Decided> {
        self.decided.iter().find(|decided| decided.ticket == ticket)
    }
}

impl StateMachine for Votes {
    const NAME: &'static str = "spread.groups.Votes";
    type Op = Step;
    type Out = Answer;

    fn apply(&mut self, at: At, step: Step) -> Answer {
        self.news.clear();
        self.replaced = false;
        self.scheduled.retain(|_, motion| motion.at.is_some_and(|due| due > at.time));
        match step {
            Step::Propose(ticket, motion) => return self.propose(at, ticket, motion),
            Step::Ballot(ticket, yes) => self.ballot(at, ticket, yes),
            Step::Expire(ticket) => self.decide(at.time, ticket, VoteResult::Expired),
        }
        Answer::Taken
    }

    fn follow(&mut self, at: At, change: &Change) {
        self.news.clear();
        self.replaced = false;
        self.present.follow(change);
        if matches!(change, Change::Departed { .. }) {
            let tickets: Vec<u128> = self.open.keys().copied().collect();
            tickets.into_iter().for_each(|ticket| self.judge(at.time, ticket));
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Votes, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

#[cfg(test)]
mod tests;
