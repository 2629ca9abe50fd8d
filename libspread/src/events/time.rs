//! Times and lengths of time.

use std::ffi::c_long;
use std::time::Duration;

use crate::types::sp_time;

const MICROS: i128 = 1_000_000;

/// A time or a length of time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i128);

impl Moment {
    /// The length of time between `self` and a later moment; none if it is over.
    pub(crate) fn until(self, later: Moment) -> Duration {
        Duration::from_micros(u64::try_from(later.0 - self.0).unwrap_or(0))
    }
}

impl std::ops::Add for Moment {
    type Output = Moment;

    fn add(self, other: Moment) -> Moment {
        Moment(self.0 + other.0)
    }
}

impl std::ops::Neg for Moment {
    type Output = Moment;

    fn neg(self) -> Moment {
        Moment(-self.0)
    }
}

impl From<sp_time> for Moment {
    fn from(time: sp_time) -> Moment {
        Moment(i128::from(time.sec) * MICROS + i128::from(time.usec))
    }
}

/// Both parts have the same sign; what `sp_time` cannot hold becomes the
/// greatest that it can.
impl From<Moment> for sp_time {
    fn from(moment: Moment) -> sp_time {
        let furthest = if moment.0 < 0 { c_long::MIN } else { c_long::MAX };
        let sec = c_long::try_from(moment.0 / MICROS).unwrap_or(furthest);
        sp_time { sec, usec: (moment.0 % MICROS) as c_long }
    }
}

/// The time of a clock that only goes forward.
pub(crate) fn now() -> Moment {
    read(libc::CLOCK_MONOTONIC)
}

/// The time of day, since 1970.
pub(crate) fn wall_clock() -> Moment {
    read(libc::CLOCK_REALTIME)
}

fn read(clock: libc::clockid_t) -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for the time. It fails for no clock that there is.
    unsafe { libc::clock_gettime(clock, &mut time) };
    Moment(i128::from(time.tv_sec) * MICROS + i128::from(time.tv_nsec) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: (c_long, c_long), b: (c_long, c_long)) -> (c_long, c_long) {
        let [a, b] = [a, b].map(|(sec, usec)| Moment::from(sp_time { sec, usec }));
        let sp_time { sec, usec } = (a + b).into();
        (sec, usec)
    }

    #[test]
    fn both_parts_of_a_sum_have_the_same_sign() {
        assert_eq!(sum((1, 999_999), (0, 1)), (2, 0));
        assert_eq!(sum((1, 0), (0, -1)), (0, 999_999));
        assert_eq!(sum((0, 1), (-1, 0)), (0, -999_999));
        assert_eq!(sum((-1, -999_999), (0, -2)), (-2, -1));
        assert_eq!(sum((5, 5), (-5, -5)), (0, 0));
    }

    #[test]
    fn a_time_beyond_all_times_is_the_last() {
        assert_eq!(sum((c_long::MAX, 999_999), (1, 0)).0, c_long::MAX);
        assert_eq!(sum((c_long::MIN, 0), (-1, 0)).0, c_long::MIN);
    }

    #[test]
    fn a_moment_that_is_over_is_not_waited_for() {
        let (early, late) = (Moment(5), Moment(8));
        assert_eq!(early.until(late), Duration::from_micros(3));
        assert_eq!(late.until(early), Duration::ZERO);
    }
}
