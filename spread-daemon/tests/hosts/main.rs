//! Three daemons on three hosts, over Corosync: those that `ci/cluster/test.sh` makes.
//!
//! `SPREAD_HOSTS` names the folder that it runs them in.

mod chaos;
#[path = "../../src/cluster/properties.rs"]
#[allow(dead_code, reason = "shared with the models")]
mod properties;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use serde_json::Value;
use spread_wire::{Delivery, Frame, GroupId, Limits, ServiceType};

use support::client::Client;
use support::transcript::{Side, Transcript};

/// How long a configuration lasts at most after a change in the network: Corosync notices
/// that the token is lost after 300 ms.
const STANDS: Duration = Duration::from_secs(1);

/// The hosts: three namespaces, with Corosync and a daemon on each.
struct Hosts {
    dir: PathBuf,
}

impl Hosts {
    fn new() -> Hosts {
        let dir = std::env::var_os("SPREAD_HOSTS").expect("SPREAD_HOSTS: see ci/cluster/test.sh");
        let hosts = Hosts { dir: dir.into() };
        hosts.run("net.sh", &["merge"]);
        hosts.wait_for(&[&[1, 2, 3]]);
        hosts
    }

    fn run(&self, script: &str, arguments: &[&str]) -> bool {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../ci/cluster/");
        let mut command = Command::new("bash");
        command.arg(format!("{folder}{script}")).args(arguments);
        command.output().unwrap().status.success()
    }

    fn address(host: usize) -> SocketAddr {
        format!("10.78.0.{host}:4803").parse().unwrap()
    }

    fn partition(&self, parts: &[&str]) {
        assert!(self.run("net.sh", &[&["part"], parts].concat()));
    }

    /// Kills `spreadd` or `corosync`.
    fn kill(&self, what: &str, host: usize) {
        let arguments = ["kill", what, &host.to_string(), self.dir.to_str().unwrap()];
        assert!(self.run("node.sh", &arguments));
    }

    fn start(&self, what: &str, host: usize) {
        assert!(self.run("node.sh", &[what, &host.to_string(), self.dir.to_str().unwrap()]));
    }

    /// Returns the daemons that one sees and their configuration, if it is formed.
    fn seen_by(&self, host: usize) -> Option<(Vec<usize>, u64)> {
        let path = self.dir.join(format!("unix{host}/4803.status"));
        let mut stream = UnixStream::connect(path).ok()?;
        stream.write_all(b"json\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status: Value = serde_json::from_str(&answer).ok()?;
        let hosts = &status["hosts"];
        let names = hosts["present"].as_array()?.iter().filter_map(Value::as_str);
        let numbers = names.filter_map(|name| name.strip_prefix('d')?.parse().ok());
        let configuration = u64::from_str_radix(hosts["configuration"].as_str()?, 16).ok()?;
        (hosts["forming"] == false).then(|| (numbers.collect(), configuration))
    }

    /// Waits until the log of a daemon has a text.
    fn wait_for_log(&self, host: usize, text: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        let path = self.dir.join(format!("spreadd{host}.log"));
        while !fs::read_to_string(&path).unwrap().contains(text) {
            assert!(Instant::now() < until, "no {text:?} in {}", path.display());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the daemons of each part see each other and no others, in a configuration
    /// that stands: one from before the change may last until Corosync has noticed, within
    /// [`STANDS`].
    fn wait_for(&self, parts: &[&[usize]]) {
        let until = Instant::now() + Duration::from_secs(30);
        let part_of = |host: &usize| parts.iter().find(|part| part.contains(host)).unwrap();
        let (mut configurations, mut since) = (None, Instant::now());
        while configurations.is_none() || since.elapsed() < STANDS {
            assert!(Instant::now() < until, "{parts:?} do not come to be");
            thread::sleep(Duration::from_millis(10));
            let hosts = parts.iter().copied().flatten();
            let seen: Option<Vec<u64>> = hosts
                .map(|host| {
                    let (daemons, configuration) = self.seen_by(*host)?;
                    (daemons == *part_of(host)).then_some(configuration)
                })
                .collect();
            if seen.is_none() || seen != configurations {
                (configurations, since) = (seen, Instant::now());
            }
        }
    }
}

/// What a daemon told, without the ids of configurations: they are numbered as they come.
fn comparable(frame: &Frame, configurations: &mut Vec<(i32, i32)>) -> String {
    let mut id = |id: GroupId| {
        let configuration = (id.proc_id, id.time);
        let place = configurations.iter().position(|known| *known == configuration);
        let place = place.unwrap_or_else(|| {
            configurations.push(configuration);
            configurations.len() - 1
        });
        (place, id.index)
    };
    match Delivery::parse(frame).unwrap() {
        Delivery::View { group, cause, members, body } => {
            let own = body.vs_sets[body.my_vs_set].clone();
            let mut sets = body.vs_sets;
            sets.sort();
            format!("{group} {cause:?} {members:?} {:?} {sets:?} {own:?}", id(body.group_id))
        }
        Delivery::Transitional { group, group_id } => format!("{group} ends {:?}", id(group_id)),
        _ => format!("{:?}", frame.as_bytes()),
    }
}

fn decode(bytes: &[u8], limits: Limits) -> Vec<Frame> {
    let mut bytes = BytesMut::from(bytes);
    std::iter::from_fn(|| Frame::decode(&mut bytes, limits).unwrap()).collect()
}

#[test]
#[ignore = "needs the hosts of ci/cluster/test.sh"]
fn clients_see_what_those_of_three_daemons_of_spread_saw() {
    let hosts = Hosts::new();
    let transcript = Transcript::load("cluster");
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut requests: HashMap<String, VecDeque<Frame>> = HashMap::new();
    let mut got: HashMap<String, Vec<Frame>> = HashMap::new();
    let mut ended: BTreeSet<String> = BTreeSet::new();
    for call in &transcript.calls {
        let who = call.who.clone();
        match call.call.as_str() {
            "connect" => {
                let recorded = transcript.connections.iter().find(|c| c.client == who).unwrap();
                let asked = decode(&recorded.frames_of(Side::Client), Limits::FROM_CLIENT);
                let daemon = asked[0].header().name.daemon().unwrap().to_owned();
                let host = daemon[1..].parse().unwrap();
                clients.insert(who.clone(), Client::connect(Hosts::address(host), &who));
                requests.insert(who, asked.into());
            }
            "join" | "mcast" | "disconnect" => {
                let request = requests.get_mut(&who).unwrap().pop_front().unwrap();
                let client = clients.get_mut(&who).unwrap();
                let told = got.entry(who).or_default();
                if request.header().service_type.contains(ServiceType::KILL) {
                    // It has received what the others sent, also what waits to be safe.
                    told.extend(client.receive_until_handled());
                }
                client.send(request.as_bytes());
                if request.header().service_type.contains(ServiceType::KILL) {
                    told.extend(std::iter::from_fn(|| client.receive()));
                    ended.insert(call.who.clone());
                } else {
                    told.extend(client.receive_until_handled());
                }
            }
            "partition {d1,d2} | {d3}" => {
                hosts.partition(&["1 2", "3"]);
                hosts.wait_for(&[&[1, 2], &[3]]);
                hosts.wait_for_log(1, "a configuration was formed: d1 d2; absent: d3");
            }
            "merge" => {
                hosts.run("net.sh", &["merge"]);
                hosts.wait_for(&[&[1, 2, 3]]);
            }
            "daemon d2 killed" => {
                hosts.kill("spreadd", 2);
                hosts.wait_for(&[&[1, 3]]);
            }
            "recv" => {}
            other => assert!(other.starts_with("ip "), "what is {other}?"),
        }
    }
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for recorded in &transcript.connections {
        let who = &recorded.client;
        let mut frames = got.remove(who).unwrap();
        // Each of them stays until all have been asked.
        let client = clients.get_mut(who).unwrap();
        if client.private_group.daemon() == Some("d2") {
            frames.extend(std::iter::from_fn(|| client.receive()));
        } else if !ended.contains(who) {
            frames.extend(client.receive_until_handled());
        }
        let frames: Vec<_> = frames.iter().map(|frame| comparable(frame, &mut ours)).collect();
        let expected = decode(&recorded.frames_of(Side::Daemon), Limits::FROM_DAEMON);
        let expected: Vec<_> = expected.iter().map(|f| comparable(f, &mut theirs)).collect();
        assert_eq!(frames, expected, "what {who} was told");
    }
    hosts.start("spreadd", 2);
    hosts.wait_for(&[&[1, 2, 3]]);
}

#[test]
#[ignore = "needs the hosts of ci/cluster/test.sh"]
fn a_daemon_that_is_refused_ends_and_was_never_ready() {
    let hosts = Hosts::new();
    let other = hosts.dir.join("other.conf");
    let names = "d1 10.78.0.1 d2 10.78.0.2 x 10.78.0.3";
    fs::write(&other, format!("Spread_Segment 10.78.0.255:4903 {{ {names} }}\n")).unwrap();
    let start = |file: &Path, name: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", "c3"]).arg(std::env::var_os("SPREADD").unwrap());
        command.args(["--corosync", "-n", name, "--bind", "10.78.0.3", "--port", "4903", "-c"]);
        let output = command.arg(file).arg("--unix-dir").arg(&hosts.dir).output().unwrap();
        assert_eq!((output.status.code(), &*output.stdout), (Some(2), &b""[..]));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = start(&other, "x");
    let reason = "the configuration file differs from that of daemon d";
    assert_eq!(said.matches(reason).count(), 1, "{said}");
    assert!(said.contains("(here: d1 d2 x)"), "{said}");
    let said = start(&hosts.dir.join("spread.conf"), "d2");
    assert_eq!(said.matches("another daemon runs as d2 already").count(), 1, "{said}");
    hosts.wait_for(&[&[1, 2, 3]]);
}

/// A plain generator of numbers, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) % sides as u64) as usize
    }
}
