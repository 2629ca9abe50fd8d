//! Histories of real runs are linearizable: several voters and another member, while daemons
//! part and crash, connections end, ghosts stay, and voters end with their calls under way and
//! start again without their state. A call without an answer may have happened, or may happen at
//! any later time, or never.
//!
//! Each round is planned by a seed, though threads run as they like. It takes
//! `SPREAD_HISTORIES_SECONDS` (5 by default), from `SPREAD_HISTORIES_SEED` on.

#[path = "../../src/simulation/linearizable.rs"]
mod checker;
#[path = "../../src/simulation/objects.rs"]
mod objects;
mod plan;
mod proxy;
mod wrappers;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use spread::Mailbox;
use spread_daemon::Cluster;
use spread_groups::voters::Standing;
use spread_groups::{
    At, BadState, Error, Map, Message, Node, Pending, Postcard, Replicated, StateMachine,
    VotedGroup,
};

// As `objects` calls it.
use checker as linearizable;
use linearizable::{MAX_CALLS, is_linearizable};
use objects::{Lock, Made, Objects, Op, Said, history};
use plan::{Ask, CALLS, Fault, Loss, Plan, plan};
use proxy::Proxy;
use wrappers::{Held, Holder, Next, Shipped};

use crate::support::{LONG, eventually};

const KEYS: u8 = 2;
/// The objects behind the keys, by their numbers.
const LOCK: usize = KEYS as usize;
const MUTEX: usize = LOCK + 1;
const SEQUENCE: usize = LOCK + 2;
/// Calls of one object: not more than the checker takes, and with room for the last reads.
const MAX_OF_AN_OBJECT: usize = MAX_CALLS - 10;
/// How long the next fault waits for calls that do not end, and a member for the mutex.
const IMPATIENCE: Duration = Duration::from_millis(300);

impl Message for Op {
    const NAME: &'static str = "test.Op";
    type Codec = Postcard;
}

impl Message for Said {
    const NAME: &'static str = "test.Said";
    type Codec = Postcard;
}

/// The lock. Its fence is the index of the operation that grants it.
impl StateMachine for Objects {
    const NAME: &'static str = "test.Objects";
    type Op = Op;
    type Out = Said;

    fn apply(&mut self, at: At, op: Op) -> Said {
        self.step(at.place.index, op)
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap()
    }

    fn restore(state: &[u8]) -> Result<Objects, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

/// A member that runs.
struct Running {
    /// It ends with this.
    node: Mutex<Option<Node>>,
    group: VotedGroup,
    keys: Map<String>,
    lock: Replicated<Objects>,
}

impl Running {
    /// Joins through a proxy; does not wait.
    fn start(proxy: &Proxy, voters: &[String], own: Option<&String>) -> Running {
        let node = Node::connect(Mailbox::builder(proxy.address())).unwrap();
        let mut plant = node.group("plant").unwrap().voters(voters);
        if let Some(own) = own {
            plant = plant.votes_as(own.as_str());
        }
        let lock = plant.replicate(Objects::default()).unwrap();
        let group = plant.join().unwrap();
        let keys = group.map("keys");
        Running { node: Mutex::new(Some(node)), group, keys, lock }
    }

    fn is_primary(&self) -> bool {
        let Ok(status) = self.group.status().wait() else {
            return false;
        };
        let quorum = status.quorum.unwrap();
        let counts = || quorum.voters.iter().all(|voter| voter.present);
        let ready = status.standing == spread_groups::Standing::Ready;
        ready && matches!(quorum.standing, Standing::Primary(_)) && counts()
    }

    fn private_group(&self) -> Option<String> {
        let members = self.group.members();
        let own = members.iter().find(|member| member.incarnation == self.group.incarnation());
        own.map(|own| own.name.to_string())
    }
}

/// What the threads of a round share.
struct Round {
    running: Vec<Mutex<Arc<Running>>>,
    proxies: Vec<Proxy>,
    cluster: Cluster,
    daemons: Vec<String>,
    voters: Vec<String>,
    moments: AtomicU64,
    values: AtomicU64,
    of_object: Vec<AtomicUsize>,
    made: Mutex<Vec<Made>>,
    shipped: Mutex<Shipped>,
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Progress {
    /// Calls that have ended.
    calls: usize,
    faults: usize,
    /// Whether no call begins.
    stopped: bool,
}

impl Round {
    fn start(voters: usize) -> Round {
        let daemons: Vec<String> = (1..=voters).map(|number| format!("d{number}")).collect();
        let cluster = Cluster::builder().daemons(daemons.clone()).start().unwrap();
        let voters: Vec<String> = (1..=voters).map(|number| format!("v{number}")).collect();
        let proxies: Vec<Proxy> = (0..=voters.len())
            .map(|member| {
                let daemon = &daemons[member % daemons.len()];
                Proxy::start(cluster.socket_addr(daemon).unwrap())
            })
            .collect();
        let running = proxies.iter().enumerate();
        let running = running
            .map(|(member, proxy)| Running::start(proxy, &voters, voters.get(member)))
            .map(|running| Mutex::new(Arc::new(running)))
            .collect();
        let round = Round {
            cluster,
            daemons,
            proxies,
            voters,
            running,
            moments: AtomicU64::new(0),
            values: AtomicU64::new(0),
            of_object: (0..SEQUENCE + 1).map(|_| AtomicUsize::new(0)).collect(),
            made: Mutex::default(),
            shipped: Mutex::default(),
            progress: Mutex::default(),
            moved: Condvar::new(),
        };
        round.all_are_primary();
        round
    }

    fn member(&self, member: usize) -> Arc<Running> {
        self.running[member].lock().unwrap().clone()
    }

    fn all_are_primary(&self) {
        for member in 0..self.running.len() {
            eventually("a primary of all", || self.member(member).is_primary());
        }
    }

    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns whether the checker takes so many more calls of an object.
    fn has_room(&self, object: usize, calls: usize) -> bool {
        let before = self.of_object[object].fetch_add(calls, Ordering::Relaxed);
        before + calls <= MAX_OF_AN_OBJECT
    }

    /// Makes a call; returns whether it had, or may have had, an effect.
    fn ask(&self, member: usize, ask: Ask) -> bool {
        match ask {
            Ask::Of(op) => self.call(member, op),
            Ask::Hold => self.hold(member),
            Ask::Take(count) => self.take(member, count),
        }
    }

    /// Requests the mutex for a while, and looks whether it is held still.
    fn hold(&self, member: usize) -> bool {
        if !self.has_room(MUTEX, 2) {
            return true;
        }
        let running = self.member(member);
        let held = |op, began, fence| {
            let ended = Some((self.moment(), fence));
            self.shipped.lock().unwrap().held.push(checker::Call { op, began, ended });
        };
        let began = self.moment();
        let guard = match running.group.mutex("mutex").lock().wait_timeout(IMPATIENCE) {
            Ok(Some(guard)) => guard,
            // It is withdrawn. If it was granted meanwhile, nobody knows its fence.
            Ok(None) => return true,
            Err(error) => return error.may_have_executed(),
        };
        held(Held::Grant, began, guard.fence());
        let began = self.moment();
        if end(running.group.confirm()).is_ok() && !guard.is_lost() {
            held(Held::Holds, began, guard.fence());
        }
        true
    }

    /// Takes numbers of the sequence.
    fn take(&self, member: usize, count: u64) -> bool {
        if !self.has_room(SEQUENCE, 1) {
            return true;
        }
        let running = self.member(member);
        let began = self.moment();
        let outcome = end(running.group.sequence("sequence").next_block(count));
        let Some(ended) = self.known(outcome) else {
            return false;
        };
        self.shipped.lock().unwrap().taken.push(checker::Call { op: count, began, ended });
        true
    }

    fn call(&self, member: usize, op: Op) -> bool {
        let object = match op {
            Op::Put(key, _) | Op::Swap(key, ..) | Op::Get(key) => usize::from(key),
            Op::Lock(_) | Op::Unlock(_) | Op::Break => LOCK,
        };
        if !self.has_room(object, 1) {
            return true;
        }
        let running = self.member(member);
        let value = || self.values.fetch_add(1, Ordering::Relaxed) + 1;
        let name = |key: u8| format!("key{key}");
        let put = |key, value: u64| running.keys.put(&name(key), &value.to_string());
        match op {
            Op::Put(key, _) => {
                let value = value();
                self.made(Op::Put(key, value), || {
                    end(put(key, value).send()).map(|_| Said::Is(true))
                })
            }
            Op::Swap(key, ..) => {
                let Ok(Some(known)) = running.keys.get(&name(key)) else {
                    return true;
                };
                let (old, value) = (known.value.parse().unwrap(), value());
                self.made(Op::Swap(key, old, value), || {
                    match end(put(key, value).if_revision(known.revision).send()) {
                        Err(Error::Conflict { .. }) => Ok(Said::Is(false)),
                        put => put.map(|_| Said::Is(true)),
                    }
                })
            }
            Op::Get(key) => self.made(op, || {
                end(running.group.confirm())?;
                let value = running.keys.get(&name(key))?;
                Ok(Said::Value(value.map_or(0, |value| value.value.parse().unwrap())))
            }),
            Op::Lock(_) | Op::Unlock(_) | Op::Break => {
                self.made(op, || end(running.lock.submit(&op)))
            }
        }
    }

    fn made(&self, op: Op, make: impl FnOnce() -> Result<Said, Error>) -> bool {
        let began = self.moment();
        let Some(ended) = self.known(make()) else {
            return false;
        };
        self.made.lock().unwrap().push(Made { op, began, ended });
        true
    }

    /// Returns when a call has ended, and how: `Some(None)` if it may have happened, or may happen
    /// later; `None` if it has had no effect.
    fn known<T>(&self, outcome: Result<T, Error>) -> Option<Option<(u64, T)>> {
        match outcome {
            Ok(said) => Some(Some((self.moment(), said))),
            Err(error) => error.may_have_executed().then_some(None),
        }
    }

    fn works(&self, member: usize, calls: &[Ask]) {
        for ask in calls {
            let progress = self.progress.lock().unwrap();
            let stopped = |progress: &mut Progress| progress.stopped;
            let faults = self.moved.wait_while(progress, stopped).unwrap().faults;
            let had_effect = self.ask(member, *ask);
            let mut progress = self.progress.lock().unwrap();
            progress.calls += 1;
            self.moved.notify_all();
            if !had_effect {
                // Until something has changed, the next one has none either.
                let same = |progress: &mut Progress| progress.faults == faults;
                drop(self.moved.wait_timeout_while(progress, IMPATIENCE, same).unwrap());
            }
        }
    }

    /// Causes faults, and ends them all.
    fn fails(&self, faults: &[(usize, Fault)]) {
        let mut severed = Vec::new();
        for (calls, fault) in faults {
            self.some_calls_end(*calls);
            self.cause(fault, &mut severed);
            self.progress.lock().unwrap().faults += 1;
            self.moved.notify_all();
        }
        self.heal(&mut severed);
    }

    fn cause(&self, fault: &Fault, severed: &mut Vec<String>) {
        let daemon = |number: &usize| self.daemons[*number].as_str();
        // Some are in vain: a daemon is down already, a client is gone.
        let told = match fault {
            Fault::Partition(parts) => {
                let part = |number: u8| {
                    let of =
                        self.daemons.iter().zip(parts).filter(move |(_, part)| **part == number);
                    of.map(|(daemon, _)| daemon.as_str()).collect::<Vec<&str>>()
                };
                let parts = [0, 1, 2].map(part);
                self.cluster.partition(&parts.each_ref().map(Vec::as_slice))
            }
            Fault::Merge => self.cluster.merge(),
            Fault::Crash(number) => self.cluster.crash(daemon(number)),
            Fault::Restart(number) => self.cluster.restart(daemon(number)),
            Fault::Hold(from, to) => self.cluster.hold(daemon(from), daemon(to)),
            Fault::Kill(member, to) | Fault::Ghost(member, to) => {
                let to = self.cluster.socket_addr(daemon(to)).unwrap();
                self.proxies[*member].cut(matches!(fault, Fault::Ghost(..)), to);
                Ok(())
            }
            Fault::Sever(member) => match self.member(*member).private_group() {
                Some(name) => {
                    severed.push(name.clone());
                    self.cluster.sever(&name)
                }
                None => Ok(()),
            },
            Fault::Reap => {
                self.reap(severed);
                Ok(())
            }
            Fault::Replace(member, loss) => {
                self.replace(*member, *loss, severed);
                Ok(())
            }
        };
        drop(told);
    }

    /// Ends a member with its calls under way; another one comes in its place.
    fn replace(&self, member: usize, loss: Loss, severed: &mut Vec<String>) {
        // Otherwise all calls would have ended before.
        let stopped = self.stop_calls();
        self.heal(severed);
        self.all_are_primary();
        let former = self.member(member);
        let name = former.private_group().expect("a member");
        // In vain if its connection ends at this moment.
        drop(match loss {
            Loss::BothWays => self.cluster.sever(&name),
            Loss::FromTheDaemon => self.cluster.pause(&name),
        });
        drop(stopped);
        self.some_calls_end(self.running.len() * 2);
        drop(former.node.lock().unwrap().take());
        self.proxies[member].cut(false, self.home(member));
        drop(self.cluster.disconnect(&name));
        let new = Running::start(&self.proxies[member], &self.voters, self.voters.get(member));
        *self.running[member].lock().unwrap() = Arc::new(new);
    }

    /// Lets no call begin until what it returns is dropped.
    fn stop_calls(&self) -> Stopped<'_> {
        self.progress.lock().unwrap().stopped = true;
        Stopped(self)
    }

    /// Waits until so many calls have ended, or none does any more.
    fn some_calls_end(&self, calls: usize) {
        let progress = self.progress.lock().unwrap();
        let before = progress.calls;
        let few = |progress: &mut Progress| progress.calls < before + calls;
        drop(self.moved.wait_timeout_while(progress, IMPATIENCE, few).unwrap());
    }

    fn home(&self, member: usize) -> std::net::SocketAddr {
        self.cluster.socket_addr(&self.daemons[member % self.daemons.len()]).unwrap()
    }

    fn reap(&self, severed: &mut Vec<String>) {
        self.proxies.iter().for_each(Proxy::reap);
        for name in severed.drain(..) {
            drop(self.cluster.disconnect(&name));
        }
        for (from, to) in
            self.daemons.iter().flat_map(|from| self.daemons.iter().map(move |to| (from, to)))
        {
            self.cluster.release(from, to).unwrap();
        }
    }

    fn heal(&self, severed: &mut Vec<String>) {
        for daemon in &self.daemons {
            drop(self.cluster.restart(daemon));
        }
        self.cluster.merge().unwrap();
        self.reap(severed);
    }

    /// Asks everything of all members, and judges the histories.
    fn judge(&self, seed: u64) -> Judged {
        self.all_are_primary();
        let last = self.of_object.iter();
        last.for_each(|calls| calls.store(0, Ordering::Relaxed));
        for member in 0..self.running.len() {
            for key in 0..KEYS {
                assert!(self.call(member, Op::Get(key)), "a read without faults");
            }
            assert!(self.take(member, 1), "a number without faults");
        }
        let made = std::mem::take(&mut *self.made.lock().unwrap());
        for key in 0..KEYS {
            let history = history(&made, Some(key));
            assert!(is_linearizable(0u64, &history), "seed {seed}, key {key}: {history:#?}");
        }
        let history = history(&made, None);
        assert!(is_linearizable(Lock::default(), &history), "seed {seed}, lock: {history:#?}");
        let Shipped { held, taken } = std::mem::take(&mut *self.shipped.lock().unwrap());
        assert!(is_linearizable(Holder::default(), &held), "seed {seed}, mutex: {held:#?}");
        assert!(is_linearizable(Next(1), &taken), "seed {seed}, sequence: {taken:#?}");
        let of = |op| held.iter().filter(|call| call.op == op).count();
        let known = made.iter().map(|made| made.ended.is_some());
        let known = known.chain(taken.iter().map(|call| call.ended.is_some()));
        let (answered, unknown): (Vec<bool>, Vec<bool>) = known.partition(|known| *known);
        Judged {
            rounds: 1,
            answered: answered.len(),
            unknown: unknown.len(),
            grants: of(Held::Grant),
            held: of(Held::Holds),
            numbers: taken.len(),
        }
    }
}

struct Stopped<'a>(&'a Round);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).stopped = false;
        self.0.moved.notify_all();
    }
}

/// What was judged.
#[derive(Debug, Default)]
struct Judged {
    rounds: usize,
    /// Calls that were answered, without those of the mutex.
    answered: usize,
    /// Calls of which the outcome is not known.
    unknown: usize,
    grants: usize,
    /// Grants that were confirmed while they lasted.
    held: usize,
    numbers: usize,
}

impl Judged {
    fn add(&mut self, other: &Judged) {
        self.rounds += other.rounds;
        self.answered += other.answered;
        self.unknown += other.unknown;
        self.grants += other.grants;
        self.held += other.held;
        self.numbers += other.numbers;
    }
}

/// Waits for the end of a call.
fn end<T: Send + 'static>(mut pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(LONG)?.map_or_else(|| panic!("a call has no end"), Ok)
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

/// Runs a round.
fn run(seed: u64, voters: usize) -> Judged {
    let config = Config { rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let plan = plan(voters, voters + 1).new_tree(&mut TestRunner::new(config)).unwrap();
    let Plan { faults, calls } = plan.current();
    let round = Round::start(voters);
    thread::scope(|scope| {
        for (member, calls) in calls.iter().enumerate() {
            let round = &round;
            scope.spawn(move || round.works(member, calls));
        }
        round.fails(&faults);
    });
    round.judge(seed)
}

/// After how many rounds it is wrong that no call was without a known outcome.
const ROUNDS: usize = 40;

#[test]
fn histories_of_real_runs_are_linearizable() {
    let time = Duration::from_secs(number("SPREAD_HISTORIES_SECONDS", 5));
    let began = Instant::now();
    let mut judged = Judged::default();
    for seed in number("SPREAD_HISTORIES_SEED", 1).. {
        for voters in [3, 5] {
            judged.add(&run(seed, voters));
        }
        // Calls without a known outcome are few, and are to be among what is judged.
        if began.elapsed() >= time && (judged.unknown > 0 || judged.rounds >= ROUNDS) {
            break;
        }
    }
    println!("{judged:?}");
    let Judged { rounds, answered, unknown, grants, held, numbers } = judged;
    assert!(answered >= rounds * CALLS && unknown > 0, "{judged:?}");
    assert!(grants > rounds && held > rounds && numbers > rounds, "{judged:?}");
}

/// What a member reads without asking the voters may be old: such a history is refused.
#[test]
fn a_history_with_reads_of_a_minority_is_refused() {
    let round = Round::start(3);
    assert!(round.call(0, Op::Put(0, 0)));
    eventually("it has come", || round.member(2).keys.get("key0").unwrap().is_some());
    round.cluster.partition(&[&["d1", "d2"], &["d3"]]).unwrap();
    assert!(round.call(1, Op::Put(0, 0)));
    round.made(Op::Get(0), || {
        let value = round.member(2).keys.get("key0")?;
        Ok(Said::Value(value.map_or(0, |value| value.value.parse().unwrap())))
    });
    let made = round.made.lock().unwrap();
    assert!(!is_linearizable(0u64, &history(&made, Some(0))), "{made:?}");
}

/// A member puts and ends before it has the answer, which the others have: the put has happened,
/// though nobody was told so. Without it the history is refused.
#[test]
fn a_call_that_ends_with_its_member_may_have_happened() {
    let round = Round::start(3);
    let caller = round.member(0);
    round.cluster.pause(&caller.private_group().unwrap()).unwrap();
    thread::scope(|scope| {
        let call = scope.spawn(|| round.call(0, Op::Put(0, 0)));
        eventually("it has come", || round.member(1).keys.get("key0").unwrap().is_some());
        assert!(!call.is_finished(), "its member hears nothing");
        drop(caller.node.lock().unwrap().take());
        assert!(call.join().unwrap(), "it may have had an effect");
    });
    assert!(round.call(1, Op::Get(0)));
    let mut made = round.made.lock().unwrap();
    assert!(is_linearizable(0u64, &history(&made, Some(0))), "{made:?}");
    let before = made.len();
    made.retain(|made| made.ended.is_some());
    assert_eq!(made.len() + 1, before, "the outcome of one is not known");
    assert!(!is_linearizable(0u64, &history(&made, Some(0))), "{made:?}");
}
