//! Random schedules of joins, leaves, messages, partitions and crashes, against
//! the properties of extended virtual synchrony.
//!
//! `PROPTEST_CASES` sets how many schedules there are and `PROPTEST_RNG_SEED`
//! which; without them the test does the same every time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use spread_wire::{Cause, Delivery, Frame, GroupId, Limits, Service};

use super::*;

const DAEMONS: usize = 4;
const CLIENTS: usize = 8;
const GROUPS: [&str; 3] = ["a", "b", "c"];
const SCHEDULES: u32 = 1500;
const SEED: u64 = 4803;

/// An event that happens to the cluster.
#[derive(Clone, Debug)]
enum Step {
    Join(usize, usize),
    Leave(usize, usize),
    /// A message of a client to some groups: the bits of their places.
    Send(usize, u8, Service),
    /// A client goes, or comes back.
    Toggle(usize),
    /// Each daemon gets the number of its part.
    Partition([u8; DAEMONS]),
    Merge,
    Crash(usize),
    Restart(usize),
    Hold(usize, usize),
    Release(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let daemon = 0..DAEMONS;
    let group = 0..GROUPS.len();
    let service = prop::sample::select(vec![Service::Fifo, Service::Agreed, Service::Safe]);
    prop_oneof![
        6 => (client.clone(), group.clone()).prop_map(|(c, g)| Step::Join(c, g)),
        2 => (client.clone(), group).prop_map(|(c, g)| Step::Leave(c, g)),
        12 => (client.clone(), 1u8..8, service).prop_map(|(c, g, s)| Step::Send(c, g, s)),
        1 => client.prop_map(Step::Toggle),
        2 => prop::array::uniform4(0u8..3).prop_map(Step::Partition),
        1 => Just(Step::Merge),
        1 => daemon.clone().prop_map(Step::Crash),
        1 => daemon.clone().prop_map(Step::Restart),
        4 => (daemon.clone(), daemon.clone()).prop_map(|(a, b)| Step::Hold(a, b)),
        2 => (daemon.clone(), daemon).prop_map(|(a, b)| Step::Release(a, b)),
    ]
}

/// A delivery to a client.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Message { number: u32, groups: Vec<Name>, service: Service },
    View { group: Name, view: View },
    Signal { group: Name, id: GroupId },
    Left { group: Name },
}

#[derive(Clone, Debug, PartialEq)]
struct View {
    id: GroupId,
    cause: Cause,
    members: Vec<Name>,
    vs_sets: Vec<Vec<Name>>,
    /// The set of those who came with the receiver, or the one that changed.
    own: Vec<Name>,
}

/// A client from its connect to its end.
#[derive(Clone, Debug)]
struct Life {
    name: Name,
    told: Vec<Told>,
    /// The numbers of the messages that it sent, with their groups.
    sent: Vec<(u32, Vec<Name>)>,
    /// The groups that it has asked to join and not to leave.
    wanted: BTreeSet<Name>,
    /// The messages that it sent to one of them.
    due: Vec<u32>,
    /// Whether nothing cut its life short.
    survives: bool,
}

struct World {
    state: State,
    lives: Vec<Life>,
    /// Which life each client is in.
    now: [Option<usize>; CLIENTS],
    number: u32,
}

/// Writes what is delivered into the lives of the clients.
struct Pen<'a> {
    lives: &'a mut Vec<Life>,
    now: &'a [Option<usize>; CLIENTS],
}

impl Deliver for Pen<'_> {
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]) {
        let frame = Frame::decode(&mut BytesMut::from(frame), Limits::FROM_DAEMON);
        let frame = frame.unwrap().unwrap();
        let told = match Delivery::parse(&frame).unwrap() {
            Delivery::Regular(m) => Told::Message {
                number: u32::from_le_bytes(m.body.try_into().unwrap()),
                groups: m.groups.iter().collect(),
                service: m.service,
            },
            Delivery::View { group, cause, members, body } => {
                let own = body.vs_sets[body.my_vs_set].clone();
                let members = members.iter().collect();
                let (id, vs_sets) = (body.group_id, body.vs_sets);
                Told::View { group, view: View { id, cause, members, vs_sets, own } }
            }
            Delivery::Transitional { group, group_id } => Told::Signal { group, id: group_id },
            Delivery::SelfLeave { group } => Told::Left { group },
            other => panic!("{other:?}"),
        };
        for SessionId(client) in to {
            let life = self.now[client].expect("nobody is there to get it");
            self.lives[life].told.push(told.clone());
        }
    }
}

fn group(place: usize) -> Name {
    Name::new(GROUPS[place]).unwrap()
}

impl World {
    fn new() -> World {
        let names = ["d1", "d2", "d3", "d4"];
        let state = State::new(&names, Configuration { proc_id: 77, time: 1000 }).unwrap();
        let mut world = World { state, lives: Vec::new(), now: [None; CLIENTS], number: 0 };
        (0..CLIENTS).for_each(|client| world.connect(client));
        world
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut State, &mut Pen<'_>) -> T) -> T {
        act(&mut self.state, &mut Pen { lives: &mut self.lives, now: &self.now })
    }

    fn connect(&mut self, client: usize) {
        let daemon = DaemonId(client % DAEMONS);
        if !self.state.is_up(daemon) {
            return;
        }
        let id = SessionId(client);
        let name = PrivateName::new(format!("c{client}")).unwrap();
        let name = self.state.connect(id, daemon, Some(name), true).unwrap().into();
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
        self.with(|state, pen| state.handle(SessionId(client), (&frame).into(), pen)).unwrap();
    }

    fn play(&mut self, step: &Step) {
        match *step {
            Step::Join(client, g) => {
                self.life(client).map(|life| life.wanted.insert(group(g)));
                self.ask(client, &Request::Join(group(g)));
            }
            Step::Leave(client, g) => {
                self.life(client).map(|life| life.wanted.remove(&group(g)));
                self.ask(client, &Request::Leave(group(g)));
            }
            Step::Send(client, bits, service) => {
                let groups = (0..GROUPS.len()).filter(|g| bits >> g & 1 != 0).map(group);
                let groups: Vec<Name> = groups.collect();
                self.number += 1;
                let body = self.number.to_le_bytes();
                let number = self.number;
                if let Some(life) = self.life(client) {
                    life.due
                        .extend(groups.iter().any(|g| life.wanted.contains(g)).then_some(number));
                    life.sent.push((number, groups.clone()));
                }
                self.ask(client, &Request::multicast(service, &groups[..], &body));
            }
            Step::Toggle(client) => match self.now[client] {
                Some(life) => {
                    self.lives[life].survives = false;
                    self.with(|state, pen| state.disconnect(SessionId(client), pen));
                    self.now[client] = None;
                }
                None => self.connect(client),
            },
            Step::Partition(parts) => {
                let part = |number| (0..DAEMONS).filter(move |d| parts[*d] == number).map(DaemonId);
                let parts = (0..3).map(|number| part(number).collect()).collect();
                self.with(|state, pen| state.partition(parts, 0, pen));
            }
            Step::Merge => self.with(|state, pen| state.partition(vec![state.all()], 0, pen)),
            Step::Crash(daemon) => {
                let lost = self.with(|state, pen| state.crash(DaemonId(daemon), 0, pen));
                for SessionId(client) in lost {
                    if let Some(life) = self.now[client].take() {
                        self.lives[life].survives = false;
                    }
                }
            }
            Step::Restart(daemon) => {
                self.with(|state, pen| state.restart(DaemonId(daemon), 0, pen));
            }
            Step::Hold(from, to) => self.state.hold(DaemonId(from), DaemonId(to)),
            Step::Release(from, to) => {
                self.with(|state, pen| state.release(DaemonId(from), DaemonId(to), pen));
            }
        }
    }

    /// Returns whether a client is in a group, as its own daemon knows it.
    fn is_member(&self, client: usize, group: Name) -> bool {
        let Some(life) = self.now[client] else {
            return false;
        };
        let joined = &self.state.daemons[client % DAEMONS].replica.joined;
        joined.get(&self.lives[life].name).is_some_and(|groups| groups.contains(&group))
    }

    /// Brings the cluster to rest, with all daemons together.
    fn rest(&mut self) {
        self.play(&Step::Merge);
        for from in 0..DAEMONS {
            self.play(&Step::Restart(from));
            (0..DAEMONS).for_each(|to| self.play(&Step::Release(from, to)));
        }
    }
}

/// A stretch of a client's life in one view of a group.
#[derive(Debug)]
struct Stay<'a> {
    life: &'a Life,
    group: Name,
    view: &'a View,
    /// Messages to the group before the transitional signal, and after it.
    before: Vec<u32>,
    after: Vec<u32>,
    signalled: bool,
    next: Option<&'a View>,
}

/// Names a view. The id alone would not do: a group that was empty counts its
/// views anew.
type Key<'a> = (Name, GroupId, &'a [Name]);

impl<'a> Stay<'a> {
    fn key(&self) -> Key<'a> {
        (self.group, self.view.id, &self.view.members)
    }
}

/// Returns the views that cannot be told from later ones, because someone was in both.
fn ambiguous(lives: &[Life]) -> HashSet<Key<'_>> {
    let mut seen = HashSet::new();
    let stays = lives.iter().flat_map(Life::stays);
    let again = stays.filter(|stay| !seen.insert((stay.life.name, stay.key())));
    again.map(|stay| stay.key()).collect()
}

impl Life {
    fn stays(&self) -> Vec<Stay<'_>> {
        let mut done = Vec::new();
        let mut open: BTreeMap<Name, Stay<'_>> = BTreeMap::new();
        for told in &self.told {
            match told {
                Told::View { group, view } => {
                    if let Some(mut stay) = open.remove(group) {
                        stay.next = Some(view);
                        done.push(stay);
                    }
                    let (before, after) = (Vec::new(), Vec::new());
                    let stay = Stay {
                        life: self,
                        group: *group,
                        view,
                        before,
                        after,
                        signalled: false,
                        next: None,
                    };
                    open.insert(*group, stay);
                }
                Told::Signal { group, id } => {
                    let stay = open.get_mut(group).expect("a signal outside the group");
                    assert_eq!(*id, stay.view.id, "a signal for another view");
                    assert!(!stay.signalled, "two signals in one view");
                    stay.signalled = true;
                }
                Told::Left { group } => {
                    done.extend(open.remove(group));
                }
                Told::Message { number, groups, .. } => {
                    let mut is_for_it = false;
                    for stay in groups.iter().collect::<BTreeSet<_>>() {
                        if let Some(stay) = open.get_mut(stay) {
                            is_for_it = true;
                            let part =
                                if stay.signalled { &mut stay.after } else { &mut stay.before };
                            part.push(*number);
                        }
                    }
                    assert!(is_for_it, "{}: a message for others", self.name);
                }
            }
        }
        done.extend(open.into_values());
        done
    }

    fn numbers(&self) -> Vec<u32> {
        let number = |told: &Told| match told {
            Told::Message { number, .. } => Some(*number),
            _ => None,
        };
        self.told.iter().filter_map(number).collect()
    }
}

/// Nothing is delivered twice, and nothing that was not sent.
fn check_integrity(lives: &[Life]) {
    let sent = || lives.iter().flat_map(|life| &life.sent);
    let sent: HashMap<u32, &Vec<Name>> = sent().map(|(number, groups)| (*number, groups)).collect();
    for life in lives {
        let mut seen = BTreeSet::new();
        for told in &life.told {
            if let Told::Message { number, groups, .. } = told {
                assert!(seen.insert(*number), "{} got {number} twice", life.name);
                assert_eq!(sent.get(number), Some(&groups), "{number} is not what was sent");
            }
        }
    }
}

/// Any two clients get what both get in the same order.
fn check_order(lives: &[Life]) {
    let all: Vec<Vec<u32>> = lives.iter().map(Life::numbers).collect();
    for (place, one) in all.iter().enumerate() {
        for other in &all[place + 1..] {
            let common = |of: &[u32], with: &[u32]| {
                of.iter().filter(|n| with.contains(n)).copied().collect::<Vec<_>>()
            };
            assert_eq!(common(one, other), common(other, one), "two orders");
        }
    }
}

/// A view is the same for all who get it, has its receivers in it, and follows
/// from the one before.
fn check_views(lives: &[Life]) {
    let ambiguous = ambiguous(lives);
    let mut known: HashMap<Key<'_>, &View> = HashMap::new();
    for life in lives {
        for stay in life.stays() {
            let view = stay.view;
            assert!(view.members.contains(&life.name), "a view without its receiver");
            if !ambiguous.contains(&stay.key()) {
                let first = known.entry(stay.key()).or_insert(view);
                assert_eq!((first.cause, &first.vs_sets), (view.cause, &view.vs_sets));
            }
            if view.cause == Cause::Network {
                assert!(view.own.contains(&life.name), "someone else's set");
                let mut together: Vec<Name> = view.vs_sets.concat();
                together.sort();
                let mut members = view.members.clone();
                members.sort();
                assert_eq!(together, members, "the sets are not the members");
            }
            let Some(next) = stay.next else {
                continue;
            };
            let before: BTreeSet<_> = view.members.iter().collect();
            let after: BTreeSet<_> = next.members.iter().collect();
            let lost = before.difference(&after).count();
            let won = after.difference(&before).count();
            match next.cause {
                Cause::Join => assert_eq!((lost, won), (0, 1)),
                Cause::Leave | Cause::Disconnect => assert_eq!((lost, won), (1, 0)),
                Cause::Network => assert!(stay.signalled || lost == 0, "no signal"),
            }
            assert!(!stay.signalled || next.cause == Cause::Network, "a signal without a change");
        }
    }
}

/// Those who go from one view to the next together get the same messages between
/// them, and the signal at the same place.
fn check_virtual_synchrony(lives: &[Life]) {
    let ambiguous = ambiguous(lives);
    let mut moves: HashMap<(Key<'_>, GroupId), Vec<Stay<'_>>> = HashMap::new();
    for stay in lives.iter().flat_map(Life::stays) {
        if let Some(next) = stay.next.filter(|_| !ambiguous.contains(&stay.key())) {
            moves.entry((stay.key(), next.id)).or_default().push(stay);
        }
    }
    for stays in moves.values() {
        let told = |stay: &Stay<'_>| (stay.signalled, stay.before.clone(), stay.after.clone());
        for stay in stays {
            let next = stay.next.unwrap();
            assert_eq!(
                told(stay),
                told(&stays[0]),
                "{} and {}",
                stay.life.name,
                stays[0].life.name
            );
            if next.cause == Cause::Network {
                let together: BTreeSet<Name> = stays.iter().map(|stay| stay.life.name).collect();
                assert!(
                    together.iter().all(|name| next.own.contains(name)),
                    "who came together is told apart"
                );
            }
        }
    }
}

/// A safe message that comes before the signal comes to every member of the view
/// that is not cut short, be it after the signal.
fn check_safety(lives: &[Life]) {
    let ambiguous = ambiguous(lives);
    for life in lives {
        let safe: BTreeSet<u32> = life
            .told
            .iter()
            .filter_map(|told| match told {
                Told::Message { number, service: Service::Safe, .. } => Some(*number),
                _ => None,
            })
            .collect();
        for stay in life.stays().iter().filter(|stay| !ambiguous.contains(&stay.key())) {
            for number in stay.before.iter().filter(|number| safe.contains(number)) {
                for other in lives.iter().filter(|other| other.survives) {
                    let stays = other.stays();
                    let same = |s: &&Stay<'_>| s.key() == stay.key();
                    if let Some(s) = stays.iter().find(same) {
                        let has = s.before.contains(number) || s.after.contains(number);
                        assert!(has, "{} misses the safe message {number}", other.name);
                    }
                }
            }
        }
    }
}

/// Who is in a group when all is at rest is in the same last view as all others,
/// and has got all that it sent to the group meanwhile.
fn check_rest(world: &World) {
    for place in 0..GROUPS.len() {
        let name = group(place);
        let here = |client: &usize| world.is_member(*client, name);
        let members: Vec<usize> = (0..CLIENTS).filter(here).collect();
        let mut last = None;
        for client in &members {
            let life = &world.lives[world.now[*client].unwrap()];
            let stays = life.stays();
            // Those that ended with a leave come before.
            let stay = stays.iter().rfind(|s| s.group == name).unwrap();
            assert_eq!(stay.view.members.len(), members.len());
            assert_eq!(stay.view.id, *last.get_or_insert(stay.view.id));
            assert!(!stay.signalled, "a signal and no view");
        }
    }
    for node in &world.state.daemons {
        assert_eq!(node.replica.groups.len(), world.state.daemons[0].replica.groups.len());
    }
}

/// A client gets what it sends to a group that it has asked to join before.
fn check_self_delivery(lives: &[Life]) {
    for life in lives.iter().filter(|life| life.survives) {
        let got = life.numbers();
        for number in &life.due {
            assert!(got.contains(number), "{} misses its own {number}", life.name);
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = SCHEDULES;
    }
    if matches!(config.rng_seed, RngSeed::Random) {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config.failure_persistence = None;
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_schedule_keeps_extended_virtual_synchrony(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
        world.rest();
        check_integrity(&world.lives);
        check_order(&world.lives);
        check_views(&world.lives);
        check_virtual_synchrony(&world.lives);
        check_safety(&world.lives);
        check_self_delivery(&world.lives);
        check_rest(&world);
    }
}
