//! What grows while nothing is committed, and what keeps it from being committed.

use std::collections::VecDeque;

use super::*;
use crate::core::status::Standing as Progress;

const COMES: usize = 4;

/// Returns a world in which two voters of three are left, of which one has to be given the state
/// before anything is committed.
fn a_voter_without_the_state(entries: usize) -> World {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    (0..entries).for_each(|_| {
        world.submit(0, 0);
        settle(&mut world);
    });
    world.change(|daemons| daemons.partition(&[0, 1, 0]));
    settle(&mut world);
    world.submit(0, 0);
    settle(&mut world);
    world.replace(2);
    world.change(|daemons| daemons.partition(&[0; 3]));
    world
}

/// Returns how many entries a member has logged and not applied.
fn tail(world: &World, client: usize) -> usize {
    world.clients[client].core.tail_at_cut().len()
}

/// The voters form, and then one of them does not read what is to be given to it.
fn form_while_a_voter_is_slow(world: &mut World) {
    for _ in 0..200 {
        if world.clients[0].standing() == Some(Standing::Forming(Why::Synchronizing)) {
            break;
        }
        world.turns(|_| true, 1);
        world.wait(Duration::from_millis(1));
    }
    world.turns(|client| client != 1, 30);
}

/// Another member joins, and each join is another Form, before which the first voter has operations
/// without an answer. Returns how much it has logged and not applied after each.
fn joins_while_a_voter_is_slow(world: &mut World, times: usize) -> Vec<usize> {
    (0..8).for_each(|_| world.submit(0, 0));
    let join = |_| {
        world.connect(COMES, 0);
        // They read that somebody has joined.
        world.turns(|_| true, 5);
        form_while_a_voter_is_slow(world);
        world.replace(COMES);
        tail(world, 0)
    };
    (0..times).map(join).collect()
}

#[test]
fn what_is_not_committed_does_not_grow_with_each_form() {
    let mut world = a_voter_without_the_state(0);
    let sizes = joins_while_a_voter_is_slow(&mut world, 3);
    // A member has gone and another one has come.
    assert!(sizes[1..] == [sizes[0] + 2, sizes[0] + 4], "{sizes:?}");
}

/// The first voter gives up what has no answer whenever it is alone, and finds the other one again.
#[test]
fn what_is_given_up_is_not_logged_again() {
    let mut world = a_voter_without_the_state(0);
    let first = world.operations + 1;
    (0..8).for_each(|_| world.submit(0, 0));
    let part = |_| {
        form_while_a_voter_is_slow(&mut world);
        let size = tail(&world, 0);
        world.change(|daemons| daemons.partition(&[0, 1, 0]));
        for _ in 0..50 {
            world.turns(|_| true, 5);
            world.wait(Duration::from_millis(100));
        }
        world.change(|daemons| daemons.partition(&[0; 3]));
        size
    };
    let sizes: Vec<usize> = (0..3).map(part).collect();
    let given_up = Some(&Err(Failure::NoQuorum { may_have_executed: true }));
    let is_given_up = |number: &u64| outcome(&world, 0, *number) == given_up;
    let count = (first..first + 8).filter(is_given_up).count();
    assert_eq!(count, 7, "all but one, which is patient");
    assert!(sizes[0] >= 8 && sizes[2] < sizes[0] + 8, "{sizes:?}");
    settle(&mut world);
    assert_eq!(tail(&world, 0), 0);
}

/// A voter with an older log has too much to read, again and again.
#[test]
fn a_voter_that_is_too_slow_does_not_leave_the_group() {
    let mut world = a_voter_without_the_state(0);
    joins_while_a_voter_is_slow(&mut world, 6);
    settle(&mut world);
    if world.clients[1].connection.is_none() {
        world.connect(1, 1);
    }
    settle(&mut world);
    assert_eq!(world.clients[1].failed, None);
    let standing = world.clients[0].standing();
    assert!(matches!(standing, Some(Standing::Primary(_))), "{standing:?}");
}

/// Another member joins again and again while a voter is given the state.
#[test]
fn joins_of_others_do_not_keep_a_voter_from_the_state() {
    // How many turns it takes.
    let turns = |joins: Option<usize>, most: usize| {
        let mut world = a_voter_without_the_state(40);
        let number = world.operations + 1;
        world.submit(0, 0);
        let is_answered = |turn: &usize| {
            if joins.is_some_and(|every| turn.is_multiple_of(every)) {
                world.cut(COMES, 0, false);
                world.connect(COMES, 0);
            }
            world.turns(|_| true, 1);
            if turn.is_multiple_of(5) {
                world.wait(Duration::from_millis(1));
            }
            outcome(&world, 0, number).is_some()
        };
        (0..most).find(is_answered)
    };
    let alone = turns(None, 10_000).unwrap();
    assert!(turns(Some(alone * 3 / 4), 4 * alone).is_some(), "{alone} turns without them");
}

/// Returns a world whose third voter has started again, so that the second one is needed.
fn a_voter_that_is_needed() -> World {
    let mut world = begin(VOTERS, None);
    settle(&mut world);
    world.replace(2);
    world.connect(2, 2);
    world
}

/// Lets time go on in steps of 10 ms; the second voter reads each message so many steps late.
fn turns_with_a_late_voter(world: &mut World, late: usize, steps: usize) {
    let (mut came, mut read) = (VecDeque::new(), 0);
    for _ in 0..steps {
        world.run(|client| client != 1, ROUNDS);
        let inbox = world.clients[1].connection.as_ref().map_or(0, |own| own.inbox.len());
        came.push_back(read + inbox);
        if came.len() > late {
            let due = came.pop_front().unwrap_or_default();
            while read < due && world.read(1) {
                read += 1;
            }
        }
        while world.send(1) || world.work(1) {}
        world.wait(Duration::from_millis(10));
    }
    assert_eq!(world.violations, [""; 0]);
}

/// An exchange waits 100 ms for a Form that stands. The Accept of this voter takes longer.
#[test]
fn a_voter_that_accepts_late_is_waited_for() {
    let mut world = a_voter_that_is_needed();
    turns_with_a_late_voter(&mut world, 35, 300);
    let standing = world.clients[0].standing();
    assert!(matches!(standing, Some(Standing::Primary(_))), "{standing:?}");
}

#[test]
fn a_voter_that_does_not_answer_has_not_lost_its_state() {
    let mut world = a_voter_that_is_needed();
    let exchanges = |world: &World| world.clients[1].core.status().counters.exchanges;
    // It reads the view, and says Hello.
    let former = exchanges(&world);
    while exchanges(&world) == former {
        world.turns(|_| true, 1);
    }
    while world.send(1) {}
    for _ in 0..20 {
        world.run(|client| client != 1, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
    assert_eq!(world.clients[0].standing(), Some(Standing::Forming(Why::Exchanging)));
    world.force(0);
    assert_eq!(world.clients[0].core.forced(), Some(Err(Unforced::NotStopped)));
    settle(&mut world);
    assert!(matches!(world.clients[0].standing(), Some(Standing::Primary(_))));
}

/// What happens while a voter is given the state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meanwhile {
    /// A partition that no Form comes of, after the voter has read, or before.
    Parts { reads: bool },
    /// The voter asks for another cut, and somebody joins before that is ordered.
    AsksAgain,
}

/// Returns whether the voter has the state soon after that, if it is under way then.
fn has_the_state_soon(meanwhile: Meanwhile, turns: usize) -> bool {
    let mut world = a_voter_without_the_state(40);
    world.turns(|_| true, turns);
    let waits = |world: &World| world.clients[1].core.status().standing == Progress::Behind;
    if !waits(&world) {
        return true;
    }
    match meanwhile {
        Meanwhile::Parts { reads } => {
            while reads && (world.send(1) || world.read(1)) {}
            world.change(|daemons| daemons.partition(&[0, 1, 0]));
            world.run(|_| true, ROUNDS);
            world.change(|daemons| daemons.partition(&[0; 3]));
        }
        Meanwhile::AsksAgain => {
            world.wait(Duration::from_millis(510));
            world.connect(COMES, 0);
            world.send(COMES);
            while world.send(1) {}
        }
    }
    for _ in 0..3 {
        world.run(|_| true, ROUNDS);
        world.wait(Duration::from_millis(10));
    }
    !waits(&world)
}

#[test]
fn a_transfer_of_which_something_is_lost_goes_on_at_once() {
    let all = [Meanwhile::Parts { reads: true }, Meanwhile::Parts { reads: false }];
    for meanwhile in all.into_iter().chain([Meanwhile::AsksAgain]) {
        let late: Vec<usize> =
            (0..150).filter(|turns| !has_the_state_soon(meanwhile, *turns)).collect();
        assert_eq!(late, [0; 0], "{meanwhile:?}");
    }
}
