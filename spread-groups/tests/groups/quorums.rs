//! Groups with voters: majorities, minorities, and voters that come back without their state.

use std::collections::{BTreeMap, BTreeSet};

use spread_daemon::Cluster;
use spread_groups::voters::{Quorum, Standing, Unforced, Why};
use spread_groups::{Error, Incarnation, Node, Pending, Replicated, VotedGroup};

use crate::support::*;

pub(crate) const VOTERS: [&str; 3] = ["ann", "bob", "cid"];

/// A member of a group with voters and words.
pub(crate) struct Voter {
    pub(crate) node: Node,
    pub(crate) group: VotedGroup,
    pub(crate) words: Replicated<Words>,
}

/// Joins a group with voters and words; does not wait.
pub(crate) fn voter(cluster: &Cluster, daemon: &str, name: &str) -> Voter {
    voter_of(cluster, daemon, name, &VOTERS)
}

fn voter_of(cluster: &Cluster, daemon: &str, name: &str, voters: &[&str]) -> Voter {
    let node = node(cluster, daemon);
    let plant = node.group(cluster.group()).unwrap();
    let mut plant = plant.voters(voters.iter().copied()).votes_as(name);
    let words = plant.replicate(Words::default()).unwrap();
    let group = plant.join().unwrap();
    Voter { node, group, words }
}

pub(crate) fn three_voters(cluster: &Cluster) -> [Voter; 3] {
    let voters = [("d1", "ann"), ("d2", "bob"), ("d3", "cid")];
    let voters = voters.map(|(daemon, name)| voter(cluster, daemon, name));
    for voter in &voters {
        voter.group.ready().wait().unwrap();
        is_primary(voter);
    }
    voters
}

/// Returns the numbers of the voters, that of the leader first.
pub(crate) fn by_seniority(voters: &[Voter; 3]) -> [usize; 3] {
    let members = voters[0].group.wait_for_members(3, LONG).unwrap();
    let seniority = |number: &usize| {
        let own = voters[*number].group.incarnation();
        members.iter().position(|member| member.incarnation == own)
    };
    let mut numbers = [0, 1, 2];
    numbers.sort_by_key(seniority);
    numbers
}

pub(crate) fn quorum(voter: &Voter) -> Quorum {
    voter.group.status().wait().unwrap().quorum.unwrap()
}

pub(crate) fn stands(voter: &Voter, standing: Standing) {
    eventually(&format!("{standing:?}"), || quorum(voter).standing == standing);
}

pub(crate) fn is_primary(voter: &Voter) {
    eventually("a primary", || matches!(quorum(voter).standing, Standing::Primary(_)));
}

pub(crate) fn add(voter: &Voter, word: &str) -> Result<String, Error> {
    voter.words.submit(&String::from(word)).wait()
}

/// Waits until a word was added so often, as a member knows it.
pub(crate) fn has(voter: &Voter, word: &str, times: u64) {
    eventually(word, || voter.words.read(|words| words.0.get(word) == Some(&times)));
}

#[test]
fn only_the_side_with_a_majority_goes_on_and_the_other_one_takes_its_state() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    assert_eq!(add(&ann, "before").unwrap(), "1");
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    stands(&cid, Standing::Minority);
    let refused = add(&cid, "refused").unwrap_err();
    assert!(matches!(refused, Error::NoQuorum { may_have_executed: false }), "{refused}");
    assert!(refused.is_retryable() && !refused.may_have_executed());
    assert!(matches!(cid.group.confirm().wait(), Err(Error::NoQuorum { .. })));
    assert_eq!(cid.group.members().len(), 1, "those who are away are not on this side");
    is_primary(&ann);
    assert_eq!(add(&bob, "during").unwrap(), "1");
    cluster.merge().unwrap();
    is_primary(&cid);
    cid.group.confirm().wait().unwrap();
    let words = cid.words.read(|words| words.0.clone());
    assert_eq!(words.into_keys().collect::<Vec<_>>(), ["before", "during"]);
    cid.group.wait_for_members(3, LONG).unwrap();
}

#[test]
fn what_is_under_way_when_the_majority_goes_may_have_been_executed() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    // The others are not heard any more, and their daemons take what is sent to them.
    cluster.pause(&name(&bob.group)).unwrap();
    cluster.pause(&name(&cid.group)).unwrap();
    let pending = ann.words.submit(&String::from("doubtful"));
    eventually("it was logged", || {
        let status = ann.group.status().wait().unwrap();
        status.quorum.is_some_and(|quorum| quorum.committed < status.place.index)
    });
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    let error = pending.wait().unwrap_err();
    assert!(matches!(error, Error::NoQuorum { may_have_executed: true }), "{error}");
    assert_eq!(ann.words.read(|words| words.0.len()), 0, "it is not committed, and not applied");
    cluster.merge().unwrap();
    cluster.resume(&name(&bob.group)).unwrap();
    cluster.resume(&name(&cid.group)).unwrap();
    [&ann, &bob, &cid].into_iter().for_each(is_primary);
    add(&bob, "after").unwrap();
}

#[test]
fn what_was_answered_survives_the_loss_of_all_other_connections() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    for round in 1..=5 {
        assert_eq!(add(&ann, "kept").unwrap(), round.to_string());
        for voter in [&bob, &cid] {
            let former = name(&voter.group);
            cluster.disconnect(&former).unwrap();
            eventually("another connection", || {
                let status = voter.group.status().wait().unwrap();
                status.roster.iter().any(|member| {
                    member.incarnation == voter.group.incarnation() && member.name != former
                })
            });
        }
        [&ann, &bob, &cid].into_iter().for_each(|voter| has(voter, "kept", round));
    }
    assert_eq!(quorum(&ann).version, 1, "they are the voters that they were");
}

#[test]
fn a_daemon_that_restarts_costs_nothing_while_the_voters_live() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    add(&bob, "before").unwrap();
    cluster.crash("d2").unwrap();
    assert_eq!(add(&ann, "during").unwrap(), "1");
    cluster.restart("d2").unwrap();
    is_primary(&bob);
    [&ann, &bob, &cid].into_iter().for_each(|voter| has(voter, "during", 1));
    assert_eq!(add(&bob, "before").unwrap(), "2");
}

#[test]
fn a_voter_that_starts_again_votes_once_the_majority_has_agreed() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    add(&bob, "before").unwrap();
    bob.node.shutdown(LONG).unwrap();
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    let bob = voter(&cluster, "d2", "bob");
    stands(&cid, Standing::Forming(Why::StateLost));
    assert!(matches!(add(&cid, "refused"), Err(Error::NoQuorum { .. })));
    cluster.merge().unwrap();
    bob.group.ready().wait().unwrap();
    has(&bob, "before", 1);
    eventually("the new one votes", || {
        let voters = quorum(&ann).voters;
        voters.iter().any(|voter| voter.incarnation == bob.group.incarnation() && voter.present)
    });
    // Then the other one knows that this is committed, too.
    add(&cid, "between").unwrap();
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    is_primary(&bob);
    assert_eq!(add(&bob, "before").unwrap(), "2");
    stands(&ann, Standing::Minority);
}

#[test]
fn a_majority_without_its_state_waits_for_an_operator() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    add(&ann, "before").unwrap();
    // Both at once: with time between them, each would take its place again.
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    bob.node.shutdown(LONG).unwrap();
    cid.node.shutdown(LONG).unwrap();
    let [bob, cid] = [("d2", "bob"), ("d3", "cid")].map(|(d, name)| voter(&cluster, d, name));
    stands(&bob, Standing::Forming(Why::Founding));
    cluster.merge().unwrap();
    stands(&ann, Standing::Forming(Why::StateLost));
    assert!(matches!(add(&ann, "refused"), Err(Error::NoQuorum { .. })));
    stands(&bob, Standing::Minority);
    let unforced = bob.group.force_primary().wait();
    assert!(matches!(unforced, Err(Error::Unforced(Unforced::OtherLog))), "{unforced:?}");
    ann.group.force_primary().wait().unwrap();
    let unforced = ann.group.force_primary().wait();
    assert!(matches!(unforced, Err(Error::Unforced(Unforced::NotStopped))), "{unforced:?}");
    for voter in [&bob, &cid] {
        voter.group.ready().wait().unwrap();
        has(voter, "before", 1);
    }
    assert_eq!(add(&cid, "after").unwrap(), "1");
}

#[test]
fn another_node_of_a_voters_name_does_not_vote() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    let other = voter(&cluster, "d3", "bob");
    other.group.ready().wait().unwrap();
    add(&other, "by any member").unwrap();
    let voters = quorum(&other).voters;
    let incarnation = |name| voters.iter().find(|voter| voter.name == name).unwrap().incarnation;
    assert_eq!(incarnation("bob"), bob.group.incarnation());
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    // By name they are two of three.
    stands(&cid, Standing::Forming(Why::StateLost));
    for voter in [&cid, &other] {
        assert!(matches!(add(voter, "refused"), Err(Error::NoQuorum { .. })));
    }
    is_primary(&ann);
}

#[test]
fn voters_with_different_lists_found_no_group() {
    let cluster = cluster();
    let [ann, bob] = [("d1", "ann"), ("d2", "bob")].map(|(d, name)| voter(&cluster, d, name));
    let cid = voter_of(&cluster, "d3", "cid", &["ann", "bob", "cid", "dan"]);
    for voter in [&ann, &bob, &cid] {
        stands(voter, Standing::Forming(Why::Founding));
    }
    cid.node.shutdown(LONG).unwrap();
    let cid = voter(&cluster, "d3", "cid");
    [&ann, &bob, &cid].into_iter().for_each(is_primary);
}

#[test]
fn the_ghost_of_a_voter_keeps_no_primary_beside_the_new_one() {
    let cluster = cluster();
    let [ann, bob, cid] = three_voters(&cluster);
    // Its daemon has it still, and it hears and says nothing.
    cluster.sever(&name(&bob.group)).unwrap();
    let again = voter(&cluster, "d3", "bob");
    again.group.ready().wait().unwrap();
    assert!(ann.group.set_voter("bob", again.group.incarnation(), 1).wait().unwrap());
    assert_eq!(ann.group.status().wait().unwrap().silent.len(), 1, "the ghost is in the view");
    cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    is_primary(&again);
    assert_eq!(add(&cid, "word").unwrap(), "1");
    stands(&ann, Standing::Minority);
    assert!(matches!(add(&ann, "word"), Err(Error::NoQuorum { .. })));
}

#[test]
fn cascades_of_three_components_leave_one_primary_of_each_number() {
    let cluster = cluster();
    let voters = three_voters(&cluster);
    let mut branches = BTreeMap::new();
    let mut look = || {
        for voter in &voters {
            let status = voter.group.status().wait().unwrap();
            if let Some(Quorum { standing: Standing::Primary(number), .. }) = status.quorum {
                let branch = branches.entry(number).or_insert(status.place.branch);
                assert_eq!(*branch, status.place.branch, "two primaries of {number}");
            }
        }
        branches.len()
    };
    let mut open: Vec<Pending<String>> = Vec::new();
    let cascade: [&[&[&str]]; 4] = [
        &[&["d1"], &["d2"], &["d3"]],
        &[&["d1", "d2"], &["d3"]],
        &[&["d1"], &["d2", "d3"]],
        &[&["d2"], &["d1", "d3"]],
    ];
    for round in 0..6 {
        for turn in 0..4 {
            cluster.partition(cascade[(turn * 3 + round) % 4]).unwrap();
            let words = voters.iter().map(|voter| voter.words.submit(&String::from("word")));
            open.extend(words);
            look();
        }
        cluster.merge().unwrap();
        voters.iter().for_each(is_primary);
        assert!(look() > round, "each merge has a primary of another number");
    }
    let mut answers = BTreeSet::new();
    for pending in open {
        match pending.wait() {
            Ok(times) => assert!(answers.insert(times), "two primaries have counted alike"),
            Err(error) => assert!(matches!(error, Error::NoQuorum { .. }), "{error}"),
        }
    }
    assert!(!answers.is_empty());
    voters[0].group.confirm().wait().unwrap();
    let counted = voters[0].words.read(|words| words.0["word"]);
    let most = answers.iter().map(|times| times.parse::<u64>().unwrap()).max();
    assert!(counted >= answers.len() as u64 && Some(counted) >= most);
}

#[test]
fn voters_are_added_and_removed_by_operations() {
    let cluster = cluster();
    let [ann, bob, _cid] = three_voters(&cluster);
    let dan = voter(&cluster, "d1", "dan");
    dan.group.ready().wait().unwrap();
    assert!(ann.group.set_voter("dan", dan.group.incarnation(), 1).wait().unwrap());
    let nobody = Incarnation([0; 16]);
    let watcher = node(&cluster, "d2");
    let watching = watcher.group(cluster.group()).unwrap().voters(VOTERS).observer();
    let watching = watching.join().unwrap();
    eventually("an observer", || ann.group.members().iter().any(|member| member.observer));
    for (incarnation, weight) in [(nobody, 9), (watching.incarnation(), 9)] {
        let set = ann.group.set_voter("eve", incarnation, weight).wait().unwrap();
        assert!(!set, "it could not be committed");
    }
    let nothing = ann.group.set_voter("bob", bob.group.incarnation(), 0).wait();
    assert!(matches!(nothing, Err(Error::IllegalVoters)));
    assert!(ann.group.remove_voter("cid").wait().unwrap());
    let names = |quorum: Quorum| quorum.voters.into_iter().map(|voter| voter.name);
    ann.group.confirm().wait().unwrap();
    assert_eq!(names(quorum(&ann)).collect::<Vec<_>>(), ["ann", "bob", "dan"]);
    assert!(!ann.group.remove_voter("eve").wait().unwrap(), "it is none");
    cluster.partition(&[&["d1"], &["d2", "d3"]]).unwrap();
    is_primary(&ann);
    stands(&bob, Standing::Minority);
    assert_eq!(add(&dan, "word").unwrap(), "1");
}

#[test]
fn voters_that_cannot_be_are_refused() {
    let cluster = cluster();
    let node = node(&cluster, "d1");
    let group = || node.group("plant").unwrap();
    let long = "x".repeat(65);
    for builder in [
        group().voters([""; 0]),
        group().voters([""]),
        group().voters([long.as_str()]),
        group().voters((0..65).map(|number| number.to_string())),
        group().weighted_voters([("ann", 0)]),
        group().voters(VOTERS).votes_as(long.as_str()),
        group().voters(VOTERS).votes_as("ann").observer(),
    ] {
        assert!(matches!(builder.join(), Err(Error::IllegalVoters)));
    }
}
