//! Random schedules of joins, leaves, messages, partitions and crashes of daemons of
//! several hosts, over a [group communication](super::fabric) with the deviations of
//! Corosync's, against the properties of extended virtual synchrony.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` choose the schedules, as for the model of
//! the daemons in one process.

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use spread_wire::{ByteOrder, Frame, Limits, Name, PrivateName, Request, Service};

use super::fabric::{Chance, Fabric};
use super::wire::{Events, FLUSH, FLUSH_DELIVERED, Packet, STATE, STATE_LOG};
use super::{Identity, MemberId, Remote, Told, digest};
use crate::cluster::component::Event;
use crate::cluster::pen::Pen;
use crate::cluster::properties::{Detours, Life, check, config};
use crate::cluster::replica::Replica;
use crate::cluster::{Configuration, DaemonId, SessionId, State};

const CLIENTS: usize = 10;
const GROUPS: [&str; 3] = ["a", "b", "c"];

/// An event that happens to the daemons.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    /// A message of a client to some groups: the bits of their places.
    Send(usize, u8, Service),
    /// A client goes, or comes back.
    Toggle(usize),
    /// Each daemon gets the number of its part.
    Partition(Vec<u8>),
    Merge,
    /// The daemon is killed, or started again.
    Kill(usize),
    /// The host is stopped with its daemon, or both are started again.
    Stop(usize),
    /// A host sends some of what its daemon gave it.
    Transmit(usize, usize),
    /// A host receives some of what its ring has sent.
    Receive(usize, usize),
    /// A daemon takes some of what its host has received.
    Dispatch(usize, usize),
    /// All hosts and daemons do some of each.
    Run(usize),
    /// A second passes at a daemon.
    Second(usize),
}

fn step(daemons: usize) -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let daemon = 0..daemons;
    let group = 0..GROUPS.len();
    let service = prop::sample::select(vec![Service::Fifo, Service::Agreed, Service::Safe]);
    let some = 1usize..6;
    prop_oneof![
        6 => (client.clone(), group.clone()).prop_map(|(c, g)| Step::Join(c, g)),
        2 => (client.clone(), group).prop_map(|(c, g)| Step::Leave(c, g)),
        12 => (client.clone(), 1u8..8, service).prop_map(|(c, g, s)| Step::Send(c, g, s)),
        1 => client.prop_map(Step::Toggle),
        2 => prop::collection::vec(0u8..3, daemons).prop_map(Step::Partition),
        2 => Just(Step::Merge),
        1 => daemon.clone().prop_map(Step::Kill),
        1 => daemon.clone().prop_map(Step::Stop),
        6 => (daemon.clone(), some.clone()).prop_map(|(d, n)| Step::Transmit(d, n)),
        6 => (daemon.clone(), some.clone()).prop_map(|(d, n)| Step::Receive(d, n)),
        6 => (daemon.clone(), some.clone()).prop_map(|(d, n)| Step::Dispatch(d, n)),
        10 => some.prop_map(Step::Run),
        1 => daemon.prop_map(Step::Second),
    ]
}

struct World {
    fabric: Fabric,
    /// The daemons; `None` while they are down.
    daemons: Vec<Option<State>>,
    names: Vec<String>,
    /// The parts that the hosts are in.
    parts: Vec<u8>,
    lives: Vec<Life>,
    /// Which life each client is in.
    now: [Option<usize>; CLIENTS],
    number: u32,
    incarnation: u64,
    rule: Rule,
}

/// Which events a daemon applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Those of its own side's configuration.
    Labelled,
    /// All, as a daemon would that does not look at their labels.
    All,
    /// Those of its own side, as if all of it had always received the same.
    Trusting,
    /// Those of its own side, with a signal as soon as it can be, as if all of it had
    /// delivered the same.
    Hasty,
}

fn group(place: usize) -> Name {
    Name::new(GROUPS[place]).unwrap()
}

impl World {
    fn new(daemons: usize, seed: u64, rule: Rule) -> World {
        let mut world = World {
            fabric: Fabric::new(daemons, Chance::new(seed)),
            daemons: (0..daemons).map(|_| None).collect(),
            names: (1..=daemons).map(|number| format!("d{number}")).collect(),
            parts: vec![0; daemons],
            lives: Vec::new(),
            now: [None; CLIENTS],
            number: 0,
            incarnation: 0,
            rule,
        };
        (0..daemons).for_each(|daemon| world.start(daemon));
        (0..CLIENTS).for_each(|client| world.connect(client));
        world
    }

    fn daemon_of(&self, client: usize) -> usize {
        client % self.daemons.len()
    }

    fn start(&mut self, daemon: usize) {
        let member = self.fabric.start(daemon);
        self.incarnation += 1;
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let identity = Identity {
            daemon: DaemonId(daemon),
            name: Name::new(&self.names[daemon]).unwrap(),
            member,
            digest: digest(&names),
            all: (0..names.len()).map(DaemonId).collect(),
            incarnation: self.incarnation,
            proc_id: 1000 * (daemon as i32 + 1),
            // As if seconds passed between two starts, though no changes took any.
            time: 1000 * self.incarnation as i32,
        };
        let mut state = State::new(&names, Configuration { proc_id: 77, time: 0 }).unwrap();
        state.join(Remote::new(identity));
        self.daemons[daemon] = Some(state);
    }

    fn down(&mut self, daemon: usize) {
        if self.daemons[daemon].take().is_some() {
            for client in 0..CLIENTS {
                if self.daemon_of(client) == daemon
                    && let Some(life) = self.now[client].take()
                {
                    self.lives[life].survives = false;
                }
            }
        }
    }

    fn with<T>(
        &mut self,
        daemon: usize,
        act: impl FnOnce(&mut State, &mut Pen<'_>) -> T,
    ) -> Option<T> {
        let state = self.daemons[daemon].as_mut()?;
        Some(act(state, &mut Pen { lives: &mut self.lives, now: &self.now }))
    }

    /// Gives the host of a daemon what may be sent.
    fn transmit(&mut self, daemon: usize) {
        let World { daemons, fabric, rule, .. } = self;
        if let Some(remote) = daemons[daemon].as_mut().and_then(State::remote_mut) {
            let send = |bytes: &[u8]| {
                let mut bytes = bytes.to_vec();
                match (&rule, bytes[0]) {
                    (Rule::Trusting, STATE) => bytes[STATE_LOG].fill(0),
                    (Rule::Hasty, FLUSH) => bytes[FLUSH_DELIVERED].fill(0),
                    _ => {}
                }
                Ok::<_, Infallible>(fabric.multicast(daemon, &bytes))
            };
            remote.transmit(0, send).unwrap();
        }
    }

    fn dispatch(&mut self, daemon: usize, items: usize) -> bool {
        let mut has_taken = false;
        for _ in 0..items {
            if self.daemons[daemon].is_none() {
                break;
            }
            let Some(told) = self.fabric.dispatch(daemon) else {
                break;
            };
            has_taken = true;
            if let (Rule::All, Told::Message { from, bytes }) = (self.rule, &told) {
                self.apply_foreign(daemon, *from, bytes);
            }
            self.with(daemon, |state, pen| state.told(told, pen)).unwrap().unwrap();
        }
        self.transmit(daemon);
        has_taken
    }

    /// Applies the events that the daemon passes over because of their label.
    fn apply_foreign(&mut self, daemon: usize, from: MemberId, bytes: &Bytes) {
        let Ok(Packet::Events(Events { label, events, .. })) = Packet::decode(bytes) else {
            return;
        };
        let is_own = |remote: &Remote| {
            let origin = remote.formed.daemons.get(&from);
            label == remote.formed.label && origin.is_some_and(|d| remote.side.contains(*d))
        };
        if self.daemons[daemon].as_ref().and_then(State::remote).is_none_or(is_own) {
            return;
        }
        let origin = DaemonId(from.node as usize - 1);
        for (who, what) in events {
            let event = Event { origin, who, what };
            self.with(daemon, |state, pen| state.apply(DaemonId(daemon), &event, pen));
        }
    }

    fn connect(&mut self, client: usize) {
        let daemon = self.daemon_of(client);
        let Some(state) = &mut self.daemons[daemon] else {
            return;
        };
        let id = SessionId(client);
        let name = PrivateName::new(format!("c{client}")).unwrap();
        let name = state.connect(id, DaemonId(daemon), Some(name), true).unwrap().into();
        self.now[client] = Some(self.lives.len());
        let (told, sent, wanted, due) = Default::default();
        self.lives.push(Life { name, told, sent, wanted, due, survives: true });
    }

    fn life(&mut self, client: usize) -> Option<&mut Life> {
        Some(&mut self.lives[self.now[client]?])
    }

    fn ask(&mut self, client: usize, request: &Request<'_>) {
        let Some(life) = self.now[client] else {
            return;
        };
        let mut bytes = BytesMut::new();
        request.encode(self.lives[life].name, ByteOrder::NATIVE, &mut bytes);
        let frame = Frame::decode(&mut bytes, Limits::FROM_CLIENT).unwrap().unwrap();
        let daemon = self.daemon_of(client);
        let handle = |state: &mut State, pen: &mut Pen<'_>| {
            state.handle(SessionId(client), (&frame).into(), pen)
        };
        self.with(daemon, handle).unwrap().unwrap();
        self.transmit(daemon);
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Join(client, g) => {
                self.life(*client).map(|life| life.wanted.insert(group(*g)));
                self.ask(*client, &Request::Join(group(*g)));
            }
            Step::Leave(client, g) => {
                self.life(*client).map(|life| life.wanted.remove(&group(*g)));
                self.ask(*client, &Request::Leave(group(*g)));
            }
            Step::Send(client, bits, service) => self.send(*client, *bits, *service),
            Step::Toggle(client) => match self.now[*client] {
                Some(life) => {
                    self.lives[life].survives = false;
                    let daemon = self.daemon_of(*client);
                    self.with(daemon, |state, pen| state.disconnect(SessionId(*client), pen));
                    self.now[*client] = None;
                    self.transmit(daemon);
                }
                None => self.connect(*client),
            },
            Step::Partition(parts) => self.part(parts.clone()),
            Step::Merge => self.part(vec![0; self.daemons.len()]),
            Step::Kill(daemon) => match &self.daemons[*daemon] {
                Some(_) => {
                    self.down(*daemon);
                    self.fabric.kill(*daemon);
                }
                None => self.revive(*daemon),
            },
            Step::Stop(daemon) => match &self.daemons[*daemon] {
                Some(_) => {
                    self.down(*daemon);
                    self.fabric.stop(*daemon, &self.parts);
                }
                None => self.revive(*daemon),
            },
            Step::Transmit(daemon, packets) => {
                self.fabric.send(*daemon, *packets);
            }
            Step::Receive(daemon, items) => {
                self.fabric.receive(*daemon, *items);
            }
            Step::Dispatch(daemon, items) => {
                self.dispatch(*daemon, *items);
            }
            Step::Run(times) => {
                for _ in 0..*times {
                    self.run(2);
                }
            }
            Step::Second(daemon) => {
                self.with(*daemon, |state, pen| state.repeat(pen));
                self.transmit(*daemon);
            }
        }
    }

    fn send(&mut self, client: usize, bits: u8, service: Service) {
        let groups: Vec<Name> =
            (0..GROUPS.len()).filter(|g| bits >> g & 1 != 0).map(group).collect();
        self.number += 1;
        let number = self.number;
        if let Some(life) = self.life(client) {
            life.due.extend(groups.iter().any(|g| life.wanted.contains(g)).then_some(number));
            life.sent.push((number, groups.clone()));
        }
        self.ask(client, &Request::multicast(service, &groups[..], &number.to_le_bytes()));
    }

    fn part(&mut self, parts: Vec<u8>) {
        self.parts = parts;
        self.fabric.part(&self.parts);
    }

    fn revive(&mut self, daemon: usize) {
        if !self.fabric.is_up(daemon) {
            self.fabric.boot(daemon);
            self.fabric.part(&self.parts);
        }
        self.start(daemon);
    }

    /// Lets all do some of what they have to do; returns whether there was something.
    fn run(&mut self, items: usize) -> bool {
        let mut has_done = false;
        for daemon in 0..self.daemons.len() {
            self.transmit(daemon);
            has_done |= self.fabric.send(daemon, items);
        }
        for daemon in 0..self.daemons.len() {
            has_done |= self.fabric.receive(daemon, items);
            has_done |= self.dispatch(daemon, items);
        }
        has_done
    }

    /// Brings the daemons to rest, all of them together.
    fn rest(&mut self) {
        for daemon in 0..self.daemons.len() {
            if self.daemons[daemon].is_none() {
                self.revive(daemon);
            }
        }
        self.part(vec![0; self.daemons.len()]);
        for _ in 0..20 {
            let mut idle = 0;
            while idle < 8 {
                // A packet is refused now and then, so that more than one try is needed.
                idle = if self.run(usize::MAX) { 0 } else { idle + 1 };
            }
            let remotes = || self.daemons.iter().flatten().filter_map(State::remote);
            if !remotes().any(Remote::is_forming) {
                let all = (0..self.daemons.len()).map(DaemonId).collect();
                assert!(
                    remotes().all(|remote| remote.presence().present == all),
                    "daemons are left out"
                );
                return;
            }
            for daemon in 0..self.daemons.len() {
                self.with(daemon, |state, pen| state.repeat(pen));
            }
        }
        panic!("no configuration is formed");
    }

    /// All daemons know the same groups, and who is in one is in the same last view as
    /// all others.
    fn check_rest(&self) {
        let states = self.daemons.iter().enumerate();
        let replicas: Vec<&Replica> =
            states.map(|(place, state)| &state.as_ref().unwrap().daemons[place].replica).collect();
        for name in GROUPS.map(|name| Name::new(name).unwrap()) {
            let members =
                |replica: &Replica| replica.groups.get(&name).map_or(0, |g| g.members.len());
            let count = members(replicas[0]);
            assert!(replicas.iter().all(|other| members(other) == count), "replicas differ");
            let mut last = None;
            let mut here = 0;
            for life in self.now.iter().flatten().map(|life| &self.lives[*life]) {
                let is_member = |replica: &&Replica| replica.joined.contains_key(&life.name);
                assert!(replicas.iter().all(|r| is_member(r) != life.wanted.is_empty()));
                if !life.wanted.contains(&name) {
                    continue;
                }
                here += 1;
                let stays = life.stays();
                let stay = stays.iter().rfind(|stay| stay.group == name).unwrap();
                assert_eq!(stay.view.members.len(), count);
                assert_eq!(stay.view.id, *last.get_or_insert(stay.view.id));
                assert!(!stay.signalled, "a signal and no view");
            }
            assert_eq!(here, count, "members that nobody is");
        }
    }
}

fn play(daemons: usize, seed: u64, steps: &[Step], rule: Rule) {
    let mut world = World::new(daemons, seed, rule);
    steps.iter().for_each(|step| world.play(step));
    world.rest();
    check(&world.lives, Detours::Possible);
    world.check_rest();
}

fn steps(daemons: usize) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(daemons), 1..120)
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn three_hosts_keep_extended_virtual_synchrony(seed: u64, steps in steps(3)) {
        play(3, seed, &steps, Rule::Labelled);
    }

}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn five_hosts_keep_extended_virtual_synchrony(seed: u64, steps in steps(5)) {
        play(5, seed, &steps, Rule::Labelled);
    }
}

proptest! {
    #![proptest_config(config(10))]

    #[test]
    fn sixteen_hosts_keep_extended_virtual_synchrony(seed: u64, steps in steps(16)) {
        play(16, seed, &steps, Rule::Labelled);
    }
}

/// Seeds of a search.
const SEARCHED: u64 = 10_000;

/// Searches for a seed whose schedule breaks a property without the rule. It begins at the seed
/// that was found last, so that a test takes a moment, or with `PROPTEST_RNG_SEED` at that one.
fn is_broken(rule: Rule, found_last: u64) -> bool {
    let first = match Config::default().rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => found_last,
    };
    let found = (first..first + SEARCHED).find(|seed| {
        let rng_seed = RngSeed::Fixed(*seed);
        let config = Config { rng_seed, cases: 1, max_shrink_iters: 0, ..config(1) };
        let played = TestRunner::new(config).run(&(any::<u64>(), steps(3)), |(seed, steps)| {
            play(3, seed, &steps, rule);
            Ok(())
        });
        played.is_err()
    });
    println!("seed: {found:?}");
    found.is_some()
}

#[test]
fn without_labels_a_schedule_breaks_a_property() {
    assert!(is_broken(Rule::All, 169));
}

#[test]
fn without_comparing_what_was_received_a_schedule_breaks_a_property() {
    assert!(is_broken(Rule::Trusting, 7552));
}

#[test]
fn without_delivering_what_others_have_a_schedule_breaks_a_property() {
    assert!(is_broken(Rule::Hasty, 2898));
}
