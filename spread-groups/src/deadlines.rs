//! Deadlines, of which the senior member submits the expiry.
//!
//! Each member measures the time from its own delivery. When it has passed the senior member
//! submits an operation, and the next senior member does if that one departs. The operation has an
//! effect once, at the same place for all, though several members may submit it.

use std::collections::BTreeMap;

/// The deadlines of one machine at one member.
#[derive(Debug)]
pub(crate) struct Deadlines<K> {
    senior: Option<u32>,
    armed: BTreeMap<K, Armed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Armed {
    Runs,
    /// The time has passed, and the senior member `by` has submitted the expiry.
    Over {
        by: Option<u32>,
    },
}

impl<K> Default for Deadlines<K> {
    fn default() -> Deadlines<K> {
        Deadlines { senior: None, armed: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Adds a deadline; returns whether it is new, so that its timer has to be started.
    pub(crate) fn arm(&mut self, key: &K) -> bool {
        let is_new = !self.armed.contains_key(key);
        if is_new {
            self.armed.insert(key.clone(), Armed::Runs);
        }
        is_new
    }

    /// Removes the deadlines that have lost their object.
    pub(crate) fn retain(&mut self, stays: impl Fn(&K) -> bool) {
        self.armed.retain(|key, _| stays(key));
    }

    /// Takes note that a time has passed; returns the session that submits the expiry.
    pub(crate) fn over(&mut self, key: &K) -> Option<u32> {
        let senior = self.senior;
        let armed = self.armed.get_mut(key)?;
        *armed = Armed::Over { by: senior };
        senior
    }

    /// Takes note of the senior member; returns the expiries that it submits at once.
    pub(crate) fn follow(&mut self, senior: Option<u32>) -> Vec<(K, u32)> {
        let former = std::mem::replace(&mut self.senior, senior);
        let Some(session) = senior.filter(|_| senior != former) else {
            return Vec::new();
        };
        let over = |armed: &Armed| matches!(armed, Armed::Over { by } if *by != senior);
        let due = self.armed.iter_mut().filter(|(_, armed)| over(armed));
        let due = due.map(|(key, armed)| {
            *armed = Armed::Over { by: senior };
            (key.clone(), session)
        });
        due.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_senior_member_says_what_is_over_and_then_the_next() {
        let mut deadlines = Deadlines::default();
        assert!(deadlines.follow(Some(1)).is_empty());
        assert!(deadlines.arm(&"a") && deadlines.arm(&"b") && !deadlines.arm(&"b"));
        assert_eq!(deadlines.over(&"a"), Some(1));
        assert_eq!(deadlines.follow(Some(2)), [("a", 2)]);
        assert!(deadlines.follow(Some(2)).is_empty(), "it was told");
        assert_eq!(deadlines.over(&"b"), Some(2));
        deadlines.retain(|_| false);
        assert!(deadlines.follow(Some(3)).is_empty());
        assert_eq!(deadlines.over(&"a"), None);
    }

    #[test]
    fn without_a_senior_member_it_waits_for_one() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(&"a");
        assert_eq!(deadlines.over(&"a"), None);
        assert_eq!(deadlines.follow(Some(1)), [("a", 1)]);
    }
}
