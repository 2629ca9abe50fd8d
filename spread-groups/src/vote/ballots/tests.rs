use proptest::prelude::*;

use super::*;
use crate::core::history::Place;
use crate::core::roster::{Departure, Incarnation};

const TICKET: u128 = 9;

fn at(session: u32) -> At {
    At { place: Place::default(), epoch: 1, time: 100, session }
}

fn joined(session: u32, observer: bool) -> Change {
    let incarnation = Incarnation([session as u8; 16]);
    Change::Joined { session, incarnation, resumed: false, observer }
}

fn departed(session: u32) -> Change {
    Change::Departed { session, cause: Departure::Crashed }
}

fn motion(rule: Rule) -> Motion {
    Motion { channel: 1, payload: vec![1; 10], rule, within: 1000, at: None }
}

/// Proposes something among so many members.
fn proposed(members: u32, motion: Motion) -> Votes {
    let mut votes = Votes::default();
    (1..=members).for_each(|session| votes.follow(at(0), &joined(session, false)));
    votes.follow(at(0), &joined(99, true));
    assert_eq!(votes.apply(at(1), Step::Propose(TICKET, motion)), Answer::Taken);
    votes
}

fn ballot(votes: &mut Votes, session: u32, yes: bool) -> Option<VoteResult> {
    votes.apply(at(session), Step::Ballot(TICKET, yes));
    result(votes)
}

fn result(votes: &Votes) -> Option<VoteResult> {
    votes.decided(TICKET).map(|decided| decided.outcome.result)
}

#[test]
fn a_majority_of_the_electorate_decides_as_soon_as_it_is_certain() {
    for (members, needed_yes, needed_no) in [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2)] {
        for (yes, needed, wanted) in
            [(true, needed_yes, VoteResult::Yes), (false, needed_no, VoteResult::No)]
        {
            let mut votes = proposed(members, motion(Rule::Majority));
            for session in 1..needed {
                assert_eq!(ballot(&mut votes, session, yes), None);
            }
            assert_eq!(ballot(&mut votes, needed, yes), Some(wanted), "of {members}");
        }
    }
}

#[test]
fn of_all_one_no_is_enough() {
    let mut votes = proposed(3, motion(Rule::Unanimous));
    assert_eq!(ballot(&mut votes, 1, true), None);
    assert_eq!(ballot(&mut votes, 2, false), Some(VoteResult::No));
    let mut votes = proposed(2, motion(Rule::Unanimous));
    assert_eq!(ballot(&mut votes, 1, true), None);
    assert_eq!(ballot(&mut votes, 2, true), Some(VoteResult::Yes));
}

#[test]
fn the_first_ballot_of_a_voter_counts_and_no_other_one() {
    let mut votes = proposed(3, motion(Rule::Majority));
    assert_eq!(ballot(&mut votes, 1, true), None);
    assert_eq!(ballot(&mut votes, 1, true), None);
    assert_eq!(ballot(&mut votes, 1, false), None);
    assert_eq!(ballot(&mut votes, 99, true), None, "an observer");
    votes.follow(at(0), &joined(4, false));
    assert_eq!(ballot(&mut votes, 4, true), None, "one that came later");
    assert_eq!(ballot(&mut votes, 3, true), Some(VoteResult::Yes));
    let outcome = &votes.decided(TICKET).unwrap().outcome;
    assert_eq!((outcome.yes, outcome.no, outcome.electorate), (2, 0, 3));
    assert_eq!(outcome.missing, [2], "the one that has not answered");
}

#[test]
fn members_that_are_gone_still_count_and_can_put_the_result_out_of_reach() {
    let mut votes = proposed(3, motion(Rule::Majority));
    assert_eq!(ballot(&mut votes, 3, true), None);
    votes.follow(at(0), &departed(3));
    assert_eq!(result(&votes), None, "its ballot stays");
    votes.follow(at(0), &departed(2));
    assert_eq!(result(&votes), None);
    assert_eq!(ballot(&mut votes, 1, true), Some(VoteResult::Yes));
    let mut votes = proposed(3, motion(Rule::Majority));
    votes.follow(at(0), &departed(2));
    votes.follow(at(0), &joined(2, false));
    votes.follow(at(0), &departed(3));
    assert_eq!(result(&votes), None, "one has come back");
    votes.follow(at(0), &departed(2));
    assert_eq!(result(&votes), Some(VoteResult::Unreachable));
}

#[test]
fn what_has_expired_is_not_decided_any_more() {
    let mut votes = proposed(1, motion(Rule::Majority));
    votes.apply(at(2), Step::Expire(TICKET));
    assert_eq!(ballot(&mut votes, 1, true), Some(VoteResult::Expired));
    let again = votes.apply(at(1), Step::Propose(TICKET, motion(Rule::Majority)));
    assert!(matches!(again, Answer::Decided(VoteOutcome { yes: 0, .. }, false)), "{again:?}");
}

#[test]
fn an_accepted_action_is_scheduled_or_missed() {
    for (due, missed) in [(101, false), (100, true)] {
        let motion = Motion { at: Some(due), ..motion(Rule::Majority) };
        let mut votes = proposed(1, motion);
        ballot(&mut votes, 1, true);
        assert_eq!(votes.decided(TICKET).unwrap().missed, missed);
        assert_eq!(votes.scheduled().len(), usize::from(!missed));
        votes.apply(At { time: due, ..at(1) }, Step::Ballot(7, true));
        assert!(votes.scheduled().is_empty(), "its time is past");
    }
}

#[test]
fn proposals_and_results_are_bounded() {
    let mut votes = proposed(1, motion(Rule::Majority));
    for ticket in 10..10 + MAX_OPEN as u128 - 1 {
        let step = Step::Propose(ticket, motion(Rule::Majority));
        assert_eq!(votes.apply(at(1), step), Answer::Taken);
    }
    let more = Step::Propose(1, motion(Rule::Majority));
    assert_eq!(votes.apply(at(1), more.clone()), Answer::Full);
    votes.apply(at(1), Step::Expire(TICKET));
    let large = Motion { payload: vec![0; MAX_BYTES], ..motion(Rule::Majority) };
    assert_eq!(votes.apply(at(1), Step::Propose(1, large)), Answer::Full);
    assert_eq!(votes.apply(at(1), more), Answer::Taken);
    for ticket in 1000..1000 + 2 * MAX_DECIDED as u128 {
        votes.apply(at(1), Step::Expire(1));
        votes.apply(at(1), Step::Propose(ticket, motion(Rule::Majority)));
        votes.apply(at(1), Step::Expire(ticket));
    }
    assert_eq!(votes.all_decided().len(), MAX_DECIDED);
}

proptest! {
    /// Whatever happens a proposal is decided once, by what the rule says of its electorate.
    #[test]
    fn a_result_is_what_its_rule_says(
        members in 1..6u32,
        unanimous in any::<bool>(),
        acts in prop::collection::vec((0..4u8, 1..8u32), 1..40),
    ) {
        let rule = if unanimous { Rule::Unanimous } else { Rule::Majority };
        let mut votes = proposed(members, motion(rule));
        let mut ballots = BTreeMap::new();
        let mut decided = None;
        for (act, session) in acts {
            let is_there = votes.present.sessions().contains(&session);
            match act {
                0 | 1 => {
                    if decided.is_none() && session <= members {
                        ballots.entry(session).or_insert(act == 0);
                    }
                    votes.apply(at(session), Step::Ballot(TICKET, act == 0));
                }
                2 if is_there => votes.follow(at(0), &departed(session)),
                3 if !is_there => votes.follow(at(0), &joined(session, false)),
                _ => continue,
            }
            let yes = ballots.values().filter(|yes| **yes).count() as u32;
            let no = ballots.len() as u32 - yes;
            let needed = if unanimous { members } else { members / 2 + 1 };
            let may_come = (1..=members)
                .filter(|one| !ballots.contains_key(one))
                .filter(|one| votes.present.sessions().contains(one))
                .count() as u32;
            let wanted = match () {
                () if yes >= needed => Some(VoteResult::Yes),
                () if members - no < needed => Some(VoteResult::No),
                () if yes + may_come < needed => Some(VoteResult::Unreachable),
                () => None,
            };
            decided = decided.or(wanted);
            prop_assert_eq!(result(&votes), decided);
            prop_assert_eq!(votes.open.contains_key(&TICKET), decided.is_none());
        }
        let copy = Votes::restore(&votes.snapshot()).unwrap();
        prop_assert_eq!(copy.snapshot(), votes.snapshot());
    }
}
