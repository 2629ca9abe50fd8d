//! Numbers of messages that were seen, the last so many of them.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use foldhash::fast::RandomState;

/// The last numbers that were inserted.
#[derive(Clone, Debug)]
pub(crate) struct Recent<N = u64> {
    limit: usize,
    numbers: HashSet<N, RandomState>,
    /// The oldest first.
    order: VecDeque<N>,
}

impl<N: Copy + Eq + Hash> Recent<N> {
    /// Returns a memory of so many numbers.
    pub(crate) fn new(limit: usize) -> Recent<N> {
        Recent { limit, numbers: HashSet::default(), order: VecDeque::new() }
    }

    /// Remembers a number; returns whether it is new.
    pub(crate) fn insert(&mut self, number: N) -> bool {
        if !self.numbers.insert(number) {
            return false;
        }
        self.order.push_back(number);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.numbers.remove(&oldest);
        }
        true
    }

    /// Returns whether a number is remembered.
    pub(crate) fn contains(&self, number: &N) -> bool {
        self.numbers.contains(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_numbers_are_remembered_and_no_more() {
        let mut recent = Recent::new(2);
        assert!(!recent.contains(&1u64));
        assert!(recent.insert(1) && recent.contains(&1) && recent.insert(2));
        assert!(!recent.insert(1) && !recent.insert(2));
        assert!(recent.insert(3));
        assert!(recent.insert(1), "forgotten");
        assert!(!recent.insert(3));
        assert_eq!((recent.numbers.len(), recent.order.len()), (2, 2));
    }
}
