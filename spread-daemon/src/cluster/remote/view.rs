//! What the group communication below tells a daemon of the others: who is there, and
//! in which ring.

use std::collections::BTreeSet;
use std::fmt;

/// A process in the group of the daemons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId {
    /// The host, by its number in the configuration of the group communication.
    pub(crate) node: u32,
    pub(crate) pid: u32,
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on node {}", self.pid, self.node)
    }
}

/// Names a set of hosts that order their messages together. No two sets have the
/// same id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct RingId {
    /// The host that leads it.
    pub(crate) node: u32,
    pub(crate) seq: u64,
}

/// The members of the group in a ring.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    ring: RingId,
    /// In ascending order.
    members: Vec<MemberId>,
    /// Processes that were told, too, and are gone.
    gone: BTreeSet<MemberId>,
}

impl View {
    pub(super) fn set_ring(&mut self, ring: RingId) {
        self.ring = ring;
    }

    pub(super) fn set_members(&mut self, mut members: Vec<MemberId>) {
        members.sort_unstable();
        members.dedup();
        self.members = members;
        self.gone.clear();
    }

    /// Returns whether no other member is on the host of one.
    pub(super) fn is_alone(&self, member: MemberId) -> bool {
        self.members.iter().all(|other| other.node != member.node || *other == member)
    }

    /// Takes the word of a member that is alone on its host: the end of the others there got
    /// lost, as may happen when hosts come together. But who says anything is there, and so
    /// is `me`. Returns whether the view is another now.
    pub(super) fn heard(&mut self, from: MemberId, is_alone: bool, me: MemberId) -> bool {
        let is_back = self.gone.remove(&from);
        if is_back {
            self.members.push(from);
            self.members.sort_unstable();
        }
        if !is_alone || !self.contains(from) {
            return is_back;
        }
        let members = std::mem::take(&mut self.members).into_iter();
        let is_here = |other: &MemberId| other.node != from.node || [from, me].contains(other);
        let (here, gone): (Vec<_>, Vec<_>) = members.partition(is_here);
        self.members = here;
        let is_other = is_back || !gone.is_empty();
        self.gone.extend(gone);
        is_other
    }

    pub(super) fn members(&self) -> &[MemberId] {
        &self.members
    }

    pub(super) fn contains(&self, member: MemberId) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    /// Returns a number that is the same at all who see this view, and at no others.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = Fnv::default();
        hash.write(&self.ring.node.to_le_bytes());
        hash.write(&self.ring.seq.to_le_bytes());
        for member in &self.members {
            hash.write(&member.node.to_le_bytes());
            hash.write(&member.pid.to_le_bytes());
        }
        hash.finish()
    }
}

/// FNV-1a of 64 bits. The hashers of the standard library need not agree between two
/// hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(super) fn finish(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_published_test_vectors() {
        for (text, expected) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            let mut hash = Fnv::default();
            hash.write(text.as_bytes());
            assert_eq!(hash.finish(), expected, "{text}");
        }
    }

    #[test]
    fn who_is_alone_on_its_host_says_that_others_there_are_gone() {
        let member = |node, pid| MemberId { node, pid };
        let (one, old, new, second) = (member(1, 1), member(2, 1), member(2, 2), member(2, 3));
        let mut view = View::default();
        view.set_members(vec![second, new, old, one]);
        let told = view.hash();
        assert!(!view.heard(new, false, one) && !view.heard(one, true, one));
        assert!(!view.heard(member(2, 9), true, one), "it is no member");
        assert_eq!((view.hash(), view.is_alone(new), view.is_alone(one)), (told, false, true));
        assert!(view.heard(new, true, second));
        assert_eq!(view.members(), [one, new, second]);
        view.set_members(vec![second, new, old, one]);
        assert!(view.heard(new, true, one) && !view.heard(new, true, one));
        assert_eq!((view.members(), view.is_alone(new)), (&[one, new][..], true));
        assert!(view.heard(second, false, one));
        assert_eq!(view.members(), [one, new, second]);
    }

    #[test]
    fn a_view_is_the_same_in_whatever_order_its_members_are_told() {
        let member = |node| MemberId { node, pid: 1 };
        let view = |members: &[u32], seq| {
            let mut view = View::default();
            view.set_ring(RingId { node: 1, seq });
            view.set_members(members.iter().map(|node| member(*node)).collect());
            view.hash()
        };
        assert_eq!(view(&[1, 2, 3], 4), view(&[3, 1, 2], 4));
        assert_ne!(view(&[1, 2, 3], 4), view(&[1, 2], 4));
        assert_ne!(view(&[1, 2, 3], 4), view(&[1, 2, 3], 8));
    }
}
