//! Daemons of several hosts in this process, over a group communication in memory.

#[path = "../../../tests/support/client.rs"]
#[allow(dead_code, reason = "these tests use a part of it")]
mod client;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;

use bytes::Bytes;
use client::{Client, DEADLINE};
use spread_wire::{Cause, Delivery, Request, Service};

use super::*;
use crate::settings::Settings;
use crate::{Builder, Daemon, Health, StartError, ViewCause, ViewStatus};

/// The group communication: one order, and whether something is wrong with it.
#[derive(Debug, Default)]
struct Net {
    processes: Vec<Process>,
    /// The processes that there ever were.
    count: u32,
    /// It has ended: nobody can join, and all that is asked of it fails.
    is_down: bool,
    /// It has no room.
    is_full: bool,
    /// This process does not get the next message of another.
    lossy: Option<u32>,
}

#[derive(Debug)]
struct Process {
    member: MemberId,
    queue: VecDeque<Told>,
    /// Has a byte while there is something to take.
    signal: UnixStream,
}

impl Net {
    fn tell(&mut self, told: &Told) {
        for process in &mut self.processes {
            let is_of_another =
                matches!(told, Told::Message { from, .. } if *from != process.member);
            if is_of_another && self.lossy == Some(process.member.pid) {
                self.lossy = None;
                continue;
            }
            if process.queue.is_empty() {
                process.signal.write_all(b"!").unwrap();
            }
            process.queue.push_back(told.clone());
        }
    }

    fn tell_members(&mut self, left: Vec<MemberId>, joined: Vec<MemberId>) {
        let members = self.processes.iter().map(|process| process.member).collect();
        self.tell(&Told::Members { members, left, joined });
    }

    fn check(&self) -> Result<(), GroupError> {
        if self.is_down { Err("it has ended".into()) } else { Ok(()) }
    }
}

/// All have it in common: the test, and the channels of the daemons.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Net>>);

impl Shared {
    fn net(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap()
    }

    fn end(&self) {
        let mut net = self.net();
        net.is_down = true;
        net.processes.iter_mut().for_each(|process| process.signal.write_all(b"!").unwrap());
    }

    fn join(&self) -> Result<Box<dyn Channel>, GroupError> {
        let mut net = self.net();
        net.check()?;
        let (signal, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        net.count += 1;
        let member = MemberId { node: 1, pid: net.count };
        net.processes.push(Process { member, queue: VecDeque::new(), signal });
        net.tell_members(vec![], vec![member]);
        Ok(Box::new(Line { shared: self.clone(), member, wake }))
    }

    fn membership(&self, names: &[&str]) -> Membership {
        let shared = self.clone();
        Membership {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            join: Arc::new(move || shared.join()),
        }
    }

    fn builder(&self, name: &str) -> Builder {
        Daemon::builder().name(name).membership(self.membership(&NAMES))
    }

    fn start(&self, name: &str) -> Daemon {
        let daemon = self.builder(name).start().unwrap();
        assert!(daemon.wait_until_ready());
        daemon
    }
}

/// The channel of one daemon.
#[derive(Debug)]
struct Line {
    shared: Shared,
    member: MemberId,
    wake: UnixStream,
}

impl Channel for Line {
    fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    fn member(&self) -> MemberId {
        self.member
    }

    fn take(&mut self) -> Result<Option<Told>, GroupError> {
        let mut net = self.shared.net();
        net.check()?;
        let mut processes = net.processes.iter_mut();
        let process = processes.find(|process| process.member == self.member).unwrap();
        let told = process.queue.pop_front();
        if process.queue.is_empty() {
            while self.wake.read(&mut [0; 64]).is_ok_and(|len| len > 0) {}
        }
        Ok(told)
    }

    fn send(&mut self, message: &[u8]) -> Result<bool, GroupError> {
        let mut net = self.shared.net();
        net.check()?;
        if !net.is_full {
            let bytes = Bytes::copy_from_slice(message);
            net.tell(&Told::Message { from: self.member, bytes });
        }
        Ok(!net.is_full)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut net = self.shared.net();
        net.processes.retain(|process| process.member != self.member);
        if !net.is_down {
            net.tell_members(vec![self.member], vec![]);
        }
    }
}

const NAMES: [&str; 3] = ["d1", "d2", "d3"];

fn status(daemon: &Daemon) -> HostsStatus {
    daemon.status().unwrap().hosts.unwrap()
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < until, "it does not come to be: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until daemons are in one configuration with as many.
fn wait_for_all(daemons: &[&Daemon], count: usize) {
    wait_for("one configuration", || {
        let all: Vec<HostsStatus> = daemons.iter().map(|daemon| status(daemon)).collect();
        let first = all[0].configuration;
        all.iter().all(|s| s.present.len() == count && s.configuration == first && !s.forming)
    });
}

fn send(client: &mut Client, service: Service, body: &[u8]) {
    let groups = [Name::new("g").unwrap()];
    client.request(&Request::multicast(service, &groups, body));
}

/// Asks at a status socket.
fn ask(socket: &Path, question: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    writeln!(stream, "{question}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn receive_signal(client: &mut Client) {
    let frame = client.receive().unwrap();
    assert!(matches!(Delivery::parse(&frame), Ok(Delivery::Transitional { .. })), "{frame:?}");
}

#[test]
fn clients_of_two_hosts_are_in_one_group() {
    let shared = Shared::default();
    let (d1, d2) = (shared.start("d1"), shared.start("d2"));
    wait_for_all(&[&d1, &d2], 2);
    assert_eq!(
        (status(&d1).present, status(&d2).absent),
        (vec!["d1".into(), "d2".into()], vec!["d3".into()])
    );
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    let mut bert = Client::connect(d2.socket_addr(), "bert");
    anna.join("g");
    bert.join("g");
    assert_eq!(anna.receive_view(), ("g".to_owned(), Cause::Join));
    send(&mut anna, Service::Agreed, b"agreed");
    send(&mut bert, Service::Safe, b"safe");
    let mut heard = [&mut anna, &mut bert].map(|c| [c.receive_body(), c.receive_body()]);
    heard.iter_mut().for_each(|bodies| bodies.sort());
    assert!(heard.iter().all(|bodies| *bodies == [b"agreed".to_vec(), b"safe".to_vec()]));
    assert_eq!((status(&d1).safe_lag, status(&d1).outbox_bytes), (0, 0));
    bert.join("alone");
    d2.stop();
    wait_for_all(&[&d1], 1);
    receive_signal(&mut anna);
    assert!(matches!(anna.receive_view(), (_, Cause::Network)));
    let views = d1.status().unwrap().views;
    let told = |view: &ViewStatus| (view.group.clone(), view.cause, view.members);
    let network = |group: &str, members| (group.to_owned(), ViewCause::Network, members);
    assert_eq!(told(&views[1]), network("g", 1));
    assert_eq!(told(&views[0]), network("alone", 0));
}

#[test]
fn without_room_clients_are_not_read_and_with_room_everything_goes_out() {
    const COUNT: u32 = 400;
    let shared = Shared::default();
    let (d1, d2) = (shared.start("d1"), shared.start("d2"));
    wait_for_all(&[&d1, &d2], 2);
    let mut bert = Client::connect(d2.socket_addr(), "bert");
    bert.join("g");
    shared.net().is_full = true;
    let address = d1.socket_addr();
    let sender = thread::spawn(move || {
        let mut anna = Client::connect(address, "anna");
        for number in 0..COUNT {
            let mut body = vec![0; 100_000];
            body[..4].copy_from_slice(&number.to_le_bytes());
            send(&mut anna, Service::Agreed, &body);
        }
        anna
    });
    wait_for("a full outbox", || status(&d1).outbox_bytes >= 1 << 20);
    let full = status(&d1).full;
    wait_for("another try", || status(&d1).full > full);
    // What was read with the last call may be more than the limit.
    assert!(status(&d1).outbox_bytes < 2 << 20, "{:?}", status(&d1));
    shared.net().is_full = false;
    for number in 0..COUNT {
        assert_eq!(bert.receive_body()[..4], number.to_le_bytes());
    }
    sender.join().unwrap();
    wait_for("an empty outbox", || status(&d1).outbox_bytes == 0);
}

#[test]
fn with_a_full_outbox_questions_and_handshakes_are_answered_and_sessions_are_held_back() {
    let shared = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let builder = shared.builder("d1").unix_dir(folder.path()).status_socket(true);
    let d1 = builder.metrics(([127, 0, 0, 1], 0)).start().unwrap();
    assert!(d1.wait_until_ready());
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    let mut idle = Client::connect(d1.socket_addr(), "idle");
    shared.net().is_full = true;
    while status(&d1).outbox_bytes < 1 << 20 {
        send(&mut anna, Service::Agreed, &[0; 100_000]);
    }
    let join = Request::Join(Name::new("g").unwrap());
    idle.request(&join);
    let socket = folder.path().join(format!("{}.status", d1.socket_addr().port()));
    assert!(ask(&socket, "table").starts_with("d1, running for"));
    assert_eq!(ask(&socket, "health"), "healthy\n");
    assert_eq!(ask(&socket, "kick anna"), "kicked #anna#d1\n");
    let mut metrics = TcpStream::connect(d1.metrics_addr().unwrap()).unwrap();
    metrics.set_read_timeout(Some(DEADLINE)).unwrap();
    metrics.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    metrics.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    let mut bert = Client::connect(d1.socket_addr(), "bert");
    bert.request(&join);
    // Its session stands in the list, and nothing of it was read.
    let sessions = d1.status().unwrap().sessions;
    let idle_session = sessions.iter().find(|s| s.private_group == "#idle#d1").unwrap();
    assert_eq!(idle_session.received, 0);
    shared.net().is_full = false;
    // One of them comes first, and is told of the other, too.
    assert_eq!(idle.receive_view(), ("g".to_owned(), Cause::Join));
    assert_eq!(bert.receive_view(), ("g".to_owned(), Cause::Join));
}

#[test]
fn a_safe_message_waits_for_a_daemon_that_does_not_take_it() {
    let shared = Shared::default();
    let d1 = shared.start("d1");
    let d2 = shared.start("d2");
    wait_for_all(&[&d1, &d2], 2);
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    anna.join("g");
    let d2_pid = shared.net().processes[1].member.pid;
    // It does not get the message, so that it does not acknowledge it.
    shared.net().lossy = Some(d2_pid);
    send(&mut anna, Service::Safe, b"safe");
    // The join before it is not acknowledged either.
    wait_for("a lag", || status(&d1).safe_lag == 2);
    assert_eq!(status(&d1).waits_for, ["d2"]);
    assert!(!anna.has_input());
    // The group has no members there, so that it is not signalled.
    d2.stop();
    assert_eq!(anna.receive_body(), b"safe");
    assert_eq!(status(&d1).safe_lag, 0);
}

#[test]
fn when_the_group_ends_clients_are_disconnected_until_it_is_back() {
    let shared = Shared::default();
    let folder = tempfile::tempdir().unwrap();
    let d1 = shared.builder("d1").unix_dir(folder.path()).status_socket(true).start().unwrap();
    let socket = folder.path().join(format!("{}.status", d1.socket_addr().port()));
    let d2 = shared.start("d2");
    wait_for_all(&[&d1, &d2], 2);
    assert_eq!(status(&d1).reason, None);
    let formed = status(&d1).configurations;
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    anna.join("g");
    shared.end();
    assert!(anna.receive().is_none());
    wait_for("the end", || [&d1, &d2].iter().all(|d| status(d).present.is_empty()));
    let gone = status(&d1);
    assert_eq!(
        (gone.absent, gone.reason),
        (vec!["d2".into(), "d3".into()], Some("it has ended".into()))
    );
    assert_eq!(ask(&socket, "health"), "error: in no configuration: it has ended\n");
    // As if nobody listened.
    let mut early = Client::bare(d1.socket_addr());
    assert!(early.receive_up_to(1).is_empty());
    assert_eq!(
        d1.admin_handle().health(),
        Some(Health::NoConfiguration("it has ended".to_owned()))
    );
    shared.net().is_down = false;
    wait_for_all(&[&d1, &d2], 2);
    assert_eq!(d1.admin_handle().health(), Some(Health::Healthy));
    assert_eq!((status(&d1).rejoined, status(&d2).rejoined), (1, 1));
    assert!(status(&d1).configurations > formed);
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    let mut bert = Client::connect(d2.socket_addr(), "bert");
    anna.join("g");
    send(&mut bert, Service::Safe, b"again");
    assert_eq!(anna.receive_body(), b"again");
}

#[test]
fn a_daemon_answers_while_it_joins_again() {
    let shared = Shared::default();
    let membership = shared.membership(&NAMES);
    let (joins, attempts) = std::sync::mpsc::sync_channel(0);
    let calls = AtomicU32::new(0);
    let join = move || {
        // The first call is that of the start.
        if calls.fetch_add(1, Ordering::Relaxed) > 0 {
            joins.send(()).unwrap();
            joins.send(()).unwrap();
        }
        (membership.join)()
    };
    let membership = Membership { join: Arc::new(join), ..shared.membership(&NAMES) };
    let d1 = Daemon::builder().name("d1").membership(membership).start().unwrap();
    wait_for_all(&[&d1], 1);
    shared.end();
    attempts.recv().unwrap();
    assert_eq!(status(&d1).rejoined, 0);
    shared.net().is_down = false;
    attempts.recv().unwrap();
    wait_for_all(&[&d1], 1);
    assert_eq!(status(&d1).rejoined, 1);
}

#[test]
fn a_flush_that_a_newcomer_lacks_is_repeated() {
    let shared = Shared::default();
    let d1 = shared.start("d1");
    let next = shared.net().count + 1;
    shared.net().lossy = Some(next);
    let d2 = shared.start("d2");
    assert_eq!(shared.net().lossy, None);
    wait_for_all(&[&d1, &d2], 2);
}

/// Starts a daemon that is refused, and returns with what it ends.
fn refused(builder: Builder) -> String {
    let daemon = builder.start().unwrap();
    assert!(!daemon.wait_until_ready());
    daemon.wait().unwrap_err().to_string()
}

#[test]
fn a_daemon_with_other_names_ends_and_the_others_go_on() {
    let shared = Shared::default();
    let (d1, d2) = (shared.start("d1"), shared.start("d2"));
    wait_for_all(&[&d1, &d2], 2);
    let names = shared.membership(&["d1", "d2", "x"]);
    let error = refused(Daemon::builder().name("x").membership(names));
    let expected = "refused by the daemons of the other hosts: the configuration file differs \
                    from that of daemon d1 (process 1 on node 1): all daemons must have the same \
                    names in the same order (here: d1 d2 x)";
    assert_eq!(error, expected);
    wait_for_all(&[&d1, &d2], 2);
}

#[test]
fn a_second_daemon_of_a_name_ends_and_the_first_goes_on() {
    let shared = Shared::default();
    let (d1, d2) = (shared.start("d1"), shared.start("d2"));
    wait_for_all(&[&d1, &d2], 2);
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    let error = refused(shared.builder("d1"));
    assert!(error.contains("another daemon runs as d1 already (process 1 on node 1)"), "{error}");
    wait_for_all(&[&d1, &d2], 2);
    anna.join("g");
}

#[test]
fn a_client_that_does_not_read_is_disconnected_and_others_get_everything() {
    const COUNT: u32 = 2000;
    let shared = Shared::default();
    let d1 = shared.start("d1");
    let d2 = shared.builder("d2").max_session_messages(50).start().unwrap();
    wait_for_all(&[&d1, &d2], 2);
    let mut slow = Client::connect(d2.socket_addr(), "slow");
    slow.join("g");
    let mut good = Client::connect(d2.socket_addr(), "good");
    good.join("g");
    let reader = thread::spawn(move || {
        let mut numbers = Vec::new();
        let mut causes = Vec::new();
        while numbers.len() < COUNT as usize || causes.is_empty() {
            let frame = good.receive().expect("it reads");
            match Delivery::parse(&frame).unwrap() {
                Delivery::Regular(m) => {
                    numbers.push(u32::from_le_bytes(m.body[..4].try_into().unwrap()));
                }
                Delivery::View { cause, .. } => causes.push(cause),
                other => panic!("{other:?}"),
            }
        }
        (numbers, causes)
    });
    let mut anna = Client::connect(d1.socket_addr(), "anna");
    for number in 0..COUNT {
        let mut body = vec![0; 20_000];
        body[..4].copy_from_slice(&number.to_le_bytes());
        send(&mut anna, Service::Agreed, &body);
    }
    let (numbers, causes) = reader.join().unwrap();
    assert!(numbers.into_iter().eq(0..COUNT));
    assert_eq!(causes, [Cause::Disconnect]);
    assert_eq!(d2.status().unwrap().totals.cut_off, 1);
}

#[test]
fn backpressure_is_refused_with_the_reason() {
    let shared = Shared::default();
    let builder = shared.builder("d1").slow_receivers(crate::SlowReceivers::Backpressure);
    let error = builder.start().unwrap_err();
    assert!(matches!(error, StartError::Backpressure));
    assert!(error.to_string().contains("would have to stop taking messages from Corosync"));
}

#[test]
fn a_repetition_that_is_due_waits_for_a_client_that_is_behind() {
    let mut cluster = super::super::identity::state(&NAMES, &[]).unwrap();
    let membership = Shared::default().membership(&NAMES);
    let mut hosts = Hosts::join(membership, DaemonId(0), &mut cluster).unwrap();
    let (due, until) = (Instant::now(), Instant::now() + SECOND);
    hosts.repeat_at = Some(due);
    assert_eq!(hosts.next_time(), Some(due));
    hosts.behind = Some((ConnectionId { key: 0, serial: 0 }, until));
    assert_eq!(hosts.next_time(), Some(until));
}

#[test]
fn a_configuration_is_told_to_the_log_once() {
    let mut cluster = super::super::identity::state(&NAMES, &[]).unwrap();
    let membership = Shared::default().membership(&NAMES);
    let mut hosts = Hosts::join(membership, DaemonId(0), &mut cluster).unwrap();
    assert_eq!(hosts.newly_formed(&cluster), None);
    let mut sessions = Sessions::new(cluster, &Settings::default());
    while sessions.cluster.presence().configuration == 0 {
        hosts.note();
        hosts.exchange(&mut sessions).unwrap();
    }
    assert_eq!(hosts.newly_formed(&sessions.cluster), None, "it has been told");
    hosts.logged = 0;
    let told = hosts.newly_formed(&sessions.cluster).unwrap();
    assert_eq!(told.formed(), "a configuration was formed: d1; absent: d2 d3");
    assert_eq!(hosts.newly_formed(&sessions.cluster), None);
}
