//! Barriers: members wait for each other.
//!
//! **Promises.** Members that [arrive](Barrier::arrive) at a barrier wait until all its parties
//! have arrived; then all of them pass at one place of the order, and the next generation of the
//! barrier begins. With [`Parties::AllMembers`] the parties are the members at the first arrival
//! of the generation: a later joiner counts in the next one. With [`Parties::Exactly`] they are
//! the first members that arrive. A member counts once in a generation; a second arrival of it
//! counts in the next one.
//!
//! **Sends** one operation for each arrival. The opening is not sent: all members compute it at
//! its place.
//!
//! **A roster change** in which a member departs removes the member from the parties of
//! [`Parties::AllMembers`], which may open the barrier. A barrier of an exact number is broken if
//! the member had arrived, or if fewer members than the number are left: all that wait at it get
//! [`Error::BarrierBroken`], and the next arrival begins a new generation. A node that reconnects
//! has departed: its own arrivals fail with the same error.
//!
//! **In a partition** each side has its own barriers, and the members of the other side have
//! departed. **At a merge** the barriers of the side that stands remain. The arrivals of the other
//! side since the partition are submitted again, also those that had passed, and count there.
//!
//! All barriers of a group have at most 65,536 waiting arrivals; a name has at most 255 bytes.
//! More is refused with [`Error::NoRoom`] at the same place at all members.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::Change;
use crate::machines::Present;
use crate::replicated::{Replicated, StateMachine};
use crate::ticket::{self, Tickets};
use crate::{Error, Pending, error};

/// Arrivals that wait at all barriers of a group.
const MAX_ARRIVALS: usize = 65_536;
/// Bytes of a barrier's name.
const MAX_NAME: usize = 255;

/// The parties of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Parties {
    /// All members at the first arrival, without observers.
    AllMembers,
    /// This number of members, at least 1.
    Exactly(u32),
}

/// A barrier of a group, made by [`Group::barrier`](crate::Group::barrier).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Node, Parties};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// plant.barrier("started", Parties::AllMembers).arrive().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Barrier {
    key: Key,
    barriers: Replicated<Barriers>,
}

impl Barrier {
    pub(crate) fn new(name: &str, parties: Parties, barriers: Replicated<Barriers>) -> Barrier {
        Barrier { key: Key { name: name.to_owned(), parties }, barriers }
    }

    /// Arrives at the barrier. The pending result ends when the barrier opens; dropping it does
    /// not withdraw the arrival.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::BarrierBroken`] if this member departs, or another
    /// one without which the barrier cannot open; with [`Error::NoRoom`] if too many arrivals
    /// wait; with [`Error::NameTooLong`]; and with the errors of [`Replicated::submit`].
    pub fn arrive(&self) -> Pending<()> {
        if let Err(error) = error::check_name(&self.key.name, MAX_NAME) {
            return Pending::failed(error);
        }
        let ticket = match crate::machines::random() {
            Ok(ticket) => ticket,
            Err(error) => return Pending::failed(error),
        };
        let step = Step::Arrive { key: self.key.clone(), ticket };
        let (complete, pending) = Pending::new();
        let refused = |outcome| match outcome {
            Outcome::Done => Ok(()),
            Outcome::Full => Err(Error::NoRoom),
        };
        pending.of_operation(ticket::request(&self.barriers, ticket, &step, refused, complete))
    }
}

/// The barriers at which somebody waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Barriers {
    barriers: BTreeMap<Key, Generation>,
    present: Present,
    /// What the last step has ended.
    #[serde(skip)]
    ended: Vec<(u128, End)>,
}

/// Identifies a barrier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    name: String,
    parties: Parties,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Generation {
    /// The sessions of all members, as of the first arrival.
    members: Option<Vec<u32>>,
    /// Sessions and tickets, in the order of their arrivals; also those of the next one.
    waiting: Vec<(u32, u128)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Opened,
    Broken,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    Arrive { key: Key, ticket: u128 },
    Nothing,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    Full,
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.BarrierStep";
    type Codec = Postcard;
}

impl Message for Outcome {
    const NAME: &'static str = "spread.groups.BarrierOutcome";
    type Codec = Postcard;
}

impl Generation {
    /// Returns the arrivals that count in this generation: one of a member.
    fn arrived(&self, parties: Parties) -> Vec<(u32, u128)> {
        let mut seen = BTreeSet::new();
        let waiting = self.waiting.iter().copied();
        let counts = |session| match (&self.members, parties) {
            (Some(members), Parties::AllMembers) => members.contains(&session),
            _ => true,
        };
        let limit = match parties {
            Parties::AllMembers => usize::MAX,
            Parties::Exactly(number) => number.max(1) as usize,
        };
        waiting
            .filter(|(session, _)| counts(*session) && seen.insert(*session))
            .take(limit)
            .collect()
    }

    fn end(&mut self, arrived: &[(u32, u128)], end: End, ended: &mut Vec<(u128, End)>) {
        let tickets: BTreeSet<u128> = arrived.iter().map(|(_, ticket)| *ticket).collect();
        self.waiting.retain(|(_, ticket)| !tickets.contains(ticket));
        self.members = None;
        ended.extend(tickets.into_iter().map(|ticket| (ticket, end)));
    }

    /// Opens it, and the next ones, if their parties are there.
    fn open(&mut self, parties: Parties, present: &Present, ended: &mut Vec<(u128, End)>) {
        while !self.waiting.is_empty() {
            self.members.get_or_insert_with(|| present.sessions().to_vec());
            let arrived = self.arrived(parties);
            let is_complete = match (&self.members, parties) {
                (Some(members), Parties::AllMembers) => arrived.len() == members.len(),
                (None, Parties::AllMembers) => false,
                (_, Parties::Exactly(number)) => arrived.len() == number.max(1) as usize,
            };
            if !is_complete {
                return;
            }
            self.end(&arrived, End::Opened, ended);
        }
    }

    /// Goes on without a member, or is broken.
    fn depart(
        &mut self,
        session: u32,
        parties: Parties,
        present: &Present,
        ended: &mut Vec<(u128, End)>,
    ) {
        let arrived = self.arrived(parties);
        let had_arrived = arrived.iter().any(|(of, _)| *of == session);
        if let Parties::Exactly(number) = parties
            && (had_arrived || present.sessions().len() < number as usize)
        {
            self.end(&arrived, End::Broken, ended);
        }
        self.waiting.retain(|(of, _)| *of != session);
        if let Some(members) = &mut self.members {
            members.retain(|of| *of != session);
        }
        self.open(parties, present, ended);
    }
}

impl StateMachine for Barriers {
    const NAME: &'static str = "spread.groups.Barriers";
    type Op = Step;
    type Out = Outcome;

    fn apply(&mut self, at: At, step: Step) -> Outcome {
        self.ended.clear();
        let Step::Arrive { key, ticket } = step else {
            return Outcome::Done;
        };
        let waiting: usize = self.barriers.values().map(|barrier| barrier.waiting.len()).sum();
        if waiting >= MAX_ARRIVALS || key.name.len() > MAX_NAME {
            return Outcome::Full;
        }
        let parties = key.parties;
        let barrier = self.barriers.entry(key).or_default();
        barrier.waiting.push((at.session, ticket));
        barrier.open(parties, &self.present, &mut self.ended);
        self.barriers.retain(|_, barrier| !barrier.waiting.is_empty());
        Outcome::Done
    }

    fn follow(&mut self, _: At, change: &Change) {
        self.ended.clear();
        self.present.follow(change);
        if let Change::Departed { session, .. } = change {
            for (key, barrier) in &mut self.barriers {
                barrier.depart(*session, key.parties, &self.present, &mut self.ended);
            }
            self.barriers.retain(|_, barrier| !barrier.waiting.is_empty());
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Barriers, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

impl Tickets for Barriers {
    type End = ();

    fn ended(&self, ticket: u128) -> Option<Result<(), Error>> {
        let end = self.ended.iter().find(|(of, _)| *of == ticket);
        end.map(|(_, end)| match end {
            End::Opened => Ok(()),
            End::Broken => Err(Error::BarrierBroken),
        })
    }

    fn is_open(&self, ticket: u128) -> bool {
        self.barriers.values().any(|barrier| barrier.waiting.iter().any(|(_, of)| *of == ticket))
    }

    fn question() -> Step {
        Step::Nothing
    }

    fn gone() -> Error {
        Error::BarrierBroken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::history::Place;
    use crate::core::roster::{Departure, Incarnation};

    fn at(session: u32) -> At {
        At { place: Place::default(), epoch: 1, time: 0, session }
    }

    fn join(barriers: &mut Barriers, session: u32) {
        let incarnation = Incarnation([session as u8; 16]);
        let (resumed, observer) = (false, false);
        barriers.follow(at(0), &Change::Joined { session, incarnation, resumed, observer });
    }

    fn depart(barriers: &mut Barriers, session: u32) -> Vec<(u128, End)> {
        let cause = Departure::Crashed;
        barriers.follow(at(0), &Change::Departed { session, cause });
        barriers.ended.clone()
    }

    /// The member arrives with this ticket; returns what ends.
    fn arrive(barriers: &mut Barriers, parties: Parties, session: u32, ticket: u128) -> Vec<u128> {
        let key = Key { name: "b".into(), parties };
        assert_eq!(barriers.apply(at(session), Step::Arrive { key, ticket }), Outcome::Done);
        assert!(barriers.ended.iter().all(|(_, end)| *end == End::Opened));
        barriers.ended.iter().map(|(ticket, _)| *ticket).collect()
    }

    fn of(members: u32) -> Barriers {
        let mut barriers = Barriers::default();
        (1..=members).for_each(|session| join(&mut barriers, session));
        barriers
    }

    #[test]
    fn all_members_of_the_first_arrival_pass_together_and_later_ones_in_the_next() {
        let all = Parties::AllMembers;
        let mut barriers = of(2);
        assert_eq!(arrive(&mut barriers, all, 1, 11), []);
        join(&mut barriers, 3);
        assert_eq!(arrive(&mut barriers, all, 3, 31), []);
        assert_eq!(arrive(&mut barriers, all, 1, 12), [], "that is for the next");
        assert_eq!(arrive(&mut barriers, all, 2, 21), [11, 21]);
        assert_eq!(arrive(&mut barriers, all, 2, 22), [12, 22, 31]);
        assert!(barriers.barriers.is_empty());
    }

    #[test]
    fn all_members_pass_without_those_who_depart() {
        let mut barriers = of(3);
        for (session, ticket) in [(1, 11), (2, 21)] {
            arrive(&mut barriers, Parties::AllMembers, session, ticket);
        }
        assert_eq!(depart(&mut barriers, 2), []);
        assert_eq!(depart(&mut barriers, 3), [(11, End::Opened)]);
    }

    #[test]
    fn an_exact_number_is_the_first_that_arrive() {
        let three = Parties::Exactly(3);
        let mut barriers = of(2);
        assert_eq!(arrive(&mut barriers, three, 1, 11), []);
        assert_eq!(arrive(&mut barriers, three, 1, 12), []);
        assert_eq!(arrive(&mut barriers, three, 2, 21), []);
        join(&mut barriers, 3);
        assert_eq!(arrive(&mut barriers, three, 3, 31), [11, 21, 31]);
        assert_eq!(barriers.barriers.len(), 1, "the next one has begun");
        assert_eq!(arrive(&mut barriers, Parties::Exactly(0), 1, 13), [13]);
    }

    #[test]
    fn an_exact_number_is_broken_by_a_departure_and_not_by_one_more() {
        let two = Parties::Exactly(2);
        let mut barriers = of(4);
        arrive(&mut barriers, two, 1, 11);
        assert_eq!(depart(&mut barriers, 4), [], "enough are left");
        assert_eq!(depart(&mut barriers, 1), [(11, End::Broken)]);
        arrive(&mut barriers, two, 2, 21);
        arrive(&mut barriers, two, 2, 22);
        assert_eq!(depart(&mut barriers, 3), [(21, End::Broken)], "one is left");
        join(&mut barriers, 5);
        assert_eq!(arrive(&mut barriers, two, 5, 51), [22, 51]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let key = Key { name: "x".repeat(MAX_NAME + 1), parties: Parties::AllMembers };
        let step = Step::Arrive { key, ticket: 1 };
        assert_eq!(of(1).apply(at(1), step), Outcome::Full);
    }

    proptest! {
        /// Each arrival of a member that stays ends or waits; nobody waits whose parties
        /// are there; a copy of the state goes on alike.
        #[test]
        fn every_arrival_ends_or_waits(
            steps in prop::collection::vec((1..6_u32, 0..8_u8), 0..60),
            parties in prop_oneof![Just(Parties::AllMembers), (1..4_u32).prop_map(Parties::Exactly)],
        ) {
            let mut barriers = Barriers::default();
            let mut open = BTreeMap::new();
            for ((session, act), ticket) in steps.into_iter().zip(1_u128..) {
                let is_present = barriers.present.sessions().contains(&session);
                let mut copy = Barriers::restore(&barriers.snapshot()).unwrap();
                for barriers in [&mut copy, &mut barriers] {
                    match act {
                        0 if is_present => drop(depart(barriers, session)),
                        _ if !is_present => join(barriers, session),
                        _ => {
                            let key = Key { name: "b".into(), parties };
                            barriers.apply(at(session), Step::Arrive { key, ticket });
                        }
                    }
                }
                prop_assert_eq!(&copy, &barriers);
                if is_present && act != 0 {
                    open.insert(ticket, session);
                }
                for (ticket, _) in &barriers.ended {
                    prop_assert!(open.remove(ticket).is_some());
                }
                if is_present && act == 0 {
                    open.retain(|_, of| *of != session);
                }
                for ticket in open.keys() {
                    prop_assert!(barriers.is_open(*ticket));
                }
                let waiting: usize = barriers.barriers.values().map(|b| b.waiting.len()).sum();
                prop_assert_eq!(waiting, open.len());
            }
        }
    }
}
