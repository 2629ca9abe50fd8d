//! One client that receives what it sends.

use std::collections::VecDeque;
use std::time::Instant;

use spread::GroupName;

use crate::Result;
use crate::client::Client;
use crate::exchange::{self, Exchange};
use crate::meter::Meter;
use crate::options::ClientArgs;
use crate::outcome::Report;
use crate::stats::Latency;

/// Messages whose time from send to receive is taken, at the most: a clock that is
/// read for each message would slow down a flood.
const SAMPLES: u64 = 10_000;

pub(crate) fn run(args: &ClientArgs) -> Result {
    let mut client = Client::connect(args)?;
    let groups =
        (0..args.groups).map(|number| client.join(args, number)).collect::<Result<Vec<_>>>()?;
    let every = args.count.div_ceil(SAMPLES);
    let mut flood = Flood {
        client,
        groups,
        next_group: 0,
        every,
        sent: 0,
        received: 0,
        under_way: VecDeque::with_capacity(args.window.div_ceil(every) as usize + 1),
        times: Vec::with_capacity(args.warm_up.max(args.count).div_ceil(every) as usize),
    };
    exchange::run(&mut flood, args.warm_up, args)?;
    flood.times.clear();
    (flood.sent, flood.received) = (0, 0);

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
    sent: u64,
    received: u64,
    /// When those were sent that are timed and have not come yet.
    under_way: VecDeque<Instant>,
    /// Microseconds.
    times: Vec<f64>,
}

impl Exchange for Flood {
    fn send(&mut self, count: u64) -> Result {
        let timed = (self.sent + count).div_ceil(self.every) - self.sent.div_ceil(self.every);
        if timed > 0 {
            let now = Instant::now();
            (0..timed).for_each(|_| self.under_way.push_back(now));
        }
        self.sent += count;
        let (groups, next) = (&self.groups, &mut self.next_group);
        self.client.send_many(count, || {
            let group = groups[*next];
            *next = (*next + 1) % groups.len();
            group
        })
    }

    fn receive(&mut self) -> Result<u64> {
        self.client.receive(|_| ())?;
        if self.received.is_multiple_of(self.every)
            && let Some(sent) = self.under_way.pop_front()
        {
            self.times.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        self.received += 1;
        Ok(self.received)
    }
}
