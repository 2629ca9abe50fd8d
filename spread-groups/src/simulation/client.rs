//! A client: a core, its replica, and the ends of its connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use spread::{Name, Service};
use spread_wire::{ByteOrder, Cause, Delivery, Frame, Limits, Request};

use super::objects::Objects;
use super::objects_machine;
use super::tally::{CHANNEL, Tally};
use crate::core::config::PROTOCOL;
use crate::core::envelope::Frame as Sent;
use crate::core::replica::{Entry, Machine, Replica};
use crate::core::requests::OperationId;
use crate::core::roster::{Departure, Incarnation};
use crate::core::sessions::Answer;
use crate::core::status::Standing;
use crate::core::voting::standing::{self, Why};
use crate::core::voting::voters::{self, Configured, Verdicts};
use crate::core::{Broken, Config, Core, Event, Failure, Input, JoinFailed, Output, View};

const FOUNDING: standing::Standing = standing::Standing::Forming(Why::Founding);
pub(super) const GROUP: &str = "group";
/// The voters that found a group, with their weights. The first ones are those of most tests.
pub(super) const FOUNDERS: [&[(&str, u32)]; 4] = [
    &[("ann", 1), ("bob", 1), ("cid", 1)],
    &[("ann", 1), ("bob", 1), ("cid", 1), ("dan", 1), ("eve", 1)],
    &[("ann", 2), ("bob", 1), ("cid", 1), ("dan", 2), ("eve", 1)],
    &[("ann", 2), ("bob", 1), ("cid", 1), ("dan", 1)],
];

/// Returns whether an operation of this number waits for a majority of the voters.
fn is_patient(number: u64) -> bool {
    number.is_multiple_of(8)
}

/// A founding and a forced Form; see [`Core::line`].
pub(super) type Line = (u64, u64);

/// What the replica has to do.
#[derive(Debug)]
enum Task {
    Entry(Line, Entry),
    Cut(u64),
    Restore(u64, Bytes),
}

/// A session of a client at a daemon.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) session: usize,
    pub(super) name: Name,
    /// What the daemon has delivered and the client has not read.
    pub(super) inbox: VecDeque<Bytes>,
    /// What the client has sent and the daemon has not read.
    pub(super) outbox: VecDeque<Bytes>,
}

pub(super) struct Client {
    pub(super) core: Core,
    replica: Replica,
    tally: Arc<Mutex<Tally>>,
    pub(super) objects: Arc<Mutex<Objects>>,
    /// Counts what happens at any client.
    moments: Arc<AtomicU64>,
    /// When requests ended, and in which line.
    pub(super) ends: BTreeMap<OperationId, (u64, Line)>,
    /// The first entries of lines that it applied, and the objects before them.
    pub(super) begins: BTreeMap<Line, (u64, Objects)>,
    generation: u64,
    tasks: VecDeque<Task>,
    pub(super) connection: Option<Connection>,
    /// The numbers of the operations, by their requests.
    pub(super) asked: BTreeMap<OperationId, u64>,
    pub(super) outcomes: BTreeMap<OperationId, Vec<Result<Answer, Failure>>>,
    /// The numbers of the operations that were taken back and not executed again.
    pub(super) lost: Vec<u64>,
    /// The line of the entry that is answered.
    answers: Option<Line>,
    /// The lines in which answered operations were taken back.
    pub(super) taken_back: BTreeSet<Line>,
    /// Whether it has come from a group in which it votes to another one.
    pub(super) mixes: bool,
    /// The founding and the number of the last Form that stood.
    pub(super) stood: (u64, u64),
    pub(super) failed: Option<JoinFailed>,
    observer: bool,
    /// How often things happened that are worth knowing.
    pub(super) corners: BTreeMap<&'static str, usize>,
    sequences: BTreeSet<u64>,
}

impl Client {
    pub(super) fn new(number: u8, life: u8, broken: Option<Broken>) -> Client {
        Client::speaking(PROTOCOL, number, life, broken)
    }

    /// Returns a client of a version.
    pub(super) fn speaking(protocol: u32, number: u8, life: u8, broken: Option<Broken>) -> Client {
        Client::with(protocol, number, life, broken, None, Arc::default())
    }

    /// Returns a client of a group with voters; `own` is which of them it is configured to be.
    pub(super) fn voting(
        founders: &[(&str, u32)],
        number: u8,
        life: u8,
        broken: Option<Broken>,
        own: Option<usize>,
        moments: Arc<AtomicU64>,
    ) -> Client {
        let own = own.and_then(|own| founders.get(own)).map(|(name, _)| String::from(*name));
        let voters = founders.iter().map(|(name, weight)| (String::from(*name), *weight)).collect();
        let voters = Configured { voters, own };
        Client::with(PROTOCOL, number, life, broken, Some(voters), moments)
    }

    /// Returns a client that is configured with these voters.
    pub(super) fn of_voters(
        names: &[&str],
        number: u8,
        life: u8,
        broken: Option<Broken>,
        own: Option<String>,
        moments: Arc<AtomicU64>,
    ) -> Client {
        let voters = names.iter().map(|name| (String::from(*name), 1)).collect();
        let voters = Configured { voters, own };
        Client::with(PROTOCOL, number, life, broken, Some(voters), moments)
    }

    fn with(
        protocol: u32,
        number: u8,
        life: u8,
        broken: Option<Broken>,
        voters: Option<Configured>,
        moments: Arc<AtomicU64>,
    ) -> Client {
        let mut incarnation = [0; 16];
        // Neither the order of the clients nor that of their lives is that of incarnations.
        incarnation[..3].copy_from_slice(&[number.wrapping_mul(97) ^ life, number, life]);
        let votes = voters.as_ref().is_some_and(|voters| voters.own.is_some());
        let observer = life % 4 == 1 && !votes;
        let config = Config {
            epoch: 1_000_000,
            observer,
            protocol,
            exchange_wait: Duration::from_millis(100),
            stall: Duration::from_millis(500),
            session_life: Duration::from_secs(2),
            newcomer_buffer: 600,
            window: (8, 500),
            fragment_memory: 120,
            fragment: 24,
            chunk: 16,
            voters,
            broken,
            ..Config::new(Name::new(GROUP).unwrap(), Incarnation(incarnation))
        };
        let tally = Arc::new(Mutex::new(Tally::default()));
        let objects = Arc::new(Mutex::new(Objects::default()));
        let mut machines: BTreeMap<u32, Box<dyn Machine>> = BTreeMap::new();
        machines.insert(CHANNEL, Box::new(tally.clone()));
        if config.voters.is_some() {
            machines.insert(objects_machine::CHANNEL, Box::new(objects.clone()));
            machines.insert(voters::CHANNEL, Box::new(Verdicts));
        }
        let mut replica = Replica::new(machines);
        replica.executes_again = broken == Some(Broken::ExecutesAgain);
        Client {
            core: Core::new(config),
            replica,
            tally,
            objects,
            moments,
            ends: BTreeMap::new(),
            begins: BTreeMap::new(),
            generation: 0,
            tasks: VecDeque::new(),
            connection: None,
            asked: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            lost: Vec::new(),
            answers: None,
            taken_back: BTreeSet::new(),
            mixes: false,
            stood: (0, 0),
            failed: None,
            observer,
            corners: BTreeMap::new(),
            sequences: BTreeSet::new(),
        }
    }

    pub(super) fn submit(&mut self, now: Duration, number: u64, payload: Bytes) {
        self.submit_to(now, CHANNEL, number, payload);
    }

    pub(super) fn submit_to(&mut self, now: Duration, channel: u32, number: u64, payload: Bytes) {
        let id = OperationId(number);
        self.asked.insert(id, number);
        let patient = is_patient(number);
        self.input(now, Input::Submit { id, channel, payload, patient });
    }

    pub(super) fn input(&mut self, now: Duration, input: Input) {
        let (former, held) = (self.core.line(), self.core.held_group());
        self.core.input(now, input);
        let line = self.core.line();
        // A member that comes from another line answers from that one for a while.
        let answered = self.answers.take().unwrap_or(line);
        self.mixes |= held
            .zip(self.core.held_group())
            .is_some_and(|((former, votes), now)| votes && former != now.0);
        if self.core.status().standing == Standing::Silent {
            self.reach("a late Hello");
        }
        while let Some(output) = self.core.output() {
            match output {
                Output::Join => self.send(&Request::Join(Name::new(GROUP).unwrap())),
                Output::Leave => self.send(&Request::Leave(Name::new(GROUP).unwrap())),
                Output::Send { to, bytes } => {
                    self.look(&bytes);
                    let to = [to.unwrap_or(Name::new(GROUP).unwrap())];
                    self.send(&Request::multicast(Service::Agreed, &to, &bytes));
                }
                Output::Entry(entry) => self.tasks.push_back(Task::Entry(line, entry)),
                Output::Cut(cut) => self.tasks.push_back(Task::Cut(cut)),
                Output::Restore { generation, state } => {
                    self.tasks.push_back(Task::Restore(generation, state));
                }
                Output::Done(id, outcome) => {
                    match outcome {
                        Ok(Answer::Full) => self.reach("answered: Full"),
                        Err(Failure::SessionExpired) => self.reach("session expired"),
                        Err(Failure::NoQuorum { .. }) => self.reach("no quorum"),
                        _ => {}
                    }
                    let moment = self.moments.fetch_add(1, Ordering::Relaxed);
                    self.ends.insert(id, (moment, answered));
                    self.outcomes.entry(id).or_default().push(outcome);
                }
                Output::Event(Event::Lost(operations)) => {
                    self.reach("lost");
                    self.take_back(line, &operations);
                    self.lost.extend(operations.iter().filter_map(|id| self.asked.get(id)));
                }
                Output::Event(Event::Failed(why)) => {
                    self.reach("too slow");
                    self.failed = Some(why);
                }
                Output::Event(Event::Rewound(rewound)) => {
                    self.reach("taken back");
                    self.take_back(line, &rewound.operations);
                    let stays = former == line && !rewound.complete;
                    self.taken_back.extend(stays.then_some(line));
                }
                Output::Event(_) | Output::Topic { .. } => {}
            }
        }
    }

    /// Takes note of operations that are taken back in a line.
    fn take_back(&mut self, line: Line, operations: &[OperationId]) {
        let answered_there = |id| self.ends.get(id).is_some_and(|(_, of)| *of == line);
        self.taken_back.extend(operations.iter().any(answered_there).then_some(line));
    }

    /// Takes note of what a member sends.
    fn look(&mut self, bytes: &Bytes) {
        match Sent::decode(bytes).unwrap() {
            Sent::Hello(hello) if hello.exchange.attempt > 0 => {
                self.reach("an exchange again in one view");
            }
            Sent::Form(form) if form.forced => self.reach("a forced Form"),
            Sent::Form(_) => self.reach("a Form"),
            Sent::Accept(_) => self.reach("an Accept"),
            Sent::Acknowledge(..) => self.reach("an acknowledgement"),
            Sent::Marker(..) => self.reach("a marker"),
            Sent::Want(_) => self.reach("another cut is asked for"),
            Sent::Synced(_) => self.reach("a state has come"),
            Sent::Expire(..) => self.reach("a session expires"),
            Sent::Operation(operation) if operation.channel == voters::CHANNEL => {
                self.reach("a voter is replaced");
            }
            Sent::Operation(operation) if operation.fragment.is_some() => self.reach("a fragment"),
            Sent::Operation(operation) if !self.sequences.insert(operation.sequence) => {
                self.reach("sent again");
            }
            _ => {}
        }
    }

    pub(super) fn reach(&mut self, corner: &'static str) {
        *self.corners.entry(corner).or_default() += 1;
    }

    fn send(&mut self, request: &Request<'_>) {
        if let Some(connection) = &mut self.connection {
            let mut bytes = BytesMut::new();
            request.encode(connection.name, ByteOrder::NATIVE, &mut bytes);
            connection.outbox.push_back(bytes.freeze());
        }
    }

    /// Reads a message; returns whether there was one.
    pub(super) fn read(&mut self, now: Duration) -> bool {
        let inbox = self.connection.as_mut().map(|connection| &mut connection.inbox);
        let Some(bytes) = inbox.and_then(VecDeque::pop_front) else {
            return false;
        };
        let frame = Frame::decode(&mut BytesMut::from(bytes), Limits::FROM_DAEMON);
        let frame = frame.unwrap().unwrap();
        let input = match Delivery::parse(&frame).unwrap() {
            Delivery::Regular(message) => {
                let bytes = Bytes::copy_from_slice(message.body);
                Input::Message { from: message.sender, bytes }
            }
            Delivery::View { cause, members, body, .. } => {
                let departure = match cause {
                    Cause::Leave => Some(Departure::Left),
                    Cause::Disconnect => Some(Departure::Crashed),
                    Cause::Join | Cause::Network => None,
                };
                let members = members.iter().collect();
                Input::View(View { id: body.group_id, members, departure })
            }
            Delivery::Transitional { .. } => Input::Signal,
            Delivery::SelfLeave { .. } => Input::SelfLeave,
            other => panic!("{other:?}"),
        };
        self.input(now, input);
        true
    }

    /// Does the replica's next task; returns the line, the entry and the digest if it was one.
    pub(super) fn work(&mut self, now: Duration) -> Option<Option<(Line, Entry, u64)>> {
        match self.tasks.pop_front()? {
            Task::Entry(line, entry) => {
                let objects = || self.objects.lock().unwrap().clone();
                self.begins.entry(line).or_insert_with(|| (entry.place.index, objects()));
                if let Some(answered) = self.replica.apply(&entry) {
                    self.answers = Some(line);
                    self.input(now, Input::Answered(self.generation, answered));
                }
                let digest = self.replica.digest();
                return Some(Some((line, entry, digest)));
            }
            Task::Cut(cut) => {
                let (generation, state) = (self.generation, self.replica.snapshot());
                self.input(now, Input::State { generation, cut, state });
            }
            Task::Restore(generation, state) => {
                self.generation = generation;
                self.replica.restore(&state).unwrap();
            }
        }
        Some(None)
    }

    /// Returns whether the client is to have the state in the end.
    pub(super) fn takes_part(&self) -> bool {
        self.failed.is_none() && !self.observer
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    pub(super) fn digest(&self) -> u64 {
        self.replica.digest()
    }

    /// Returns where a client of a group with voters stands.
    pub(super) fn standing(&self) -> Option<standing::Standing> {
        self.core.quorum().map(|quorum| quorum.standing)
    }

    /// Returns whether the client waits for voters that do not come.
    pub(super) fn is_without_quorum(&self) -> bool {
        use standing::Standing::{Forming, Minority};
        match self.standing() {
            Some(Minority) => true,
            Some(Forming(why)) => {
                matches!(why, Why::StateLost | Why::Founding | Why::OtherGroup)
            }
            _ => false,
        }
    }

    /// Returns how many requests have not ended that should.
    pub(super) fn waiting(&self) -> usize {
        let without = self.is_without_quorum();
        let waits = |id: &&OperationId| {
            let founding = self.standing() == Some(FOUNDING);
            let may_wait = founding || without && is_patient(self.asked[id]);
            !self.outcomes.contains_key(id) && !may_wait
        };
        self.asked.keys().filter(waits).count()
    }
}
