//! Daemons and clients, and what may happen to them.

use std::collections::HashMap;
use std::time::Duration;

use spread::Name;
use spread_daemon::simulation::{Delivered, Simulation};

use super::client::{Client, Connection};
use super::tally;
use super::voting::{Founders, Voting};
use crate::core::history::Place;
use crate::core::status::Standing;
use crate::core::{Broken, Input};

pub(super) const DAEMONS: usize = 3;
pub(super) const CLIENTS: usize = 5;
/// Messages that a daemon keeps for a client that does not read.
const INBOX: usize = 120;
/// What a client does in a round of each kind.
const TURN: usize = 20;
/// Rounds in which all clients do what they can, after which they should be idle.
pub(super) const ROUNDS: usize = 1000;
/// How often the world may get on in time until it is at rest.
const PATIENCE: usize = 400;

pub(super) struct World {
    pub(super) daemons: Simulation,
    pub(super) clients: Vec<Client>,
    /// Clients whose processes have ended.
    pub(super) dead: Vec<Client>,
    /// Which client a session of a daemon leads to, unless it is a ghost.
    owners: HashMap<usize, usize>,
    ghosts: Vec<usize>,
    pub(super) now: Duration,
    sessions: usize,
    lives: u8,
    pub(super) operations: u64,
    pub(super) broken: Option<Broken>,
    /// What was found at each place.
    states: HashMap<Place, u64>,
    rosters: HashMap<Place, u64>,
    /// What belongs to a group with voters.
    pub(super) voting: Option<Voting>,
    pub(super) violations: Vec<String>,
}

impl World {
    pub(super) fn new(broken: Option<Broken>) -> World {
        let names = ["d1", "d2", "d3"];
        let clients = (0..CLIENTS).map(|number| Client::new(number as u8, 0, broken));
        World {
            daemons: Simulation::new(&names[..DAEMONS]),
            clients: clients.collect(),
            dead: Vec::new(),
            owners: HashMap::new(),
            ghosts: Vec::new(),
            now: Duration::ZERO,
            sessions: 0,
            lives: 0,
            operations: 0,
            broken,
            states: HashMap::new(),
            rosters: HashMap::new(),
            voting: None,
            violations: Vec::new(),
        }
    }

    /// Returns a world of a group with voters.
    pub(super) fn voting(founders: Founders, broken: Option<Broken>) -> World {
        let voting = Voting::new(founders);
        let moments = &voting.moments;
        let client = |number: usize| {
            Client::voting(founders, number as u8, 0, broken, Some(number), moments.clone())
        };
        let clients = (0..CLIENTS).map(client).collect();
        World { clients, voting: Some(voting), ..World::new(broken) }
    }

    /// Returns a world of clients of these versions.
    pub(super) fn of_versions(versions: [u32; CLIENTS]) -> World {
        let clients = versions.into_iter().zip(0..);
        let clients = clients.map(|(version, number)| Client::speaking(version, number, 0, None));
        World { clients: clients.collect(), ..World::new(None) }
    }

    pub(super) fn connect(&mut self, client: usize, daemon: usize) {
        if self.clients[client].connection.is_some() || self.clients[client].failed.is_some() {
            return;
        }
        let session = self.sessions;
        let name = format!("{}{session}", ["m", "c", "z", "a", "k"][client]);
        let Some(name) = self.daemons.connect(session, daemon, &name) else {
            return;
        };
        self.sessions += 1;
        self.owners.insert(session, client);
        let name = Name::from(name);
        let (inbox, outbox) = Default::default();
        self.clients[client].connection = Some(Connection { session, name, inbox, outbox });
        self.input(client, Input::Connected(name));
    }

    /// Ends a client's connection: what it has not read is lost, and what it has sent after
    /// the first `sent` messages. Its session may stay as a ghost.
    pub(super) fn cut(&mut self, client: usize, sent: usize, ghost: bool) {
        for _ in 0..sent {
            self.send(client);
        }
        let Some(connection) = self.clients[client].connection.take() else {
            return;
        };
        self.owners.remove(&connection.session);
        if ghost {
            self.ghosts.push(connection.session);
        } else {
            let delivered = self.daemons.disconnect(connection.session);
            self.deliver(delivered);
        }
        self.input(client, Input::Lost);
    }

    /// A client's process ends, and another one begins.
    pub(super) fn replace(&mut self, client: usize) {
        self.cut(client, 0, false);
        self.lives += 1;
        let new = self.successor(client, self.lives);
        let new = new.unwrap_or_else(|| Client::new(client as u8, self.lives, self.broken));
        self.dead.push(std::mem::replace(&mut self.clients[client], new));
    }

    /// A client leaves the group before its process ends.
    pub(super) fn leave(&mut self, client: usize) {
        self.input(client, Input::Close);
        while self.send(client) {}
        self.replace(client);
    }

    /// The daemon notices that ghosts are gone.
    pub(super) fn reap(&mut self) {
        for ghost in std::mem::take(&mut self.ghosts) {
            let delivered = self.daemons.disconnect(ghost);
            self.deliver(delivered);
        }
    }

    pub(super) fn crash(&mut self, daemon: usize) {
        let (lost, delivered) = self.daemons.crash(daemon);
        self.deliver(delivered);
        for session in lost {
            self.ghosts.retain(|ghost| *ghost != session);
            if let Some(client) = self.owners.remove(&session) {
                self.clients[client].connection = None;
                self.input(client, Input::Lost);
            }
        }
    }

    pub(super) fn change(&mut self, act: impl FnOnce(&mut Simulation) -> Delivered) {
        let delivered = act(&mut self.daemons);
        self.deliver(delivered);
    }

    pub(super) fn submit(&mut self, client: usize, more: usize) {
        self.operations += 1;
        let payload = tally::payload(self.operations, more);
        self.clients[client].submit(self.now, self.operations, payload);
        self.look(client);
    }

    /// Hands the next message of a client to its daemon.
    pub(super) fn send(&mut self, client: usize) -> bool {
        let Some(connection) = &mut self.clients[client].connection else {
            return false;
        };
        let Some(bytes) = connection.outbox.pop_front() else {
            return false;
        };
        let delivered = self.daemons.handle(connection.session, &bytes);
        self.deliver(delivered);
        true
    }

    pub(super) fn read(&mut self, client: usize) -> bool {
        let read = self.clients[client].read(self.now);
        if read {
            self.look(client);
        }
        read
    }

    pub(super) fn work(&mut self, client: usize) -> bool {
        let Some(done) = self.clients[client].work(self.now) else {
            return false;
        };
        if let Some((line, entry, digest)) = done {
            self.committed(line, &entry);
            let known = *self.states.entry(entry.place).or_insert(digest);
            if known != digest {
                self.violations.push(format!("state: two digests after {entry:?}"));
            }
        }
        true
    }

    /// Lets some clients do all that they can without time.
    pub(super) fn run(&mut self, clients: impl Fn(usize) -> bool, limit: usize) {
        for _ in 0..limit {
            let mut idle = true;
            for client in (0..CLIENTS).filter(|client| clients(*client)) {
                // What comes back meanwhile is for the next round.
                for _ in 0..TURN {
                    let sent = self.send(client);
                    let read = self.read(client);
                    idle &= !(sent | read | self.work(client));
                }
            }
            if idle {
                return;
            }
        }
        if limit == ROUNDS {
            self.violations.push(String::from("rest: the members never stop to talk"));
        }
    }

    /// Lets some clients send and read a message and do a task each, so many times.
    pub(super) fn turns(&mut self, clients: impl Fn(usize) -> bool, times: usize) {
        for _ in 0..times {
            for client in (0..CLIENTS).filter(|client| clients(*client)) {
                self.send(client);
                self.read(client);
                self.work(client);
            }
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now += time;
        for client in 0..CLIENTS {
            if self.clients[client].core.deadline().is_some_and(|due| due <= self.now) {
                self.input(client, Input::Tick);
            }
        }
    }

    /// Ends all faults, and lets time go on until every request has ended and all members
    /// are ready.
    pub(super) fn rest(&mut self) {
        for daemon in 0..DAEMONS {
            self.change(|daemons| daemons.restart(daemon));
        }
        self.change(|daemons| daemons.partition(&[0; DAEMONS]));
        for (from, to) in (0..DAEMONS).flat_map(|from| (0..DAEMONS).map(move |to| (from, to))) {
            self.change(|daemons| daemons.release(from, to));
        }
        self.reap();
        for _ in 0..PATIENCE {
            (0..CLIENTS).for_each(|client| self.connect(client, client % DAEMONS));
            self.run(|_| true, ROUNDS);
            if self.is_at_rest() || !self.violations.is_empty() {
                return;
            }
            let deadlines = self.clients.iter().filter_map(|client| client.core.deadline());
            let next = deadlines.min().unwrap_or(self.now).max(self.now);
            self.wait(next - self.now);
        }
        let states: Vec<_> = self.clients.iter().map(|client| client.core.status()).collect();
        self.violations.push(format!("rest: the world comes to no rest: {states:#?}"));
    }

    /// Returns how often things happened that are worth knowing.
    pub(super) fn corners(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let clients = self.clients.iter().chain(&self.dead);
        clients.flat_map(|client| client.corners.iter().map(|(corner, times)| (*corner, *times)))
    }

    fn is_at_rest(&self) -> bool {
        let idle = |client: &Client| {
            let standing = client.core.status().standing;
            let ends = matches!(standing, Standing::Ready | Standing::Closed);
            let is_forced = client.core.forced().is_some() || self.voting.is_none();
            client.waiting() == 0 && (ends || client.is_without_quorum() && is_forced)
        };
        self.clients.iter().all(idle)
    }

    pub(super) fn input(&mut self, client: usize, input: Input) {
        self.clients[client].input(self.now, input);
        self.look(client);
    }

    /// Compares the roster of a client with those of others at the same place.
    pub(super) fn look(&mut self, client: usize) {
        let (place, digest) = self.clients[client].core.roster_digest();
        let known = *self.rosters.entry(place).or_insert(digest);
        if known != digest {
            self.violations.push(format!("roster: two digests at {place:?}"));
        }
        self.stands(client);
    }

    fn deliver(&mut self, delivered: Delivered) {
        let mut overrun = Vec::new();
        for (session, bytes) in delivered {
            let Some(client) = self.owners.get(&session) else {
                continue;
            };
            if let Some(connection) = &mut self.clients[*client].connection {
                connection.inbox.push_back(bytes);
                overrun.extend((connection.inbox.len() > INBOX).then_some(*client));
            }
        }
        for client in overrun {
            self.cut(client, 0, false);
        }
    }
}
