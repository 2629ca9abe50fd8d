//! What is right for the mutex and the sequence of a group with voters.

use std::ops::Range;

use spread_groups::Fence;

use super::checker::{Call, Model};

/// A mutex: the fence of its last holder.
///
/// A holder may be gone at any time, since its member departs where its connection is lost. So
/// the next grant needs no release; but the former holder holds it no more then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holder(Option<Fence>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// It is granted, with this fence.
    Grant,
    /// The holder with this fence has it still, as a confirmed read says.
    Holds,
}

impl Model for Holder {
    type Op = Held;
    type Answer = Fence;

    fn after(&self, op: &Held, answer: Option<&Fence>) -> Option<Holder> {
        let Some(fence) = answer.copied() else {
            // Nobody knows its fence.
            return Some(self.clone());
        };
        let Holder(last) = *self;
        let may = match op {
            Held::Grant => last < Some(fence),
            Held::Holds => last == Some(fence),
        };
        may.then_some(Holder(Some(fence)))
    }
}

/// A sequence: its next number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Next(pub(super) u64);

impl Model for Next {
    /// How many numbers are taken.
    type Op = u64;
    type Answer = Range<u64>;

    fn after(&self, count: &u64, answer: Option<&Range<u64>>) -> Option<Next> {
        let taken = self.0..self.0 + count;
        answer.is_none_or(|answer| *answer == taken).then_some(Next(taken.end))
    }
}

/// Calls of a mutex and a sequence.
#[derive(Debug, Default)]
pub(super) struct Shipped {
    pub(super) held: Vec<Call<Holder>>,
    pub(super) taken: Vec<Call<Next>>,
}

mod tests {
    use super::super::checker::is_linearizable;
    use super::*;

    fn fence(epoch: u64, index: u64) -> Fence {
        Fence::from_bytes((u128::from(epoch) << 64 | u128::from(index)).to_be_bytes())
    }

    /// Returns whether calls are right that came one after the other.
    fn is_right<M: Model>(initial: M, calls: impl IntoIterator<Item = (M::Op, M::Answer)>) -> bool {
        let calls = calls.into_iter().zip((0..).step_by(2));
        let calls =
            calls.map(|((op, said), began)| Call { op, began, ended: Some((began + 1, said)) });
        is_linearizable(initial, &calls.collect::<Vec<Call<M>>>())
    }

    fn grant(epoch: u64, index: u64) -> (Held, Fence) {
        (Held::Grant, fence(epoch, index))
    }

    fn holds(epoch: u64, index: u64) -> (Held, Fence) {
        (Held::Holds, fence(epoch, index))
    }

    #[test]
    fn a_fence_that_is_given_twice_or_goes_back_is_refused() {
        let is_right = |calls: &[_]| is_right(Holder::default(), calls.iter().copied());
        assert!(is_right(&[grant(1, 3), grant(1, 4), grant(2, 1)]));
        assert!(!is_right(&[grant(1, 3), grant(1, 3)]));
        assert!(!is_right(&[grant(1, 3), grant(1, 2)]));
        assert!(!is_right(&[grant(2, 1), grant(1, 9)]), "the epoch counts first");
    }

    #[test]
    fn two_holders_at_one_time_are_refused() {
        let is_right = |calls: &[_]| is_right(Holder::default(), calls.iter().copied());
        assert!(is_right(&[grant(1, 3), holds(1, 3), grant(1, 4), holds(1, 4)]));
        assert!(!is_right(&[grant(1, 3), grant(1, 4), holds(1, 3)]));
        let call = |op, began, at, of| Call { op, began, ended: Some((at, of)) };
        let beside = |first_ends| {
            let (former, next) = (fence(1, 3), fence(1, 4));
            [
                call(Held::Grant, 0, 1, former),
                call(Held::Grant, 2, 9, next),
                call(Held::Holds, 3, first_ends, former),
                call(Held::Holds, 5, 6, next),
            ]
        };
        assert!(is_linearizable(Holder::default(), &beside(4)));
        let mut late = beside(8);
        late[2].began = 7;
        assert!(!is_linearizable(Holder::default(), &late), "the next one has had it before");
    }

    #[test]
    fn a_number_that_is_given_twice_or_skipped_is_refused() {
        assert!(is_right(Next(1), [(1, 1..2), (3, 2..5), (1, 5..6)]));
        assert!(!is_right(Next(1), [(1, 1..2), (1, 1..2)]));
        assert!(!is_right(Next(1), [(3, 1..4), (3, 3..6)]), "they overlap");
        assert!(!is_right(Next(1), [(1, 1..2), (1, 3..4)]), "nobody has the second");
        assert!(!is_right(Next(1), [(1, 2..3), (1, 1..2)]), "not in this order");
    }

    #[test]
    fn a_number_of_which_nobody_knows_may_be_left_out() {
        let taken =
            |first: u64, began| Call { op: 1, began, ended: Some((began + 1, first..first + 1)) };
        let unknown = || Call { op: 2, began: 0, ended: None };
        let is_right = |calls: &[Call<Next>]| is_linearizable(Next(1), calls);
        assert!(is_right(&[unknown(), taken(1, 1), taken(4, 3)]));
        assert!(is_right(&[unknown(), taken(3, 1)]) && is_right(&[unknown(), taken(1, 1)]));
        assert!(!is_right(&[unknown(), taken(1, 1), taken(3, 3)]), "two are left out, or none");
        assert!(!is_right(&[unknown(), taken(3, 1), taken(1, 3)]));
    }
}
