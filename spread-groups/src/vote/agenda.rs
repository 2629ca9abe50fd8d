//! The accepted actions of a member: which of them wait for their time, and which were done.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ballots::{Motion, Votes};
use crate::recent::Recent;

/// Actions that are remembered as done, so that no merge has them done again.
const DONE: usize = 4096;

#[derive(Debug)]
pub(super) struct Agenda {
    /// Actions whose timers run.
    waiting: BTreeMap<u128, Motion>,
    /// Apart from the replicated state, which a merge may replace by an earlier one.
    done: Recent<u128>,
}

impl Default for Agenda {
    fn default() -> Agenda {
        Agenda { waiting: BTreeMap::new(), done: Recent::new(DONE) }
    }
}

impl Agenda {
    /// Follows a change of the state, at so many milliseconds since 1970 by the clock of this
    /// member; returns the actions that are new, and how long they wait.
    ///
    /// An action of a state that was given to the member, and whose time is past, is not done:
    /// the member was not there at its time.
    pub(super) fn follow(&mut self, votes: &Votes, now: u64) -> Vec<(u128, Duration)> {
        // The state forgets an action when the order has come to its time, which may be before
        // this member's clock has.
        self.waiting.retain(|ticket, _| {
            let is_there = votes.scheduled().contains_key(ticket) || votes.has_accepted(*ticket);
            is_there || !votes.replaced
        });
        let mut new = Vec::new();
        for (ticket, motion) in votes.scheduled() {
            let Some(at) = motion.at else {
                continue;
            };
            if self.waiting.contains_key(ticket) || self.done.contains(ticket) {
                continue;
            }
            if votes.replaced && at <= now {
                self.done.insert(*ticket);
                continue;
            }
            self.waiting.insert(*ticket, motion.clone());
            new.push((*ticket, Duration::from_millis(at.saturating_sub(now))));
        }
        new
    }

    /// Returns an action whose timer has ended, if it is still to be done. From then on it
    /// counts as done.
    pub(super) fn due(&mut self, ticket: u128) -> Option<Motion> {
        let motion = self.waiting.remove(&ticket)?;
        self.done.insert(ticket).then_some(motion)
    }

    pub(super) fn is_done(&self, ticket: u128) -> bool {
        self.done.contains(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ballots::{Rule, Step};
    use super::*;
    use crate::core::history::Place;
    use crate::core::replica::At;
    use crate::core::roster::{Change, Incarnation};
    use crate::replicated::StateMachine as _;

    const TICKET: u128 = 9;
    const AT: u64 = 1_000;

    fn at(time: u64) -> At {
        At { place: Place::default(), epoch: 1, time, session: 1 }
    }

    /// Returns the state in which an action was accepted, and nothing done since.
    fn accepted() -> Votes {
        let mut votes = Votes::default();
        let incarnation = Incarnation([1; 16]);
        let joined = Change::Joined { session: 1, incarnation, resumed: false, observer: false };
        votes.follow(at(0), &joined);
        let (rule, within) = (Rule::Majority, 1_000);
        let motion = Motion { channel: 1, payload: vec![], rule, within, at: Some(AT) };
        votes.apply(at(100), Step::Propose(TICKET, motion));
        votes.apply(at(100), Step::Ballot(TICKET, true));
        votes
    }

    fn given(votes: &Votes) -> Votes {
        Votes::restore(&votes.snapshot()).unwrap()
    }

    #[test]
    fn an_action_is_done_once_at_its_time() {
        let (mut agenda, mut votes) = (Agenda::default(), accepted());
        assert_eq!(agenda.follow(&votes, 400), [(TICKET, Duration::from_millis(600))]);
        assert_eq!(agenda.follow(&votes, 500), []);
        // The order comes to its time before the clock of this member does.
        votes.apply(at(AT), Step::Ballot(1, true));
        assert_eq!(agenda.follow(&votes, 500), []);
        assert!(agenda.due(TICKET).is_some());
        assert!(agenda.due(TICKET).is_none());
    }

    #[test]
    fn a_decision_that_a_member_learns_of_late_is_done_at_once() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.follow(&accepted(), AT + 1), [(TICKET, Duration::ZERO)]);
    }

    #[test]
    fn a_newcomer_does_what_is_ahead_and_not_what_is_past() {
        for (now, waits) in [(AT - 1, true), (AT, false), (AT + 60_000, false)] {
            let (mut agenda, mut votes) = (Agenda::default(), given(&accepted()));
            assert_eq!(!agenda.follow(&votes, now).is_empty(), waits, "at {now}");
            // Not with the next operation either, which may be stamped by a slow clock.
            votes.apply(at(200), Step::Ballot(1, true));
            assert_eq!(agenda.follow(&votes, now), []);
            assert_eq!(agenda.due(TICKET).is_some(), waits, "at {now}");
        }
    }

    #[test]
    fn a_merge_has_nothing_done_again_and_takes_back_what_waits() {
        let (mut agenda, mut votes) = (Agenda::default(), accepted());
        agenda.follow(&votes, 400);
        assert!(agenda.due(TICKET).is_some());
        votes.apply(at(AT), Step::Ballot(1, true));
        agenda.follow(&votes, AT);
        // The clock was set back, and the other side has not come to that time.
        let mut other = given(&accepted());
        assert_eq!(agenda.follow(&other, 400), []);
        other.apply(at(200), Step::Ballot(1, true));
        assert_eq!(agenda.follow(&other, 400), []);
        assert!(agenda.is_done(TICKET) && agenda.due(TICKET).is_none());
        let mut agenda = Agenda::default();
        agenda.follow(&accepted(), 400);
        agenda.follow(&given(&Votes::default()), 400);
        assert!(agenda.due(TICKET).is_none(), "the side that stands has not accepted it");
    }
}
