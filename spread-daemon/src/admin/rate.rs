//! The rate at which a counter grows.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate of a counter, over the last seconds.
#[derive(Debug)]
pub(crate) struct Rate {
    /// The count at some times, the oldest first.
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    const EVERY: Duration = Duration::from_secs(1);
    const SAMPLES: usize = 10;

    pub(crate) fn new(now: Instant) -> Rate {
        Rate { samples: VecDeque::from([(now, 0)]) }
    }

    /// Takes note of the count, if it is time to.
    pub(crate) fn note(&mut self, now: Instant, count: u64) {
        if self.samples.back().is_none_or(|(last, _)| now.duration_since(*last) >= Rate::EVERY) {
            self.samples.push_back((now, count));
            if self.samples.len() > Rate::SAMPLES {
                self.samples.pop_front();
            }
        }
    }

    /// Returns the growth in a second.
    pub(crate) fn per_second(&self, now: Instant, count: u64) -> f64 {
        let Some((since, before)) = self.samples.front() else {
            return 0.0;
        };
        let seconds = now.duration_since(*since).as_secs_f64();
        if seconds > 0.0 { (count - before) as f64 / seconds } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 1..=20 {
            rate.note(at(second), second * 100);
        }
        assert_eq!(rate.per_second(at(20), 2000), 100.0);
        assert_eq!(rate.per_second(at(29), 2000), 50.0);
    }
}
