//! What the node's thread is to do later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::commands::Command;

/// Commands by the time at which they are due; those of one time in the order in which they
/// were added.
#[derive(Default)]
pub(super) struct Timers {
    waiting: BTreeMap<(Instant, u64), Command>,
    added: u64,
}

impl Timers {
    /// Adds a command. One that is due after the end of time is never done.
    pub(super) fn add(&mut self, now: Instant, delay: Duration, command: Command) {
        if let Some(due) = now.checked_add(delay) {
            self.added += 1;
            self.waiting.insert((due, self.added), command);
        }
    }

    /// Returns when the next command is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Command> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_done_in_the_order_of_their_times() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        for delay in [3, 1, 2, 1] {
            timers.add(now, Duration::from_secs(delay), Box::new(|_| {}));
        }
        timers.add(now, Duration::MAX, Box::new(|_| {}));
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(timers.next(), Some(at(1)));
        assert!(timers.take_due(now).is_none());
        assert!(timers.take_due(at(1)).is_some() && timers.take_due(at(1)).is_some());
        assert!(timers.take_due(at(1)).is_none());
        assert_eq!(timers.next(), Some(at(2)));
        assert!(timers.take_due(at(9)).is_some() && timers.take_due(at(9)).is_some());
        assert_eq!(timers.next(), None);
    }
}
