//! The objects as a machine of the log.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::objects::{Objects, Op};
use crate::core::replica::{At, BadState, Encode, Machine};
use crate::core::sessions::Answer;

/// The channel of the machine.
pub(super) const CHANNEL: u32 = 8;

/// The numbers of its operations are above those of others.
pub(super) const FIRST: u64 = 1 << 32;

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
