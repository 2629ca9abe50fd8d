//! A registry of services: the instances of a name, and their members.
//!
//! **Promises.** At equal places of the log all members know the same instances. An instance is
//! gone at the roster change in which its member departs, at the same place for all members;
//! there are no heartbeats.
//!
//! **Sends** one operation when an instance is announced and one when it is withdrawn. Finding
//! instances sends nothing. A ping sends one message and receives one.
//!
//! **A roster change** in which a member departs removes its instances. A node that reconnects
//! announces its instances again by itself, until their guards are dropped. An observer cannot
//! announce or find instances: it takes no part in the replicated state.
//!
//! **In a partition** each side finds the instances of its own members. **At a merge** the members
//! of the side that gives way announce their instances again, and all members find all instances.
//!
//! A group has at most 4,096 instances. More is refused with [`Error::NoRoom`] at the same place
//! at all members.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::codec::{self, Message, Postcard};
use crate::core::Input;
use crate::core::replica::{At, BadState};
use crate::core::roster::{Change, Incarnation};
use crate::replicated::{self, Replicated, StateMachine, Watch};
use crate::{Error, Group, Pending, machines, ping};

/// Instances that a group may have.
const MAX_INSTANCES: usize = 4096;
/// Bytes that a name, a version and metadata may have together.
const MAX_SERVICE: usize = 4096;

/// An instance of a service, as it is announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Service {
    name: String,
    version: String,
    meta: BTreeMap<String, String>,
}

impl Service {
    /// Returns an instance without metadata.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Service {
        Service { name: name.into(), version: version.into(), meta: BTreeMap::new() }
    }

    /// Adds metadata, or replaces those of the same key.
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Service {
        self.meta.insert(key.into(), value.into());
        self
    }

    /// Returns the name of the service.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the version, which the registry does not interpret.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns a piece of its metadata.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.meta.get(key).map(String::as_str)
    }

    /// Returns its metadata by their keys.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        self.meta.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn len(&self) -> usize {
        let meta = self.meta.iter().map(|(key, value)| key.len() + value.len());
        self.name.len() + self.version.len() + meta.sum::<usize>()
    }
}

/// An instance that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instance {
    /// What was announced.
    pub service: Service,
    /// The member that announced it: [`To::Member`](crate::To::Member) calls it.
    pub member: Incarnation,
    ticket: u128,
}

/// Counters of a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stats {
    /// Present instances.
    pub instances: u64,
    /// Different names of present instances.
    pub names: u64,
    /// Instances that were announced since the group began.
    pub announced: u64,
    /// Instances that were withdrawn by their members.
    pub withdrawn: u64,
    /// Instances that were removed because their members departed.
    pub departed: u64,
    /// Announcements that were refused because the registry was full.
    pub refused: u64,
}

/// The instances by their tickets, and who the members are.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Instances {
    members: BTreeMap<u32, [u8; 16]>,
    announced: BTreeMap<u128, (u32, Service)>,
    counted: Stats,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Without effect if the ticket is there.
    Announce(u128, Service),
    /// Without effect if the ticket is not there.
    Withdraw(u128),
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.RegistryStep";
    type Codec = Postcard;
}

/// Whether an announcement is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    Announced,
    /// The registry is full.
    Full,
}

impl Message for Standing {
    const NAME: &'static str = "spread.groups.RegistryStanding";
    type Codec = Postcard;
}

impl Instances {
    fn all(&self) -> impl Iterator<Item = Instance> {
        self.announced.iter().filter_map(|(ticket, (session, service))| {
            let member = Incarnation(*self.members.get(session)?);
            Some(Instance { service: service.clone(), member, ticket: *ticket })
        })
    }

    fn named(&self, name: &str) -> Vec<Instance> {
        self.all().filter(|instance| instance.service.name == name).collect()
    }

    fn stats(&self) -> Stats {
        let mut names: Vec<&str> =
            self.announced.values().map(|(_, service)| service.name()).collect();
        names.sort_unstable();
        names.dedup();
        let (instances, names) = (self.announced.len() as u64, names.len() as u64);
        Stats { instances, names, ..self.counted }
    }
}

impl StateMachine for Instances {
    const NAME: &'static str = "spread.groups.Registry";
    type Op = Step;
    type Out = Standing;

    fn apply(&mut self, at: At, step: Step) -> Standing {
        match step {
            Step::Announce(ticket, _) if self.announced.contains_key(&ticket) => {}
            Step::Announce(ticket, service) => {
                // Who departed after sending it announces it again by itself.
                if !self.members.contains_key(&at.session) {
                    return Standing::Announced;
                }
                if self.announced.len() >= MAX_INSTANCES || service.len() > MAX_SERVICE {
                    self.counted.refused += 1;
                    return Standing::Full;
                }
                self.counted.announced += 1;
                self.announced.insert(ticket, (at.session, service));
            }
            Step::Withdraw(ticket) => {
                self.counted.withdrawn += u64::from(self.announced.remove(&ticket).is_some());
            }
        }
        Standing::Announced
    }

    fn follow(&mut self, _: At, change: &Change) {
        match change {
            Change::Joined { session, incarnation, .. } => {
                self.members.insert(*session, incarnation.0);
            }
            Change::Departed { session, .. } => {
                self.members.remove(session);
                let before = self.announced.len();
                self.announced.retain(|_, (of, _)| of != session);
                self.counted.departed += (before - self.announced.len()) as u64;
            }
            Change::Expired { .. } => {}
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Instances, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

/// The registry of a group, made by [`Group::registry`](crate::Group::registry).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::{Node, Service};
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let registry = plant.registry();
/// let (announced, done) = registry.announce(Service::new("calc", "1.2.0").meta("zone", "a"))?;
/// done.wait()?;
/// let found = registry.find("calc");
/// assert_eq!(found[0].service.get("zone"), Some("a"));
/// drop(announced);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    group: Group,
    instances: Replicated<Instances>,
}

impl Registry {
    pub(crate) fn new(group: Group, instances: Replicated<Instances>) -> Registry {
        Registry { group, instances }
    }

    /// Announces an instance of a service, until the returned [`Announced`] is dropped. The
    /// pending result ends when this member finds it, and all others do at the same place.
    ///
    /// Bind the [`Announced`] to a name: `let (_announced, done) = …`. With `let (_, done)`, or
    /// `let _ = …`, it is dropped and the instance withdrawn at once.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if name, version and metadata have more than 4,096 bytes
    /// together; [`Error::System`] if there are no random numbers. The pending result fails
    /// with [`Error::NoRoom`] if there are 4,096 instances in the group, and with the errors
    /// of [`Replicated::submit`]. Until the guard is dropped the instance is announced again
    /// when the node reconnects.
    pub fn announce(&self, service: Service) -> Result<(Announced, Pending<()>), Error> {
        if service.len() > MAX_SERVICE {
            return Err(Error::TooLarge { len: service.len(), max: MAX_SERVICE });
        }
        let ticket = machines::random()?;
        let step = Step::Announce(ticket, service);
        let payload = codec::encode(&step)?;
        let (commands, shared) = self.group.parts();
        let shared = shared.clone();
        commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.stand(ticket, replicated::channel::<Instances>(), payload);
            }
        });
        let pending = self.instances.submit_and(&step, |standing| match standing {
            Standing::Announced => Ok(()),
            Standing::Full => Err(Error::NoRoom),
        });
        Ok((Announced { ticket, registry: self.clone() }, pending))
    }

    /// Returns all instances of a name, as this member knows them; without a connection those that
    /// it knew last.
    pub fn find(&self, name: &str) -> Vec<Instance> {
        self.instances.look(|instances| instances.named(name))
    }

    /// Returns all instances, as this member knows them.
    pub fn all(&self) -> Vec<Instance> {
        self.instances.look(|instances| instances.all().collect())
    }

    /// Watches a name: first the present instances, then the changes.
    pub fn watch(&self, name: &str) -> Watching {
        let shown = Arc::new(Shown { now: Mutex::default(), changed: Condvar::new() });
        let (name, shows) = (name.to_owned(), Shows(shown.clone()));
        self.instances.watch(move |instances| {
            if Arc::strong_count(&shows.0) == 1 {
                return Watch::Ends;
            }
            let named = instances.named(&name);
            let mut now = shows.0.lock();
            if now.instances != named {
                now.instances = named;
                shows.0.changed.notify_all();
            }
            Watch::GoesOn
        });
        Watching { shown, known: Vec::new() }
    }

    /// Asks the node of an instance for an answer, and measures the round trip time.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoResponders`] if the instance is gone; with
    /// [`Error::ServerDeparted`] if it is gone before it answers; with [`Error::TimedOut`],
    /// [`Error::Disconnected`], [`Error::NotConnected`], [`Error::Full`] (1,024 calls are under
    /// way, or 16 MiB of calls wait to be sent) or [`Error::Closed`].
    pub fn ping(&self, instance: &Instance, within: Duration) -> Pending<Duration> {
        let is_there = |instances: &Instances| instances.announced.contains_key(&instance.ticket);
        if !self.instances.look(is_there) {
            return Pending::failed(Error::NoResponders {
                what: format!("the instance of {:?} is gone", instance.service.name()),
            });
        }
        ping::ping(&self.group, instance.member, within, drop)
    }

    /// Returns the counters, as this member knows them.
    pub fn stats(&self) -> Stats {
        self.instances.look(Instances::stats)
    }
}

/// An announced instance, which is withdrawn when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it withdraws the instance"]
pub struct Announced {
    ticket: u128,
    registry: Registry,
}

impl Drop for Announced {
    fn drop(&mut self) {
        let (commands, shared) = self.registry.group.parts();
        let (shared, ticket) = (shared.clone(), self.ticket);
        let payload = codec::encode(&Step::Withdraw(ticket)).expect("numbers can be encoded");
        commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.end_standing(ticket, replicated::channel::<Instances>(), payload);
            }
            runner.input_to(&shared, Input::Tick);
        });
    }
}

/// A change of the instances of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// An instance is there.
    Added(Instance),
    /// An instance is gone.
    Removed(Instance),
}

/// The changes of the instances of a name, made by [`Registry::watch`]: an [`Iterator`] that waits
/// for the next change. It ends when the member has left the group.
///
/// Changes are not queued: a reader that is late sees the difference from what it has seen, and
/// not an instance that came and went meanwhile.
#[derive(Debug)]
pub struct Watching {
    shown: Arc<Shown>,
    known: Vec<Instance>,
}

#[derive(Debug)]
struct Shown {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    instances: Vec<Instance>,
    ended: bool,
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the thread that applies: dropped when nothing changes any more.
struct Shows(Arc<Shown>);

impl Drop for Shows {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

impl Watching {
    /// Waits for the next change; `None` after `timeout`, or when the member has left the group.
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Found> {
        self.next_by(Instant::now().checked_add(timeout))
    }

    fn next_by(&mut self, deadline: Option<Instant>) -> Option<Found> {
        let mut now = self.shown.lock();
        loop {
            if let Some(found) = difference(&mut self.known, &now.instances) {
                return Some(found);
            }
            if now.ended {
                return None;
            }
            let waits = &self.shown.changed;
            now = match deadline.map(|at| at.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    waits.wait_timeout(now, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => waits.wait(now).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Iterator for Watching {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        self.next_by(None)
    }
}

/// Returns a difference, removed instances first, and takes note of it.
fn difference(known: &mut Vec<Instance>, now: &[Instance]) -> Option<Found> {
    if let Some(gone) = known.iter().position(|instance| !now.contains(instance)) {
        return Some(Found::Removed(known.remove(gone)));
    }
    let new = now.iter().find(|instance| !known.contains(instance))?;
    known.push(new.clone());
    Some(Found::Added(new.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Place;
    use crate::core::roster::Departure;

    fn at(session: u32) -> At {
        At { place: Place::default(), epoch: 1, time: 0, session }
    }

    fn joined(session: u32) -> Change {
        let incarnation = Incarnation([session as u8; 16]);
        Change::Joined { session, incarnation, resumed: false, observer: false }
    }

    /// Returns a registry with an instance of "calc" at each of two members.
    fn two() -> Instances {
        let mut instances = Instances::default();
        for session in [1, 2] {
            instances.follow(at(0), &joined(session));
            let service = Service::new("calc", "1").meta("zone", session.to_string());
            let step = Step::Announce(session.into(), service);
            assert_eq!(instances.apply(at(session), step), Standing::Announced);
        }
        instances
    }

    #[test]
    fn all_instances_of_a_name_are_found() {
        let found = two().named("calc");
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].service.get("zone"), Some("2"));
        assert_eq!(found[1].member, Incarnation([2; 16]));
        assert!(two().named("cal").is_empty());
    }

    #[test]
    fn an_instance_is_gone_with_its_member_and_comes_back_with_it() {
        let mut instances = two();
        let departed = Change::Departed { session: 1, cause: Departure::Crashed };
        instances.follow(at(0), &departed);
        assert_eq!(instances.named("calc").len(), 1);
        let again = Step::Announce(1, Service::new("calc", "1"));
        // What it had sent before it departed does not count.
        instances.apply(at(1), again.clone());
        assert_eq!(instances.named("calc").len(), 1);
        instances.follow(at(0), &joined(1));
        instances.apply(at(1), again.clone());
        instances.apply(at(1), again);
        assert_eq!(instances.named("calc").len(), 2);
        instances.apply(at(1), Step::Withdraw(1));
        let stats = instances.stats();
        assert_eq!((stats.instances, stats.names), (1, 1));
        assert_eq!((stats.announced, stats.withdrawn, stats.departed), (3, 1, 1));
    }

    #[test]
    fn a_full_registry_refuses_alike_everywhere() {
        let mut instances = two();
        for ticket in 3..=MAX_INSTANCES as u128 {
            instances.apply(at(1), Step::Announce(ticket, Service::new("x", "1")));
        }
        let mut copy = Instances::restore(&instances.snapshot()).unwrap();
        for instances in [&mut instances, &mut copy] {
            let step = Step::Announce(9_999, Service::new("x", "1"));
            assert_eq!(instances.apply(at(2), step), Standing::Full);
            assert_eq!(instances.stats().refused, 1);
        }
        let large = Service::new("x".repeat(MAX_SERVICE + 1), "");
        instances.apply(at(2), Step::Withdraw(3));
        assert_eq!(instances.apply(at(2), Step::Announce(3, large)), Standing::Full);
    }

    #[test]
    fn differences_lead_from_what_is_known_to_what_is() {
        let all = two().named("calc");
        let mut known = vec![all[0].clone()];
        assert_eq!(difference(&mut known, &all[1..]), Some(Found::Removed(all[0].clone())));
        assert_eq!(difference(&mut known, &all[1..]), Some(Found::Added(all[1].clone())));
        assert_eq!(difference(&mut known, &all[1..]), None);
    }
}
