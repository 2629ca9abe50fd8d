//! What happens to voters, one thing after the other.

mod forced;
mod foundings;
mod limits;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::FOUNDING;
use super::schedule::{Act, VOTERS, begin, run};
use crate::core::requests::OperationId;
use crate::core::sessions::Answer;
use crate::core::voting::standing::{Standing, Unforced, Why};
use crate::core::{Broken, Failure, JoinFailed};
use crate::simulation::client::Client;
use crate::simulation::objects::Op;
use crate::simulation::schedule::Step;
use crate::simulation::world::{CLIENTS, ROUNDS, World};

const EVERYBODY: u8 = 0b11111;

/// Lets everybody do what can be done, and time go on.
fn settle(world: &mut World) {
    for _ in 0..20 {
        world.run(|_| true, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
    assert_eq!(world.violations, [""; 0]);
}

/// Has an operator at each member want a Form of those who are there.
fn force(world: &mut World) {
    (0..CLIENTS).for_each(|client| world.force(client));
}

fn standings(world: &World) -> Vec<Standing> {
    world.clients.iter().filter_map(Client::standing).collect()
}

fn outcome(world: &World, client: usize, number: u64) -> Option<&Result<Answer, Failure>> {
    world.clients[client].outcomes.get(&OperationId(number)).map(|outcomes| &outcomes[0])
}

#[test]
fn a_minority_commits_nothing_and_the_others_go_on() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    settle(&mut world);
    let standings = standings(&world);
    assert!(matches!(standings[0], Standing::Primary(_)), "{standings:?}");
    assert_eq!(standings[1..3], [standings[0], Standing::Minority]);
    world.submit(0, 0);
    world.submit(2, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, 0, 1), Some(Ok(Answer::Done(_)))));
    let refused = Err(Failure::NoQuorum { may_have_executed: false });
    assert_eq!(outcome(&world, 2, 2), Some(&refused));
    world.rest();
    world.check();
    assert_eq!(world.violations, [""; 0]);
}

#[test]
fn what_waits_when_the_majority_goes_is_told_that_it_may_have_been_executed() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.submit(2, 0);
    assert!(world.send(2));
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    settle(&mut world);
    let told = Err(Failure::NoQuorum { may_have_executed: true });
    assert_eq!(outcome(&world, 2, 1), Some(&told));
}

#[test]
fn a_voter_that_comes_back_empty_takes_its_place_and_counts_from_then_on() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.submit(0, 0);
    settle(&mut world);
    for voter in [1, 2, 0] {
        world.replace(voter);
        world.connect(voter, voter);
        settle(&mut world);
        let standing = world.clients[voter].standing();
        assert!(matches!(standing, Some(Standing::Primary(_))), "{standing:?}");
        assert_eq!(world.clients[voter].tally().applied[&1], 1);
    }
    assert_eq!(world.clients[0].core.quorum().unwrap().version, 4);
}

#[test]
fn a_restart_of_empty_voters_beside_a_survivor_that_is_away_forms_nothing() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 1, 1]));
    world.replace(1);
    world.connect(1, 1);
    settle(&mut world);
    let standings = standings(&world);
    assert_eq!(standings[0], Standing::Minority);
    assert_eq!(standings[1..3], [Standing::Minority, Standing::Forming(Why::StateLost)]);
}

#[test]
fn nodes_with_and_without_voters_do_not_know_each_other() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.clients[4] = Client::new(4, 0, None);
    world.connect(4, 0);
    settle(&mut world);
    assert_eq!(world.clients[4].failed, Some(JoinFailed::OtherVoters));
    assert!(matches!(standings(&world)[0], Standing::Primary(_)));
}

#[test]
fn who_is_configured_with_other_voters_is_refused_but_not_with_the_present_ones() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    let moments = Arc::<AtomicU64>::default;
    world.clients[3] = Client::of_voters(&["ann", "dan"], 3, 0, None, None, moments());
    world.connect(3, 0);
    settle(&mut world);
    assert_eq!(world.clients[3].failed, Some(JoinFailed::OtherVoters));
    set_voter(&mut world, "cid", 2, 0);
    world.clients[4] = Client::of_voters(&["ann", "bob"], 4, 0, None, None, moments());
    world.connect(4, 1);
    settle(&mut world);
    assert!(matches!(world.clients[4].standing(), Some(Standing::Primary(_))));
}

/// Makes a client the voter of a name, or with a weight of 0 none.
fn set_voter(world: &mut World, name: &str, client: usize, weight: u32) {
    let version = world.clients[0].core.quorum().unwrap().version;
    world.set_voter(0, name, client, weight);
    settle(world);
    assert_eq!(world.clients[0].core.quorum().unwrap().version, version + 1);
}

/// Lets some do what can be done, and time go on.
fn go_on(world: &mut World, clients: impl Fn(usize) -> bool, times: u32) {
    for _ in 0..times {
        world.run(&clients, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
}

#[test]
fn without_a_connection_operations_end_as_in_a_minority() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.submit(2, 0);
    world.cut(2, 1, false);
    world.submit(2, 0);
    world.wait(Duration::from_millis(200));
    // A connection that comes to nothing is none.
    world.connect(2, 0);
    world.cut(2, 0, false);
    world.wait(Duration::from_millis(99));
    assert_eq!(outcome(&world, 2, 1), None, "the daemon may be back soon");
    world.wait(Duration::from_millis(1));
    let refused = |may_have_executed| Err(Failure::NoQuorum { may_have_executed });
    assert_eq!(outcome(&world, 2, 1), Some(&refused(true)));
    assert_eq!(outcome(&world, 2, 2), Some(&refused(false)));
    (3..8).for_each(|_| world.submit(2, 0));
    assert_eq!(outcome(&world, 2, 3), Some(&refused(false)));
    world.submit(2, 0);
    assert_eq!(outcome(&world, 2, 8), None, "it is patient");
    world.connect(2, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, 2, 8), Some(Ok(Answer::Done(_)))));
    assert_eq!(world.clients[0].tally().applied.keys().copied().collect::<Vec<_>>(), [1, 8]);
    world.rest();
    world.check();
    assert_eq!(world.violations, [""; 0]);
}

/// The voter bob was away while he and ann were replaced. Then those who replaced them have ended,
/// and he comes back with his old log. Ann has the new one, and has no vote by it.
#[test]
fn the_log_of_a_voter_that_was_replaced_meanwhile_does_not_stand() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 1, 0]));
    settle(&mut world);
    set_voter(&mut world, "dan", KEEPS, 1);
    set_voter(&mut world, "bob", 1, 0);
    set_voter(&mut world, "ann", 0, 0);
    world.submit(0, 0);
    settle(&mut world);
    [2, KEEPS].into_iter().for_each(|voter| world.replace(voter));
    world.change(|daemons| daemons.partition(&[0; 3]));
    settle(&mut world);
    let has_formed = |world: &World| {
        standings(world).iter().any(|standing| matches!(standing, Standing::Primary(_)))
    };
    assert!(!has_formed(&world), "{:?}", standings(&world));
    world.connect(2, 2);
    settle(&mut world);
    assert!(!has_formed(&world), "{:?}", standings(&world));
    force(&mut world);
    settle(&mut world);
    assert!(has_formed(&world), "{:?}", standings(&world));
    assert_eq!(world.clients[1].tally().applied.len(), 1);
}

const KEEPS: usize = 3;

fn has_taken_back(world: &World, client: usize) -> bool {
    world.clients[client].corners.contains_key("taken back")
}

/// The members have no room for the operation that replaces a voter. Nobody has asked for it.
#[test]
fn a_replacement_that_is_refused_is_not_told_as_lost() {
    let acts = vec![
        Act::Operate(1, Op::Get(1)),
        Act::World(Step::Replace(0)),
        Act::World(Step::Submit(4, 111)),
        Act::Operate(2, Op::Put(1, 3)),
        Act::World(Step::Submit(1, 75)),
        Act::World(Step::Submit(1, 90)),
    ];
    let world = run(&(0b10111, acts), None);
    assert_eq!(world.violations, [""; 0]);
}

/// A voter that has been removed has more of the log than those that stay, who do not know yet that
/// they are a majority without it.
#[test]
fn a_voter_that_was_removed_does_not_keep_the_others_from_forming() {
    let acts = vec![
        Act::World(Step::Hold(0, 1)),
        Act::Return,
        Act::Turns(EVERYBODY, 1),
        Act::SetVoter(2, "ann", 4, 1),
        Act::World(Step::Run(EVERYBODY, 50)),
        Act::Operate(0, Op::Put(0, 1)),
        Act::World(Step::Hold(0, 0)),
        Act::Return,
        Act::Turns(EVERYBODY, 1),
        Act::Lose(EVERYBODY, false),
        Act::Return,
        Act::Turns(EVERYBODY, 1),
        Act::World(Step::Replace(2)),
        Act::Return,
        Act::Turns(EVERYBODY, 1),
    ];
    let mut world = run(&(EVERYBODY, acts), None);
    assert_eq!(world.violations, [""; 0]);
    settle(&mut world);
    assert_eq!(world.corners().filter(|(corner, _)| *corner == "a forced Form").count(), 0);
    assert!(matches!(standings(&world)[..], [Standing::Primary(_), ..]));
}

/// The voters that stay have acknowledged an operation before the change is committed that removes
/// the others; nothing comes after it.
#[test]
fn what_is_acknowledged_before_a_change_is_committed_is_committed_with_it() {
    let acts = vec![
        Act::SetVoter(0, "cid", 0, 0),
        Act::World(Step::Run(EVERYBODY, 50)),
        Act::SetVoter(2, "bob", 0, 0),
        Act::World(Step::Run(1, 50)),
        Act::SetVoter(2, "ann", 0, 1),
        Act::World(Step::Run(EVERYBODY, 50)),
    ];
    assert_eq!(run(&(EVERYBODY, acts), None).violations, [""; 0]);
}

#[test]
fn an_observer_is_made_no_voter() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.replace(4);
    world.connect(4, 0);
    settle(&mut world);
    let version = world.clients[0].core.quorum().unwrap().version;
    world.set_voter(0, "dan", 4, 1);
    settle(&mut world);
    let observer = |client: &Client| client.core.status().roster.iter().any(|m| m.observer);
    assert!(observer(&world.clients[0]));
    assert_eq!(world.clients[0].core.quorum().unwrap().version, version);
}

/// A member that does not vote has logged a change alone, after which the others are no majority.
#[test]
fn a_log_whose_voters_are_gone_does_not_keep_the_others_from_forming() {
    let mut world = begin(EVERYBODY, None);
    settle(&mut world);
    world.set_voter(4, "dan", 3, 1);
    world.run(|client| client == 4, ROUNDS);
    let version = |client: usize| world.clients[client].core.quorum().unwrap().version;
    assert_eq!((version(4), version(0)), (2, 1));
    [0, 1].into_iter().for_each(|voter| world.cut(voter, 0, false));
    [2, 3].into_iter().for_each(|voter| world.replace(voter));
    [0, 1].into_iter().for_each(|voter| world.connect(voter, voter));
    settle(&mut world);
    assert!(matches!(standings(&world)[0], Standing::Primary(_)), "{:?}", standings(&world));
    assert_eq!(world.clients[4].standing(), world.clients[0].standing());
}
