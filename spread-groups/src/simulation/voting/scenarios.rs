//! What happens to voters, one thing after the other.

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
fn two_of_three_empty_form_nothing_until_an_operator_says_so() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.submit(0, 0);
    settle(&mut world);
    [1, 2].into_iter().for_each(|voter| world.replace(voter));
    [1, 2].into_iter().for_each(|voter| world.connect(voter, voter));
    settle(&mut world);
    assert_eq!(world.clients[0].standing(), Some(Standing::Forming(Why::StateLost)));
    force(&mut world);
    settle(&mut world);
    assert!(matches!(standings(&world)[..3], [Standing::Primary(_), ..]));
    assert_eq!(world.clients[2].tally().applied[&1], 1);
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
fn a_group_is_founded_by_all_its_voters_alone() {
    let mut world = begin(0b11011, None);
    settle(&mut world);
    assert_eq!(standings(&world)[..2], [FOUNDING; 2]);
    let voters = world.clients[0].core.quorum().unwrap().voters;
    let voters: Vec<(&str, bool)> = voters.iter().map(|v| (&v.name[..], v.present)).collect();
    assert_eq!(voters, [("ann", true), ("bob", true), ("cid", false)]);
    world.submit(0, 0);
    settle(&mut world);
    assert_eq!(outcome(&world, 0, 1), None, "the group is yet to begin");
    world.force(0);
    assert_eq!(world.clients[0].core.forced(), Some(Err(Unforced::NoState)));
    world.cut(1, 0, false);
    world.submit(1, 0);
    world.wait(Duration::from_millis(299));
    assert_eq!(outcome(&world, 1, 2), None);
    world.wait(Duration::from_millis(1));
    let refused = Err(Failure::NoQuorum { may_have_executed: false });
    assert_eq!(outcome(&world, 1, 2), Some(&refused), "it has no connection");
    world.connect(1, 1);
    settle(&mut world);
    world.submit(1, 0);
    settle(&mut world);
    assert_eq!(outcome(&world, 1, 3), None, "it waits again");
    world.connect(2, 2);
    settle(&mut world);
    assert!(matches!(outcome(&world, 0, 1), Some(Ok(Answer::Done(_)))));
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

/// The voters ann, bob and cid are replaced by dan and eve and end; they are started again where
/// they do not see the group, and found another one.
fn two_groups(broken: Option<Broken>) -> World {
    let mut world = begin(EVERYBODY, broken);
    settle(&mut world);
    set_voter(&mut world, "dan", 3, 1);
    set_voter(&mut world, "eve", 4, 1);
    set_voter(&mut world, "cid", 2, 0);
    set_voter(&mut world, "bob", 1, 0);
    set_voter(&mut world, "ann", 0, 0);
    world.operate(3, Op::Put(0, 1));
    settle(&mut world);
    [0, 1, 2].into_iter().for_each(|voter| world.replace(voter));
    world.cut(4, 0, false);
    world.connect(4, 0);
    world.change(|daemons| daemons.partition(&[0, 1, 1]));
    [0, 1, 2].into_iter().for_each(|voter| world.connect(voter, 1));
    for _ in 0..20 {
        world.run(|_| true, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
    world.operate(0, Op::Put(1, 2));
    world.run(|_| true, ROUNDS);
    assert_eq!(world.violations, [""; 0]);
    for client in 0..CLIENTS {
        assert!(matches!(world.clients[client].standing(), Some(Standing::Primary(_))));
    }
    // It counts further than the other one.
    for _ in 0..10 {
        world.cut(0, 0, false);
        world.connect(0, 1);
        settle(&mut world);
    }
    world.change(|daemons| daemons.partition(&[0; 3]));
    world
}

/// Lets some do what can be done, and time go on.
fn go_on(world: &mut World, clients: impl Fn(usize) -> bool, times: u32) {
    for _ in 0..times {
        world.run(&clients, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
}

#[test]
fn groups_that_were_founded_separately_stop_where_they_meet_and_lose_nothing() {
    let mut world = two_groups(None);
    go_on(&mut world, |_| true, 20);
    assert_eq!(world.violations, [""; 0]);
    assert_eq!(standings(&world)[..], [Standing::Forming(Why::OtherGroup); CLIENTS]);
    world.force(0);
    assert_eq!(world.clients[0].core.forced(), Some(Err(Unforced::OtherGroup)));
    settle(&mut world);
    assert_eq!(standings(&world)[..], [Standing::Forming(Why::OtherGroup); CLIENTS]);
    assert_eq!(kept(&world), (1, 2));
    assert!((0..CLIENTS).all(|client| !has_taken_back(&world, client)));
    [0, 1, 2].into_iter().for_each(|voter| world.replace(voter));
    settle(&mut world);
    assert!(matches!(world.clients[4].standing(), Some(Standing::Primary(_))));
    [0, 1, 2].into_iter().for_each(|voter| world.connect(voter, 1));
    settle(&mut world);
    for client in 0..CLIENTS {
        assert!(matches!(world.clients[client].standing(), Some(Standing::Primary(_))));
        assert_eq!(world.clients[client].objects.lock().unwrap().get(0), 1);
    }
}

#[test]
fn where_groups_mix_what_one_has_committed_is_taken_back() {
    let mut world = two_groups(Some(Broken::MixesGroups));
    go_on(&mut world, |_| true, 20);
    assert!(matches!(world.clients[4].standing(), Some(Standing::Primary(_))));
    assert!(has_taken_back(&world, 3), "what was committed");
}

/// Returns what the first group has of its value, and the second one of its own.
fn kept(world: &World) -> (u64, u64) {
    let value = |client: usize, key| world.clients[client].objects.lock().unwrap().get(key);
    (value(4, 0), value(0, 1))
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

/// The Form that founds the group is accepted, but not by a majority yet, when the member says
/// Hello.
#[test]
fn no_foundation_stands_once_somebody_with_the_state_has_said_hello() {
    let mut world = new_voters_beside_a_member_with_the_state();
    world.wait(Duration::from_millis(100));
    assert!((0..3).any(|voter| world.send(voter)));
    for voter in 0..3 {
        while world.read(voter) {}
    }
    let accepts = world.clients[..3].iter().filter_map(|client| client.connection.as_ref());
    assert_eq!(accepts.map(|connection| connection.outbox.len()).sum::<usize>(), 3);
    world.run(|client| client == KEEPS, ROUNDS);
    settle(&mut world);
    assert_eq!(standings(&world)[KEEPS], Standing::Forming(Why::StateLost));
    assert_eq!(standings(&world)[..3], [Standing::Minority; 3]);
    assert!(!has_taken_back(&world, KEEPS));
}

/// A member without a vote, of a group whose voters have all ended, meets the group that others
/// have founded meanwhile.
#[test]
fn a_member_of_another_group_is_told_what_of_its_own_is_taken_back() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.submit(KEEPS, 0);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 1, 1]));
    [0, 1, 2].into_iter().for_each(|voter| world.replace(voter));
    [0, 1, 2].into_iter().for_each(|voter| world.connect(voter, 1));
    settle(&mut world);
    assert!(matches!(standings(&world)[..3], [Standing::Primary(_), ..]));
    assert!(world.clients[0].tally().applied.is_empty());
    world.change(|daemons| daemons.partition(&[0; 3]));
    settle(&mut world);
    assert!(matches!(standings(&world)[KEEPS], Standing::Primary(_)));
    assert!(has_taken_back(&world, KEEPS));
    assert_eq!(world.clients[0].tally().applied[&1], 1, "it is submitted again");
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

/// The voters, all of which are new, and a member that does not vote, has the state and has not
/// said Hello.
fn new_voters_beside_a_member_with_the_state() -> World {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.submit(KEEPS, 0);
    settle(&mut world);
    [0, 1, 2].into_iter().for_each(|voter| world.replace(voter));
    [0, 1, 2].into_iter().for_each(|voter| world.connect(voter, voter));
    world.run(|client| client != KEEPS, ROUNDS);
    assert_eq!(standings(&world)[..3], [Standing::Forming(Why::Exchanging); 3]);
    world
}

const KEEPS: usize = 3;

fn has_taken_back(world: &World, client: usize) -> bool {
    world.clients[client].corners.contains_key("taken back")
}

#[test]
fn new_voters_found_no_group_beside_a_member_that_has_the_state() {
    let mut world = new_voters_beside_a_member_with_the_state();
    settle(&mut world);
    assert_eq!(standings(&world)[KEEPS], Standing::Forming(Why::StateLost));
    assert_eq!(standings(&world)[..3], [Standing::Minority; 3]);
    force(&mut world);
    settle(&mut world);
    assert!(matches!(standings(&world)[..4], [Standing::Primary(_), ..]));
    assert_eq!(world.clients[0].tally().applied[&1], 1);
    assert!(!has_taken_back(&world, KEEPS));
}

/// The Form that founds the group is on its way when the member says Hello.
#[test]
fn voters_accept_no_foundation_once_somebody_with_the_state_has_said_hello() {
    let mut world = new_voters_beside_a_member_with_the_state();
    world.wait(Duration::from_millis(100));
    let sent = |world: &World| {
        let outboxes = world.clients[..3].iter().filter_map(|client| client.connection.as_ref());
        outboxes.map(|connection| connection.outbox.len()).sum::<usize>()
    };
    assert_eq!(sent(&world), 1, "a Form");
    world.run(|client| client == KEEPS, ROUNDS);
    settle(&mut world);
    assert_eq!(standings(&world)[KEEPS], Standing::Forming(Why::StateLost));
    assert_eq!(standings(&world)[..3], [Standing::Minority; 3]);
    assert!(!has_taken_back(&world, KEEPS));
}

/// Nobody waits for a member that is silent: not even where it alone has the state.
#[test]
fn a_member_with_the_state_that_says_hello_after_a_foundation_takes_that_group_s_state() {
    let mut world = new_voters_beside_a_member_with_the_state();
    world.wait(Duration::from_millis(100));
    world.run(|client| client != KEEPS, ROUNDS);
    assert!(matches!(standings(&world)[..3], [Standing::Primary(_), ..]));
    assert!(world.clients[0].tally().applied.is_empty());
    settle(&mut world);
    assert!(matches!(standings(&world)[KEEPS], Standing::Primary(_)));
    assert!(has_taken_back(&world, KEEPS), "it is told");
    // What it has submitted itself it submits again.
    assert_eq!(world.clients[0].tally().applied[&1], 1);
    world.rest();
    world.check();
    assert_eq!(world.violations, [""; 0]);
}

/// A member hears of nobody with a state, and waits for the group to be founded; then it hears of
/// one, in the same exchange.
#[test]
fn who_waits_for_the_foundation_is_told_of_a_group_without_a_majority() {
    const SLOW: u8 = 1;
    let others = 0b11111 & !(1 << SLOW);
    let acts = vec![
        Act::World(Step::Replace(0)),
        Act::World(Step::Replace(2)),
        Act::Return,
        Act::World(Step::Run(others, 50)),
        Act::World(Step::Wait(1000)),
        Act::World(Step::Submit(3, 0)),
    ];
    let world = run(&(VOTERS, acts), None);
    assert_eq!(world.violations, [""; 0]);
    let refused = Err(Failure::NoQuorum { may_have_executed: false });
    assert_eq!(outcome(&world, 3, 1), Some(&refused));
}

/// A member has an answer which the log that is forced does not have, has given an operation up
/// behind it, and another one waits. The answered one is submitted again, and the numbers between
/// have no gap.
#[test]
fn a_member_that_is_ahead_of_a_forced_log_goes_on() {
    const PATIENT: u64 = 8;
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    (1..PATIENT - 2).for_each(|_| world.submit(0, 0));
    settle(&mut world);
    world.submit(KEEPS, 0);
    world.run(|client| client != 1, ROUNDS);
    assert!(matches!(outcome(&world, KEEPS, PATIENT - 2), Some(Ok(Answer::Done(_)))));
    world.cut(1, 0, false);
    [0, 2].into_iter().for_each(|voter| world.replace(voter));
    world.run(|_| true, ROUNDS);
    world.submit(KEEPS, 0);
    settle(&mut world);
    let refused = Err(Failure::NoQuorum { may_have_executed: false });
    assert_eq!(outcome(&world, KEEPS, PATIENT - 1), Some(&refused));
    world.submit(KEEPS, 0);
    world.cut(KEEPS, 0, false);
    [0, 1, 2].into_iter().for_each(|voter| world.connect(voter, voter));
    // Its session does not expire meanwhile.
    go_on(&mut world, |_| true, 4);
    assert_eq!(world.clients[1].standing(), Some(Standing::Forming(Why::StateLost)));
    world.force(1);
    go_on(&mut world, |_| true, 4);
    assert!(matches!(world.clients[1].standing(), Some(Standing::Primary(_))));
    assert_eq!(outcome(&world, KEEPS, PATIENT), None, "it waits");
    world.connect(KEEPS, 0);
    settle(&mut world);
    assert!(has_taken_back(&world, KEEPS));
    assert!(matches!(outcome(&world, KEEPS, PATIENT), Some(Ok(Answer::Done(_)))));
    let applied = world.clients[0].tally().applied;
    let expected = (1..=PATIENT).filter(|number| *number != PATIENT - 1);
    assert_eq!(
        applied.into_iter().collect::<Vec<_>>(),
        expected.map(|n| (n, 1)).collect::<Vec<_>>()
    );
}

/// The same, as a search found it.
#[test]
fn a_member_that_is_ahead_of_a_forced_log_comes_to_rest() {
    let put = |client| Act::Operate(client, Op::Put(0, 1));
    let submit = |more| Act::World(Step::Submit(0, more));
    let acts = vec![
        submit(0),
        submit(0),
        put(3),
        submit(0),
        Act::World(Step::Send(3, 1)),
        put(0),
        submit(0),
        Act::World(Step::Run(0b10101, 1)),
        Act::World(Step::Crash(1)),
        submit(0),
        put(0),
        Act::World(Step::Replace(0)),
        put(0),
        Act::World(Step::Replace(2)),
        submit(0),
        Act::World(Step::Run(0b01000, 1)),
        put(0),
        Act::Operate(3, Op::Lock(3)),
        put(4),
        Act::World(Step::Wait(320)),
        submit(79),
        Act::Operate(4, Op::Lock(4)),
        Act::Operate(3, Op::Get(1)),
    ];
    assert_eq!(run(&(VOTERS | 1 << KEEPS, acts), None).violations, [""; 0]);
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

/// A minority is forced while the majority goes on. Where they meet, the members of the majority are
/// told what is taken back, and their operations are executed again.
#[test]
fn members_of_a_living_side_are_told_what_a_forced_log_takes_back() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    settle(&mut world);
    world.submit(0, 0);
    world.force(2);
    go_on(&mut world, |_| true, 4);
    assert!(matches!(outcome(&world, 0, 1), Some(Ok(Answer::Done(_)))));
    assert!(matches!(standings(&world)[2], Standing::Primary(_)));
    world.change(|daemons| daemons.partition(&[0; 3]));
    settle(&mut world);
    assert!(has_taken_back(&world, 0));
    assert_eq!(world.clients[2].tally().applied[&1], 1, "it is executed again");
    world.rest();
    world.check();
    assert_eq!(world.violations, [""; 0]);
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

/// The members of a forced log say Hello only after the others have formed.
#[test]
fn a_forced_log_stands_though_its_members_are_late() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.replace(2);
    world.cut(KEEPS, 0, false);
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    [2, KEEPS].into_iter().for_each(|client| world.connect(client, 2));
    settle(&mut world);
    world.force(KEEPS);
    settle(&mut world);
    world.submit(KEEPS, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, KEEPS, 1), Some(Ok(Answer::Done(_)))));
    let Some(Standing::Primary(forced)) = world.clients[KEEPS].standing() else { panic!() };
    world.change(|daemons| daemons.partition(&[0; 3]));
    go_on(&mut world, |client| client < 2, 3);
    let formed = world.clients[0].standing();
    assert!(matches!(formed, Some(Standing::Primary(number)) if number < forced), "{formed:?}");
    settle(&mut world);
    let formed = world.clients[0].standing();
    assert!(matches!(formed, Some(Standing::Primary(number)) if number > forced), "{formed:?}");
    assert!(!has_taken_back(&world, KEEPS));
    assert_eq!(world.clients[0].tally().applied[&1], 1);
}

#[test]
fn a_late_voter_of_another_group_is_not_told_that_something_is_taken_back() {
    let mut world = two_groups(None);
    go_on(&mut world, |client| client < 3, 3);
    assert!(matches!(standings(&world)[0], Standing::Primary(_)));
    go_on(&mut world, |_| true, 20);
    assert_eq!(standings(&world)[..], [Standing::Forming(Why::OtherGroup); CLIENTS]);
    assert!((0..CLIENTS).all(|client| !has_taken_back(&world, client)));
    assert_eq!(kept(&world), (1, 2));
}

/// The replica still applies what it was given before, when a forced log stands that does not have
/// it.
#[test]
fn answers_of_a_log_that_was_taken_back_do_not_count() {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    settle(&mut world);
    world.force(2);
    (0..2).for_each(|_| world.submit(0, 0));
    for _ in 0..10 {
        world.run(|client| client > 0, ROUNDS);
        while world.send(0) || world.read(0) {}
        world.wait(Duration::from_millis(50));
    }
    while outcome(&world, 0, 1).is_none() {
        assert!(world.work(0));
    }
    assert_eq!(outcome(&world, 0, 2), None);
    world.change(|daemons| daemons.partition(&[0; 3]));
    // It reads up to where the forced log stands, and no state has come.
    while !has_taken_back(&world, 0) {
        world.run(|client| client > 0, 1);
        world.send(0);
        if !world.read(0) {
            world.wait(Duration::from_millis(50));
        }
    }
    world.submit(0, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, 0, 2), Some(Ok(Answer::Done(_)))));
    assert!(matches!(outcome(&world, 0, 3), Some(Ok(Answer::Done(_)))));
    let applied: Vec<_> = world.clients[2].tally().applied.into_iter().collect();
    assert_eq!(applied, [(1, 1), (2, 1), (3, 1)]);
}

/// The forced log is that of a majority which is away. One member of it, without a vote, comes to the
/// side that lives on.
#[test]
fn nobody_goes_on_beside_a_later_forced_log() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.cut(KEEPS, 0, false);
    world.change(|daemons| daemons.partition(&[0, 0, 1]));
    world.connect(KEEPS, 2);
    settle(&mut world);
    world.force(2);
    settle(&mut world);
    world.submit(2, 0);
    settle(&mut world);
    let Some(Standing::Primary(forced)) = world.clients[2].standing() else { panic!() };
    world.cut(KEEPS, 0, false);
    world.connect(KEEPS, 0);
    // Late or not.
    go_on(&mut world, |client| client != KEEPS, 3);
    settle(&mut world);
    assert_eq!(standings(&world)[..2], [Standing::Minority; 2]);
    world.change(|daemons| daemons.partition(&[0; 3]));
    settle(&mut world);
    let formed = world.clients[0].standing();
    assert!(matches!(formed, Some(Standing::Primary(number)) if number > forced), "{formed:?}");
    assert_eq!(world.clients[0].tally().applied[&1], 1);
    assert!(!has_taken_back(&world, 2));
}

/// A member with the log that is forced hangs meanwhile, and no other Form follows.
#[test]
fn a_late_member_with_the_forced_log_gets_its_answers() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    [1, 2].into_iter().for_each(|voter| world.replace(voter));
    [1, 2].into_iter().for_each(|voter| world.connect(voter, voter));
    go_on(&mut world, |client| client != KEEPS, 4);
    world.force(0);
    go_on(&mut world, |client| client != KEEPS, 1);
    assert!(matches!(standings(&world)[0], Standing::Primary(_)));
    settle(&mut world);
    world.submit(KEEPS, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, KEEPS, 1), Some(Ok(Answer::Done(_)))));
}
