//! How groups are founded, and where two of them meet.

use super::*;

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
    assert_that_nothing_is_founded(&world);
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
    assert_that_nothing_is_founded(&world);
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

/// The member with the state waits for those that have it, too, and the new voters for it.
fn assert_that_nothing_is_founded(world: &World) {
    assert_eq!(standings(world)[KEEPS], Standing::Forming(Why::StateLost));
    assert_eq!(standings(world)[..3], [Standing::Minority; 3]);
    assert!(!has_taken_back(world, KEEPS));
}
