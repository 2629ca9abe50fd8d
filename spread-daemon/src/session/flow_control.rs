//! Slows down a client that sends faster than its receivers read.
//!
//! The daemon is faster than a client, so a burst could overrun the queue of a
//! receiver that reads as fast as it can. A sender whose message finds a receiver's
//! queue more than half full is paused until that queue is down to a quarter.
//!
//! With [`SlowReceivers::Disconnect`] a pause lasts at most [`GRACE`]: a receiver that
//! takes longer does not read, and is disconnected when its queue is full. With
//! [`SlowReceivers::Backpressure`] a pause has no limit and no receiver is disconnected
//! for the number of its messages.

use std::time::{Duration, Instant};

/// The slow-consumer policy, for clients that do not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SlowReceivers {
    /// It is disconnected when too many messages wait for it, as by Spread's own
    /// daemon. Its senders are paused for a tenth of a second at most before.
    #[default]
    Disconnect,
    /// Its senders are paused until it has caught up, however long that takes: a client
    /// that never reads pauses them for good, and a client that sends to itself and
    /// does not read pauses itself.
    ///
    /// A paused sender that ends is noticed within a second if its socket is in the
    /// daemon's own network namespace. The end of a client on another host or in another
    /// container is noticed once its data has been read, because in TCP it comes behind
    /// the data.
    Backpressure,
}

/// How long a receiver may take to catch up before its senders go on.
const GRACE: Duration = Duration::from_millis(100);

/// How long a receiver may take to get below its limit when it is above because
/// senders were not paused.
const OVERRUN_GRACE: Duration = Duration::from_secs(1);

/// The limits of a receiver's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowControl {
    max_messages: usize,
    slow_receivers: SlowReceivers,
    /// Whether senders are paused and full receivers disconnected.
    active: bool,
}

/// Whether a receiver is behind, and since when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Congestion(Option<Behind>);

#[derive(Clone, Copy, Debug)]
struct Behind {
    /// Until when its senders are paused; `None` has no end.
    pause_until: Option<Instant>,
    /// Until when it may have more messages than the limit.
    overrun_until: Option<Instant>,
}

/// The decision about one more message for a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Queue it.
    Queue,
    /// Queue it and pause its sender, until the receiver has caught up or the time
    /// has come.
    Pause(Option<Instant>),
    /// Disconnect the receiver.
    Disconnect,
}

impl FlowControl {
    pub(crate) fn new(max_messages: usize, slow_receivers: SlowReceivers) -> FlowControl {
        FlowControl { max_messages, slow_receivers, active: true }
    }

    /// Returns how many messages may wait for one receiver.
    pub(crate) fn max_messages(&self) -> usize {
        self.max_messages
    }

    /// Returns whether a queue of this length needs no verdict.
    pub(crate) fn is_short(&self, queued: usize) -> bool {
        queued <= self.max_messages / 2
    }

    /// Returns whether a receiver with a queue of this length is disconnected, unless
    /// its stream takes something.
    pub(crate) fn is_full(&self, queued: usize) -> bool {
        queued >= self.max_messages
    }

    /// Decides about one more message for a receiver with `queued` messages.
    pub(crate) fn admit(
        &self,
        congestion: &mut Congestion,
        queued: usize,
        now: Instant,
    ) -> Verdict {
        if self.is_short(queued) {
            return Verdict::Queue;
        }
        let pause_until = match self.slow_receivers {
            SlowReceivers::Disconnect => Some(now + GRACE),
            SlowReceivers::Backpressure => None,
        };
        let behind = congestion.0.get_or_insert(Behind { pause_until, overrun_until: None });
        if !self.active {
            behind.overrun_until = Some(now + OVERRUN_GRACE);
            return Verdict::Queue;
        }
        if let Some(until) = behind.overrun_until.filter(|until| now < *until) {
            return Verdict::Pause(behind.pause_until.map(|_| until));
        }
        if self.is_full(queued) && self.slow_receivers == SlowReceivers::Disconnect {
            return Verdict::Disconnect;
        }
        match behind.pause_until {
            Some(until) if until <= now => Verdict::Queue,
            until => Verdict::Pause(until),
        }
    }

    /// Judges a receiver anew: one with more messages than the limit has some time to get
    /// below it.
    pub(crate) fn begin(&self, congestion: &mut Congestion, queued: usize, now: Instant) {
        let pause_until = match self.slow_receivers {
            SlowReceivers::Disconnect => Some(now + GRACE),
            SlowReceivers::Backpressure => None,
        };
        let overrun_until = Some(now + OVERRUN_GRACE);
        congestion.0 = self.is_full(queued).then_some(Behind { pause_until, overrun_until });
    }

    /// Notes that a receiver's queue has become shorter.
    pub(crate) fn drained(&self, congestion: &mut Congestion, queued: usize) {
        if queued <= self.max_messages / 4 {
            congestion.0 = None;
        }
    }

    /// Returns whether a sender can be paused. One that has closed its side is paused
    /// only for a time with an end: what it has sent is bounded, and its session is
    /// over.
    pub(crate) fn can_pause(&self, has_hung_up: bool) -> bool {
        self.active && !(has_hung_up && self.slow_receivers == SlowReceivers::Backpressure)
    }

    /// Pauses no sender and disconnects no receiver until [`FlowControl::resume`].
    pub(crate) fn suspend(&mut self) {
        self.active = false;
    }

    pub(crate) fn resume(&mut self) {
        self.active = true;
    }
}

impl Congestion {
    /// Returns whether the receiver has not caught up yet.
    pub(crate) fn is_behind(self) -> bool {
        self.0.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_pause_above_half_and_a_full_receiver_is_disconnected() {
        let flow = FlowControl::new(10, SlowReceivers::Disconnect);
        let (mut congestion, start) = (Congestion::default(), Instant::now());
        assert_eq!(flow.admit(&mut congestion, 5, start), Verdict::Queue);
        assert!(!congestion.is_behind());
        let until = start + GRACE;
        assert_eq!(flow.admit(&mut congestion, 6, start), Verdict::Pause(Some(until)));
        assert_eq!(flow.admit(&mut congestion, 7, start), Verdict::Pause(Some(until)));
        assert_eq!(flow.admit(&mut congestion, 8, until), Verdict::Queue, "it does not read");
        assert_eq!(flow.admit(&mut congestion, 10, start), Verdict::Disconnect);
        flow.drained(&mut congestion, 3);
        assert!(congestion.is_behind());
        flow.drained(&mut congestion, 2);
        assert!(!congestion.is_behind());
    }

    #[test]
    fn with_backpressure_senders_pause_without_end_and_nobody_is_disconnected() {
        let flow = FlowControl::new(10, SlowReceivers::Backpressure);
        let (mut congestion, start) = (Congestion::default(), Instant::now());
        for queued in [6, 10, 1000] {
            let later = start + Duration::from_secs(queued as u64);
            assert_eq!(flow.admit(&mut congestion, queued, later), Verdict::Pause(None));
        }
        assert!(flow.can_pause(false) && !flow.can_pause(true));
    }

    #[test]
    fn a_receiver_above_a_new_limit_has_time_to_get_below_it() {
        let flow = FlowControl::new(10, SlowReceivers::Disconnect);
        let (mut congestion, start) = (Congestion::default(), Instant::now());
        flow.begin(&mut congestion, 500, start);
        let until = start + OVERRUN_GRACE;
        assert_eq!(flow.admit(&mut congestion, 501, start), Verdict::Pause(Some(until)));
        assert_eq!(flow.admit(&mut congestion, 501, until), Verdict::Disconnect);
        flow.begin(&mut congestion, 9, start);
        assert!(!congestion.is_behind());
    }

    #[test]
    fn a_receiver_that_was_overrun_has_time_to_catch_up() {
        let mut flow = FlowControl::new(10, SlowReceivers::Disconnect);
        let (mut congestion, start) = (Congestion::default(), Instant::now());
        flow.suspend();
        assert!(!flow.can_pause(false));
        assert_eq!(flow.admit(&mut congestion, 100, start), Verdict::Queue);
        flow.resume();
        let until = start + OVERRUN_GRACE;
        assert_eq!(flow.admit(&mut congestion, 101, start), Verdict::Pause(Some(until)));
        assert_eq!(flow.admit(&mut congestion, 101, until), Verdict::Disconnect);
    }
}
