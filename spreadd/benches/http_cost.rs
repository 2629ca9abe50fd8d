//! The cost of the page and of a scrape a second: a flood of small messages through the program
//! with 500 other sessions in 20 groups each, in turns with and without somebody who asks for
//! /metrics and, as an open page does, for /status.json each second. Prints the ratio of the rates
//! of each pair, and their median.
//!
//! ```sh
//! cargo bench -p spreadd --bench http_cost -- PAIRS SECONDS
//! ```

#[path = "../../spread-daemon/tests/support/client.rs"]
#[allow(dead_code, reason = "this bench uses a part of it")]
mod client;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use client::Client;
use serde_json::Value;
use spread_wire::handshake::Connect;
use spread_wire::{Name, Request, Service};

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
    let folder = std::env::temp_dir().join(format!("http-cost-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spreadd"));
    command.args(["--no-config", "--port", "0", "--http", "0", "--log-format", "json"]);
    let child = command.arg("--unix-dir").arg(&folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut daemon = Daemon(child);
    let mut ready = String::new();
    BufReader::new(daemon.0.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let ready = &ready["fields"];
    let (port, host) = ready["address"].as_str().unwrap().split_once('@').unwrap();
    let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
    let http = ready["http"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/');
    let http: SocketAddr = http.parse().unwrap();

    let quiet = |name: String| {
        let mut connect = Connect::new(Some(name.parse().unwrap()));
        connect.membership = false;
        Client::try_connect(address, connect).unwrap()
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
        let asking = Asking::start(http);
        let with = flood();
        let (asked, bytes, longest) = asking.stop();
        println!(
            "{without:.0} messages/s alone, {with:.0} with {asked} polls and scrapes, the last poll \
             of {bytes} bytes, the longest answer in {longest:?}: {:.4}",
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
    drop(daemon);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The program, which does not outlive the bench.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Polls and scrapes each second, each over a connection that it keeps.
struct Asking {
    is_over: Arc<AtomicBool>,
    thread: thread::JoinHandle<(u64, usize, Duration)>,
}

impl Asking {
    fn start(http: SocketAddr) -> Asking {
        let is_over = Arc::new(AtomicBool::new(false));
        let done = Arc::clone(&is_over);
        let ask = move || {
            let mut streams = [0, 1].map(|_| BufReader::new(TcpStream::connect(http).unwrap()));
            let (mut asked, mut bytes, mut longest) = (0, 0, Duration::ZERO);
            while !done.load(Ordering::Relaxed) {
                let start = Instant::now();
                for (path, stream) in ["/metrics", "/status.json"].into_iter().zip(&mut streams) {
                    let start = Instant::now();
                    bytes = get(stream, path);
                    longest = longest.max(start.elapsed());
                }
                asked += 1;
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

/// Asks for a path, and returns the length of the answer's body.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> usize {
    write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(stream.read_line(&mut head).unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let fields = head.to_ascii_lowercase();
    let len = fields.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; len.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    body.len()
}
