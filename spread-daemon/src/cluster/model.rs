//! Random schedules of joins, leaves, messages, partitions and crashes, against
//! the properties of extended virtual synchrony.
//!
//! `PROPTEST_CASES` sets how many schedules there are and `PROPTEST_RNG_SEED`
//! which; without them the test does the same every time.

use bytes::BytesMut;
use proptest::prelude::*;
use spread_wire::{Frame, Limits, Service};

use super::pen::Pen;
use super::properties::{Detours, Life, check, config};
use super::*;

const DAEMONS: usize = 4;
const CLIENTS: usize = 8;
const GROUPS: [&str; 3] = ["a", "b", "c"];
const SCHEDULES: u32 = 400;

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

struct World {
    state: State,
    lives: Vec<Life>,
    /// Which life each client is in.
    now: [Option<usize>; CLIENTS],
    number: u32,
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

proptest! {
    #![proptest_config(config(SCHEDULES))]

    #[test]
    fn any_schedule_keeps_extended_virtual_synchrony(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.play(step));
        world.rest();
        check(&world.lives, Detours::Impossible);
        check_rest(&world);
    }
}
