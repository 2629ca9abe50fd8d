//! The rate at which counters grow.

use std::time::Instant;

use super::status::{History, Rates, Totals};

/// Seconds that are remembered: the last minute, and the second that has begun.
const SECONDS: usize = 61;

/// The growth of the daemon's counters in each of the last seconds.
#[derive(Debug)]
pub(crate) struct Growth {
    started: Instant,
    /// The second that has begun, counted from the start.
    second: u64,
    /// By the number of the second modulo [`SECONDS`].
    seconds: [Counts; SECONDS],
    /// The counters when they were noted last.
    noted: Counts,
}

/// The counters whose rates are told.
#[derive(Clone, Copy, Debug, Default)]
struct Counts([u64; 4]);

impl Counts {
    fn of(totals: &Totals) -> Counts {
        Counts([totals.received, totals.received_bytes, totals.delivered, totals.delivered_bytes])
    }

    fn add_growth(&mut self, from: Counts, to: Counts) {
        for (sum, (from, to)) in self.0.iter_mut().zip(from.0.into_iter().zip(to.0)) {
            *sum += to.saturating_sub(from);
        }
    }
}

impl Growth {
    pub(crate) fn new(now: Instant) -> Growth {
        Growth {
            started: now,
            second: 0,
            seconds: [Counts::default(); SECONDS],
            noted: Counts::default(),
        }
    }

    /// Notes the counters; what they have grown by counts for the second of `now`.
    pub(crate) fn note(&mut self, now: Instant, totals: &Totals) {
        let second = now.saturating_duration_since(self.started).as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64);
        for empty in (0..passed).map(|back| second - back) {
            *self.slot(empty) = Counts::default();
        }
        self.second = self.second.max(second);
        let (from, to) = (self.noted, Counts::of(totals));
        self.slot(self.second).add_growth(from, to);
        self.noted = to;
    }

    fn slot(&mut self, second: u64) -> &mut Counts {
        &mut self.seconds[(second % SECONDS as u64) as usize]
    }

    /// Returns the mean rates over the last whole seconds, at most 60 of them, as of the
    /// last [`Growth::note`]; 0 in the first second.
    pub(crate) fn rates(&self, seconds: u64) -> Rates {
        let mut sum = Counts::default();
        let last = self.last(seconds);
        last.iter().for_each(|grown| sum.add_growth(Counts::default(), *grown));
        let seconds = last.len() as f64;
        let mean = |count: u64| if last.is_empty() { 0.0 } else { count as f64 / seconds };
        let [received, received_bytes, delivered, delivered_bytes] = sum.0.map(mean);
        Rates { received, received_bytes, delivered, delivered_bytes }
    }

    /// Returns the growth in each of the last whole seconds, at most 60 of them, as of the
    /// last [`Growth::note`].
    pub(crate) fn history(&self) -> History {
        let last = self.last(SECONDS as u64);
        let [received, received_bytes, delivered, delivered_bytes] =
            [0, 1, 2, 3].map(|counter| last.iter().map(|grown| grown.0[counter]).collect());
        History { received, received_bytes, delivered, delivered_bytes }
    }

    /// Returns the growth in each of the last whole seconds, the oldest first.
    fn last(&self, seconds: u64) -> Vec<Counts> {
        let seconds = seconds.min(self.second).min(SECONDS as u64 - 1);
        let whole = self.second - seconds..self.second;
        whole.map(|second| self.seconds[(second % SECONDS as u64) as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn totals(received: u64) -> Totals {
        Totals { received, delivered_bytes: 2 * received, ..Totals::default() }
    }

    #[test]
    fn rates_are_those_of_the_last_whole_second_and_minute() {
        let start = Instant::now();
        let mut growth = Growth::new(start);
        let at = |millis| start + Duration::from_millis(millis);
        growth.note(at(900), &totals(50));
        assert_eq!(growth.rates(1), Rates::default(), "no second has passed");
        growth.note(at(1_000), &totals(50));
        assert_eq!(growth.rates(1).received, 50.0);
        assert_eq!(growth.rates(60).received, 50.0, "a minute has not passed");
        for second in 1..=100 {
            growth.note(at(second * 1_000 + 500), &totals(50 + second * 100));
        }
        assert_eq!(growth.rates(1).received, 100.0);
        assert_eq!(growth.rates(60).received, 100.0);
        assert_eq!(growth.rates(60).delivered_bytes, 200.0);
        let history = growth.history();
        assert_eq!(history.received, [100; SECONDS - 1]);
        assert_eq!(history.delivered_bytes, [200; SECONDS - 1]);
    }

    #[test]
    fn the_history_has_the_seconds_since_the_start() {
        let start = Instant::now();
        let mut growth = Growth::new(start);
        assert_eq!(growth.history(), History::default());
        growth.note(start + Duration::from_millis(1_500), &totals(7));
        growth.note(start + Duration::from_millis(3_000), &totals(7));
        assert_eq!(growth.history().received, [0, 7, 0]);
    }

    #[test]
    fn what_grew_before_a_silence_is_over_after_it() {
        let start = Instant::now();
        let mut growth = Growth::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        growth.note(at(10), &totals(600));
        growth.note(at(40), &totals(600));
        assert_eq!((growth.rates(1).received, growth.rates(40).received), (0.0, 15.0));
        growth.note(at(70), &totals(600));
        assert_eq!(growth.rates(60).received, 10.0);
        growth.note(at(71), &totals(600));
        assert_eq!(growth.rates(60), Rates::default());
        growth.note(at(100_000), &totals(700));
        growth.note(at(100_001), &totals(700));
        assert_eq!((growth.rates(1).received, growth.rates(50).received), (100.0, 2.0));
    }
}
