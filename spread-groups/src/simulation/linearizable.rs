//! Whether a history of calls is linearizable: whether each call can have taken effect at one
//! moment between its begin and its end, so that all answers come of it.
//!
//! It is the search of Wing and Gong, with the memory of Lowe: what is left to be ordered and
//! the state that was come to are looked at once. A call without a known outcome may have
//! taken effect at any later moment, or not at all. Testers of crates (stateright's, say)
//! take one call of a thread at a time, and none of these.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;

/// What calls are made of.
pub(crate) trait Model: Clone + Eq + Hash + Debug {
    type Op: Debug;
    type Answer: Debug;

    /// Returns the state after an operation that was answered so, or whose answer is not
    /// known; `None` if that cannot have been its answer.
    fn after(&self, op: &Self::Op, answer: Option<&Self::Answer>) -> Option<Self>;
}

/// A call, by moments of one clock.
#[derive(Debug)]
pub(crate) struct Call<M: Model> {
    pub(crate) op: M::Op,
    pub(crate) began: u64,
    /// When it ended, and how; `None` if its outcome is not known.
    pub(crate) ended: Option<(u64, M::Answer)>,
}

/// Calls that a history may have.
pub(crate) const MAX_CALLS: usize = 128;

/// Returns whether a history of at most [`MAX_CALLS`] calls is linearizable.
pub(crate) fn is_linearizable<M: Model>(initial: M, calls: &[Call<M>]) -> bool {
    assert!(calls.len() <= MAX_CALLS, "a history of {} calls", calls.len());
    let mut known = HashSet::new();
    let mut open = vec![(0u128, initial)];
    while let Some((done, state)) = open.pop() {
        let left = || (0..calls.len()).filter(|call| done >> call & 1 == 0);
        let ends = left().filter_map(|call| calls[call].ended.as_ref().map(|(at, _)| *at));
        let Some(first_end) = ends.min() else {
            return true;
        };
        for call in left().filter(|call| calls[*call].began < first_end) {
            let Call { op, ended, .. } = &calls[call];
            let after = state.after(op, ended.as_ref().map(|(_, answer)| answer));
            let next = after.map(|state| (done | 1 << call, state));
            open.extend(next.filter(|next| known.insert(next.clone())));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: `Ok` writes, `Err` reads.
    impl Model for u8 {
        type Op = Option<u8>;
        type Answer = u8;

        fn after(&self, op: &Option<u8>, answer: Option<&u8>) -> Option<u8> {
            match op {
                Some(value) => Some(*value),
                None => answer.is_none_or(|answer| answer == self).then_some(*self),
            }
        }
    }

    fn call(op: Option<u8>, began: u64, ended: Option<u64>, answer: u8) -> Call<u8> {
        Call { op, began, ended: ended.map(|at| (at, answer)) }
    }

    #[test]
    fn a_read_behind_a_write_sees_it() {
        let write = || call(Some(1), 1, Some(2), 0);
        assert!(is_linearizable(0, &[write(), call(None, 3, Some(4), 1)]));
        assert!(!is_linearizable(0, &[write(), call(None, 3, Some(4), 0)]));
    }

    #[test]
    fn a_read_beside_a_write_sees_it_or_not_but_a_later_one_does_not_go_back() {
        let write = || call(Some(1), 1, Some(9), 0);
        let (old, new) = (call(None, 2, Some(3), 0), call(None, 4, Some(5), 1));
        assert!(is_linearizable(0, &[write(), old, new]));
        let (new, old) = (call(None, 2, Some(3), 1), call(None, 4, Some(5), 0));
        assert!(!is_linearizable(0, &[write(), new, old]));
    }

    #[test]
    fn what_nobody_knows_the_end_of_may_happen_late_or_never() {
        let write = || call(Some(1), 1, None, 0);
        let read = |at, value| call(None, at, Some(at + 1), value);
        assert!(is_linearizable(0, &[write(), read(3, 0)]));
        assert!(is_linearizable(0, &[write(), read(3, 0), read(5, 1)]));
        assert!(!is_linearizable(0, &[write(), read(3, 1), read(5, 0)]));
        assert!(!is_linearizable(0, &[read(3, 1), call(Some(1), 9, None, 0)]), "not before");
    }
}
