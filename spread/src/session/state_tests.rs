//! The state of a session under random schedules.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));

#[derive(Clone, Copy, Debug)]
enum Op {
    Pass(u64),
    Join(u8),
    Leave(u8),
    /// Asks what to do.
    Step,
    /// The attempt connects.
    Connect,
    /// The attempt fails, at any point.
    Fail(f64),
    /// The attempt sends a change of the membership.
    Change,
    /// The daemon closes the connection.
    Lose(f64),
    /// A send fails.
    Unsent,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (0u64..300).prop_map(Op::Pass),
        2 => (0u8..4).prop_map(Op::Join),
        2 => (0u8..4).prop_map(Op::Leave),
        4 => Just(Op::Step),
        2 => Just(Op::Connect),
        1 => (0.0..1.0).prop_map(Op::Fail),
        5 => Just(Op::Change),
        1 => (0.0..1.0).prop_map(Op::Lose),
        1 => Just(Op::Unsent),
    ]
}

fn group(number: u8) -> GroupName {
    GroupName::new(format!("g{number}")).unwrap()
}

/// A session, what its daemon knows of it, and what it has promised.
struct World {
    state: State,
    now: Instant,
    /// When the next attempt may begin.
    next: Option<Instant>,
    /// Whether an attempt is under way, and whether it has a connection.
    attempt: Option<bool>,
    /// The groups that the daemon has the client in, while there is a connection.
    membership: BTreeSet<GroupName>,
    failures: u32,
    unsent: u64,
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        World {
            state: State::new(BACKOFF, now),
            now,
            next: Some(now),
            attempt: None,
            membership: BTreeSet::new(),
            failures: 0,
            unsent: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Pass(millis) => self.now += Duration::from_millis(millis),
            Op::Join(number) => {
                if self.state.join(group(number)) {
                    self.send(Change::Join(group(number)));
                }
            }
            Op::Leave(number) => {
                if self.state.leave(group(number)) {
                    self.send(Change::Leave(group(number)));
                }
            }
            Op::Step => self.step(),
            Op::Connect => {
                if self.attempt == Some(false) {
                    self.state.connected();
                    self.attempt = Some(true);
                    self.membership.clear();
                }
            }
            Op::Fail(random) => {
                if self.attempt.take().is_some() {
                    let attempts = self.state.attempts();
                    let next = self.state.failed(self.now, random).unwrap();
                    self.failures += 1;
                    assert_eq!(attempts, self.failures, "attempts since the loss");
                    self.waits_until(next);
                } else {
                    assert_eq!(self.state.failed(self.now, random), None);
                }
            }
            Op::Change => {
                if self.attempt == Some(true) {
                    match self.state.next_change(self.now) {
                        Joining::Send(change) => self.send(change),
                        Joining::Done => {
                            self.attempt = None;
                            self.unsent = 0;
                        }
                        Joining::Ended => panic!("it has not ended"),
                    }
                }
            }
            Op::Lose(random) => {
                let was_connected = self.state.is_connected();
                let lost = self.state.lost(self.now, random);
                assert_eq!(lost.is_some(), was_connected);
                if let Some((unsent, next)) = lost {
                    assert_eq!(unsent, self.unsent);
                    self.failures = 0;
                    self.waits_until(next);
                }
            }
            Op::Unsent => {
                self.unsent += u64::from(self.state.is_connected());
                self.state.unsent();
            }
        }
        if self.state.is_connected() {
            assert!(self.state.groups().eq(self.membership.iter().copied()));
        }
    }

    fn step(&mut self) {
        match self.state.step(self.now) {
            Step::Connect => {
                assert!(self.attempt.is_none() && !self.state.is_connected());
                assert!(self.next.take().is_some_and(|next| next <= self.now), "too early");
                self.attempt = Some(false);
            }
            Step::Attempt => assert!(self.attempt.is_some()),
            Step::Wait(next) => assert!(Some(next) == self.next && self.now < next),
            Step::Receive => assert!(self.state.is_connected()),
            Step::End => panic!("it has not ended"),
        }
    }

    fn send(&mut self, change: Change) {
        match change {
            Change::Join(group) => self.membership.insert(group),
            Change::Leave(group) => self.membership.remove(&group),
        };
    }

    fn waits_until(&mut self, next: Instant) {
        let wait = next - self.now;
        assert!(wait >= BACKOFF.first() / 2 && wait <= BACKOFF.longest(), "{wait:?}");
        self.next = Some(next);
    }
}

proptest! {
    #[test]
    fn a_session_is_in_its_groups_whenever_it_is_connected(
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        // Whatever has happened, it connects as soon as the daemon lets it.
        for op in [Op::Pass(1000), Op::Step, Op::Connect] {
            world.apply(op);
        }
        while !world.state.is_connected() {
            world.apply(Op::Change);
        }
    }

    #[test]
    fn a_session_that_has_ended_does_nothing_more(
        before in prop::collection::vec(op(), 0..50),
        random in 0.0..1.0,
    ) {
        let mut world = World::new();
        for op in before {
            world.apply(op);
        }
        let World { mut state, now, .. } = world;
        state.end();
        state.connected();
        prop_assert_eq!(state.next_change(now), Joining::Ended);
        prop_assert_eq!(state.failed(now, random), None);
        prop_assert_eq!(state.lost(now, random), None);
        prop_assert!(!state.join(group(0)) && !state.leave(group(0)) && !state.is_connected());
        prop_assert_eq!(state.step(now + Duration::from_secs(3600)), Step::End);
    }
}

/// Loses the connection after that time; returns the wait.
fn lose_after(state: &mut State, now: &mut Instant, lasted: Duration) -> Duration {
    assert_eq!(state.step(*now), Step::Connect);
    state.connected();
    assert_eq!(state.next_change(*now), Joining::Done);
    *now += lasted;
    let (_, next) = state.lost(*now, 0.5).unwrap();
    let wait = next - *now;
    *now = next;
    wait
}

#[test]
fn only_a_connection_that_lasts_resets_the_backoff() {
    let mut now = Instant::now();
    let mut state = State::new(BACKOFF, now);
    let waits = [0, 0, 0].map(|_| lose_after(&mut state, &mut now, Duration::ZERO));
    assert!(waits.is_sorted_by(|one, other| one.as_micros() * 2 == other.as_micros()), "{waits:?}");
    let long = lose_after(&mut state, &mut now, BACKOFF.longest());
    assert!(long < waits[0], "{long:?} after {waits:?}");
}

#[test]
fn reconnects_and_attempts_are_counted() {
    let mut now = Instant::now();
    let mut state = State::new(BACKOFF, now);
    lose_after(&mut state, &mut now, Duration::ZERO);
    let stats = |state: &State| state.stats();
    let expected = |reconnects, attempts, unsent| SessionStats {
        reconnects,
        attempts,
        unsent,
        ..SessionStats::default()
    };
    assert_eq!(stats(&state), expected(0, 1, 0));
    assert_eq!(state.step(now), Step::Connect);
    now = state.failed(now, 0.0).unwrap();
    state.unsent();
    lose_after(&mut state, &mut now, Duration::ZERO);
    assert_eq!(stats(&state), expected(1, 3, 1));
}

#[test]
fn changes_while_the_groups_are_joined_are_bounded() {
    let now = Instant::now();
    let mut state = State::new(BACKOFF, now);
    state.join(group(0));
    assert_eq!(state.step(now), Step::Connect);
    state.connected();
    assert_eq!(state.next_change(now), Joining::Send(Change::Join(group(0))));
    for number in (0..3).cycle().take(30_000) {
        assert!(!state.leave(group(number)) && !state.join(group(number)));
    }
    for name in 0..10_000 {
        let name = GroupName::new(format!("n{name}")).unwrap();
        assert!(!state.join(name) && !state.leave(name));
    }
    assert_eq!(state.next_change(now), Joining::Send(Change::Join(group(1))));
    assert_eq!(state.next_change(now), Joining::Send(Change::Join(group(2))));
    assert_eq!(state.next_change(now), Joining::Done);
}

#[test]
fn without_a_receiver_a_connection_that_is_found_closed_ends_the_session() {
    let now = Instant::now();
    let mut state = State::new(BACKOFF, now);
    state.step(now);
    state.connected();
    assert_eq!(state.next_change(now), Joining::Done);
    assert!(!state.found_closed() && state.is_connected());
    state.receiver_is_gone();
    assert!(state.is_connected());
    assert!(state.found_closed() && state.has_ended());
    assert!(!state.found_closed());
}
