//! How long to wait before an attempt to connect.

use std::time::Duration;

/// The shortest wait before an attempt.
const FLOOR: Duration = Duration::from_millis(1);

/// The longest wait before an attempt.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The waits before attempts to connect: exponential, with jitter.
///
/// The delay is `first` after a loss and doubles with every attempt that fails, up to
/// `longest`. Each wait is chosen at random between half of the delay and all of it, so that
/// the clients of a daemon that went away do not all come back at once. No wait is shorter
/// than 1 ms or longer than a day.
///
/// A connection that lasts for longer than the delay resets the delay to `first`. A daemon
/// that accepts a client and closes the connection at once is therefore asked less and less
/// often, too.
///
/// Times out of these bounds are set to the nearest bound, and a `first` that is longer than
/// `longest` to `longest`: `Backoff::new(5 s, 1 s)` is `Backoff::new(1 s, 1 s)`.
///
/// Defaults to 100 ms and 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    /// Returns a backoff with these bounds of the delay.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        let longest = clamp(longest, DAY);
        Backoff { first: clamp(first, longest), longest }
    }

    /// Returns the first delay.
    pub const fn first(self) -> Duration {
        self.first
    }

    /// Returns the longest delay.
    pub const fn longest(self) -> Duration {
        self.longest
    }

    /// Returns the delay after so many failures.
    pub(super) fn delay(self, failures: u32) -> Duration {
        let factor = 1u32.checked_shl(failures).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// Returns the wait after so many failures; `random` is at least 0 and less than 1.
    pub(super) fn wait(self, failures: u32, random: f64) -> Duration {
        let half = self.delay(failures) / 2;
        (half + half.mul_f64(random.clamp(0.0, 1.0))).max(FLOOR)
    }
}

/// A time between the floor and `most`.
const fn clamp(time: Duration, most: Duration) -> Duration {
    match time.as_nanos() {
        nanos if nanos < FLOOR.as_nanos() => FLOOR,
        nanos if nanos > most.as_nanos() => most,
        _ => time,
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_delay_doubles_up_to_the_longest() {
        let backoff = Backoff::new(10 * MS, 50 * MS);
        let delays = [0, 1, 2, 3, 40, u32::MAX].map(|failures| backoff.delay(failures));
        assert_eq!(delays, [10 * MS, 20 * MS, 40 * MS, 50 * MS, 50 * MS, 50 * MS]);
    }

    #[test]
    fn bounds_that_are_out_of_range_are_set_to_the_nearest() {
        let backoff = Backoff::new(5000 * MS, 1000 * MS);
        assert_eq!((backoff.first(), backoff.longest()), (1000 * MS, 1000 * MS));
        assert_eq!(backoff, Backoff::new(1000 * MS, 1000 * MS));
        let widest = Backoff::new(Duration::ZERO, Duration::MAX);
        assert_eq!((widest.first(), widest.longest()), (FLOOR, DAY));
        let narrowest = Backoff::new(Duration::MAX, Duration::ZERO);
        assert_eq!((narrowest.first(), narrowest.longest()), (FLOOR, FLOOR));
    }

    #[test]
    fn a_wait_is_between_half_of_the_delay_and_all_of_it() {
        let backoff = Backoff::new(100 * MS, 100 * MS);
        assert_eq!(backoff.wait(0, 0.0), 50 * MS);
        assert_eq!(backoff.wait(0, 0.5), 75 * MS);
        assert!(backoff.wait(0, 0.999) < 100 * MS);
    }

    #[test]
    fn no_wait_is_out_of_range() {
        for (first, longest) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::ZERO, Duration::MAX),
            (Duration::MAX, Duration::ZERO),
            (Duration::MAX, Duration::MAX),
            (MS, Duration::MAX),
        ] {
            for failures in [0, 1, 31, 32, 33, u32::MAX] {
                for random in [0.0, 0.5, 1.0] {
                    let wait = Backoff::new(first, longest).wait(failures, random);
                    assert!((FLOOR..=DAY).contains(&wait), "{wait:?}");
                }
            }
        }
    }
}
