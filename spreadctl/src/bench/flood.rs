//! One client that receives what it sends.

use std::collections::VecDeque;
use std::time::Instant;

use spread::GroupName;

use super::Result;
use super::client::Client;
use super::exchange::{self, Exchange};
use super::meter::Meter;
use super::options::ClientArgs;
use super::outcome::Report;
use super::stats::Latency;

/// Messages whose time from send to receive is taken, at the most: a clock that is
/// read for each message would slow down a flood.
const SAMPLES: u64 = 10_000;

pub(super) fn run(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    let groups =
        (0..args.groups).map(|number| client.join(args, number)).collect::<Result<Vec<_>>>()?;
    let every = args.count.div_ceil(SAMPLES);
    let most = args.count.max(args.warm_up);
    // All memory is taken before the measurement.
    let mut flood = Flood {
        client,
        groups,
        next_group: 0,
        every,
        count: Count::default(),
        under_way: VecDeque::with_capacity(args.window as usize),
        times: Vec::with_capacity(most.div_ceil(every) as usize),
    };
    exchange::run(&mut flood, args.warm_up, args)?;
    flood.times.clear();
    flood.count = Count::default();

    let meter = Meter::start(args.daemon_pid);
    exchange::run(&mut flood, args.count, args)?;
    let used = meter.stop();
    Report {
        messages: Some(args.count),
        latency: Latency::of(&mut flood.times),
        ..Report::of(used)
    }
    .print();
    Ok(flood.client.mailbox.disconnect()?)
}

struct Flood {
    client: Client,
    groups: Vec<GroupName>,
    /// Where the next message goes to.
    next_group: usize,
    /// One message of so many is timed, and carries no sign of it: messages come
    /// in the order sent.
    every: u64,
    count: Count,
    /// When those were sent that are timed and have not come yet.
    under_way: VecDeque<Instant>,
    /// Microseconds.
    times: Vec<f64>,
}

/// Messages so far, and the next ones that are timed.
#[derive(Default)]
struct Count {
    sent: u64,
    received: u64,
    timed_sent: u64,
    timed_received: u64,
}

impl Exchange for Flood {
    fn send(&mut self, count: u64) -> Result<u64> {
        self.count.sent += count;
        while self.count.timed_sent < self.count.sent {
            self.under_way.push_back(Instant::now());
            self.count.timed_sent += self.every;
        }
        let (groups, next) = (&self.groups, &mut self.next_group);
        self.client.send_some(count, || {
            let group = groups[*next];
            *next += 1;
            if *next == groups.len() {
                *next = 0;
            }
            group
        })
    }

    fn receive(&mut self) -> Result<u64> {
        self.client.receive(|_| ())?;
        if self.count.received == self.count.timed_received
            && let Some(sent) = self.under_way.pop_front()
        {
            self.times.push(sent.elapsed().as_secs_f64() * 1e6);
            self.count.timed_received += self.every;
        }
        self.count.received += 1;
        Ok(self.count.received)
    }
}
