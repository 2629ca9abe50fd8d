//! Deliveries that a test has wait: those to a client that is paused or delayed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// What waits in front of a client's queue.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How long messages wait that come now; `None` until the gate is opened.
    delay: Option<Duration>,
    /// With the time at which each may pass.
    waiting: VecDeque<(Option<Instant>, Bytes)>,
}

impl Gate {
    /// Has messages that come from now on wait: for a time, or until further
    /// notice.
    pub(crate) fn set(&mut self, delay: Option<Duration>) {
        self.delay = delay;
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.waiting.iter().map(|(_, message)| message.len()).sum()
    }

    pub(crate) fn push(&mut self, message: Bytes, now: Instant) {
        self.waiting.push_back((self.delay.and_then(|delay| now.checked_add(delay)), message));
    }

    /// The next message whose time has come.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Bytes> {
        let due = self.next_due()?;
        if due > now {
            return None;
        }
        self.waiting.pop_front().map(|(_, message)| message)
    }

    /// When the next message may pass, if it may without further notice.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.waiting.front()?.0
    }

    /// All that waits.
    pub(crate) fn into_messages(self) -> impl Iterator<Item = Bytes> {
        self.waiting.into_iter().map(|(_, message)| message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_passes_after_its_time_and_not_before() {
        let start = Instant::now();
        let mut gate = Gate::default();
        gate.set(Some(Duration::from_secs(2)));
        gate.push(Bytes::from_static(b"one"), start);
        gate.push(Bytes::from_static(b"two"), start + Duration::from_secs(1));
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
        gate.push(Bytes::from_static(b"one"), now);
        assert_eq!((gate.pop(now), gate.next_due(), gate.len()), (None, None, 1));
        assert!(gate.into_messages().eq([Bytes::from_static(b"one")]));
    }
}
