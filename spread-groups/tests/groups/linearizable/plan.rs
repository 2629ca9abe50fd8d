//! What happens in a round of the histories.

use proptest::prelude::*;

use super::KEYS;
use super::objects::Op;

/// Calls of each member in a round.
pub(super) const CALLS: usize = 50;

#[derive(Clone, Debug)]
pub(super) enum Fault {
    Partition(Vec<u8>),
    Merge,
    Crash(usize),
    Restart(usize),
    Hold(usize, usize),
    /// The connection of a member ends; the next one is at another daemon, perhaps.
    Kill(usize, usize),
    /// The connection of a member ends, and the daemon is not told.
    Ghost(usize, usize),
    /// What a member sends and what is sent to it is lost, and nobody is told.
    Sever(usize),
    /// The daemons notice ghosts and severed links, and hold nothing any more.
    Reap,
    /// A member is not heard any more, or hears nothing any more; with its calls under way, it
    /// starts again without its state, while all others have theirs.
    Replace(usize, Loss),
}

/// What is lost between a member and its daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// Its calls have no effect.
    BothWays,
    /// Its calls have an effect and no answer.
    FromTheDaemon,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Of(Op),
    /// Holds the mutex for a moment.
    Hold,
    /// Takes so many numbers of the sequence.
    Take(u64),
}

/// What happens in a round: faults, each after so many calls, and the calls of each member.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) faults: Vec<(usize, Fault)>,
    pub(super) calls: Vec<Vec<Ask>>,
}

pub(super) fn plan(daemons: usize, members: usize) -> impl Strategy<Value = Plan> {
    let (daemon, member) = (move || 0..daemons, move || 0..members);
    let fault = prop_oneof![
        4 => prop::collection::vec(0u8..3, daemons).prop_map(Fault::Partition),
        3 => Just(Fault::Merge),
        1 => daemon().prop_map(Fault::Crash),
        2 => daemon().prop_map(Fault::Restart),
        1 => (daemon(), daemon()).prop_map(|(from, to)| Fault::Hold(from, to)),
        3 => (member(), daemon()).prop_map(|(member, daemon)| Fault::Kill(member, daemon)),
        2 => (member(), daemon()).prop_map(|(member, daemon)| Fault::Ghost(member, daemon)),
        1 => member().prop_map(Fault::Sever),
        3 => Just(Fault::Reap),
        1 => replace(members),
    ];
    // One of them at least is of those after which nobody knows what has happened.
    let first = replace(members).prop_map(|fault| vec![(1, fault)]);
    let others = prop::collection::vec((1..12usize, fault), 8..16);
    let faults = (first, others).prop_map(|(first, others)| [first, others].concat());
    let calls = (0..members).map(|member| prop::collection::vec(call(member as u8), CALLS));
    (faults, calls.collect::<Vec<_>>()).prop_map(|(faults, calls)| Plan { faults, calls })
}

fn replace(members: usize) -> impl Strategy<Value = Fault> {
    let loss = prop_oneof![1 => Just(Loss::BothWays), 2 => Just(Loss::FromTheDaemon)];
    (0..members, loss).prop_map(|(member, loss)| Fault::Replace(member, loss))
}

/// Values are given when they are put.
fn call(member: u8) -> impl Strategy<Value = Ask> {
    let of = prop_oneof![
        2 => (0..KEYS).prop_map(|key| Op::Put(key, 0)),
        2 => (0..KEYS).prop_map(|key| Op::Swap(key, 0, 0)),
        2 => (0..KEYS).prop_map(Op::Get),
        2 => Just(Op::Lock(member)),
        2 => Just(Op::Unlock(member)),
        1 => Just(Op::Break),
    ];
    prop_oneof![
        11 => of.prop_map(Ask::Of),
        2 => Just(Ask::Hold),
        2 => (1u64..4).prop_map(Ask::Take),
    ]
}
