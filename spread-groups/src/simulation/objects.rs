//! A map and a lock, and what is right for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::linearizable::{Call, Model};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Op {
    Put(u8, u64),
    /// Puts a value in the place of another one.
    Swap(u8, u64, u64),
    Get(u8),
    /// By a client, and again if it has the lock.
    Lock(u8),
    Unlock(u8),
    /// Takes the lock from whoever has it.
    Break,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Said {
    Value(u64),
    Is(bool),
    /// The lock is granted, with its fence.
    Granted(u64),
}

/// The state of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Objects {
    keys: BTreeMap<u8, u64>,
    pub(crate) holder: Option<(u8, u64)>,
}

impl Objects {
    /// Returns the value of a key; 0 if it has none.
    pub(crate) fn get(&self, key: u8) -> u64 {
        self.keys.get(&key).copied().unwrap_or_default()
    }

    /// Does an operation that stands at an index of the log.
    pub(crate) fn step(&mut self, index: u64, op: Op) -> Said {
        match op {
            Op::Put(key, value) => {
                self.keys.insert(key, value);
                Said::Is(true)
            }
            Op::Swap(key, old, value) => {
                let is = self.get(key) == old;
                if is {
                    self.keys.insert(key, value);
                }
                Said::Is(is)
            }
            Op::Get(key) => Said::Value(self.get(key)),
            Op::Lock(client) => match self.holder {
                Some((holder, _)) if holder != client => Said::Is(false),
                _ => {
                    self.holder = Some((client, index));
                    Said::Granted(index)
                }
            },
            Op::Unlock(client) => {
                let is = self.holder.is_some_and(|(holder, _)| holder == client);
                self.holder = self.holder.filter(|_| !is);
                Said::Is(is)
            }
            Op::Break => Said::Is(self.holder.take().is_some()),
        }
    }
}

/// One key of the map.
impl Model for u64 {
    type Op = Op;
    type Answer = Said;

    fn after(&self, op: &Op, answer: Option<&Said>) -> Option<u64> {
        let (after, said) = match *op {
            Op::Put(_, value) => (value, Said::Is(true)),
            Op::Swap(_, old, value) if old == *self => (value, Said::Is(true)),
            Op::Swap(..) => (*self, Said::Is(false)),
            _ => (*self, Said::Value(*self)),
        };
        answer.is_none_or(|answer| *answer == said).then_some(after)
    }
}

/// The lock: who has it, and the highest fence so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Lock {
    pub(crate) holder: Option<u8>,
    pub(crate) fence: u64,
}

impl Model for Lock {
    type Op = Op;
    type Answer = Said;

    fn after(&self, op: &Op, answer: Option<&Said>) -> Option<Lock> {
        let Lock { holder, fence } = *self;
        let is = |is: bool| answer.is_none_or(|answer| *answer == Said::Is(is));
        match *op {
            Op::Lock(client) if holder.is_none_or(|holder| holder == client) => {
                let fence = match answer {
                    // Each grant has a fence above all before it.
                    Some(Said::Granted(of)) => (*of > fence).then_some(*of)?,
                    Some(_) => return None,
                    None => fence,
                };
                Some(Lock { holder: Some(client), fence })
            }
            Op::Lock(_) => is(false).then(|| self.clone()),
            Op::Unlock(client) => {
                let has = holder == Some(client);
                is(has).then_some(Lock { holder: holder.filter(|_| !has), fence })
            }
            _ => is(holder.is_some()).then_some(Lock { holder: None, fence }),
        }
    }
}

/// A call of any of the objects; `None` once it is known that it has had no effect.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) op: Op,
    pub(crate) began: u64,
    pub(crate) ended: Option<(u64, Said)>,
}

impl Made {
    fn key(&self) -> Option<u8> {
        match self.op {
            Op::Put(key, _) | Op::Swap(key, ..) | Op::Get(key) => Some(key),
            Op::Lock(_) | Op::Unlock(_) | Op::Break => None,
        }
    }
}

/// Returns the calls of one key, or of the lock.
pub(crate) fn history<M>(calls: &[Made], key: Option<u8>) -> Vec<Call<M>>
where
    M: Model<Op = Op, Answer = Said>,
{
    let of = calls.iter().filter(|call| call.key() == key);
    of.map(|call| Call { op: call.op, began: call.began, ended: call.ended }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::linearizable::is_linearizable;
    use super::*;

    /// Returns whether calls are right that came one after the other.
    fn is_right(calls: &[(Op, Option<Said>)]) -> bool {
        let made = calls.iter().zip((0..).step_by(2));
        let made = made.map(|(&(op, said), began)| Made {
            op,
            began,
            ended: said.map(|said| (began + 1, said)),
        });
        judge(&made.collect::<Vec<_>>())
    }

    fn judge(made: &[Made]) -> bool {
        is_linearizable(0u64, &history(made, Some(0)))
            && is_linearizable(Lock::default(), &history(made, None))
    }

    fn yes(op: Op) -> (Op, Option<Said>) {
        (op, Some(Said::Is(true)))
    }

    fn no(op: Op) -> (Op, Option<Said>) {
        (op, Some(Said::Is(false)))
    }

    fn get(value: u64) -> (Op, Option<Said>) {
        (Op::Get(0), Some(Said::Value(value)))
    }

    fn granted(client: u8, fence: u64) -> (Op, Option<Said>) {
        (Op::Lock(client), Some(Said::Granted(fence)))
    }

    #[test]
    fn a_stale_read_is_refused() {
        assert!(is_right(&[yes(Op::Put(0, 1)), yes(Op::Put(0, 2)), get(2)]));
        assert!(!is_right(&[yes(Op::Put(0, 1)), yes(Op::Put(0, 2)), get(1)]));
        assert!(!is_right(&[yes(Op::Put(0, 1)), get(3)]), "nobody wrote that");
    }

    #[test]
    fn a_lost_write_is_refused() {
        assert!(!is_right(&[yes(Op::Put(0, 1)), get(0)]));
        assert!(!is_right(&[yes(Op::Put(0, 1)), no(Op::Swap(0, 1, 2))]));
        assert!(!is_right(&[yes(Op::Swap(0, 0, 1)), yes(Op::Swap(0, 0, 2))]), "both cannot be");
        assert!(is_right(&[yes(Op::Swap(0, 0, 1)), no(Op::Swap(0, 0, 2)), get(1)]));
        let unknown = (Op::Put(0, 1), None);
        assert!(is_right(&[unknown, get(0)]) && is_right(&[unknown, get(0), get(1)]));
        assert!(!is_right(&[unknown, get(1), get(0)]), "it was seen before");
    }

    #[test]
    fn two_holders_are_refused() {
        assert!(is_right(&[granted(1, 3), no(Op::Lock(2)), yes(Op::Unlock(1)), granted(2, 5)]));
        assert!(!is_right(&[granted(1, 3), granted(2, 5)]));
        assert!(is_right(&[granted(1, 3), yes(Op::Break), granted(2, 5)]));
        assert!(!is_right(&[granted(1, 3), yes(Op::Break), granted(2, 5), yes(Op::Unlock(1))]));
        assert!(!is_right(&[no(Op::Lock(1))]), "nobody has it");
        let unlocked = (Op::Unlock(1), None);
        assert!(is_right(&[granted(1, 3), unlocked, granted(2, 5)]));
        assert!(!is_right(&[unlocked, granted(1, 3), granted(2, 5), yes(Op::Unlock(1))]));
        let grant = |client, fence| Made {
            op: Op::Lock(client),
            began: 1,
            ended: Some((2, Said::Granted(fence))),
        };
        assert!(!judge(&[grant(1, 3), grant(2, 5)]), "not at the same time either");
    }

    #[test]
    fn a_fence_that_goes_back_is_refused() {
        let again = |fence| [granted(1, 7), yes(Op::Unlock(1)), granted(2, fence)];
        assert!(is_right(&again(8)));
        assert!(!is_right(&again(7)) && !is_right(&again(6)));
        assert!(!is_right(&[granted(1, 7), granted(1, 6)]));
    }

    #[test]
    fn the_objects_do_what_the_models_say() {
        let mut objects = Objects::default();
        let ops = [
            Op::Get(0),
            Op::Put(0, 1),
            Op::Swap(0, 0, 2),
            Op::Swap(0, 1, 3),
            Op::Get(0),
            Op::Unlock(1),
            Op::Lock(1),
            Op::Lock(2),
            Op::Lock(1),
            Op::Break,
            Op::Lock(2),
            Op::Unlock(2),
            Op::Break,
        ];
        let calls = (1..).zip(ops).map(|(index, op)| (op, Some(objects.step(index, op))));
        assert!(is_right(&calls.collect::<Vec<_>>()));
    }
}
