//! The cost of looking at a daemon: a flood of small messages through the program with 500 other
//! sessions in 20 groups each, interleaved with the same while somebody asks each second: by HTTP
//! for /metrics and, as an open page does, for /status.json, and at the status socket for JSON.
//! Prints the ratio of the rates of each pair, and the medians.
//!
//! ```sh
//! cargo bench -p spreadd --bench status_cost -- PAIRS SECONDS
//! ```

#[path = "../../spread-daemon/tests/support/client.rs"]
#[allow(dead_code, reason = "this bench uses a part of it")]
mod client;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
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
    let daemon = Daemon::start();
    let _others: Vec<Client> = (0..500).map(|number| daemon.member(number)).collect();
    let mut flood = Flood::start(&daemon, Duration::from_secs(seconds));
    flood.rate();
    let ways = [Way::Http(daemon.http), Way::Socket(daemon.status_socket.clone())];
    let mut ratios = ways.each_ref().map(|_| Vec::new());
    for _ in 0..pairs {
        for (way, ratios) in ways.iter().zip(&mut ratios) {
            let without = flood.rate();
            let asking = Asking::start(way);
            let with = flood.rate();
            let Asked { times, bytes, longest } = asking.stop();
            let ratio = with / without;
            println!(
                "{}: {without:.0} messages/s alone, {with:.0} with {times} questions, the last \
                 answer of {bytes} bytes, the longest in {longest:?}: {ratio:.4}",
                way.name()
            );
            ratios.push(ratio);
        }
    }
    for (way, mut ratios) in ways.iter().zip(ratios) {
        ratios.sort_by(f64::total_cmp);
        let (median, last) = (ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        println!("{}: median {median:.4} ({:.4} to {last:.4})", way.name(), ratios[0]);
    }
}

/// The program, which does not outlive the bench.
struct Daemon {
    child: Child,
    folder: PathBuf,
    clients: SocketAddr,
    http: SocketAddr,
    status_socket: PathBuf,
}

impl Daemon {
    fn start() -> Daemon {
        let folder = std::env::temp_dir().join(format!("status-cost-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_spreadd"));
        command.args(["--no-config", "--port", "0", "--http", "0", "--log-format", "json"]);
        command.arg("--unix-dir").arg(&folder).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let told = |field: &str| ready["fields"][field].as_str().unwrap();
        let (port, host) = told("address").split_once('@').unwrap();
        Daemon {
            child,
            clients: format!("{host}:{port}").parse().unwrap(),
            http: told("http").trim_start_matches("http://").trim_end_matches('/').parse().unwrap(),
            status_socket: folder.join(format!("{port}.status")),
            folder,
        }
    }

    /// Connects a client that gets no views.
    fn client(&self, name: &str) -> Client {
        let mut connect = Connect::new(Some(name.parse().unwrap()));
        connect.membership = false;
        Client::try_connect(self.clients, connect).unwrap()
    }

    /// Connects a client that joins 20 of 100 groups.
    fn member(&self, number: usize) -> Client {
        let mut client = self.client(&format!("o{number}"));
        for group in 0..20 {
            let name = format!("group{}", (number + group) % 100);
            client.request(&Request::Join(Name::new(name).unwrap()));
        }
        client.receive_until_handled();
        client
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A client that sends to itself.
struct Flood {
    client: Client,
    burst: Vec<u8>,
    time: Duration,
}

impl Flood {
    fn start(daemon: &Daemon, time: Duration) -> Flood {
        let client = daemon.client("flood");
        let own = [client.private_group];
        let message = client.encode(&Request::multicast(Service::Agreed, &own, &[7; 64]));
        let burst = message.repeat(BURST);
        Flood { client, burst, time }
    }

    /// Floods for its time; returns messages a second.
    fn rate(&mut self) -> f64 {
        let start = Instant::now();
        let mut sent = 0;
        let mut buffer = vec![0; self.burst.len()];
        while start.elapsed() < self.time {
            self.client.stream.write_all(&self.burst).unwrap();
            self.client.stream.read_exact(&mut buffer).unwrap();
            sent += BURST;
        }
        sent as f64 / start.elapsed().as_secs_f64()
    }
}

/// How the daemon is asked.
#[derive(Clone)]
enum Way {
    Http(SocketAddr),
    Socket(PathBuf),
}

impl Way {
    fn name(&self) -> &'static str {
        match self {
            Way::Http(_) => "HTTP",
            Way::Socket(_) => "status socket",
        }
    }

    /// Returns what asks once and returns the length of the last answer.
    fn asker(&self) -> Box<dyn FnMut() -> usize + Send> {
        match self.clone() {
            Way::Http(address) => {
                let mut streams =
                    [0, 1].map(|_| BufReader::new(TcpStream::connect(address).unwrap()));
                Box::new(move || {
                    let [metrics, page] = &mut streams;
                    get(metrics, "/metrics");
                    get(page, "/status.json")
                })
            }
            Way::Socket(path) => Box::new(move || {
                let mut stream = UnixStream::connect(&path).unwrap();
                stream.write_all(b"json\n").unwrap();
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).unwrap()
            }),
        }
    }
}

/// Asks each second, until it is stopped.
struct Asking {
    /// Dropping it ends the asking.
    is_over: Sender<()>,
    thread: JoinHandle<Asked>,
}

/// What was asked.
#[derive(Default)]
struct Asked {
    times: u64,
    /// Bytes of the last answer.
    bytes: usize,
    longest: Duration,
}

impl Asking {
    fn start(way: &Way) -> Asking {
        let (is_over, over) = channel();
        let mut ask = way.asker();
        let thread = thread::spawn(move || {
            let mut asked = Asked::default();
            loop {
                let start = Instant::now();
                asked.bytes = ask();
                asked.times += 1;
                asked.longest = asked.longest.max(start.elapsed());
                let rest = Duration::from_secs(1).saturating_sub(start.elapsed());
                if over.recv_timeout(rest) == Err(RecvTimeoutError::Disconnected) {
                    return asked;
                }
            }
        });
        Asking { is_over, thread }
    }

    fn stop(self) -> Asked {
        drop(self.is_over);
        self.thread.join().unwrap()
    }
}

/// Asks for a path, and returns the length of the answer's body.
fn get(stream: &mut BufReader<TcpStream>, path: &str) -> usize {
    // As Prometheus asks for the metrics.
    let accept = "Accept: application/openmetrics-text;version=1.0.0";
    write!(stream.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n\r\n").unwrap();
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
