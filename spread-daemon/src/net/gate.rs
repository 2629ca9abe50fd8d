//! Deliveries that a test delays: those to a client that is paused or delayed in a
//! [`Cluster`](crate::Cluster).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::memory::Charge;

/// The messages that wait in front of a client's queue.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How long messages wait that come now; `None` until the gate is opened.
    delay: Option<Duration>,
    waiting: VecDeque<Waiting>,
}

/// A message that waits at a gate.
#[derive(Debug)]
struct Waiting {
    /// When it may pass.
    due: Option<Instant>,
    message: Box<[u8]>,
    _charge: Charge,
}

impl Gate {
    /// Delays messages from now on: by a time, or until the gate is opened.
    pub(crate) fn set(&mut self, delay: Option<Duration>) {
        self.delay = delay;
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.iter().map(|waiting| waiting.message.len()).sum()
    }

    pub(crate) fn push(&mut self, message: &[u8], charge: Charge, now: Instant) {
        let due = self.delay.and_then(|delay| now.checked_add(delay));
        self.waiting.push_back(Waiting { due, message: message.into(), _charge: charge });
    }

    /// Returns the next message whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Box<[u8]>> {
        let due = self.next_due()?;
        if due > now {
            return None;
        }
        self.waiting.pop_front().map(|waiting| waiting.message)
    }

    /// Returns when the next message may pass; `None` until the gate is opened.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.front()?.due
    }

    /// Returns the messages that wait.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Box<[u8]>> {
        self.waiting.into_iter().map(|waiting| waiting.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::memory::Memory;

    fn push(gate: &mut Gate, message: &[u8], now: Instant) {
        gate.push(message, Memory::default().charge(message.len()), now);
    }

    #[test]
    fn a_message_passes_after_its_time_and_not_before() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.set(Some(Duration::from_secs(2)));
        push(&mut gate, b"one", start);
        push(&mut gate, b"two", start + Duration::from_secs(1));
        assert_eq!(gate.pop(start + Duration::from_secs(1)), None);
        assert_eq!(gate.next_due(), Some(start + Duration::from_secs(2)));
        let late = start + Duration::from_secs(2);
        assert_eq!(gate.pop(late).as_deref(), Some(&b"one"[..]));
        assert_eq!(gate.pop(late), None);
    }

    #[test]
    fn nothing_passes_a_closed_gate() {
        let mut gate = Gate::default();
        let now = Instant::now();
        push(&mut gate, b"one", now);
        assert_eq!((gate.pop(now), gate.next_due(), gate.len()), (None, None, 1));
        assert!(gate.into_messages().eq([b"one"[..].into()]));
    }
}
