//! Events that wait for their time.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::mem;

use super::{Argument, Moment};
use crate::types::time_function;

/// An event: the same function, code and data make the same one. The thread may be cancelled
/// in the function, which unwinds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timer {
    pub(crate) function: unsafe extern "C-unwind" fn(c_int, *mut c_void),
    pub(crate) argument: Argument,
}

/// The function by its address, to compare it.
type Key = (usize, Argument);

impl Timer {
    pub(crate) fn new(function: time_function, argument: Argument) -> Timer {
        // SAFETY: both are functions in C, with the same arguments; only what the caller
        // expects of an unwind is different.
        let function = unsafe {
            mem::transmute::<
                unsafe extern "C" fn(c_int, *mut c_void),
                unsafe extern "C-unwind" fn(c_int, *mut c_void),
            >(function)
        };
        Timer { function, argument }
    }

    fn key(&self) -> Key {
        (self.function as usize, self.argument)
    }
}

/// When an event is due; of those at the same time the first queued goes first.
type Place = (Moment, u64);

/// The events by their time, and where to find each.
#[derive(Debug)]
pub(crate) struct Timers {
    by_time: BTreeMap<Place, Timer>,
    places: BTreeMap<Key, Place>,
    queued: u64,
}

impl Timers {
    pub(crate) const fn new() -> Timers {
        Timers { by_time: BTreeMap::new(), places: BTreeMap::new(), queued: 0 }
    }

    /// Queues an event; if it is queued already, it moves.
    pub(crate) fn queue(&mut self, timer: Timer, at: Moment) {
        self.dequeue(&timer);
        self.queued += 1;
        let place = (at, self.queued);
        self.by_time.insert(place, timer);
        self.places.insert(timer.key(), place);
    }

    /// Takes an event out; `false` if it is not queued.
    pub(crate) fn dequeue(&mut self, timer: &Timer) -> bool {
        let place = self.places.remove(&timer.key());
        place.is_some_and(|place| self.by_time.remove(&place).is_some())
    }

    pub(crate) fn contains(&self, timer: &Timer) -> bool {
        self.places.contains_key(&timer.key())
    }

    /// When the next event is due.
    pub(crate) fn next(&self) -> Option<Moment> {
        self.by_time.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next event out if it is due.
    pub(crate) fn take_due(&mut self, now: Moment) -> Option<Timer> {
        self.next().filter(|at| *at <= now)?;
        let (_, timer) = self.by_time.pop_first()?;
        self.places.remove(&timer.key());
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::sp_time;
    use std::ptr::null_mut;

    unsafe extern "C" fn nothing(_: c_int, _: *mut c_void) {}

    fn timer(code: c_int) -> Timer {
        Timer::new(nothing, Argument { code, data: null_mut() })
    }

    fn at(sec: i32) -> Moment {
        sp_time { sec: sec.into(), usec: 0 }.into()
    }

    fn due(timers: &mut Timers, now: Moment) -> Vec<c_int> {
        std::iter::from_fn(|| timers.take_due(now)).map(|t| t.argument.code).collect()
    }

    #[test]
    fn events_are_due_in_the_order_of_their_times() {
        let mut timers = Timers::new();
        for (code, sec) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
            timers.queue(timer(code), at(sec));
        }
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(due(&mut timers, at(20)), [2, 4, 3]);
        assert!(due(&mut timers, at(29)).is_empty());
        assert_eq!(due(&mut timers, at(30)), [1]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn an_event_is_queued_once() {
        let mut timers = Timers::new();
        timers.queue(timer(1), at(10));
        timers.queue(timer(1), at(20));
        assert!(due(&mut timers, at(10)).is_empty());
        assert_eq!(due(&mut timers, at(20)), [1]);
    }

    #[test]
    fn an_event_can_be_taken_out() {
        let mut timers = Timers::new();
        timers.queue(timer(1), at(10));
        assert!(timers.contains(&timer(1)) && !timers.contains(&timer(2)));
        assert!(timers.dequeue(&timer(1)) && !timers.dequeue(&timer(1)));
        assert!(due(&mut timers, at(99)).is_empty());
    }
}
