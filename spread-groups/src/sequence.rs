//! Sequences of numbers: advisory without voters, unique with them.
//!
//! **Promises.** Within one side of a partition each number of a sequence is given once, in the
//! order of the requests, beginning with 1. A number is lost if the member that asked for it is
//! gone before the answer comes. A sequence is *advisory*: after a partition numbers repeat.
//!
//! **Sends** one operation for a number, a block of numbers or a
//! [removal](AdvisorySequence::remove).
//!
//! **A roster change** has no effect on a sequence.
//!
//! **In a partition** both sides give the same numbers, beginning with the next one at which they
//! parted. **At a merge** the sequence of the side that stands goes on. All numbers that the other
//! side gave since the partition are given a second time, by then or later. The requests of that
//! side are executed again, which only leaves gaps.
//!
//! **With [voters](crate::voters)** ([`Sequence`]) no number is given twice while a majority of the
//! voters keeps its state: in a minority none is given. After
//! [`force_primary`](crate::VotedGroup::force_primary), numbers that only the others had given are
//! given again, and after an end of all members the sequence begins anew. A number whose request
//! failed after it was executed is left out. An advisory sequence of the same group and name is
//! another one.
//!
//! A group has at most 65,536 sequences; a name has at most 255 bytes, and no number is above
//! 2^64 - 1. More is refused with [`Error::NoRoom`] at the same place at all members.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::replicated::{Replicated, StateMachine};
use crate::{Error, Pending, error};

/// Sequences of a group.
const MAX_SEQUENCES: usize = 65_536;
/// Bytes of a sequence's name.
const MAX_NAME: usize = 255;

/// A sequence of numbers, made by
/// [`Group::advisory_sequence`](crate::Group::advisory_sequence).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let orders = plant.advisory_sequence("orders");
/// assert_eq!(orders.next().wait()?, 1);
/// assert_eq!(orders.next_block(100).wait()?, 2..102);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdvisorySequence {
    key: Key,
    sequences: Replicated<Sequences>,
}

impl AdvisorySequence {
    pub(crate) fn new(name: &str, sequences: Replicated<Sequences>) -> AdvisorySequence {
        AdvisorySequence { key: Key { is_unique: false, name: name.to_owned() }, sequences }
    }

    /// Takes the next number.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoRoom`] if there are too many sequences or no
    /// more numbers, with [`Error::NameTooLong`], and with the errors of [`Replicated::submit`].
    pub fn next(&self) -> Pending<u64> {
        self.take(1, |block| block.start)
    }

    /// Takes this many consecutive numbers.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`next`](AdvisorySequence::next) does.
    pub fn next_block(&self, count: u64) -> Pending<Range<u64>> {
        self.take(count, |block| block)
    }

    fn take<T: Send + 'static>(
        &self,
        count: u64,
        read: impl FnOnce(Range<u64>) -> T + Send + 'static,
    ) -> Pending<T> {
        if let Err(error) = error::check_name(&self.key.name, MAX_NAME) {
            return Pending::failed(error);
        }
        self.sequences.submit_and(&Step::Take(self.key.clone(), count), |outcome| match outcome {
            Outcome::Taken(block) => Ok(read(block)),
            Outcome::Full | Outcome::Removed(_) => Err(Error::NoRoom),
        })
    }

    /// Removes the sequence, so that another one can have its room; returns whether it was there.
    /// The next number is 1 again. A [`Sequence`] of this name is another one.
    ///
    /// # Errors
    ///
    /// The pending result fails with the errors of [`Replicated::submit`].
    pub fn remove(&self) -> Pending<bool> {
        let step = Step::Remove(self.key.clone());
        self.sequences.submit_and(&step, |outcome| Ok(outcome == Outcome::Removed(true)))
    }
}

/// A sequence of a group with voters, made by
/// [`VotedGroup::sequence`](crate::VotedGroup::sequence): no number is given twice while a majority
/// of the voters keeps its state, and the sequence is never removed.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.voters(["ann"]).votes_as("ann").join()?;
/// let orders = plant.sequence("orders");
/// assert_eq!(orders.next_block(100).wait()?, 1..101);
/// assert_eq!(orders.next().wait()?, 101);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sequence(AdvisorySequence);

impl Sequence {
    pub(crate) fn new(name: &str, sequences: Replicated<Sequences>) -> Sequence {
        let key = Key { is_unique: true, name: name.to_owned() };
        Sequence(AdvisorySequence { key, sequences })
    }

    /// Takes the next number. One that was given to nobody, because this failed after it was
    /// executed, is left out.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoRoom`] if there are too many sequences or no
    /// more numbers, with [`Error::NameTooLong`], and with the errors of [`Replicated::submit`].
    pub fn next(&self) -> Pending<u64> {
        self.0.next()
    }

    /// Takes this many consecutive numbers.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`next`](Sequence::next) does.
    pub fn next_block(&self, count: u64) -> Pending<Range<u64>> {
        self.0.next_block(count)
    }
}

/// The next number of each sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sequences(BTreeMap<Key, u64>);

/// Which sequence. One of voters and an advisory one of its name are different ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    is_unique: bool,
    name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Takes so many numbers.
    Take(Key, u64),
    Remove(Key),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Taken(Range<u64>),
    /// There are too many sequences, or no more numbers.
    Full,
    /// And whether there was a sequence.
    Removed(bool),
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.SequenceStep";
    type Codec = Postcard;
}

impl Message for Outcome {
    const NAME: &'static str = "spread.groups.SequenceOutcome";
    type Codec = Postcard;
}

impl Sequences {
    fn take(&mut self, key: Key, count: u64) -> Outcome {
        let known = self.0.get(&key).copied();
        if known.is_none() && (self.0.len() >= MAX_SEQUENCES || key.name.len() > MAX_NAME) {
            return Outcome::Full;
        }
        let start = known.unwrap_or(1);
        let Some(end) = start.checked_add(count) else {
            return Outcome::Full;
        };
        self.0.insert(key, end);
        Outcome::Taken(start..end)
    }
}

impl StateMachine for Sequences {
    const NAME: &'static str = "spread.groups.Sequences";
    type Op = Step;
    type Out = Outcome;

    fn apply(&mut self, _: At, step: Step) -> Outcome {
        match step {
            Step::Take(key, count) => self.take(key, count),
            Step::Remove(key) => Outcome::Removed(self.0.remove(&key).is_some()),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Sequences, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Place;

    fn take(sequences: &mut Sequences, name: &str, count: u64) -> Option<Range<u64>> {
        match sequences.apply(at(), Step::Take(key(name), count)) {
            Outcome::Taken(block) => Some(block),
            _ => None,
        }
    }

    fn key(name: &str) -> Key {
        Key { is_unique: true, name: name.into() }
    }

    fn at() -> At {
        At { place: Place::default(), epoch: 1, time: 0, session: 1 }
    }

    #[test]
    fn a_sequence_that_was_removed_makes_room_and_begins_anew() {
        let mut sequences = Sequences::default();
        for number in 0..MAX_SEQUENCES {
            assert_eq!(take(&mut sequences, &number.to_string(), 1), Some(1..2));
        }
        assert_eq!(take(&mut sequences, "more", 1), None);
        let mut remove = |name: &str| sequences.apply(at(), Step::Remove(key(name)));
        assert_eq!((remove("0"), remove("0")), (Outcome::Removed(true), Outcome::Removed(false)));
        assert_eq!(take(&mut sequences, "more", 3), Some(1..4));
        sequences.apply(at(), Step::Remove(key("more")));
        assert_eq!(take(&mut sequences, "more", 1), Some(1..2));
    }

    #[test]
    fn an_advisory_sequence_is_another_one_than_that_of_voters() {
        let mut sequences = Sequences::default();
        assert_eq!(take(&mut sequences, "a", 5), Some(1..6));
        let advisory = Key { is_unique: false, name: "a".into() };
        let first = sequences.apply(at(), Step::Take(advisory.clone(), 1));
        assert_eq!(first, Outcome::Taken(1..2));
        assert_eq!(sequences.apply(at(), Step::Remove(advisory)), Outcome::Removed(true));
        assert_eq!(take(&mut sequences, "a", 1), Some(6..7));
    }

    #[test]
    fn numbers_and_blocks_follow_on_each_other_in_each_sequence() {
        let mut sequences = Sequences::default();
        assert_eq!(take(&mut sequences, "a", 1), Some(1..2));
        assert_eq!(take(&mut sequences, "a", 10), Some(2..12));
        assert_eq!(take(&mut sequences, "b", 1), Some(1..2));
        let mut copy = Sequences::restore(&sequences.snapshot()).unwrap();
        assert_eq!(take(&mut copy, "a", 0), Some(12..12));
        assert_eq!(take(&mut copy, "a", 1), Some(12..13));
    }

    #[test]
    fn what_is_beyond_the_numbers_is_refused_and_nothing_is_taken() {
        let mut sequences = Sequences::default();
        assert_eq!(take(&mut sequences, "a", u64::MAX), None);
        assert_eq!(take(&mut sequences, "a", u64::MAX - 1), Some(1..u64::MAX));
        assert_eq!(take(&mut sequences, "a", 1), None);
        assert_eq!(take(&mut sequences, &"x".repeat(MAX_NAME + 1), 1), None);
    }
}
