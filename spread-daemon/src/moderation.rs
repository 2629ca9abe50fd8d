//! Clients that send many small pieces are left alone for moments.
//!
//! A client that makes a call or two for each message, as every program of the C library
//! does, pays for a daemon that reads each piece as soon as it comes: the daemon is woken
//! and both contend for the socket. So a stream of small pieces is held: nothing of it is
//! read for [`HOLD`], and then all that has come. Network cards moderate their interrupts
//! in the same way.
//!
//! A lone message never waits. A connection is held only after a [`RUN`] of small reads
//! that came faster than answers could, since for an answer two threads have to wake up, or
//! that often brought several messages. It goes on being held only if that makes it
//! faster: else the stream has ended, or the client waits for what it has sent, or holds
//! do not suit it, and it takes twice as many reads until the next hold. The other
//! connections are served meanwhile. A daemon that polls busily is to answer at once, and
//! holds nothing.

use std::time::{Duration, Instant};

use mio::Interest;

use crate::alarm::Alarm;
use crate::server::Server;

/// How long a connection is not read.
const HOLD: Duration = Duration::from_micros(50);

/// Bytes of a read that is small.
const SMALL: usize = 4096;

/// Small reads after which a connection is held, at first.
const RUN: u32 = 256;

/// Small reads that it takes after holds that did pay.
const SHORTEST_RUN: u32 = 64;

/// Small reads that it takes at most, after holds that did not.
const LONGEST_RUN: u32 = 16 * 1024;

/// Time between small reads after which a new run begins.
const PAUSE: Duration = Duration::from_micros(50);

/// What lies between the small reads of a run at most, on average: less than it takes for
/// an answer to come and the next message after it.
const GAP: Duration = Duration::from_micros(5);

/// The same if one in eight of them brings several messages, so that the client cannot
/// have waited for answers.
const SURE_GAP: Duration = Duration::from_micros(20);

/// Holds after which it is seen whether they pay.
const TRIAL: u32 = 8;

/// Holds after which it is seen again what comes without.
const SERIES: u32 = 128;

/// How many bytes came, and in which time.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    bytes: usize,
    time: Duration,
}

impl Flow {
    fn add(&mut self, bytes: usize, time: Duration) {
        self.bytes += bytes;
        self.time += time;
    }

    /// Whether at least `num / den` times as much came in a time.
    fn reaches(self, num: u128, den: u128, other: Flow) -> bool {
        let amount = |flow: Flow, time: Duration| flow.bytes as u128 * time.as_nanos();
        den * amount(self, other.time) >= num * amount(other, self.time)
    }
}

/// What came before holds, and what with them.
#[derive(Clone, Copy, Debug)]
struct Holds {
    without: Flow,
    with: Flow,
    count: u32,
}

impl Holds {
    /// Whether there should be one more after one that brought `flow`.
    fn go_on(&mut self, flow: Flow) -> bool {
        self.count += 1;
        if self.count % TRIAL == 1 {
            self.with = Flow::default();
        }
        self.with.add(flow.bytes, flow.time);
        let is_over = !flow.reaches(1, 2, self.without) || self.count == SERIES;
        !is_over && (!self.count.is_multiple_of(TRIAL) || self.pay())
    }

    /// Whether more came of late than without.
    fn pay(&self) -> bool {
        self.with.reaches(33, 32, self.without)
    }
}

/// How a connection's bytes come.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Small reads in a row.
    reads: u32,
    /// Those of them that brought several messages.
    several: u32,
    /// What came with them, after the first one.
    flow: Flow,
    /// When the last read was.
    last: Option<Instant>,
    /// Small reads that it takes until it is held.
    run: u32,
    /// While it is held.
    holds: Option<Holds>,
}

impl Default for Pace {
    fn default() -> Pace {
        let flow = Flow::default();
        Pace { reads: 0, several: 0, flow, last: None, run: RUN, holds: None }
    }
}

impl Pace {
    /// Notes a read of so many bytes with so many messages; tells whether the connection
    /// should be held now.
    #[inline]
    fn note(&mut self, bytes: usize, messages: u64) -> bool {
        match bytes {
            _ if self.holds.is_some() => {}
            0 => return false,
            1..SMALL => {}
            _ => {
                self.reads = 0;
                return false;
            }
        }
        self.note_at(bytes, messages, Instant::now())
    }

    fn note_at(&mut self, bytes: usize, messages: u64, now: Instant) -> bool {
        let time = self.last.replace(now).map_or(Duration::MAX, |last| now - last);
        if let Some(holds) = &mut self.holds {
            let goes_on = holds.go_on(Flow { bytes, time });
            if !goes_on {
                self.run = match holds.pay() {
                    true => SHORTEST_RUN,
                    false => (self.run * 2).clamp(RUN, LONGEST_RUN),
                };
                self.holds = None;
                self.reads = 0;
            }
            goes_on
        } else if self.reads == 0 || time > PAUSE {
            self.begin_run();
            false
        } else {
            self.reads += 1;
            self.flow.add(bytes, time);
            self.several += u32::from(messages > 1);
            if self.reads <= self.run {
                return false;
            }
            let gap = if self.several * 8 >= self.run { SURE_GAP } else { GAP };
            if self.flow.time > gap * self.run {
                self.begin_run();
                return false;
            }
            self.holds = Some(Holds { without: self.flow, with: Flow::default(), count: 0 });
            true
        }
    }

    /// Begins a run with the read at hand.
    fn begin_run(&mut self) {
        self.reads = 1;
        self.several = 0;
        self.flow = Flow::default();
    }

    /// Notes that it could not be held.
    fn is_not_held(&mut self) {
        self.reads = 0;
        self.holds = None;
    }
}

/// The connections that are held.
#[derive(Debug)]
pub(crate) struct Held {
    /// Rings when they are to be read. Where there is none, nothing is held.
    alarm: Option<Alarm>,
    /// Keys and serials.
    connections: Vec<(usize, u64)>,
}

impl Held {
    pub(crate) fn new(alarm: Option<Alarm>) -> Held {
        Held { alarm, connections: Vec::new() }
    }
}

impl Server {
    /// Notes a read of so many bytes with so many messages, and holds the connection if
    /// it should be.
    pub(crate) fn keep_pace(&mut self, key: usize, bytes: usize, messages: u64) {
        let connection = self.connections.slab.get_mut(key);
        if connection.is_some_and(|connection| connection.pace.note(bytes, messages)) {
            self.hold(key);
        }
    }

    /// Has a connection not read for a moment.
    fn hold(&mut self, key: usize) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        let rings = !self.held.connections.is_empty();
        let alarm = self.held.alarm.as_ref().filter(|_| !connection.hung_up);
        // Without events for it the client's calls take less time, too.
        if alarm.is_none_or(|alarm| !rings && alarm.set(HOLD).is_err())
            || self.poll.registry().deregister(&mut connection.stream).is_err()
        {
            connection.pace.is_not_held();
            return;
        }
        connection.held = true;
        self.held.connections.push((key, connection.serial));
    }

    /// Reads the connections on that are held.
    pub(crate) fn release(&mut self) {
        while let Some((key, serial)) = self.held.connections.pop() {
            let token = self.token(key);
            let connection = self.connections.slab.get_mut(key).filter(|c| c.serial == serial);
            let Some(connection) = connection else {
                continue;
            };
            connection.held = false;
            let interest = Interest::READABLE | Interest::WRITABLE;
            match self.poll.registry().register(&mut connection.stream, token, interest) {
                Ok(()) => self.read_later(key),
                Err(error) => {
                    tracing::error!(%error, key, "cannot serve a connection any more");
                    self.connections.close_later(key);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "../tests/support/client.rs"]
#[allow(dead_code, reason = "each test uses a part of it")]
mod client;

#[cfg(test)]
mod tests {
    use super::client::{Client, DEADLINE};
    use super::*;
    use crate::Daemon;

    const MICROSECOND: Duration = Duration::from_micros(1);

    /// Bytes a microsecond while it is not held.
    const RATE: usize = 100;

    /// A connection's pace, and a clock.
    struct Stream {
        pace: Pace,
        now: Instant,
    }

    impl Stream {
        fn new() -> Stream {
            Stream { pace: Pace::default(), now: Instant::now() }
        }

        /// A read after some time; whether the connection is held then.
        fn read(&mut self, after: Duration, bytes: usize) -> bool {
            self.now += after;
            self.pace.note_at(bytes, 1, self.now)
        }

        /// Reads until the connection is held; how many.
        fn until_held(&mut self) -> u32 {
            (1..).find(|_| self.read(MICROSECOND, RATE)).unwrap()
        }

        /// Holds that bring so much in percent of what came without; how many.
        fn holds(&mut self, percent: usize) -> u32 {
            let bytes = RATE * HOLD.as_micros() as usize * percent / 100;
            (1..).find(|_| !self.read(HOLD, bytes)).unwrap()
        }
    }

    #[test]
    fn a_stream_of_small_reads_is_held_while_that_makes_it_faster() {
        let mut stream = Stream::new();
        for run in [RUN, SHORTEST_RUN, SHORTEST_RUN] {
            assert_eq!(stream.until_held(), run + 1);
            assert_eq!(stream.holds(104), SERIES, "then it is tried without");
        }
        stream.until_held();
        assert!((1..TRIAL).all(|_| stream.read(3 * HOLD, 340 * RATE / 2)), "a late alarm");
    }

    #[test]
    fn holds_that_do_not_pay_become_rare() {
        let mut stream = Stream::new();
        for (run, percent) in [(RUN, 100), (2 * RUN, 103), (4 * RUN, 50)] {
            assert_eq!(stream.until_held(), run + 1);
            assert_eq!(stream.holds(percent), TRIAL);
        }
        assert_eq!(stream.until_held(), 8 * RUN + 1);
        assert_eq!(stream.holds(150), SERIES);
        assert_eq!(stream.until_held(), SHORTEST_RUN + 1, "after a series that did pay");
        for _ in 0..20 {
            stream.holds(100);
            stream.until_held();
        }
        stream.holds(100);
        assert_eq!(stream.until_held(), LONGEST_RUN + 1);
    }

    #[test]
    fn the_end_of_a_stream_ends_the_holds_at_once() {
        for percent in [0, 49] {
            let mut stream = Stream::new();
            stream.until_held();
            assert_eq!(stream.holds(percent), 1);
        }
    }

    #[test]
    fn messages_with_time_between_them_are_not_held() {
        let mut stream = Stream::new();
        assert!((0..10 * RUN).all(|_| !stream.read(GAP + MICROSECOND, RATE)));
        for _ in 0..10 {
            assert!(!stream.read(PAUSE + MICROSECOND, RATE));
            assert!((1..RUN).all(|_| !stream.read(MICROSECOND, RATE)));
        }
    }

    #[test]
    fn who_sends_several_messages_at_once_waits_for_no_answers() {
        for (of_eight, gap, is_held) in
            [(1, SURE_GAP, true), (1, SURE_GAP + MICROSECOND, false), (0, SURE_GAP, false)]
        {
            let mut stream = Stream::new();
            let holds = (0..10 * RUN).any(|number| {
                stream.now += gap;
                let messages = if number % 8 < of_eight { 2 } else { 1 };
                stream.pace.note_at(RATE, messages, stream.now)
            });
            assert_eq!(holds, is_held);
        }
    }

    #[test]
    fn a_run_may_have_short_pauses() {
        let mut stream = Stream::new();
        let read = |number| if number % 10 == 0 { 40 * MICROSECOND } else { MICROSECOND };
        assert_eq!((1..).find(|&number| stream.read(read(number), RATE)), Some(RUN + 1));
    }

    #[test]
    fn large_reads_are_not_held() {
        let mut pace = Pace::default();
        for _ in 0..10 {
            assert!((0..RUN).all(|_| !pace.note(SMALL - 1, 1)));
            assert!(!pace.note(SMALL, 9));
        }
    }

    /// Holds the only session of a daemon, and does something before that is over.
    fn hold(daemon: &Daemon, and: impl FnOnce(&mut Server, usize) + Send + 'static) {
        let is_held = daemon.control().call(|server| {
            let (key, _) = server.connections.slab.iter().next().expect("a session");
            server.hold(key);
            let is_held = server.connections.slab[key].held;
            and(server, key);
            is_held
        });
        assert_eq!(is_held, Ok(cfg!(target_os = "linux")));
    }

    #[test]
    fn what_comes_during_a_hold_is_read_after_it() {
        let daemon = Daemon::builder().start().unwrap();
        let mut client = Client::connect(daemon.socket_addr(), "alice");
        client.join("g");
        for body in [&b"one"[..], b"two", b"three"] {
            client.multicast("g", body);
            assert_eq!(client.receive_body(), body, "while it is not held");
            hold(&daemon, |_, _| {});
            client.multicast("g", body);
            assert_eq!(client.receive_body(), body, "after a hold");
        }
    }

    #[test]
    fn a_client_that_goes_during_a_hold_is_gone_after_it() {
        let daemon = Daemon::builder().start().unwrap();
        let client = Client::connect(daemon.socket_addr(), "alice");
        hold(&daemon, move |_, _| drop(client));
        let begin = Instant::now();
        while !daemon.status().unwrap().sessions.is_empty() {
            assert!(begin.elapsed() < DEADLINE, "nobody has noticed");
        }
    }

    #[test]
    fn the_end_of_a_hold_is_not_for_who_comes_next() {
        let daemon = Daemon::builder().start().unwrap();
        let mut client = Client::connect(daemon.socket_addr(), "alice");
        hold(&daemon, |server, key| {
            server.connections.close_later(key);
            server.close();
        });
        assert!(client.receive().is_none(), "it has been closed");
        let mut next = Client::connect(daemon.socket_addr(), "alice");
        hold(&daemon, |_, _| {});
        next.join("g");
    }
}
