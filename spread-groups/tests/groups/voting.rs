use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime};

use spread_groups::{
    ActionResult, Ballot, Due, Error, Handling, Pending, Rule, VoteOutcome, VoteResult,
};

use crate::support::*;

const TOPIC: &str = "open the valve";

fn propose(member: &Participant, rule: Rule, within: Duration) -> Pending<VoteOutcome> {
    member.group.vote(&String::from(TOPIC)).rule(rule).within(within).send()
}

fn votes(member: &Participant, ballot: Ballot) -> Handling {
    member.group.on_vote(move |_: String, _| ballot).unwrap()
}

/// Is told the results, as this member learns them.
fn results(member: &Participant) -> (Handling, Receiver<VoteOutcome>) {
    let (tell, told) = channel();
    let handler = move |topic: String, outcome| {
        assert_eq!(topic, TOPIC);
        // The test may have ended.
        tell.send(outcome).ok();
    };
    (member.group.on_vote_result(handler).unwrap(), told)
}

fn told(results: &Receiver<VoteOutcome>) -> VoteOutcome {
    results.recv_timeout(LONG).expect("a result")
}

#[test]
fn all_members_are_told_one_result() {
    let cluster = daemons();
    let members = three_members(&cluster);
    let listening = members.each_ref().map(results);
    let _voting: Vec<_> = [Ballot::Yes, Ballot::No, Ballot::Yes]
        .into_iter()
        .zip(&members)
        .map(|(ballot, member)| votes(member, ballot))
        .collect();
    for (rule, result) in [(Rule::Majority, VoteResult::Yes), (Rule::Unanimous, VoteResult::No)] {
        assert_eq!(propose(&members[1], rule, LONG).wait().unwrap().result, result);
        let outcomes = listening.each_ref().map(|(_, results)| told(results));
        assert_eq!(outcomes[0].result, result);
        assert_eq!(outcomes[0].electorate, 3);
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    }
    for member in &members {
        let recent = member.group.recent_votes::<String>();
        let recent: Vec<_> = recent.iter().map(|(_, outcome)| outcome.result).collect();
        assert_eq!(recent, [VoteResult::Yes, VoteResult::No]);
    }
}

#[test]
fn the_death_of_a_proposer_changes_nothing_for_the_others() {
    let cluster = cluster();
    let [one, two, proposer] = three_members(&cluster);
    let listening = [&one, &two].map(results);
    let (release, held) = channel::<()>();
    let (asks, asked) = channel();
    let _voting = votes(&one, Ballot::Yes);
    let waits = move |_: String, _: &spread_groups::Asked| {
        asks.send(()).unwrap();
        held.recv().unwrap();
        Ballot::Yes
    };
    let _waiting = two.group.on_vote(waits).unwrap();
    let pending = propose(&proposer, Rule::Majority, LONG);
    asked.recv_timeout(LONG).unwrap();
    cluster.sever(&name(&proposer.group)).unwrap();
    cluster.disconnect(&name(&proposer.group)).unwrap();
    drop(proposer);
    drop(pending);
    eventually("the proposer is gone", || one.group.members().len() == 2);
    release.send(()).unwrap();
    let outcomes = listening.each_ref().map(|(_, results)| told(results));
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!((outcomes[0].result, outcomes[0].electorate), (VoteResult::Yes, 3));
}

#[test]
fn two_ballots_of_one_voter_count_once() {
    let cluster = cluster();
    let [one, two, silent] = three_members(&cluster);
    let (given, ballots) = channel::<()>();
    let _voting = [(); 2].map(|()| {
        let given = given.clone();
        let vote = move |_: String, _: &spread_groups::Asked| {
            given.send(()).unwrap();
            Ballot::Yes
        };
        one.group.on_vote(vote).unwrap()
    });
    let pending = propose(&two, Rule::Majority, LONG);
    (0..2).for_each(|_| ballots.recv_timeout(LONG).unwrap());
    cluster.settle().unwrap();
    // Two yeses would have been enough.
    let _against = [votes(&two, Ballot::No), votes(&silent, Ballot::No)];
    assert_eq!(pending.wait().unwrap().result, VoteResult::No);
    let outcome = &two.group.recent_votes::<String>()[0].1;
    assert_eq!(outcome.no, 2);
}

#[test]
fn a_vote_is_decided_when_it_is_certain_though_one_is_silent() {
    let cluster = daemons();
    let [one, two, silent] = three_members(&cluster);
    let _voting = [votes(&one, Ballot::Yes), votes(&two, Ballot::Yes)];
    let outcome = propose(&silent, Rule::Majority, LONG).wait().unwrap();
    assert_eq!(outcome.result, VoteResult::Yes);
    let session = |member: &Participant| {
        let members = member.group.members();
        let own = members.iter().find(|of| of.incarnation == member.group.incarnation());
        own.expect("a member").session
    };
    assert_eq!(outcome.missing, [session(&silent)]);
    let _against = votes(&silent, Ballot::No);
    drop(_voting);
    let _one = votes(&one, Ballot::No);
    assert_eq!(propose(&two, Rule::Majority, LONG).wait().unwrap().result, VoteResult::No);
}

#[test]
fn a_vote_that_is_not_certain_expires_though_the_senior_member_has_gone() {
    let cluster = cluster();
    let [senior, two, three] = three_members(&cluster);
    let (_listening, results) = results(&three);
    let _voting = votes(&two, Ballot::Yes);
    let pending = propose(&two, Rule::Majority, Duration::from_millis(200));
    sent(&two, &cluster);
    senior.node.shutdown(LONG).unwrap();
    let outcome = pending.wait().unwrap();
    assert_eq!(outcome, told(&results));
    assert_eq!((outcome.result, outcome.yes), (VoteResult::Expired, 1));
    assert_eq!(outcome.missing.len(), 2);
    let own = three.group.members().iter().any(|of| {
        of.incarnation == three.group.incarnation() && outcome.missing.contains(&of.session)
    });
    assert!(own, "{outcome:?}");
}

#[test]
fn of_two_sides_one_decides_and_for_the_other_it_is_out_of_reach() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    let lone_results = results(&lone);
    let (release, held) = channel::<()>();
    let (asks, asked) = channel();
    let waits = move |_: String, _: &spread_groups::Asked| {
        asks.send(()).unwrap();
        held.recv().unwrap();
        Ballot::Yes
    };
    let _waiting = two.group.on_vote(waits).unwrap();
    let _voting = [votes(&one, Ballot::Yes), votes(&lone, Ballot::No)];
    let pending = propose(&one, Rule::Majority, LONG);
    asked.recv_timeout(LONG).unwrap();
    cluster.settle().unwrap();
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    let outcome = told(&lone_results.1);
    assert_eq!((outcome.result, outcome.electorate), (VoteResult::Unreachable, 3));
    release.send(()).unwrap();
    assert_eq!(pending.wait().unwrap().result, VoteResult::Yes);
    cluster.merge().unwrap();
    eventually("the result of the larger side stands", || {
        let recent = lone.group.recent_votes::<String>();
        recent.iter().map(|(_, outcome)| outcome.result).eq([VoteResult::Yes])
    });
}

#[test]
fn what_was_proposed_on_the_smaller_side_is_voted_on_again_by_all() {
    let cluster = cluster();
    let [one, two, lone] = three_members(&cluster);
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    eventually("the sides have formed", || {
        one.group.members().len() == 2 && lone.group.members().len() == 1
    });
    let pending = propose(&lone, Rule::Majority, LONG);
    let _against = [votes(&one, Ballot::No), votes(&two, Ballot::No)];
    cluster.merge().unwrap();
    assert_eq!(pending.wait().unwrap().result, VoteResult::No);
    eventually("all know", || lone.group.recent_votes::<String>().len() == 1);
    assert_eq!(lone.group.recent_votes::<String>()[0].1.electorate, 3);
}

#[test]
fn proposals_beyond_the_limit_are_refused() {
    let cluster = daemons();
    let member = member(&cluster, "d1");
    member.group.ready().wait().unwrap();
    let _open: Vec<_> = (0..256).map(|_| propose(&member, Rule::Majority, LONG)).collect();
    let refused = propose(&member, Rule::Majority, LONG).wait();
    assert!(matches!(refused, Err(Error::NoRoom)), "{refused:?}");
    let large = member.group.vote(&vec![0u8; 128 * 1024 + 1]).within(LONG).send().wait();
    assert!(matches!(large, Err(Error::TooLarge { .. })), "{large:?}");
    member.group.leave();
    let closed = propose(&member, Rule::Majority, LONG).wait();
    assert!(matches!(closed, Err(Error::Closed { .. })), "{closed:?}");
}

type Done = (SystemTime, Due);

/// Does actions, and tells when.
fn acts(member: &Participant) -> (Handling, Receiver<Done>) {
    let (tell, told) = channel();
    let handler = move |command: String, due| {
        assert_eq!(command, TOPIC);
        // The test may have ended.
        tell.send((SystemTime::now(), due)).ok();
    };
    (member.group.on_action(handler).unwrap(), told)
}

#[test]
fn an_accepted_action_is_done_by_all_at_its_time() {
    let cluster = cluster();
    let members = three_members(&cluster);
    let acting = members.each_ref().map(acts);
    let asked_for = |asked: &spread_groups::Asked| asked.action_at().is_some();
    let _voting = members.each_ref().map(|member| {
        let vote = move |_: String, asked: &spread_groups::Asked| match asked_for(asked) {
            true => Ballot::Yes,
            false => Ballot::No,
        };
        member.group.on_vote(vote).unwrap()
    });
    let at = SystemTime::now() + Duration::from_secs(4);
    let action = members[1].group.action(&String::from(TOPIC), at).rule(Rule::Unanimous);
    assert_eq!(action.send().wait().unwrap(), ActionResult::Accepted);
    // A newcomer before the time does it, too.
    let late = member(&cluster, "d1");
    let acting_late = acts(&late);
    late.group.ready().wait().unwrap();
    for (_, done) in acting.iter().chain([&acting_late]) {
        let (time, due) = done.recv_timeout(LONG).expect("it is done");
        assert!(matches!(due, Due::Now { .. }), "{due:?}");
        // Times are to the millisecond.
        assert!(time + Duration::from_millis(1) >= at, "not before its time");
    }
    cluster.settle().unwrap();
    assert!(acting.iter().all(|(_, done)| done.try_recv().is_err()), "it is done once");
}

#[test]
fn an_action_whose_time_is_past_is_missed_by_all() {
    let cluster = daemons();
    let members = three_members(&cluster);
    let acting = members.each_ref().map(acts);
    let _voting = members.each_ref().map(|member| votes(member, Ballot::Yes));
    let past = SystemTime::now() - Duration::from_secs(1);
    let action = members[0].group.action(&String::from(TOPIC), past).within(LONG).send();
    assert_eq!(action.wait().unwrap(), ActionResult::Missed);
    for (_, done) in &acting {
        assert_eq!(done.recv_timeout(LONG).expect("it is told").1, Due::Missed);
    }
}

#[test]
fn an_action_that_is_not_accepted_is_done_by_nobody() {
    let cluster = daemons();
    let members = three_members(&cluster);
    let acting = members.each_ref().map(acts);
    let _voting = members.each_ref().map(|member| {
        let vote = |_: String, asked: &spread_groups::Asked| match asked.rule() {
            Rule::Unanimous => Ballot::No,
            _ => Ballot::Yes,
        };
        member.group.on_vote(vote).unwrap()
    });
    let propose = |rule, at| members[2].group.action(&String::from(TOPIC), at).rule(rule).send();
    let first = SystemTime::now() + Duration::from_secs(1);
    let rejected = propose(Rule::Unanimous, first).wait().unwrap();
    assert!(matches!(&rejected, ActionResult::Rejected(of) if of.result == VoteResult::No));
    let second = first + Duration::from_secs(1);
    assert_eq!(propose(Rule::Majority, second).wait().unwrap(), ActionResult::Accepted);
    for (_, done) in &acting {
        let (time, _) = done.recv_timeout(LONG).expect("the second one is done");
        assert!(time + Duration::from_millis(1) >= second, "and the first one is not");
        assert!(done.try_recv().is_err());
    }
}

#[test]
fn a_newcomer_after_the_time_of_an_action_does_not_do_it() {
    let cluster = daemons();
    let first = member(&cluster, "d1");
    first.group.ready().wait().unwrap();
    let (_acting, done) = acts(&first);
    let _voting = votes(&first, Ballot::Yes);
    let at = |millis| SystemTime::now() + Duration::from_millis(millis);
    let propose = |at| first.group.action(&String::from(TOPIC), at).send();
    assert_eq!(propose(at(1_000)).wait().unwrap(), ActionResult::Accepted);
    done.recv_timeout(LONG).expect("it is done");
    let late = member(&cluster, "d2");
    let (_acting_late, done_late) = acts(&late);
    late.group.ready().wait().unwrap();
    let _voting_late = votes(&late, Ballot::Yes);
    let second = at(2_000);
    assert_eq!(propose(second).wait().unwrap(), ActionResult::Accepted);
    for done in [&done, &done_late] {
        let (time, due) = done.recv_timeout(LONG).expect("the second one is done");
        assert!(time + Duration::from_millis(1) >= second, "and not the first one: {due:?}");
    }
}
