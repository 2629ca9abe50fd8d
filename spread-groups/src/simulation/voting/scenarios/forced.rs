//! Primaries that an operator forces.

use super::*;

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

/// A forced Form stands at one voter, which ends before its author hears of it. The author forces the
/// group again, elsewhere.
#[test]
fn a_number_is_given_to_one_forced_form() {
    let again = || Act::World(Step::Run(EVERYBODY, 50));
    let acts = vec![
        Act::World(Step::Partition([1, 0, 0])),
        Act::World(Step::Replace(1)),
        Act::Return,
        again(),
        Act::World(Step::Wait(200)),
        again(),
        Act::World(Step::Hold(2, 1)),
        Act::Return,
        Act::Turns(EVERYBODY, 1),
        again(),
        Act::World(Step::Wait(100)),
        Act::Force(4),
        again(),
        Act::Lose(EVERYBODY, false),
        Act::World(Step::Replace(0)),
        Act::World(Step::Replace(1)),
        Act::World(Step::Replace(2)),
    ];
    assert_eq!(run(&(EVERYBODY, acts), None).violations.first(), None);
}

/// The group is to be forced. Before its Form stands a member comes with a log that was forced later.
#[test]
fn a_force_that_a_later_log_overtakes_ends() {
    let run_all = || Act::World(Step::Run(EVERYBODY, 50));
    let put = || Act::Operate(0, Op::Put(0, 1));
    let waits = || [run_all(), Act::World(Step::Wait(400)), run_all()];
    let acts = [
        &[put(), run_all(), Act::World(Step::Partition([0, 1, 0]))][..],
        &[Act::World(Step::Replace(0)), Act::Return],
        &waits(),
        &[Act::Force(2), run_all(), put(), run_all()],
        &[Act::World(Step::Hold(2, 1)), Act::Return, Act::Turns(EVERYBODY, 1), put(), run_all()],
        &[Act::World(Step::Partition([0; 3])), Act::World(Step::Replace(0)), Act::Return],
        &waits(),
        &[Act::Force(4), run_all(), put(), run_all()],
    ];
    assert_eq!(run(&(EVERYBODY, acts.concat()), None).violations.first(), None);
}

/// Before a Form stands that an operator wants, a member without a vote comes with a newer log.
#[test]
fn an_older_log_is_not_forced_once_somebody_has_said_hello_with_a_newer_one() {
    let mut world = begin(VOTERS | 1 << KEEPS, None);
    settle(&mut world);
    world.cut(KEEPS, 0, false);
    world.change(|daemons| daemons.partition(&[0, 1, 1]));
    world.connect(KEEPS, 1);
    settle(&mut world);
    world.submit(KEEPS, 0);
    settle(&mut world);
    assert!(matches!(outcome(&world, KEEPS, 1), Some(Ok(Answer::Done(_)))));
    world.replace(1);
    [2, KEEPS].into_iter().for_each(|client| world.cut(client, 0, false));
    world.change(|daemons| daemons.partition(&[0; 3]));
    settle(&mut world);
    world.connect(1, 1);
    world.connect(KEEPS, 2);
    while world.send(KEEPS) {}
    for _ in 0..5 {
        world.run(|client| client < 2, ROUNDS);
        world.wait(Duration::from_millis(100));
    }
    world.force(0);
    assert_eq!(world.clients[0].core.forced(), None);
    world.run(|client| client == 0, ROUNDS);
    world.run(|client| client == KEEPS, ROUNDS);
    world.run(|client| client == 0, ROUNDS);
    settle(&mut world);
    assert_eq!(world.clients[0].core.forced(), Some(Err(Unforced::OtherLog)));
    assert!(!standings(&world).iter().any(|standing| matches!(standing, Standing::Primary(_))));
}
