//! The loop's wait for events: asleep, or busy polling for a moment before.
//!
//! To wake a thread that sleeps can take longer than all else that is done for a
//! lone message. So the loop goes on polling for a while, if that is wanted, after
//! something has happened. When nothing comes meanwhile, it sleeps, and polls again
//! only after something has happened again: an idle daemon takes no CPU time.

use std::io;
use std::mem;
use std::thread;
use std::time::{Duration, Instant};

/// Waits for events in place of a loop.
#[derive(Debug)]
pub(crate) struct Wait {
    /// How long it polls before it sleeps.
    busy_poll: Duration,
    /// Whether something has happened since it last slept.
    is_awake: bool,
}

impl Wait {
    pub(crate) fn new(busy_poll: Duration) -> Wait {
        Wait { busy_poll, is_awake: false }
    }

    /// Waits until something comes, or for the given time; if that is zero, the loop
    /// has something to do. `poll` waits as [`mio::Poll::poll`] does, and tells whether
    /// something has come.
    ///
    /// # Errors
    ///
    /// The errors of `poll`.
    pub(crate) fn for_events(
        &mut self,
        timeout: Option<Duration>,
        mut poll: impl FnMut(Option<Duration>) -> io::Result<bool>,
    ) -> io::Result<()> {
        let has_work = timeout == Some(Duration::ZERO);
        let mut left = timeout;
        if mem::take(&mut self.is_awake) && !has_work && !self.busy_poll.is_zero() {
            let (start, time) = (Instant::now(), self.busy_poll);
            let time = timeout.map_or(time, |timeout| timeout.min(time));
            let mut passed = Duration::ZERO;
            while passed < time {
                if poll(Some(Duration::ZERO))? {
                    self.is_awake = true;
                    return Ok(());
                }
                // Who is to send the next message may wait for this core.
                thread::yield_now();
                passed = start.elapsed();
            }
            left = timeout.map(|timeout| timeout.saturating_sub(passed));
        }
        self.is_awake = poll(left)? || has_work;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    const POLL: Option<Duration> = Some(Duration::ZERO);
    const HOUR: Duration = Duration::from_secs(3600);

    /// Returns the timeouts of all polls of a wait whose event comes with the given poll,
    /// counted from 1; a poll that sleeps ends the wait, too.
    fn polls(wait: &mut Wait, timeout: Option<Duration>, comes: usize) -> Vec<Option<Duration>> {
        let mut polls = Vec::new();
        let waited = wait.for_events(timeout, |timeout| {
            polls.push(timeout);
            Ok(polls.len() == comes)
        });
        waited.unwrap();
        polls
    }

    const NEVER: usize = usize::MAX;

    #[test]
    fn without_busy_polling_it_sleeps_at_once() {
        let mut wait = Wait::new(Duration::ZERO);
        for _ in 0..3 {
            assert_eq!(polls(&mut wait, None, 1), [None]);
            assert_eq!(polls(&mut wait, Some(HOUR), 1), [Some(HOUR)]);
        }
    }

    #[test]
    fn it_polls_after_something_came_until_something_comes() {
        let mut wait = Wait::new(HOUR);
        assert_eq!(polls(&mut wait, None, 1), [None]);
        assert_eq!(polls(&mut wait, None, 3), [POLL; 3]);
        assert_eq!(polls(&mut wait, Some(HOUR), 1), [POLL]);
    }

    #[test]
    fn it_sleeps_when_the_time_is_over_and_then_until_something_comes() {
        let mut wait = Wait::new(Duration::from_millis(1));
        polls(&mut wait, None, 1);
        let timeouts = polls(&mut wait, Some(HOUR), NEVER);
        let (last, others) = timeouts.split_last().unwrap();
        assert!(*last > POLL && *last < Some(HOUR), "{last:?}");
        assert!(!others.is_empty() && others.iter().all(|timeout| *timeout == POLL));
        assert_eq!(polls(&mut wait, Some(HOUR), NEVER), [Some(HOUR)]);
        assert_eq!(polls(&mut wait, None, 1), [None]);
    }

    #[test]
    fn it_does_not_poll_beyond_its_timeout() {
        let mut wait = Wait::new(HOUR);
        polls(&mut wait, None, 1);
        let timeouts = polls(&mut wait, Some(Duration::from_millis(1)), NEVER);
        assert!(timeouts.len() > 1 && timeouts.iter().all(|timeout| *timeout == POLL));
        assert_eq!(polls(&mut wait, None, 1), [None]);
    }

    #[test]
    fn a_loop_with_something_to_do_is_not_held_up_and_is_awake_afterwards() {
        let mut wait = Wait::new(HOUR);
        assert_eq!(polls(&mut wait, POLL, NEVER), [POLL]);
        assert_eq!(polls(&mut wait, POLL, NEVER), [POLL]);
        assert_eq!(polls(&mut wait, None, 2), [POLL; 2]);
    }

    #[test]
    fn it_returns_what_a_poll_fails_with() {
        let mut wait = Wait::new(HOUR);
        for expected in [None, POLL] {
            let failed = wait.for_events(None, |timeout| {
                assert_eq!(timeout, expected);
                Err(ErrorKind::Interrupted.into())
            });
            assert_eq!(failed.unwrap_err().kind(), ErrorKind::Interrupted);
            polls(&mut wait, None, 1);
        }
    }
}
