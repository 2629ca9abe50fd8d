//! Nodes: what connects the [kernel](crate::core) to daemons and to the application.

mod commands;
mod executor;
mod hosted;
mod link;
mod outlet;
mod runner;
mod shared;
mod subscribers;
mod timers;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::marker::PhantomData;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use spread::{Builder, GroupName, Name};

pub(crate) use commands::Commands;
use executor::Executor;
pub(crate) use hosted::Hosted;
use link::Link;
use outlet::Outlet;
pub(crate) use outlet::{ConnectionId, Unsendable};
use runner::Runner;
pub(crate) use shared::{Shared, Side};

use crate::audit::{self, Digest};
use crate::core::config::PROTOCOL;
use crate::core::replica::{Machine, Replica};
use crate::core::roster::{Incarnation, MAX_METADATA};
use crate::core::voting::voters::{self, Configured, Verdicts};
use crate::core::{Config, Core};
use crate::machines::Machines;
use crate::replicated::{self, Adapter, Replicated, StateMachine};
use crate::{Error, Group, Pending, VotedGroup, pending};

/// A node: one connection to a daemon, which it restores, for any number of groups.
///
/// When the connection is lost the node reconnects, without a limit of attempts, and goes on as
/// the same member: open operations are submitted again, and executed once.
///
/// Dropping it leaves all groups without waiting. [`Node::shutdown`] waits.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use std::time::Duration;
///
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// plant.ready().wait()?;
/// assert_eq!(plant.members().len(), 1);
/// node.shutdown(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Node {
    commands: Commands,
    /// The private group of its first connection.
    name: Name,
    outlet: Outlet,
    /// The time zero of its thread.
    began: Instant,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    /// Connects to a daemon.
    ///
    /// Membership messages are always asked for. A private name that is asked for can be
    /// in use for a while after the connection was lost, because the daemon has not noticed
    /// it; without one the daemon makes one up.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if the first connection fails; [`Error::System`] if no thread can
    /// be started.
    pub fn connect(builder: Builder) -> Result<Node, Error> {
        let link = Link::connect(builder).map_err(|error| Error::Connect(Arc::new(error)))?;
        let name = link.name().expect("a session that nobody has received from is connected");
        let interrupter = link.interrupter().map_err(|error| Error::Connect(Arc::new(error)))?;
        let commands = Commands::new(interrupter);
        let (outlet, began) = (link.outlet().clone(), Instant::now());
        let runner = Runner::new(commands.clone(), link, began);
        let thread = std::thread::Builder::new().name(String::from("spread-groups"));
        let thread = thread.spawn(move || runner.run());
        let thread = Some(thread.map_err(|error| Error::System(Arc::new(error)))?);
        Ok(Node { commands, name, outlet, began, thread })
    }

    /// Returns a builder that [joins](GroupBuilder::join) a group.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalGroup`].
    pub fn group(&self, name: &str) -> Result<GroupBuilder<'_>, Error> {
        let group = GroupName::new(name).map(Name::from);
        let illegal = |source| Error::IllegalGroup { name: name.to_owned(), source };
        let (group, outlet) = (group.map_err(illegal)?, self.outlet.clone());
        Ok(GroupBuilder {
            node: self,
            shared: Arc::new(Shared::new(group, self.name, outlet, self.began)),
            metadata: Bytes::new(),
            observer: false,
            session_life: Duration::from_secs(60),
            audit_every: None,
            protocol: PROTOCOL,
            voters: None,
            votes_as: None,
            machines: BTreeMap::new(),
            digests: BTreeMap::new(),
            kind: PhantomData,
        })
    }

    /// Leaves all groups, and waits until the daemon has confirmed it, a year at most.
    ///
    /// Pending results end with [`Error::Closed`], calls with [`Error::Disconnected`]. Messages
    /// that were published before are sent first, if there is a connection.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if the daemon did not confirm it in time; the connection is ended
    /// all the same. [`Error::OwnThread`] on a thread of this crate, where the node is dropped
    /// instead.
    pub fn shutdown(mut self, within: Duration) -> Result<(), Error> {
        pending::refuse_own_threads()?;
        let (done, pending) = Pending::new();
        self.commands.push(move |runner| runner.shut_down(within, Some(Box::new(done))));
        let result = pending.wait();
        if let (Ok(()), Some(thread)) = (&result, self.thread.take()) {
            // Its panic is one of this crate's own.
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        result
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.commands.push(|runner| runner.shut_down(LEAVE, None));
    }
}

/// How long a node that was dropped may take to leave its groups.
const LEAVE: Duration = Duration::from_secs(1);

/// The shortest and the longest time for which a session is kept.
const SESSION_LIFE: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(365 * 24 * 60 * 60));

/// The shortest time between two audits.
const MIN_AUDIT_INTERVAL: Duration = Duration::from_millis(10);

/// The kind of a [`GroupBuilder`] for a group without voters.
#[derive(Debug)]
pub enum WithoutVoters {}

/// The kind of a [`GroupBuilder`] for a group with [voters](crate::voters).
#[derive(Debug)]
pub enum WithVoters {}

/// How a node takes part in a group. With [`voters`](GroupBuilder::voters) it joins a
/// [`VotedGroup`].
#[must_use = "nothing happens before `join`"]
pub struct GroupBuilder<'a, K = WithoutVoters> {
    node: &'a Node,
    metadata: Bytes,
    observer: bool,
    session_life: Duration,
    audit_every: Option<Duration>,
    protocol: u32,
    voters: Option<BTreeMap<String, u32>>,
    votes_as: Option<String>,
    machines: BTreeMap<u32, Box<dyn Machine>>,
    digests: BTreeMap<u32, Digest>,
    shared: Arc<Shared>,
    kind: PhantomData<K>,
}

impl<'a, K> GroupBuilder<'a, K> {
    /// Sets the metadata that the roster shows for this member, at most 256 bytes.
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Takes no part in the replicated state: an observer publishes, subscribes and sees the
    /// roster.
    pub fn observer(mut self) -> Self {
        self.observer = true;
        self.shared.observe();
        self
    }

    /// Sets the time for which the session of a member that departed is kept, 1 ms to a year.
    /// Defaults to 60 s. Within this time a node that reconnects has its open operations executed
    /// once; later they fail with [`Error::SessionExpired`]. The senior member's setting counts.
    pub fn session_life(mut self, life: Duration) -> Self {
        self.session_life = life.clamp(SESSION_LIFE.0, SESSION_LIFE.1);
        self
    }

    /// Begins an [audit](Group::audit) when this time, at least 10 ms, has passed since the last
    /// one. Only the senior member does so: all members should have the same setting.
    pub fn audit_every(mut self, interval: Duration) -> Self {
        self.audit_every = Some(interval.max(MIN_AUDIT_INTERVAL));
        self
    }

    /// Declares the newest version of the protocol that this member speaks, for tests of groups
    /// with members of several versions. All versions are spoken alike.
    #[cfg(feature = "testing")]
    pub fn protocol(mut self, version: u32) -> Self {
        self.protocol = version;
        self
    }

    /// Adds a state machine. All members of the group have to add the same machines, in the
    /// state in which the group begins.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyReplicated`] if there is a machine of this
    /// [name](StateMachine::NAME) already.
    pub fn replicate<M: StateMachine>(&mut self, machine: M) -> Result<Replicated<M>, Error> {
        let channel = replicated::channel::<M>();
        let Entry::Vacant(machines) = self.machines.entry(channel) else {
            return Err(Error::AlreadyReplicated { name: M::NAME });
        };
        let (adapter, handle) = Adapter::new(machine, &self.shared, &self.node.commands);
        self.digests.insert(channel, adapter.digest());
        machines.insert(Box::new(adapter));
        Ok(handle)
    }

    /// Returns a builder for a group with these voters.
    fn with_voters(self, voters: BTreeMap<String, u32>) -> GroupBuilder<'a, WithVoters> {
        let GroupBuilder { node, metadata, observer, session_life, audit_every, .. } = self;
        let GroupBuilder { protocol, votes_as, machines, digests, shared, .. } = self;
        GroupBuilder {
            node,
            metadata,
            observer,
            session_life,
            audit_every,
            protocol,
            voters: Some(voters),
            votes_as,
            machines,
            digests,
            shared,
            kind: PhantomData,
        }
    }

    fn begin(mut self) -> Result<Group, Error> {
        pending::refuse_own_threads()?;
        let common = Machines::add_to(&mut self)?;
        let GroupBuilder { node, shared, metadata, observer, session_life, .. } = self;
        let GroupBuilder { audit_every, protocol, mut machines, digests, .. } = self;
        let voters = configured(self.voters, self.votes_as, observer)?;
        if voters.is_some() {
            machines.insert(voters::CHANNEL, Box::new(Verdicts));
        }
        let group = shared.group;
        if metadata.len() > MAX_METADATA {
            return Err(Error::MetadataTooLong { len: metadata.len(), max: MAX_METADATA });
        }
        let mut incarnation = [0; 16];
        let random = getrandom::fill(&mut incarnation);
        random.map_err(|error| Error::System(Arc::new(std::io::Error::other(error))))?;
        let incarnation = Incarnation(incarnation);
        common.begin(incarnation, digests);
        audit_every.into_iter().for_each(|interval| audit::every(&common.audits, interval));
        let config = Config {
            metadata,
            observer,
            session_life,
            voters,
            epoch: unix_time(),
            protocol,
            ..Config::new(group, incarnation)
        };
        let commands = node.commands.clone();
        let executor = Executor::start(shared.clone(), Replica::new(machines), commands.clone());
        let executor = executor.map_err(|error| Error::System(Arc::new(error)))?;
        let hosted = Hosted::new(Core::new(config), executor, shared.clone());
        let (joined, pending) = Pending::new();
        node.commands.push(move |runner| joined(runner.host(group, hosted)));
        pending.wait()?;
        Ok(Group::new(commands, shared, incarnation, common))
    }
}

impl<'a> GroupBuilder<'a> {
    /// Makes it a group with [voters](crate::voters), of these names: 1 to 64 names of 1 to 64
    /// bytes. They found the group, once all of them are there; later they are changed by
    /// [`VotedGroup::set_voter`] only. Members that do not vote give the same names. A member that
    /// joins a group later gives the names with which the voters there were configured, or those of
    /// the present voters; with others it fails with
    /// [`JoinFailed::OtherVoters`](crate::JoinFailed::OtherVoters).
    pub fn voters<N: Into<String>>(
        self,
        names: impl IntoIterator<Item = N>,
    ) -> GroupBuilder<'a, WithVoters> {
        self.with_voters(names.into_iter().map(|name| (name.into(), 1)).collect())
    }

    /// Makes it a group with voters as [`voters`](GroupBuilder::voters) does, of these weights,
    /// from 1. A majority is more than half of the weight.
    pub fn weighted_voters<N: Into<String>>(
        self,
        voters: impl IntoIterator<Item = (N, u32)>,
    ) -> GroupBuilder<'a, WithVoters> {
        self.with_voters(voters.into_iter().map(|(name, weight)| (name.into(), weight)).collect())
    }

    /// Joins the group. Returns at once; [`Group::ready`] tells when the node is a member
    /// and has the state.
    ///
    /// # Errors
    ///
    /// [`Error::MetadataTooLong`], [`Error::AlreadyJoined`] if the node
    /// is a member, [`Error::AlreadyReplicated`] if a machine has a name of this crate's own
    /// machines, [`Error::System`] if no thread can be started or there are no random numbers,
    /// [`Error::Closed`] if the node has ended, and [`Error::OwnThread`] on a thread of this
    /// crate. Then nothing was done.
    pub fn join(self) -> Result<Group, Error> {
        self.begin()
    }
}

impl GroupBuilder<'_, WithVoters> {
    /// Makes the node a voter, by a name that no other node goes by. A name that is not among the
    /// [`voters`](GroupBuilder::voters) votes once [`VotedGroup::set_voter`] has added it.
    pub fn votes_as(mut self, name: impl Into<String>) -> Self {
        self.votes_as = Some(name.into());
        self
    }

    /// Joins the group. Returns at once; [`Group::ready`] tells when the node is a member
    /// and has the state. For that a majority of the voters has to be there; the first time, when
    /// they found the group, all of them with the same list. Until then operations wait, without an
    /// error. Their later errors are listed at [`Replicated::submit`], and
    /// [In a minority](crate::voters#in-a-minority) says when they come.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalVoters`], and those of a group without voters. Then nothing was done.
    pub fn join(self) -> Result<VotedGroup, Error> {
        self.begin().map(VotedGroup::new)
    }
}

/// Returns the voters that a node is configured with.
fn configured(
    voters: Option<BTreeMap<String, u32>>,
    own: Option<String>,
    observer: bool,
) -> Result<Option<Configured>, Error> {
    let Some(voters) = voters else {
        return Ok(None);
    };
    let number = (1..=voters::MAX_VOTERS).contains(&voters.len());
    let names = voters.keys().chain(&own).all(|name| voters::is_legal(name));
    let weights = voters.values().all(|weight| *weight > 0);
    let is_legal = number && names && weights && !(observer && own.is_some());
    if is_legal { Ok(Some(Configured { voters, own })) } else { Err(Error::IllegalVoters) }
}

/// Returns the milliseconds since 1970.
pub(crate) fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
