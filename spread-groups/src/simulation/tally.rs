//! The machine of the simulation: it counts how often each operation was applied, and
//! follows the roster.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::core::history::mix;
use crate::core::replica::{At, BadState, Encode, Machine};
use crate::core::roster::Change;
use crate::core::sessions::Answer;

/// The channel of the machine.
pub(super) const CHANNEL: u32 = 7;

/// The state of the machine, to be looked at after it was applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// How often each operation was applied.
    pub(super) applied: BTreeMap<u64, u32>,
    /// The sessions of the members.
    members: BTreeSet<u32>,
    order: u64,
}

/// Returns the payload of an operation: its number, and so many bytes more.
pub(super) fn payload(number: u64, more: usize) -> Bytes {
    let mut payload = BytesMut::new();
    payload.put_u64(number);
    payload.put_bytes(number as u8, more);
    payload.freeze()
}

impl Machine for std::sync::Arc<std::sync::Mutex<Tally>> {
    fn apply(&mut self, at: At, mut operation: &[u8]) -> Answer {
        let mut tally = self.lock().unwrap();
        let Ok(number) = operation.try_get_u64() else {
            return Answer::Unreadable;
        };
        if operation.iter().any(|byte| *byte != number as u8) {
            return Answer::Unreadable;
        }
        *tally.applied.entry(number).or_default() += 1;
        tally.order = mix(mix(tally.order, number), at.time);
        Answer::Done(Bytes::copy_from_slice(&tally.order.to_be_bytes()))
    }

    fn follow(&mut self, at: At, change: &Change) {
        let mut tally = self.lock().unwrap();
        match change {
            Change::Joined { session, .. } => tally.members.insert(*session),
            Change::Departed { session, .. } => tally.members.remove(session),
            Change::Expired { .. } => false,
        };
        tally.order = mix(mix(tally.order, change.digest()), at.time);
    }

    fn capture(&self) -> Encode {
        let tally = self.lock().unwrap();
        let mut state = BytesMut::new();
        state.put_u64(tally.order);
        state.put_u32(tally.members.len() as u32);
        tally.members.iter().for_each(|member| state.put_u32(*member));
        for (number, times) in &tally.applied {
            state.put_u64(*number);
            state.put_u32(*times);
        }
        let state = state.freeze();
        Box::new(|| state)
    }

    fn restore(&mut self, mut state: &[u8]) -> Result<(), BadState> {
        let mut tally = self.lock().unwrap();
        *tally = Tally::default();
        if state.is_empty() {
            return Ok(());
        }
        tally.order = state.try_get_u64().map_err(|_| BadState)?;
        for _ in 0..state.try_get_u32().map_err(|_| BadState)? {
            tally.members.insert(state.try_get_u32().map_err(|_| BadState)?);
        }
        while let Ok(number) = state.try_get_u64() {
            tally.applied.insert(number, state.try_get_u32().map_err(|_| BadState)?);
        }
        Ok(())
    }

    fn digest(&self) -> u64 {
        let tally = self.lock().unwrap();
        let digest = tally.applied.iter().fold(tally.order, |digest, (number, times)| {
            mix(mix(digest, *number), (*times).into())
        });
        tally.members.iter().fold(digest, |digest, member| mix(digest, (*member).into()))
    }
}
