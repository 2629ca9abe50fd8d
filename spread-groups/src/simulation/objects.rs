//! A map and a lock, and what is right for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::linearizable::{Call, Model};
use crate::core::replica::{At, BadState, Encode, Machine};
use crate::core::sessions::Answer;

/// The channel of the machine.
pub(super) const CHANNEL: u32 = 8;

/// The numbers of its operations are above those of others.
pub(super) const FIRST: u64 = 1 << 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Op {
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
pub(super) enum Said {
    Value(u64),
    Is(bool),
    /// The lock is granted, with its fence.
    Granted(u64),
}

/// The state of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Objects {
    keys: BTreeMap<u8, u64>,
    holder: Option<(u8, u64)>,
}

impl Objects {
    pub(super) fn get(&self, key: u8) -> u64 {
        self.keys.get(&key).copied().unwrap_or_default()
    }

    fn step(&mut self, index: u64, op: Op) -> Said {
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

pub(super) fn encode(op: Op) -> Bytes {
    postcard::to_allocvec(&op).unwrap().into()
}

impl Machine for Arc<Mutex<Objects>> {
    fn apply(&mut self, at: At, operation: &[u8]) -> Answer {
        let Ok(op) = postcard::from_bytes(operation) else {
            return Answer::Unreadable;
        };
        let said = self.lock().unwrap().step(at.place.index, op);
        Answer::Done(postcard::to_allocvec(&said).unwrap().into())
    }

    fn capture(&self) -> Encode {
        let objects = self.lock().unwrap().clone();
        Box::new(move || postcard::to_allocvec(&objects).unwrap().into())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BadState> {
        let objects = match state.is_empty() {
            true => Objects::default(),
            false => postcard::from_bytes(state).map_err(|_| BadState)?,
        };
        *self.lock().unwrap() = objects;
        Ok(())
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
pub(super) struct Lock {
    holder: Option<u8>,
    fence: u64,
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
pub(super) struct Made {
    pub(super) op: Op,
    pub(super) began: u64,
    pub(super) ended: Option<(u64, Said)>,
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
pub(super) fn history<M>(calls: &[Made], key: Option<u8>) -> Vec<Call<M>>
where
    M: Model<Op = Op, Answer = Said>,
{
    let of = calls.iter().filter(|call| call.key() == key);
    of.map(|call| Call { op: call.op, began: call.began, ended: call.ended }).collect()
}
