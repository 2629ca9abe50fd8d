use std::convert::Infallible;

use bytes::BytesMut;
use spread_wire::{ByteOrder, Request, Service};

use super::wire::FLUSH;
use super::*;
use crate::cluster::SessionId;

/// Daemons whose packets all of them get in one order, at once.
struct Group {
    remotes: Vec<Remote>,
    members: Vec<MemberId>,
    /// Processes that are no daemons.
    others: Vec<MemberId>,
    /// A daemon that sends nothing.
    stopped: Option<usize>,
    /// Who has been refused, and why.
    refused: Vec<(usize, Refusal)>,
    /// What each daemon did.
    formed: Vec<Vec<(Configuration, usize)>>,
    applied: Vec<usize>,
    parted: Vec<DaemonSet>,
    /// A packet that this daemon does not get: its kind.
    lost: Option<(usize, u8)>,
}

fn identity(daemon: usize, member: MemberId, names: &[&str]) -> Identity {
    Identity {
        daemon: DaemonId(daemon),
        name: Name::new(names[daemon]).unwrap(),
        member,
        digest: digest(names),
        all: (0..names.len()).map(DaemonId).collect(),
        incarnation: member.pid.into(),
        proc_id: 100 + daemon as i32,
        time: 10,
    }
}

const NAMES: [&str; 3] = ["d1", "d2", "d3"];

impl Group {
    fn new() -> Group {
        Group {
            remotes: Vec::new(),
            members: Vec::new(),
            others: Vec::new(),
            stopped: None,
            refused: Vec::new(),
            formed: Vec::new(),
            applied: Vec::new(),
            parted: Vec::new(),
            lost: None,
        }
    }

    /// Adds a daemon, and lets all do what follows.
    fn join(&mut self, daemon: usize, names: &[&str]) -> usize {
        let place = self.add(daemon, 1, names);
        self.run();
        place
    }

    /// Adds a daemon on a node.
    fn add(&mut self, daemon: usize, node: u32, names: &[&str]) -> usize {
        let place = self.remotes.len();
        let member = MemberId { node, pid: place as u32 + 1 };
        self.members.push(member);
        self.remotes.push(Remote::new(identity(daemon, member, names)));
        self.formed.push(Vec::new());
        self.applied.push(0);
        self.parted.push(DaemonSet::default());
        self.tell_members(vec![], vec![member]);
        place
    }

    fn tell_members(&mut self, left: Vec<MemberId>, joined: Vec<MemberId>) {
        let members = [&self.members[..], &self.others].concat();
        self.tell(&Told::Members { members, left, joined });
    }

    fn tell(&mut self, told: &Told) {
        for place in 0..self.remotes.len() {
            let kind = match told {
                Told::Message { bytes, .. } => bytes.first().copied().unwrap_or_default(),
                _ => 0,
            };
            if self.lost == Some((place, kind)) {
                self.lost = None;
                continue;
            }
            if let Err(refusal) = self.remotes[place].told(told.clone()) {
                self.refused.push((place, refusal));
            }
            self.act(place);
        }
    }

    fn act(&mut self, place: usize) {
        while let Some(action) = self.remotes[place].next_action() {
            match action {
                Action::Apply(_) => self.applied[place] += 1,
                Action::Part { gone, .. } => self.parted[place] = gone,
                Action::Bring(_) => self.remotes[place].bring(&HashMap::new()),
                Action::Form { configuration, sides, .. } => {
                    self.formed[place].push((configuration, sides.len()));
                }
            }
        }
    }

    fn run(&mut self) {
        loop {
            let mut packets = Vec::new();
            for (place, remote) in self.remotes.iter_mut().enumerate() {
                if self.stopped == Some(place) {
                    continue;
                }
                let from = self.members[place];
                let send = |bytes: &[u8]| {
                    packets.push((from, Bytes::copy_from_slice(bytes)));
                    Ok::<_, Infallible>(true)
                };
                remote.transmit(10, send).unwrap();
            }
            if packets.is_empty() {
                return;
            }
            for (from, bytes) in packets {
                self.tell(&Told::Message { from, bytes });
            }
        }
    }
}

#[test]
fn daemons_that_come_together_form_one_configuration_with_a_growing_time() {
    let mut group = Group::new();
    for daemon in [1, 2, 0] {
        group.join(daemon, &NAMES);
    }
    let last = |place: usize| *group.formed[place].last().unwrap();
    assert_eq!(last(0), (Configuration { proc_id: 100, time: 16 }, 2));
    assert!(last(0) == last(1) && last(0) == last(2));
    let times = group.formed[0].iter().map(|(configuration, _)| configuration.time);
    assert!(times.eq([12, 14, 16]));
    assert_eq!(group.remotes[0].presence().present, (0..3).map(DaemonId).collect());
}

#[test]
fn a_daemon_with_another_configuration_file_is_refused_and_the_others_go_on() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    let stranger = group.join(2, &["d1", "d2", "x"]);
    let [(place, refusal @ Refusal::Configuration { .. })] = &group.refused[..] else {
        panic!("{:?}", group.refused)
    };
    assert_eq!(*place, stranger);
    assert_eq!(
        refusal.to_string(),
        "the configuration file differs from that of daemon d1 (process 1 on node 1): all daemons \
         must have the same names in the same order"
    );
    assert!(group.remotes[..2].iter().all(|remote| !remote.is_forming()));
    assert!(
        group.remotes[..2].iter().all(|r| r.presence().present == (0..2).map(DaemonId).collect())
    );
}

#[test]
fn a_daemon_that_begins_beside_a_stranger_is_with_those_who_agree_with_it() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    let stranger = group.join(2, &["d1", "d2", "x"]);
    // The stranger goes on to flush, as one does that is started again and again.
    let other = group.join(1, &NAMES);
    let places: Vec<usize> = group.refused.iter().map(|(place, _)| *place).collect();
    assert!(!places.is_empty() && places.iter().all(|place| *place == stranger), "{places:?}");
    for place in [0, other] {
        let remote = &group.remotes[place];
        assert!(!remote.is_forming());
        assert_eq!(remote.presence().present, (0..2).map(DaemonId).collect());
    }
    assert_eq!(group.formed[0].last(), group.formed[other].last());
}

#[test]
fn a_second_daemon_of_the_same_name_is_refused() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    let second = group.join(1, &NAMES);
    let [(place, refusal)] = &group.refused[..] else { panic!("{:?}", group.refused) };
    assert_eq!(*place, second);
    let said = "another daemon runs as d2 already (process 2 on node 1)";
    assert_eq!(refusal.to_string(), said);
    assert!(group.remotes[..2].iter().all(|remote| !remote.is_forming()));
}

#[test]
fn what_clients_ask_is_done_by_all_and_waits_while_a_configuration_is_formed() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    let what = What::Join { group: Name::new("g").unwrap(), session: SessionId(0), serial: 1 };
    group.remotes[0].push(Name::new("#a#d1").unwrap(), &what);
    group.run();
    assert_eq!(group.applied, [1, 1]);
    group.tell_members(vec![], vec![]);
    group.remotes[0].push(Name::new("#a#d1").unwrap(), &What::End);
    let mut kinds = Vec::new();
    let send = |bytes: &[u8]| {
        kinds.push(bytes[0]);
        Ok::<_, Infallible>(true)
    };
    group.remotes[0].transmit(0, send).unwrap();
    assert_eq!(kinds, [FLUSH]);
}

#[test]
fn a_flush_that_a_newcomer_lacks_is_repeated_after_a_second() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.lost = Some((1, FLUSH));
    group.join(1, &NAMES);
    assert!(group.remotes.iter().all(Remote::is_forming));
    group.remotes.iter_mut().for_each(Remote::repeat);
    group.run();
    assert!(!group.remotes.iter().any(Remote::is_forming));
    assert_eq!(group.formed[0].last(), group.formed[1].last());
}

/// Returns a group of two daemons on nodes 1 and 2.
fn two_nodes() -> Group {
    let mut group = Group::new();
    for daemon in 0..2 {
        group.add(daemon, daemon as u32 + 1, &NAMES);
        group.run();
    }
    group
}

#[test]
fn a_process_that_its_own_host_does_not_have_is_not_waited_for() {
    let mut group = two_nodes();
    // The first takes a former process of the second's host for a member still.
    let ghost = MemberId { node: 2, pid: 9 };
    for (place, others) in [(0, vec![ghost]), (1, vec![])] {
        let members = [&group.members[..], &others].concat();
        let told = Told::Members { members, left: vec![], joined: vec![] };
        group.remotes[place].told(told).unwrap();
    }
    group.run();
    assert!(group.remotes[0].is_forming());
    group.remotes.iter_mut().for_each(Remote::repeat);
    group.run();
    assert!(group.is_formed_by(2));
    assert_eq!(group.formed[0].last(), group.formed[1].last());
}

#[test]
fn a_daemon_that_joins_a_host_that_was_alone_before_is_not_lost() {
    let mut group = two_nodes();
    let from = group.members[1];
    let late = group.remotes[1].flush(Again(true), 10);
    assert!(late.alone);
    group.add(2, 2, &NAMES);
    group.tell(&Told::Message { from, bytes: late.encode().into() });
    group.run();
    group.remotes.iter_mut().for_each(Remote::repeat);
    group.run();
    assert!(group.is_formed_by(3));
}

#[test]
fn daemons_that_differ_in_who_is_left_part() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    // Only the second sees the first go and come back.
    let gone = group.members[0];
    let told = |left, joined| Told::Members { members: group.members.clone(), left, joined };
    let (one, other) = (told(vec![], vec![]), told(vec![gone], vec![gone]));
    group.remotes[0].told(one).unwrap();
    group.remotes[1].told(other).unwrap();
    group.run();
    assert!(group.remotes.iter().all(Remote::is_forming));
    for place in 0..2 {
        group.remotes[place].repeat();
        group.act(place);
    }
    group.run();
    assert!(!group.remotes.iter().any(Remote::is_forming));
    assert_eq!(group.parted[0], DaemonSet::of(DaemonId(1)));
    assert_eq!(group.formed[0].last().map(|(_, sides)| *sides), Some(2));
    assert_eq!(group.formed[0].last(), group.formed[1].last());
}

#[test]
fn bytes_that_are_no_packet_are_dropped() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    let from = MemberId { node: 9, pid: 9 };
    group.tell(&Told::Message { from, bytes: Bytes::from_static(b"\xff") });
    group.tell(&Told::Message { from, bytes: Bytes::new() });
    assert!(group.refused.is_empty() && !group.remotes[0].is_forming());
}

const OTHER: MemberId = MemberId { node: 9, pid: 9 };

impl Group {
    /// Lets a process that is no daemon join.
    fn join_other(&mut self) {
        self.others.push(OTHER);
        self.tell_members(vec![], vec![OTHER]);
        self.run();
    }

    fn send_as_other(&mut self, packet: Vec<u8>) {
        self.tell(&Told::Message { from: OTHER, bytes: packet.into() });
        self.run();
    }

    fn is_formed_by(&self, daemons: usize) -> bool {
        let all = (0..daemons).map(DaemonId).collect();
        let mut remotes = self.remotes.iter();
        remotes.all(|remote| !remote.is_forming() && remote.presence().present == all)
    }
}

#[test]
fn a_process_with_another_protocol_is_not_waited_for_and_a_silent_one_is_told() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    group.join_other();
    assert!(group.remotes.iter().all(Remote::is_forming));
    let exchange = group.remotes[0].exchange.as_mut().unwrap();
    let me = group.members[0];
    assert_eq!(exchange.complaint(me).as_deref(), Some("process 9 on node 9"));
    assert_eq!(exchange.complaint(me), None);
    group.send_as_other(vec![255; 100]);
    assert!(group.is_formed_by(2));
    group.send_as_other(vec![]);
    assert!(group.is_formed_by(2) && group.refused.is_empty());
}

#[test]
fn a_daemon_that_begins_beside_another_protocol_is_refused_unless_it_finds_its_like() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join_other();
    group.send_as_other(vec![255]);
    group.join(1, &NAMES);
    group.send_as_other(vec![255]);
    assert!(group.is_formed_by(2) && group.refused.is_empty());
    let mut group = Group::new();
    group.join_other();
    group.join(0, &NAMES);
    group.send_as_other(vec![255]);
    assert_eq!(group.refused, [(0, Refusal::Foreign { member: OTHER })]);
}

#[test]
fn a_daemon_that_the_configuration_file_does_not_have_takes_no_part() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    group.join_other();
    let one = &group.remotes[0];
    let mut flush = Flush { daemon: DaemonId(127), former: 0, ..one.flush(Again(false), 0) };
    flush.side = DaemonSet::of(flush.daemon);
    group.send_as_other(flush.encode());
    assert!(group.is_formed_by(2));
}

fn frame(service: Service, len: usize) -> BytesMut {
    let mut frame = BytesMut::new();
    let (groups, body) = ([Name::new("g").unwrap()], vec![0; len]);
    let request = Request::multicast(service, &groups, &body);
    request.encode(Name::new("#a#d1").unwrap(), ByteOrder::NATIVE, &mut frame);
    frame
}

#[test]
fn what_waits_for_a_stopped_daemon_is_bounded_and_all_comes_when_it_goes_on() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    group.join(1, &NAMES);
    group.stopped = Some(1);
    group.remotes[0].push_multicast(&frame(Service::Safe, 10));
    let mut pushed = 1;
    while !group.remotes[0].is_full() {
        assert!(pushed < 10_000, "clients are read for ever");
        group.remotes[0].push_multicast(&frame(Service::Agreed, 10_000));
        pushed += 1;
        group.run();
    }
    assert_eq!(group.applied, [0, 0]);
    group.stopped = None;
    group.run();
    assert_eq!(group.applied, [pushed, pushed]);
}

#[test]
fn a_daemon_tells_whom_it_waits_for() {
    let mut group = Group::new();
    for daemon in 0..3 {
        group.join(daemon, &NAMES);
    }
    let awaited = |group: &Group| group.remotes[0].awaited();
    assert_eq!(awaited(&group), []);
    group.stopped = Some(2);
    group.remotes[0].push_multicast(&frame(Service::Safe, 10));
    group.run();
    assert_eq!(awaited(&group), [Awaited::Daemon(DaemonId(2))]);
    // Before the process has told anything, nobody knows which daemon it is.
    group.join_other();
    assert_eq!(awaited(&group), [Awaited::Daemon(DaemonId(2)), Awaited::Process(OTHER)]);
    group.send_as_other(vec![255]);
    assert_eq!(awaited(&group), [Awaited::Daemon(DaemonId(2))]);
    group.stopped = None;
    group.run();
    assert!(group.is_formed_by(3));
    assert_eq!(awaited(&group), []);
}

#[test]
fn a_daemon_that_has_flushed_is_waited_for_by_its_name_until_it_consents() {
    let mut group = Group::new();
    group.join(0, &NAMES);
    let new = group.add(1, 1, &NAMES);
    let mut flush = Vec::new();
    let send = |bytes: &[u8]| {
        flush.push(Bytes::copy_from_slice(bytes));
        Ok::<_, Infallible>(true)
    };
    group.remotes[new].transmit(10, send).unwrap();
    group.stopped = Some(new);
    group.run();
    let process = Awaited::Process(group.members[new]);
    assert_eq!(group.remotes[0].awaited(), [process]);
    for bytes in flush {
        group.tell(&Told::Message { from: group.members[new], bytes });
    }
    group.run();
    assert_eq!(group.remotes[0].awaited(), [Awaited::Daemon(DaemonId(1))]);
    group.stopped = None;
    group.run();
    assert!(group.is_formed_by(2));
}
