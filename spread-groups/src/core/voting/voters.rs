//! Who votes: names, and which incarnation of each counts.
//!
//! The voters are replicated state. Configuration founds them; afterwards only operations of
//! the log change them. A change counts from its place in the log on, together with what was
//! before it: until it is committed, a majority of the voters before it is needed and a
//! majority of those after it. So any two decisions have a voter in common that has taken
//! part in both, whatever the change is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use prost::Message as _;

use crate::core::history::{mix, mix_bytes};
use crate::core::roster::{Incarnation, incarnation, incarnation_bytes};
use crate::core::{proto, replica, sessions};

/// The channel of operations that change the voters, or confirm that all before is committed.
pub(crate) const CHANNEL: u32 = 1;
/// Voters that a group has at most.
pub(crate) const MAX_VOTERS: usize = 64;
/// Bytes of the name of a voter.
pub(crate) const MAX_NAME: usize = 64;

/// What a node was configured with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    /// The voters that are to found the group, with their weights.
    pub(crate) voters: BTreeMap<String, u32>,
    /// Which of them this node is.
    pub(crate) own: Option<String>,
}

impl Configured {
    /// Returns a digest of the voters.
    pub(crate) fn hash(&self) -> u64 {
        let voters = self.voters.iter();
        voters.fold(1, |hash, (name, weight)| {
            mix(mix_bytes(hash, name.as_bytes()), u64::from(*weight))
        })
    }
}

/// A voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    /// The only one that counts, whoever else goes by the name.
    pub(crate) incarnation: Incarnation,
    pub(crate) weight: u32,
}

impl Voter {
    fn to_proto(self, name: &str) -> proto::Voter {
        let Voter { incarnation, weight } = self;
        proto::Voter { name: name.to_owned(), incarnation: incarnation_bytes(incarnation), weight }
    }
}

/// The voters at a place of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Voters {
    /// Counts the changes.
    pub(crate) version: u64,
    by_name: BTreeMap<String, Voter>,
}

/// A voter that is to be set, if the voters are of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VoterChange {
    pub(crate) version: u64,
    pub(crate) name: String,
    /// With a weight of 0 it is removed.
    pub(crate) voter: Voter,
}

impl Voters {
    pub(crate) fn new(by_name: BTreeMap<String, Voter>, version: u64) -> Voters {
        Voters { version, by_name }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Voter)> {
        self.by_name.iter().map(|(name, voter)| (name.as_str(), *voter))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Voter> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn has(&self, incarnation: Incarnation) -> bool {
        self.by_name.values().any(|voter| voter.incarnation == incarnation)
    }

    /// Returns the voters that others set or remove, the latter with a weight of 0.
    fn differing(&self, others: &Voters) -> Vec<proto::Voter> {
        let set = others.by_name.iter().filter(|(name, voter)| self.get(name) != Some(**voter));
        let removed = self.iter().filter(|(name, _)| others.get(name).is_none());
        let removed = removed.map(|(name, voter)| (name, Voter { weight: 0, ..voter }));
        let set = set.map(|(name, voter)| (name.as_str(), *voter));
        set.chain(removed).map(|(name, voter)| voter.to_proto(name)).collect()
    }

    /// Returns whether these are more than half of the voters, by weight.
    pub(crate) fn is_majority(&self, is_there: impl Fn(Incarnation) -> bool) -> bool {
        let there = self.by_name.values().filter(|voter| is_there(voter.incarnation));
        weight(there) * 2 > weight(self.by_name.values())
    }

    /// Returns the highest index that a majority has, by the index that each voter has.
    pub(crate) fn majority_index(&self, index_of: impl Fn(Incarnation) -> u64) -> u64 {
        let indices: BTreeSet<u64> =
            self.by_name.values().map(|voter| index_of(voter.incarnation)).collect();
        let has = |index: &u64| self.is_majority(|voter| index_of(voter) >= *index);
        indices.into_iter().rev().find(has).unwrap_or_default()
    }

    /// Returns the voters after a change; `None` if it is not for these voters, or would
    /// leave none.
    pub(crate) fn changed(&self, change: &VoterChange) -> Option<Voters> {
        let VoterChange { version, name, voter } = change;
        let mut by_name = self.by_name.clone();
        if voter.weight == 0 {
            by_name.remove(name)?;
        } else {
            by_name.insert(name.clone(), *voter);
        }
        let known: BTreeSet<Incarnation> = by_name.values().map(|v| v.incarnation).collect();
        let valid = *version == self.version && is_legal(name) && known.len() == by_name.len();
        let valid = valid && !by_name.is_empty() && by_name.len() <= MAX_VOTERS;
        valid.then_some(Voters { version: self.version + 1, by_name })
    }
}

fn weight<'a>(voters: impl Iterator<Item = &'a Voter>) -> u64 {
    voters.map(|voter| u64::from(voter.weight)).sum()
}

pub(crate) fn is_legal(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
}

/// The voters of the last committed change, and those of each later change of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain(VecDeque<(u64, Voters)>);

impl Chain {
    pub(crate) fn new(voters: Voters) -> Chain {
        Chain(VecDeque::from([(0, voters)]))
    }

    /// Returns the voters after all that is logged.
    pub(crate) fn last(&self) -> Option<&Voters> {
        self.0.back().map(|(_, voters)| voters)
    }

    /// Returns the voters after all that is known to be committed.
    pub(crate) fn first(&self) -> Option<&Voters> {
        self.0.front().map(|(_, voters)| voters)
    }

    /// Returns the voters by whatever change may be committed.
    pub(crate) fn all(&self) -> BTreeSet<(&str, Incarnation)> {
        let voters = self.0.iter().flat_map(|(_, voters)| voters.iter());
        voters.map(|(name, voter)| (name, voter.incarnation)).collect()
    }

    pub(crate) fn has(&self, incarnation: Incarnation) -> bool {
        self.0.iter().any(|(_, voters)| voters.has(incarnation))
    }

    /// Returns whether these are a majority of the voters by whatever change may be committed.
    pub(crate) fn is_majority(&self, is_there: impl Fn(Incarnation) -> bool) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, voters)| voters.is_majority(&is_there))
    }

    /// Takes the payload of an operation at its index of the log; returns whether the voters
    /// change. They do not while another change is not committed, so that a Form has no more than
    /// one; nor if the new voter is not there, or no majority of them would be.
    pub(crate) fn log(
        &mut self,
        index: u64,
        payload: &Bytes,
        is_there: impl Fn(Incarnation) -> bool,
    ) -> bool {
        let change = VoterChange::decode(payload);
        let voters = change.and_then(|change| {
            let before = self.last().filter(|_| self.0.len() == 1)?;
            let VoterChange { voter, .. } = &change;
            let is_known = voter.weight == 0 || before.has(voter.incarnation);
            before.changed(&change).filter(|_| is_known || is_there(voter.incarnation))
        });
        let voters = voters.filter(|voters| voters.is_majority(is_there));
        let changes = voters.is_some();
        self.0.extend(voters.map(|voters| (index, voters)));
        changes
    }

    /// Returns the highest index that is committed, by the index that each voter has
    /// acknowledged.
    pub(crate) fn committed(&self, acknowledged: impl Fn(Incarnation) -> u64) -> u64 {
        let mut indices = self.0.iter();
        let Some((_, voters)) = indices.next() else {
            return 0;
        };
        let first = voters.majority_index(&acknowledged);
        indices.fold(first, |committed, (since, voters)| {
            if committed < *since {
                return committed;
            }
            committed.min(voters.majority_index(&acknowledged).max(since - 1))
        })
    }

    /// Takes note that the log is committed up to an index; returns whether voters before a change
    /// are not needed any more.
    pub(crate) fn commit(&mut self, index: u64) -> bool {
        let before = self.0.len();
        while self.0.get(1).is_some_and(|(since, _)| *since <= index) {
            self.0.pop_front();
        }
        self.0.len() < before
    }

    pub(crate) fn to_proto(&self) -> Vec<proto::Voters> {
        let none = Voters::default();
        let before = std::iter::once(&none).chain(self.0.iter().map(|(_, voters)| voters));
        let all = |(before, (since, voters)): (&Voters, &(u64, Voters))| proto::Voters {
            since: *since,
            version: voters.version,
            voters: before.differing(voters),
        };
        before.zip(&self.0).map(all).collect()
    }

    /// Reads a chain; `None` if it is not one.
    pub(crate) fn from_proto(chain: Vec<proto::Voters>) -> Option<Chain> {
        let mut by_name = BTreeMap::new();
        let all = |proto::Voters { since, version, voters }| {
            for voter in voters {
                let proto::Voter { name, incarnation: bytes, weight } = voter;
                let voter = Voter { incarnation: incarnation(&bytes)?, weight };
                if weight == 0 {
                    by_name.remove(&name)?;
                } else if is_legal(&name) {
                    by_name.insert(name, voter);
                } else {
                    return None;
                }
            }
            Some((since, Voters { version, by_name: by_name.clone() }))
        };
        let chain: VecDeque<(u64, Voters)> = chain.into_iter().map(all).collect::<Option<_>>()?;
        // Changes are operations of the log, each at an index of its own.
        let ordered = chain.iter().zip(chain.iter().skip(1)).all(|(one, next)| one.0 < next.0);
        ordered.then_some(Chain(chain))
    }
}

impl VoterChange {
    pub(crate) fn encode(&self) -> Bytes {
        let voter = Some(self.voter.to_proto(&self.name));
        let change = proto::VoterChange { version: self.version, voter };
        change.encode_to_vec().into()
    }

    fn decode(payload: &Bytes) -> Option<VoterChange> {
        let proto::VoterChange { version, voter } =
            proto::VoterChange::decode(&payload[..]).ok()?;
        let proto::Voter { name, incarnation: bytes, weight } = voter?;
        let voter = Voter { incarnation: incarnation(&bytes)?, weight };
        Some(VoterChange { version, name, voter })
    }
}

/// The machine of [`CHANNEL`]: it answers with what the operation came to in the log.
#[derive(Debug)]
pub(crate) struct Verdicts;

impl replica::Machine for Verdicts {
    fn apply(&mut self, _: replica::At, verdict: &[u8]) -> sessions::Answer {
        sessions::Answer::Done(Bytes::copy_from_slice(verdict))
    }

    fn capture(&self) -> replica::Encode {
        Box::new(Bytes::new)
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), replica::BadState> {
        if state.is_empty() { Ok(()) } else { Err(replica::BadState) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u8) -> Incarnation {
        Incarnation([number; 16])
    }

    fn voters(weights: &[(u8, u32)]) -> Voters {
        let voter = |&(number, weight): &(u8, u32)| {
            (number.to_string(), Voter { incarnation: node(number), weight })
        };
        Voters::new(weights.iter().map(voter).collect(), 1)
    }

    fn change(version: u64, name: u8, number: u8, weight: u32) -> VoterChange {
        let voter = Voter { incarnation: node(number), weight };
        VoterChange { version, name: name.to_string(), voter }
    }

    fn log(chain: &mut Chain, index: u64, change: &VoterChange) -> bool {
        chain.log(index, &change.encode(), |_| true)
    }

    fn of(chain: &Chain, there: &[u8]) -> bool {
        chain.is_majority(|voter| there.contains(&voter.0[0]))
    }

    #[test]
    fn more_than_half_of_the_weight_is_a_majority() {
        let even = Chain::new(voters(&[(1, 1), (2, 1), (3, 1), (4, 1)]));
        assert!(!of(&even, &[1, 2]) && of(&even, &[1, 2, 3]));
        let heavy = Chain::new(voters(&[(1, 3), (2, 1), (3, 1)]));
        assert!(of(&heavy, &[1]) && !of(&heavy, &[2, 3]));
        assert!(!of(&Chain::default(), &[1]));
    }

    #[test]
    fn another_incarnation_of_a_voter_does_not_count_until_it_takes_its_place() {
        let mut chain = Chain::new(voters(&[(1, 1), (2, 1), (3, 1)]));
        assert!(!of(&chain, &[1, 22]));
        assert!(log(&mut chain, 7, &change(1, 2, 22, 1)));
        assert!(!of(&chain, &[1, 22]) && !of(&chain, &[1, 2]) && of(&chain, &[1, 3, 22]));
        chain.commit(6);
        assert!(!of(&chain, &[1, 22]));
        chain.commit(7);
        assert!(of(&chain, &[1, 22]) && !of(&chain, &[1, 2]));
    }

    #[test]
    fn a_change_is_of_a_version_and_leaves_a_voter() {
        let mut chain = Chain::new(voters(&[(1, 1)]));
        assert!(!log(&mut chain, 1, &change(0, 2, 2, 1)), "it is for other voters");
        assert!(!log(&mut chain, 1, &change(1, 1, 1, 0)), "nobody would be left");
        assert!(!log(&mut chain, 1, &change(1, 2, 1, 1)), "one node is one voter");
        assert!(!chain.log(1, &Bytes::from_static(b"\xff"), |_| true));
        assert!(!chain.log(1, &Bytes::new(), |_| true));
        assert!(log(&mut chain, 1, &change(1, 2, 2, 1)));
        assert!(!log(&mut chain, 2, &change(1, 3, 3, 1)), "another one was first");
        assert!(!log(&mut chain, 2, &change(2, 3, 3, 1)), "the other one is not committed");
        chain.commit(1);
        assert!(log(&mut chain, 2, &change(2, 3, 3, 1)));
    }

    #[test]
    fn a_change_that_leaves_no_majority_here_is_refused() {
        let mut chain = Chain::new(voters(&[(1, 1), (2, 1), (3, 1)]));
        let here = |voter: Incarnation| voter.0[0] <= 2;
        assert!(!chain.log(1, &change(1, 2, 9, 1).encode(), here), "nobody is that incarnation");
        let three = |voter: Incarnation| voter.0[0] <= 3;
        assert!(
            !chain.log(1, &change(1, 4, 9, 1).encode(), three),
            "though three of four are there"
        );
        assert!(!chain.log(1, &change(1, 4, 4, 2).encode(), here), "they would be two of five");
        assert!(!chain.log(1, &change(1, 2, 2, 0).encode(), here), "the third one is away");
        assert_eq!(chain, Chain::new(voters(&[(1, 1), (2, 1), (3, 1)])));
        assert!(chain.log(1, &change(1, 3, 3, 0).encode(), here));
    }

    #[test]
    fn a_change_is_committed_by_the_voters_before_it_and_those_after_it() {
        let mut chain = Chain::new(voters(&[(1, 1), (2, 1), (3, 1)]));
        log(&mut chain, 5, &change(1, 2, 22, 1));
        let committed = |chain: &Chain, indices: [u64; 4]| {
            let of = |voter: Incarnation| match voter.0[0] {
                22 => indices[3],
                number => indices[usize::from(number) - 1],
            };
            chain.committed(of)
        };
        assert_eq!(committed(&chain, [9, 9, 0, 0]), 4);
        assert_eq!(committed(&chain, [9, 9, 0, 6]), 6);
        assert_eq!(committed(&chain, [9, 0, 0, 9]), 0);
        chain.commit(5);
        assert_eq!(committed(&chain, [9, 0, 0, 9]), 9);
    }

    #[test]
    fn a_chain_reads_as_it_was_written_and_nothing_else_is_one() {
        let first = Chain::new(voters(&[(1, 1), (2, 2)]));
        for (name, number, weight) in [(3, 3, 1), (2, 2, 0), (2, 9, 2), (1, 1, 7), (1, 1, 1)] {
            let mut chain = first.clone();
            assert!(log(&mut chain, 3, &change(1, name, number, weight)));
            assert_eq!(Chain::from_proto(chain.to_proto()), Some(chain.clone()));
        }
        let mut chain = first;
        log(&mut chain, 3, &change(1, 3, 3, 1));
        let mut again = chain.to_proto();
        again.extend(chain.to_proto());
        assert_eq!(Chain::from_proto(again), None);
        let mut nameless = chain.to_proto();
        nameless[0].voters[0].name.clear();
        assert_eq!(Chain::from_proto(nameless), None);
        let mut unknown = chain.to_proto();
        unknown[1].voters[0].weight = 0;
        assert_eq!(Chain::from_proto(unknown), None, "a voter is removed that is not one");
    }

    proptest! {
        /// Whoever decides by the chain and whoever decides without the last change, or by
        /// it alone once it is committed, have a voter in common.
        #[test]
        fn decisions_before_and_after_a_change_have_a_voter_in_common(
            weights in prop::collection::vec(1u32..4, 1..5),
            (name, weight) in (0u8..5, 0u32..4),
            (one, other) in (any::<u8>(), any::<u8>()),
        ) {
            let before: Vec<(u8, u32)> = (0..).zip(weights).collect();
            let old = Chain::new(voters(&before));
            let mut joint = old.clone();
            log(&mut joint, 1, &change(1, name, name + 10 * u8::from(weight > 1), weight));
            let mut new = joint.clone();
            new.commit(1);
            let is = |chain: &Chain, set: u8| {
                chain.is_majority(|voter| set >> (voter.0[0] % 10 + voter.0[0] / 10 * 3) & 1 != 0)
            };
            if is(&joint, one) && (is(&old, other) || is(&new, other)) {
                prop_assert!(one & other != 0);
            }
        }
    }
}
