//! What it costs to deliver messages: to few and many receivers, in few and many
//! groups. The clients are part of it, but do nothing with what they get.
//!
//! One element is one delivered message, so that more receivers or groups should
//! not make it slower.

#[allow(dead_code, reason = "the bench uses a part of it")]
#[path = "../spread-daemon/tests/support/client.rs"]
mod client;

use std::io::Read;

use client::Client;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use spread_daemon::Daemon;
use spread_wire::handshake::Connect;
use spread_wire::{Name, Request, Service};

/// Messages that are sent at once.
const BURST: usize = 200;

/// A sender, and receivers that are in all groups.
struct Town {
    sender: Client,
    receivers: Vec<Client>,
    /// Messages to the groups, interleaved.
    burst: Vec<u8>,
    buffer: Vec<u8>,
    _daemon: Daemon,
}

impl Town {
    fn new(receivers: usize, groups: usize, size: usize) -> Town {
        let daemon = Daemon::builder().start().unwrap();
        let groups: Vec<Name> =
            (0..groups).map(|number| Name::new(format!("group{number}")).unwrap()).collect();
        let quiet = |name: String| {
            let mut connect = Connect::new(Some(name.parse().unwrap()));
            connect.membership = false;
            Client::try_connect(daemon.socket_addr(), connect).unwrap()
        };
        let mut receivers: Vec<Client> = (0..receivers).map(|n| quiet(format!("r{n}"))).collect();
        for receiver in &mut receivers {
            groups.iter().for_each(|group| receiver.request(&Request::Join(*group)));
            receiver.receive_until_handled();
        }
        let sender = quiet("sender".to_owned());
        let body = vec![0; size];
        let message = |number: usize| {
            let group = [groups[number % groups.len()]];
            sender.encode(&Request::multicast(Service::Agreed, &group, &body))
        };
        let burst: Vec<u8> = (0..BURST).flat_map(message).collect();
        let buffer = vec![0; burst.len()];
        Town { sender, receivers, burst, buffer, _daemon: daemon }
    }

    fn deliver(&mut self) {
        self.sender.send(&self.burst);
        for receiver in &mut self.receivers {
            receiver.stream.read_exact(&mut self.buffer).unwrap();
        }
    }
}

fn fanout(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fanout");
    for (receivers, groups, size) in [
        (2, 1, 64),
        (8, 1, 64),
        (64, 1, 64),
        (4, 1, 64),
        (4, 10, 64),
        (4, 1000, 64),
        (4, 1, 1024),
        (4, 1, 16 * 1024),
    ] {
        let mut town = Town::new(receivers, groups, size);
        let name = format!("{receivers}-receivers/{groups}-groups");
        group.throughput(Throughput::Elements((BURST * receivers) as u64));
        group.bench_function(BenchmarkId::new(name, size), |bencher| {
            bencher.iter(|| town.deliver());
        });
    }
    group.finish();
}

criterion_group!(benches, fanout);
criterion_main!(benches);
