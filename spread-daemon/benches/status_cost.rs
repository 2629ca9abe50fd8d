//! The cost of a status a second: a flood of small messages through a daemon with 500 other
//! sessions in 20 groups each, in turns with and without somebody who asks the status socket for
//! JSON each second. Prints the ratio of the rates of each pair, and their median.
//!
//! ```sh
//! cargo bench -p spread-daemon --bench status_cost -- PAIRS SECONDS
//! ```

#[path = "../tests/support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spread_daemon::Daemon;
use spread_wire::handshake::Connect;
use spread_wire::{Name, Request, Service};
use support::client::Client;

/// Messages that are sent at once.
const BURST: usize = 100;

fn main() {
    if !std::env::args().any(|option| option == "--bench") {
        // Not for `cargo test --benches`.
        return;
    }
    let numbers: Vec<u64> = std::env::args().filter_map(|option| option.parse().ok()).collect();
    let (pairs, seconds) = match numbers[..] {
        [pairs, seconds, ..] => (pairs, seconds),
        _ => (7, 4),
    };
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::builder().unix_dir(folder.path()).status_socket(true).start().unwrap();
    let socket = daemon.unix_path().unwrap().with_extension("status");
    let quiet = |name: String| {
        let mut connect = Connect::new(Some(name.parse().unwrap()));
        connect.membership = false;
        Client::try_connect(daemon.socket_addr(), connect).unwrap()
    };
    let _others: Vec<Client> = (0..500)
        .map(|number| {
            let mut client = quiet(format!("o{number}"));
            for group in 0..20 {
                let name = format!("group{}", (number + group) % 100);
                client.request(&Request::Join(Name::new(name).unwrap()));
            }
            client.receive_until_handled();
            client
        })
        .collect();
    let mut client = quiet("flood".to_owned());
    let own = [client.private_group];
    let message = client.encode(&Request::multicast(Service::Agreed, &own, &[7; 64]));
    let burst = message.repeat(BURST);
    let mut flood = || {
        let start = Instant::now();
        let mut sent = 0;
        let mut buffer = vec![0; burst.len()];
        while start.elapsed() < Duration::from_secs(seconds) {
            client.stream.write_all(&burst).unwrap();
            client.stream.read_exact(&mut buffer).unwrap();
            sent += BURST;
        }
        sent as f64 / start.elapsed().as_secs_f64()
    };
    flood();
    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let without = flood();
        let asking = Asking::start(&socket);
        let with = flood();
        let (asked, bytes, longest) = asking.stop();
        println!(
            "{without:.0} messages/s alone, {with:.0} with {asked} statuses of {bytes} bytes, the \
             longest in {longest:?}: {:.4}",
            with / without
        );
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median {:.4} ({:.4} to {:.4})",
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1]
    );
}

/// Asks for a status each second.
struct Asking {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<(u64, usize, Duration)>,
}

impl Asking {
    fn start(socket: &Path) -> Asking {
        let (is_over, socket) = (Arc::new(AtomicBool::new(false)), PathBuf::from(socket));
        let done = Arc::clone(&is_over);
        let ask = move || {
            let (mut asked, mut bytes, mut longest) = (0, 0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let start = Instant::now();
                let mut stream = UnixStream::connect(&socket).unwrap();
                stream.write_all(b"json\n").unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap();
                (asked, bytes) = (asked + 1, answer.len());
                longest = longest.max(start.elapsed());
                thread::park_timeout(Duration::from_secs(1).saturating_sub(start.elapsed()));
            }
            (asked, bytes, longest)
        };
        Asking { is_over, thread: thread::spawn(ask) }
    }

    fn stop(self) -> (u64, usize, Duration) {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap()
    }
}
