//! Places in the history of a group, and how two histories are related.
//!
//! Every [Form](super::exchange) begins a branch. On one branch all members count the same
//! entries in the same order, so of two places on it the lower one is a prefix of the
//! other. Members that part go on by different branches; where these came off the same one
//! tells what they have in common.

use std::collections::VecDeque;

use super::proto;

/// Branches that a history remembers. To one that has forgotten the common branch, nothing is in
/// common: more is rewound than need be. Nothing is applied twice, as long as the sessions live that
/// have answered it.
const LINEAGE: usize = 32;

/// A place in the history of a group: after so many entries, by a branch. See
/// [the words](crate#words).
///
/// Members at equal places have the same state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Identifies the Form that began the branch; 0 before the first one.
    pub branch: u64,
    /// Entries since the group began, by any branch.
    pub index: u64,
}

/// Where a log is, and by which branches it came there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    place: Place,
    /// Of all entries.
    digest: u64,
    epoch: u64,
    /// The branches, each with the index at which it began; the last is the current one.
    lineage: VecDeque<Place>,
    /// The first branch of all; 0 before it.
    founded: u64,
    /// The number of the last forced Form; 0 before it.
    forced: u64,
}

impl History {
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Returns the numbers of the last forced Form and of the last Form, and how many entries there
    /// are: of two logs of a group with voters, the one with the greater label has all that is
    /// committed in either, up to a forced Form that the other one does not have.
    pub(crate) fn label(&self) -> (u64, u64, u64) {
        (self.forced, self.epoch, self.place.index)
    }

    /// Returns the index at which the branch began.
    pub(crate) fn began(&self) -> u64 {
        self.lineage.back().map_or(0, |began| began.index)
    }

    /// Returns the number of the last Form.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns which founding of a group it goes back to. Histories of different ones have nothing
    /// in common.
    pub(crate) fn founded(&self) -> u64 {
        self.founded
    }

    /// Begins a branch with a forced Form.
    pub(crate) fn force(&mut self, branch: u64, epoch: u64) {
        self.begin(branch, epoch);
        self.forced = epoch;
    }

    /// Returns the number of the last forced Form; 0 before it. What was committed before may be
    /// missing in this history.
    pub(crate) fn forced(&self) -> u64 {
        self.forced
    }

    /// Returns whether this log may have something that is committed and not in `other`, by their
    /// labels. Logs of different foundings are not compared.
    pub(crate) fn is_beyond(&self, other: &History) -> bool {
        self.founded == other.founded && self.label() > other.label()
    }

    /// Counts an entry.
    pub(crate) fn count(&mut self, entry: u64) -> Place {
        self.place.index += 1;
        self.digest = mix(self.digest, entry);
        self.place
    }

    /// Begins a branch.
    pub(crate) fn begin(&mut self, branch: u64, epoch: u64) {
        if self.place.branch == 0 {
            self.founded = branch;
        }
        self.place.branch = branch;
        self.digest = mix(self.digest, branch);
        self.epoch = epoch;
        self.lineage.push_back(self.place);
        if self.lineage.len() > LINEAGE {
            self.lineage.pop_front();
        }
    }

    /// Sets the number of the last Form.
    #[cfg(test)]
    pub(crate) fn renumber(&mut self, epoch: u64) {
        self.epoch = epoch;
    }

    /// Returns whether this is `other` or a prefix of it.
    pub(crate) fn is_prefix_of(&self, other: &History) -> bool {
        if self.place == other.place {
            return self.digest == other.digest;
        }
        other.end_of(self.place.branch).is_some_and(|end| self.place.index <= end)
    }

    /// Returns how many entries the two histories have in common.
    pub(crate) fn common(&self, other: &History) -> u64 {
        let branches = self.lineage.iter().rev();
        let mut ends = branches.filter_map(|of| Some((of.branch, other.end_of(of.branch)?)));
        let Some((branch, end)) = ends.next() else {
            return 0;
        };
        self.end_of(branch).map_or(0, |own| own.min(end))
    }

    /// Returns the index at which this history went off a branch, or is on it.
    fn end_of(&self, branch: u64) -> Option<u64> {
        let at = self.lineage.iter().rposition(|began| began.branch == branch)?;
        Some(self.lineage.get(at + 1).map_or(self.place.index, |next| next.index))
    }

    pub(crate) fn to_proto(&self) -> proto::History {
        proto::History {
            place: Some(self.place.into()),
            digest: self.digest,
            epoch: self.epoch,
            lineage: self.lineage.iter().map(|place| (*place).into()).collect(),
            founded: self.founded,
            forced: self.forced,
        }
    }
}

impl From<proto::History> for History {
    fn from(history: proto::History) -> History {
        let lineage = history.lineage.into_iter().map(Place::from);
        History {
            place: history.place.unwrap_or_default().into(),
            digest: history.digest,
            epoch: history.epoch,
            lineage: lineage.take(LINEAGE).collect(),
            founded: history.founded,
            forced: history.forced,
        }
    }
}

impl From<Place> for proto::Place {
    fn from(Place { branch, index }: Place) -> proto::Place {
        proto::Place { branch, index }
    }
}

impl From<proto::Place> for Place {
    fn from(proto::Place { branch, index }: proto::Place) -> Place {
        Place { branch, index }
    }
}

/// Adds a word to a digest (the finalizer of SplitMix64): the same on every machine and
/// in every version of this crate, which the hashers of the standard library are not.
pub(crate) fn mix(digest: u64, word: u64) -> u64 {
    let mut z = (digest ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).wrapping_add(digest.rotate_left(23))
}

/// Adds bytes to a digest.
pub(crate) fn mix_bytes(digest: u64, bytes: &[u8]) -> u64 {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(mix(digest, bytes.len() as u64), mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(from: &History, branch: u64, entries: u64) -> History {
        let mut history = from.clone();
        history.begin(branch, history.epoch() + 1);
        (0..entries).for_each(|entry| {
            history.count(entry);
        });
        history
    }

    #[test]
    fn a_lower_place_on_a_branch_is_a_prefix_of_all_that_follows() {
        let (low, high) = (after(&History::default(), 1, 3), after(&History::default(), 1, 5));
        let later = after(&high, 2, 4);
        assert!(low.is_prefix_of(&low) && low.is_prefix_of(&high) && low.is_prefix_of(&later));
        assert!(!high.is_prefix_of(&low) && !later.is_prefix_of(&high));
        assert_eq!((low.common(&later), later.common(&low)), (3, 3));
    }

    #[test]
    fn branches_that_came_off_one_have_in_common_what_both_counted_of_it() {
        let (low, high) = (after(&History::default(), 1, 3), after(&History::default(), 1, 5));
        let (one, other) = (after(&low, 2, 9), after(&high, 3, 9));
        assert!(!one.is_prefix_of(&other) && !other.is_prefix_of(&one));
        assert!(!high.is_prefix_of(&one), "what it counted beyond 3 is not in the other");
        assert_eq!((one.common(&other), other.common(&one)), (3, 3));
    }

    #[test]
    fn groups_that_began_apart_have_nothing_in_common() {
        let (one, other) = (after(&History::default(), 1, 3), after(&History::default(), 2, 3));
        assert_eq!(one.common(&other), 0);
        assert!(!one.is_prefix_of(&other));
        assert!(!History::default().is_prefix_of(&one), "no state is no prefix");
    }

    #[test]
    fn a_forgotten_branch_counts_as_nothing_in_common() {
        let first = after(&History::default(), 1, 1);
        let last = (2..60).fold(first.clone(), |history, branch| after(&history, branch, 1));
        assert_eq!(first.common(&last), 0);
        assert!(!first.is_prefix_of(&last));
    }

    #[test]
    fn digests_tell_bytes_apart() {
        assert_ne!(mix_bytes(0, b"a"), mix_bytes(0, b"a\0"));
        assert_ne!(mix_bytes(0, b""), mix_bytes(1, b""));
    }
}
