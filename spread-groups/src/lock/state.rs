//! The replicated state of all locks of a group: who holds them, and who waits.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::Fence;
use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::replicated::StateMachine;

/// Requests, granted or not, that all locks of a group have together.
const MAX_REQUESTS: usize = 65_536;
/// Bytes of a lock's name.
pub(super) const MAX_NAME: usize = 255;

/// The queues of all locks, without those that are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Locks {
    queues: BTreeMap<Key, VecDeque<Request>>,
    requests: usize,
}

/// Which lock. Those of different kinds are different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(super) kind: Kind,
    pub(super) name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Kind {
    Mutex,
    ReadWrite,
    /// So many requests hold it at once.
    Semaphore(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    session: u32,
    ticket: u128,
    /// Whether it is that of a reader.
    reads: bool,
    /// Its place. The requests for one lock are granted in their order, so that a later holder
    /// has a greater fence.
    fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Request {
        key: Key,
        ticket: u128,
        reads: bool,
    },
    /// Without effect if the ticket is not there any more.
    Release {
        key: Key,
        ticket: u128,
    },
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    Full,
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.LockStep";
    type Codec = Postcard;
}

impl Message for Outcome {
    const NAME: &'static str = "spread.groups.LockOutcome";
    type Codec = Postcard;
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Holds(Fence),
    Waits,
    Gone,
}

impl Locks {
    /// Returns where a request stands. Once it holds the lock it does so until it is gone,
    /// because requests before it only become fewer.
    pub(super) fn standing(&self, key: &Key, ticket: u128) -> Standing {
        let queue = self.queues.get(key);
        let at = queue.and_then(|queue| queue.iter().position(|request| request.ticket == ticket));
        let (Some(queue), Some(at)) = (queue, at) else {
            return Standing::Gone;
        };
        let holds = match key.kind {
            Kind::Mutex => at == 0,
            Kind::ReadWrite => at == 0 || queue.iter().take(at + 1).all(|request| request.reads),
            Kind::Semaphore(permits) => at < permits as usize,
        };
        let fence = queue.get(at).map(|request| request.fence).filter(|_| holds);
        fence.map_or(Standing::Waits, Standing::Holds)
    }

    fn retain(&mut self, stays: impl Fn(&Request) -> bool) {
        self.queues.values_mut().for_each(|queue| queue.retain(&stays));
        self.queues.retain(|_, queue| !queue.is_empty());
        self.requests = self.queues.values().map(VecDeque::len).sum();
    }
}

impl StateMachine for Locks {
    const NAME: &'static str = "spread.groups.Locks";
    type Op = Step;
    type Out = Outcome;

    fn apply(&mut self, at: At, step: Step) -> Outcome {
        match step {
            Step::Request { key, .. }
                if self.requests >= MAX_REQUESTS || key.name.len() > MAX_NAME =>
            {
                return Outcome::Full;
            }
            Step::Request { key, ticket, reads } => {
                let request = Request { session: at.session, ticket, reads, fence: at.fence() };
                self.queues.entry(key).or_default().push_back(request);
                self.requests += 1;
            }
            Step::Release { key, ticket } => {
                let queue = self.queues.get_mut(&key);
                let found = queue.and_then(|queue| {
                    let at = queue.iter().position(|request| request.ticket == ticket)?;
                    queue.remove(at)?;
                    Some(queue.is_empty())
                });
                self.requests -= usize::from(found.is_some());
                if found == Some(true) {
                    self.queues.remove(&key);
                }
            }
        }
        Outcome::Done
    }

    fn follow(&mut self, _: At, change: &Change) {
        if let Change::Departed { session, .. } = change {
            self.retain(|request| request.session != *session);
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Locks, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::history::Place;
    use crate::core::roster::Departure;

    fn at(session: u32) -> At {
        At { place: Place::default(), epoch: 1, time: 0, session }
    }

    fn key(kind: Kind) -> Key {
        Key { kind, name: "boiler".into() }
    }

    fn request(locks: &mut Locks, kind: Kind, session: u32, reads: bool) {
        let step = Step::Request { key: key(kind), ticket: session.into(), reads };
        assert_eq!(locks.apply(at(session), step), Outcome::Done);
    }

    fn release(locks: &mut Locks, kind: Kind, session: u32) {
        let step = Step::Release { key: key(kind), ticket: session.into() };
        assert_eq!(locks.apply(at(session), step), Outcome::Done);
    }

    fn holders(locks: &Locks, kind: Kind) -> Vec<u128> {
        let holds =
            |ticket: &u128| matches!(locks.standing(&key(kind), *ticket), Standing::Holds(_));
        (0..10).filter(holds).collect()
    }

    #[test]
    fn requests_are_granted_in_their_order() {
        let mut locks = Locks::default();
        [2, 1, 3].into_iter().for_each(|of| request(&mut locks, Kind::Mutex, of, false));
        assert_eq!(holders(&locks, Kind::Mutex), [2]);
        release(&mut locks, Kind::Mutex, 2);
        assert_eq!(holders(&locks, Kind::Mutex), [1]);
        assert_eq!(locks.standing(&key(Kind::Mutex), 2), Standing::Gone);
    }

    #[test]
    fn readers_read_together_and_none_passes_a_writer() {
        let mut locks = Locks::default();
        let kind = Kind::ReadWrite;
        for (session, reads) in [(1, true), (2, true), (3, false), (4, true), (5, true)] {
            request(&mut locks, kind, session, reads);
        }
        assert_eq!(holders(&locks, kind), [1, 2]);
        release(&mut locks, kind, 1);
        assert_eq!(holders(&locks, kind), [2]);
        release(&mut locks, kind, 2);
        assert_eq!(holders(&locks, kind), [3]);
        release(&mut locks, kind, 3);
        assert_eq!(holders(&locks, kind), [4, 5]);
    }

    #[test]
    fn a_semaphore_has_as_many_holders_as_permits() {
        let mut locks = Locks::default();
        let kind = Kind::Semaphore(2);
        (1..5).for_each(|session| request(&mut locks, kind, session, false));
        assert_eq!(holders(&locks, kind), [1, 2]);
        release(&mut locks, kind, 1);
        assert_eq!(holders(&locks, kind), [2, 3]);
        assert!(holders(&locks, Kind::Semaphore(3)).is_empty(), "another lock");
    }

    #[test]
    fn a_departure_ends_the_requests_of_the_departed() {
        let mut locks = Locks::default();
        [2, 1, 3].into_iter().for_each(|of| request(&mut locks, Kind::Mutex, of, false));
        for session in [1, 2] {
            let cause = Departure::Crashed;
            locks.follow(at(0), &Change::Departed { session, cause });
        }
        assert_eq!(holders(&locks, Kind::Mutex), [3]);
        assert_eq!(locks.standing(&key(Kind::Mutex), 1), Standing::Gone);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut locks = Locks { requests: MAX_REQUESTS, ..Locks::default() };
        let step = Step::Request { key: key(Kind::Mutex), ticket: 1, reads: false };
        assert_eq!(locks.apply(at(1), step), Outcome::Full);
        let long = Key { kind: Kind::Mutex, name: "x".repeat(MAX_NAME + 1) };
        let step = Step::Request { key: long, ticket: 1, reads: false };
        assert_eq!(Locks::default().apply(at(1), step), Outcome::Full);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Request(Kind, bool),
        Release(Kind, usize),
        Depart(u32),
    }

    fn acts() -> impl Strategy<Value = Vec<(u32, Act)>> {
        let kind = prop_oneof![
            Just(Kind::Mutex),
            Just(Kind::ReadWrite),
            (1..3_u32).prop_map(Kind::Semaphore)
        ];
        let act = prop_oneof![
            4 => (kind.clone(), any::<bool>()).prop_map(|(kind, reads)| Act::Request(kind, reads)),
            4 => (kind, 0..20_usize).prop_map(|(kind, nth)| Act::Release(kind, nth)),
            1 => (1..4_u32).prop_map(Act::Depart),
        ];
        prop::collection::vec((1..4_u32, act), 0..60)
    }

    proptest! {
        /// No lock has holders that exclude each other, none is free while somebody waits,
        /// nobody who holds one waits again, and what is counted is there.
        #[test]
        fn holders_never_exclude_each_other(acts in acts()) {
            let mut locks = Locks::default();
            let mut held: Vec<(Key, u128)> = Vec::new();
            for ((session, act), ticket) in acts.into_iter().zip(1_u128..) {
                match act {
                    Act::Request(kind, reads) => {
                        let reads = reads && kind == Kind::ReadWrite;
                        locks.apply(at(session), Step::Request { key: key(kind), ticket, reads });
                    }
                    Act::Release(kind, nth) => {
                        let queue = locks.queues.get(&key(kind));
                        let request = queue.and_then(|queue| queue.get(nth));
                        let ticket = request.map_or(0, |request| request.ticket);
                        locks.apply(at(session), Step::Release { key: key(kind), ticket });
                    }
                    Act::Depart(session) => {
                        let cause = Departure::Left;
                        locks.follow(at(0), &Change::Departed { session, cause });
                    }
                }
                for (key, ticket) in &held {
                    prop_assert_ne!(locks.standing(key, *ticket), Standing::Waits);
                }
                held.clear();
                for (key, queue) in &locks.queues {
                    let holds =
                        |r: &&Request| matches!(locks.standing(key, r.ticket), Standing::Holds(_));
                    let holders: Vec<&Request> = queue.iter().filter(holds).collect();
                    prop_assert!(!holders.is_empty());
                    let limit = match key.kind {
                        Kind::Mutex => 1,
                        Kind::ReadWrite if holders.iter().all(|r| r.reads) => usize::MAX,
                        Kind::ReadWrite => 1,
                        Kind::Semaphore(permits) => permits as usize,
                    };
                    prop_assert!(holders.len() <= limit);
                    held.extend(holders.iter().map(|r| (key.clone(), r.ticket)));
                }
                let count = locks.queues.values().map(VecDeque::len).sum::<usize>();
                prop_assert_eq!(locks.requests, count);
                prop_assert_eq!(&Locks::restore(&locks.snapshot()).unwrap(), &locks);
            }
        }
    }
}
