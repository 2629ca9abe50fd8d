//! Receives that sleep for a moment before they wait.
//!
//! A client that keeps up with a stream is woken for each of its messages. That costs it a
//! good part of its time, and some of the daemon's, which has to wake it. So a receive that
//! would have to wait sleeps first, while messages keep coming, and finds several. Network
//! cards moderate their interrupts in the same way.
//!
//! A user may ask for that ([`Builder::coalesce`](crate::Builder::coalesce)), and then it
//! is done after each message. Else it is done only while it makes the stream faster: a
//! lone message does not wait, and neither does a stream that comes at the pace of its
//! sender. The messages must come faster than every [`GAP`], and now and then several at
//! once, so that the client cannot have waited for each as an answer. Then some sleeps
//! are tried. There are more as long as they pay; else it takes twice as many messages
//! until the next trial.

use std::time::{Duration, Instant};

/// Bytes of a message from which on a wake-up is little beside all else that it costs.
const LARGE: usize = 8 * 1024;

/// How long a receive sleeps if nobody has said.
const MOMENT: Duration = Duration::from_micros(200);

/// Messages from one look whether there is a next one to another. A prime, so that it
/// does not keep step with messages that come in batches.
const STEP: u32 = 61;

/// Looks after which it is known how a stream comes, at first and after sleeps that did pay.
const RUN: u32 = 16;

/// Looks that it takes at most, after sleeps that did not.
const LONGEST_RUN: u32 = 64 * RUN;

/// What lies between the messages of a stream at most, on average.
const GAP: Duration = Duration::from_micros(20);

/// Sleeps after which it is seen whether they pay.
const TRIAL: u32 = 8;

/// Sleeps at most after which it is seen again what comes without. It is seen sooner
/// at first, since what came before may not have been the same stream.
const LONGEST_SERIES: u32 = 256;

/// How the messages of a connection come, and how long its receives sleep.
#[derive(Debug)]
pub(crate) enum Coalescing {
    /// As the user has said.
    Told {
        /// How long.
        time: Duration,
        /// When the last message was received, if the next is worth sleeping for.
        last: Option<Instant>,
    },
    /// While that pays.
    Adaptive(Box<Pace>),
}

impl Coalescing {
    /// Sleeps for so long; as long as pays if nobody has said.
    pub(crate) fn new(time: Option<Duration>) -> Coalescing {
        match time {
            Some(time) => Coalescing::Told { time, last: None },
            None => Coalescing::Adaptive(Box::default()),
        }
    }

    /// Notes that a message of so many bytes has been received.
    #[inline]
    pub(crate) fn received(&mut self, len: usize) {
        match self {
            Coalescing::Told { time, last } => {
                *last = (!time.is_zero() && len < LARGE).then(Instant::now);
            }
            Coalescing::Adaptive(pace) if len < LARGE => {
                pace.messages = pace.messages.saturating_add(1);
            }
            Coalescing::Adaptive(pace) => **pace = Pace::default(),
        }
    }

    /// Whether to look if the next receive has to wait.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        match self {
            Coalescing::Told { last, .. } => last.is_some(),
            Coalescing::Adaptive(pace) => {
                pace.messages >= if pace.sleeps.is_some() { 1 } else { STEP }
            }
        }
    }

    /// Notes whether the next receive has to wait; how long it should sleep first.
    pub(crate) fn look(&mut self, waits: bool) -> Option<Duration> {
        match self {
            Coalescing::Told { time, last } => {
                last.filter(|last| waits && last.elapsed() < *time).map(|_| *time)
            }
            // Nothing to be noted, so the clock need not be read.
            Coalescing::Adaptive(pace) if pace.sleeps.is_some() && !waits => None,
            Coalescing::Adaptive(pace) => pace.look(waits, Instant::now()).then_some(MOMENT),
        }
    }
}

/// How many messages came, and in which time.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    messages: u32,
    time: Duration,
}

impl Flow {
    fn add(&mut self, other: Flow) {
        self.messages = self.messages.saturating_add(other.messages);
        self.time += other.time;
    }

    /// Whether at least `num / den` times as many came in a time.
    fn reaches(self, num: u128, den: u128, other: Flow) -> bool {
        let amount = |flow: Flow, time: Duration| u128::from(flow.messages) * time.as_nanos();
        den * amount(self, other.time) >= num * amount(other, self.time)
    }
}

/// What came before sleeps, and what with them.
#[derive(Clone, Copy, Debug)]
struct Sleeps {
    without: Flow,
    with: Flow,
    count: u32,
    /// How many there should be at most.
    series: u32,
}

impl Sleeps {
    /// Whether there should be one more after one that brought `flow`.
    fn go_on(&mut self, flow: Flow) -> bool {
        if self.count.is_multiple_of(TRIAL) {
            self.with = Flow::default();
        }
        self.count += 1;
        self.with.add(flow);
        let is_over = !flow.reaches(1, 2, self.without) || self.count == self.series;
        !is_over && (!self.count.is_multiple_of(TRIAL) || self.pay())
    }

    /// Whether more came of late than without.
    fn pay(&self) -> bool {
        self.with.reaches(17, 16, self.without)
    }
}

/// How messages come.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Messages since the last look, or the last sleep.
    messages: u32,
    /// When that was.
    last: Option<Instant>,
    /// Looks in a row without sleeps.
    looks: u32,
    /// Those of them that found nothing.
    waits: u32,
    /// What came meanwhile.
    flow: Flow,
    /// Looks that it takes until sleeps are tried.
    run: u32,
    /// Sleeps that there are then, while they pay.
    series: u32,
    /// While receives sleep.
    sleeps: Option<Sleeps>,
}

impl Default for Pace {
    fn default() -> Pace {
        let flow = Flow::default();
        let (run, series) = (RUN, TRIAL);
        Pace { messages: 0, last: None, looks: 0, waits: 0, flow, run, series, sleeps: None }
    }
}

impl Pace {
    /// Notes whether the next receive has to wait; whether it should sleep first.
    fn look(&mut self, waits: bool, now: Instant) -> bool {
        let messages = std::mem::take(&mut self.messages);
        let Some(last) = self.last.replace(now) else { return false };
        let flow = Flow { messages, time: now - last };
        if let Some(sleeps) = &mut self.sleeps {
            let goes_on = sleeps.go_on(flow);
            if !goes_on {
                (self.run, self.series) = if sleeps.pay() {
                    (RUN, (self.series * 2).min(LONGEST_SERIES))
                } else {
                    ((self.run * 2).min(LONGEST_RUN), (self.series / 2).max(TRIAL))
                };
                self.sleeps = None;
            }
            return goes_on;
        }
        self.flow.add(flow);
        self.looks += 1;
        self.waits += u32::from(waits);
        if self.looks < self.run {
            return false;
        }
        if self.is_a_stream() {
            let (without, with) = (self.flow, Flow::default());
            self.sleeps = Some(Sleeps { without, with, count: 0, series: self.series });
        }
        (self.looks, self.waits, self.flow) = (0, 0, Flow::default());
        self.sleeps.is_some() && waits
    }

    /// Whether messages come fast, mostly one by one, and not only when they are waited
    /// for.
    fn is_a_stream(&self) -> bool {
        let waits_of_16 = self.waits * 16 / self.looks;
        self.flow.time < GAP * self.flow.messages && (2..15).contains(&waits_of_16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// A connection that nobody has said anything for, and a clock.
    struct Stream {
        pace: Pace,
        now: Instant,
    }

    impl Stream {
        fn new() -> Stream {
            Stream { pace: Pace::default(), now: Instant::now() }
        }

        /// A look after so many messages and some time; whether the next receive sleeps.
        fn look(&mut self, messages: u32, after: Duration, waits: bool) -> bool {
            self.pace.messages += messages;
            self.now += after;
            self.pace.look(waits, self.now)
        }

        /// Looks at messages that come every `gap`, of which so many of 16 are waited for,
        /// until a receive sleeps; how many, if one does.
        fn until_sleep(&mut self, gap: Duration, waits_of_16: u32) -> Option<u32> {
            let mut looks = 1..=2 * LONGEST_RUN;
            looks.find(|&count| self.look(STEP, gap * STEP, count % 16 < waits_of_16))
        }

        /// Sleeps that bring so much in percent of what came every `gap` without; how many.
        fn sleeps(&mut self, gap: Duration, percent: u32) -> u32 {
            (1..).find(|_| !self.look(percent, 100 * gap, true)).unwrap()
        }
    }

    #[test]
    fn a_stream_is_slept_for_while_that_makes_it_faster() {
        let mut stream = Stream::new();
        for series in [8, 16, 32, 64, 128, 256, 256] {
            let gap = GAP - Duration::from_nanos(1);
            let looks = stream.until_sleep(gap, 8).unwrap();
            assert!((RUN..=RUN + 16).contains(&looks), "{looks}");
            assert_eq!(stream.sleeps(gap, 107), series, "then it is tried without");
        }
    }

    #[test]
    fn sleeps_that_do_not_pay_become_rare() {
        let mut stream = Stream::new();
        let gap = 10 * MICROSECOND;
        for run in [RUN, 2 * RUN, 4 * RUN, 8 * RUN] {
            let looks = stream.until_sleep(gap, 8).unwrap();
            assert!((run..=run + 16).contains(&looks), "{looks} instead of {run}");
            assert_eq!(stream.sleeps(gap, 106), TRIAL);
        }
        for _ in 0..10 {
            stream.until_sleep(gap, 8);
            stream.sleeps(gap, 100);
        }
        assert!(stream.until_sleep(gap, 8).unwrap() >= LONGEST_RUN);
        assert_eq!(stream.sleeps(gap, 120), TRIAL);
        assert!(stream.until_sleep(gap, 8).unwrap() <= RUN + 16, "after sleeps that did pay");
    }

    #[test]
    fn who_waits_for_answers_sleeps_once_at_most() {
        let gap = 10 * MICROSECOND;
        assert_eq!(Stream::new().until_sleep(gap, 16), None, "each is waited for");
        let mut stream = Stream::new();
        stream.until_sleep(gap, 8).unwrap();
        assert_eq!(stream.sleeps(gap, 49), 1);
        assert!(stream.until_sleep(gap, 8).unwrap() >= 2 * RUN);
    }

    #[test]
    fn the_end_of_a_stream_ends_the_sleeps() {
        let mut stream = Stream::new();
        stream.until_sleep(MICROSECOND, 8).unwrap();
        assert!((1..TRIAL).all(|_| stream.look(120, 100 * MICROSECOND, true)));
        assert!(!stream.look(1, Duration::from_secs(1), true));
    }

    #[test]
    fn messages_with_time_between_them_are_not_slept_for() {
        assert_eq!(Stream::new().until_sleep(GAP, 8), None);
    }

    #[test]
    fn messages_that_come_many_at_once_are_not_slept_for() {
        assert_eq!(Stream::new().until_sleep(MICROSECOND, 1), None);
    }

    #[test]
    fn it_is_looked_now_and_then_and_before_each_receive_while_they_sleep() {
        let mut coalescing = Coalescing::new(None);
        for _ in 0..3 {
            for _ in 0..STEP {
                assert!(!coalescing.is_due());
                coalescing.received(100);
            }
            assert!(coalescing.is_due());
            assert_eq!(coalescing.look(true), None);
        }
        let Coalescing::Adaptive(pace) = &mut coalescing else { unreachable!() };
        let without = Flow { messages: 1, time: Duration::from_secs(3600) };
        pace.sleeps = Some(Sleeps { without, with: Flow::default(), count: 0, series: 9 });
        assert!(!coalescing.is_due(), "nothing has come since the last sleep");
        coalescing.received(100);
        assert!(coalescing.is_due());
        assert_eq!(coalescing.look(false), None, "there is a message");
        coalescing.received(100);
        assert_eq!(coalescing.look(true), Some(MOMENT));
        coalescing.received(LARGE);
        assert!(!coalescing.is_due(), "after a large one");
    }

    #[test]
    fn never_means_never() {
        let mut coalescing = Coalescing::new(Some(Duration::ZERO));
        coalescing.received(100);
        assert!(!coalescing.is_due());
    }
}
