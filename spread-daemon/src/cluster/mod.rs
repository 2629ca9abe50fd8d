//! Groups, their views and the one total order, without I/O and without a
//! clock.
//!
//! The clients' requests come in one call after another; that order is the
//! total order of their [component](component). Each daemon of a component has
//! a [replica] of its groups and goes through the same events in that order.
//! Deliveries go out at once, through [`Deliver`], unless they wait on a link
//! that is held. When daemons part or come together, the
//! components [end and begin](network).
//!
//! All receivers of a message share the bytes that its sender sent.

mod component;
mod daemon_set;
mod network;
mod remote;
mod replica;
mod route;

pub(crate) use daemon_set::{DaemonId, DaemonSet, MAX_DAEMONS};
#[cfg(feature = "corosync")]
pub(crate) use remote::RingId;
pub(crate) use remote::{Awaited, Identity, MemberId, Refusal, Remote, Told, digest};
pub(crate) use replica::Configuration;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use spread_wire::limits::{MAX_GROUPS, NAME_FIELD};
use spread_wire::{
    ByteOrder, Cause, FrameRef, Header, Multicast, Name, NameError, PrivateGroup, PrivateName,
    Request, RequestError, ServiceType,
};

use component::{Component, Event, Held, Message, What};
use replica::{Group, Local, Member, Replica};
use route::Route;

/// Names a session; given by the caller, who may give it again after
/// [`State::disconnect`]. Small numbers are best: they index a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId(pub(crate) usize);

/// Takes what the cluster delivers, in its order.
pub(crate) trait Deliver {
    /// Hands one whole frame to some sessions, each of them once.
    fn deliver(&mut self, to: impl IntoIterator<Item = SessionId>, frame: &[u8]);

    /// Notes that the members of a group have changed, whoever is told of it.
    fn changed(&mut self, _change: Change) {}
}

/// A change of the members of a group, as one daemon sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) group: Name,
    pub(crate) cause: Cause,
    /// The member that came or went, unless it was the network.
    pub(crate) member: Option<Name>,
    /// How many members the group has then.
    pub(crate) members: usize,
}

/// Why a session ends with a frame that its client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    #[error("the client disconnects")]
    Disconnect,
    #[error("a frame of {0}, who is someone else")]
    Sender(Name),
    #[error("a rejected message from a client")]
    Reject,
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// The private name is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUnique;

/// All sessions of all daemons, and their groups.
#[derive(Debug)]
pub(crate) struct State {
    daemons: Vec<Node>,
    /// Which daemons could see each other if they were up.
    network: Vec<DaemonSet>,
    /// The components: daemons that are up and see each other.
    components: Vec<Component>,
    held: Held,
    /// When the last configuration began.
    time: i32,
    sessions: Vec<Option<Session>>,
    by_name: HashMap<Name, SessionId>,
    serial: u64,
    route: Route,
    made_up: u16,
    /// The daemons of other hosts, if this is the state of one daemon among them.
    remote: Option<Box<Remote>>,
    /// Which daemon it is the state of, in that case.
    me: Option<DaemonId>,
}

/// A daemon.
#[derive(Debug)]
struct Node {
    name: String,
    proc_id: i32,
    up: bool,
    /// Its place among the components; of no meaning while it is down.
    component: usize,
    replica: Replica,
    /// How many events of its component it has delivered.
    applied: u64,
}

#[derive(Debug)]
struct Session {
    daemon: DaemonId,
    serial: u64,
    private_group: Name,
    membership: bool,
    /// The number of the last route that was found and leads here, or is not to.
    route: u64,
    /// Whether it was logged that it sends to too many groups.
    warned: bool,
}

impl State {
    /// Returns a cluster of the named daemons, in the order of their configuration, all
    /// of which see each other; `identity` tells its views from those of others.
    ///
    /// # Errors
    ///
    /// The first that is not the name of a daemon, and why.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_DAEMONS`].
    pub(crate) fn new(
        daemons: &[&str],
        identity: Configuration,
    ) -> Result<State, (String, NameError)> {
        assert!(daemons.len() <= MAX_DAEMONS, "a configuration of {} daemons", daemons.len());
        let node = |(place, name): (usize, &&str)| {
            let someone = PrivateName::new("x").and_then(|x| PrivateGroup::of(x, name));
            someone.map_err(|error| (name.to_string(), error))?;
            // Told apart in all the bits, and the first is as it was given.
            let proc_id = identity.proc_id ^ (place as i32).wrapping_mul(0x1e37_79b1);
            Ok(Node {
                name: name.to_string(),
                proc_id,
                up: true,
                component: 0,
                replica: Replica::new(identity),
                applied: 0,
            })
        };
        let daemons: Vec<Node> = daemons.iter().enumerate().map(node).collect::<Result<_, _>>()?;
        let all = (0..daemons.len()).map(DaemonId).collect();
        Ok(State {
            daemons,
            network: vec![all],
            components: vec![Component::new(all)],
            held: Held::new(),
            time: identity.time,
            sessions: Vec::new(),
            by_name: HashMap::new(),
            serial: 0,
            route: Route::default(),
            made_up: 0,
            remote: None,
            me: None,
        })
    }

    /// Opens a session and returns its private group; a session that asks for no
    /// name gets one made up.
    ///
    /// # Errors
    ///
    /// [`NotUnique`] if another session of the daemon has the name.
    pub(crate) fn connect(
        &mut self,
        id: SessionId,
        daemon: DaemonId,
        private_name: Option<PrivateName>,
        membership: bool,
    ) -> Result<PrivateGroup, NotUnique> {
        let private_group = match private_name {
            Some(name) => self.free_group(daemon, name),
            None => self.make_up_group(id, daemon),
        };
        let private_group = private_group.ok_or(NotUnique)?;
        self.serial += 1;
        let session = Session {
            daemon,
            serial: self.serial,
            private_group: private_group.into(),
            membership,
            route: 0,
            warned: false,
        };
        self.by_name.insert(session.private_group, id);
        if self.sessions.len() <= id.0 {
            self.sessions.resize_with(id.0 + 1, || None);
        }
        self.sessions[id.0] = Some(session);
        self.route.forget();
        Ok(private_group)
    }

    /// Returns whether no session of a daemon has the name.
    pub(crate) fn is_free(&self, daemon: DaemonId, name: PrivateName) -> bool {
        self.free_group(daemon, name).is_some()
    }

    fn free_group(&self, daemon: DaemonId, name: PrivateName) -> Option<PrivateGroup> {
        let group = PrivateGroup::of(name, &self.daemons.get(daemon.0)?.name).ok()?;
        (!self.by_name.contains_key(&Name::from(group))).then_some(group)
    }

    fn make_up_group(&mut self, id: SessionId, daemon: DaemonId) -> Option<PrivateGroup> {
        const NUMBERS: u16 = 10_000;
        (0..NUMBERS).find_map(|_| {
            self.made_up = (self.made_up + 1) % NUMBERS;
            let name = format!("r{}-{}", self.made_up, id.0 % usize::from(NUMBERS));
            self.free_group(daemon, PrivateName::new(name).ok()?)
        })
    }

    /// Returns the private group of a session.
    pub(crate) fn private_group(&self, id: SessionId) -> Option<Name> {
        self.session(id).map(|session| session.private_group)
    }

    /// Returns the session of a private group.
    pub(crate) fn session_of(&self, private_group: Name) -> Option<SessionId> {
        self.by_name.get(&private_group).copied()
    }

    /// Returns how many groups a session has joined.
    pub(crate) fn groups_of(&self, id: SessionId) -> usize {
        self.joined(id).map_or(0, BTreeSet::len)
    }

    /// Returns the groups that a session has joined, unless it has joined none.
    pub(crate) fn joined(&self, id: SessionId) -> Option<&BTreeSet<Name>> {
        let session = self.session(id)?;
        self.daemons[session.daemon.0].replica.joined.get(&session.private_group)
    }

    /// Returns the number of groups and that of their members. Parts of a group in different
    /// components are one group.
    pub(crate) fn count_groups(&self) -> (usize, usize) {
        let replicas = self.replicas_with_groups();
        let members = replicas.iter().flat_map(|groups| groups.values());
        let members = members.map(|group| self.members_here(group).count()).sum();
        let groups = match &replicas[..] {
            [groups] => groups.len(),
            _ => replicas.iter().flat_map(|groups| groups.keys()).collect::<BTreeSet<_>>().len(),
        };
        (groups, members)
    }

    /// Returns the first groups by name, with the number of their members and the names of
    /// the first of these: at most `most` groups, and at most `most` names for all of them
    /// together. Parts of a group in different components are one group.
    pub(crate) fn groups(&self, most: usize) -> Vec<(Name, usize, Vec<Name>)> {
        let replicas = self.replicas_with_groups();
        let mut groups: Vec<Name> = replicas.iter().flat_map(|r| r.keys().copied()).collect();
        // A name stands there once for each replica at most.
        let enough = most.saturating_mul(replicas.len());
        if enough < groups.len() {
            groups.select_nth_unstable(enough);
            groups.truncate(enough);
        }
        groups.sort_unstable();
        groups.dedup();
        groups.truncate(most);
        let mut left = most;
        let listed = |name: Name| {
            let parts = replicas.iter().filter_map(|groups| groups.get(&name));
            let mut members = parts.flat_map(|group| self.members_here(group));
            let names: Vec<Name> = members.by_ref().take(left).map(|m| m.name).collect();
            left -= names.len();
            (name, names.len() + members.count(), names)
        };
        groups.into_iter().map(listed).collect()
    }

    fn replicas_with_groups(&self) -> Vec<&HashMap<Name, Group>> {
        let replicas = self.daemons.iter().map(|daemon| &daemon.replica.groups);
        replicas.filter(|groups| !groups.is_empty()).collect()
    }

    /// Returns the members of a replica's group that count there: of several hosts only one has
    /// its replica here.
    fn members_here<'a>(&self, group: &'a Group) -> impl Iterator<Item = &'a Member> + use<'a> {
        let is_remote = self.me.is_some();
        group.members.iter().filter(move |member| is_remote || member.local.is_some())
    }

    /// Returns the names of the daemons.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.daemons.iter().map(|daemon| &*daemon.name).collect()
    }

    /// Returns the place of a daemon in the configuration.
    pub(crate) fn daemon(&self, name: &str) -> Option<DaemonId> {
        self.daemons.iter().position(|daemon| daemon.name == name).map(DaemonId)
    }

    /// Returns whether the header of a frame, of which more is to come, is one that a
    /// session may send.
    pub(crate) fn check(&self, from: SessionId, header: &Header) -> Result<(), End> {
        if self.private_group(from) != Some(header.name) {
            return Err(End::Sender(header.name));
        }
        if header.service_type.is_reject() {
            return Err(End::Reject);
        }
        Ok(Request::check(header)?)
    }

    /// Handles a request.
    ///
    /// # Errors
    ///
    /// [`End`] if the session is over. The caller closes it and calls
    /// [`State::disconnect`].
    pub(crate) fn handle(
        &mut self,
        from: SessionId,
        frame: FrameRef<'_>,
        out: &mut impl Deliver,
    ) -> Result<(), End> {
        self.check(from, frame.header())?;
        let request = Request::parse(frame)?;
        let Some(session) = self.session(from) else {
            return Ok(());
        };
        let (origin, who, serial) = (session.daemon, session.private_group, session.serial);
        let what = match request {
            Request::Join(group) => What::Join { group: tidy(group), session: from, serial },
            Request::Leave(group) => What::Leave { group: tidy(group) },
            Request::Multicast(m) if m.groups.len() > MAX_GROUPS => {
                self.warn_of_groups(from, m.groups.len());
                return Ok(());
            }
            Request::Multicast(m) => {
                let bytes = &*as_delivered(frame, &m, who);
                if let Some(remote) = &mut self.remote {
                    remote.push_multicast(bytes);
                    return Ok(());
                }
                let (service, self_discard) = (m.service, m.self_discard);
                let message = Message { service, self_discard, num_groups: m.groups.len(), bytes };
                let component = &self.components[self.daemons[origin.0].component];
                if component.is_direct(origin, &self.held) {
                    // The bytes stay where they came in.
                    for daemon in component.daemons.iter() {
                        self.multicast(daemon, who, &message, out);
                    }
                    return Ok(());
                }
                What::Multicast(message.to_owned())
            }
            Request::Disconnect(_) => return Err(End::Disconnect),
        };
        self.order(Event { origin, who, what }, out);
        Ok(())
    }

    /// Logs it once a session, because a client may send many of them.
    fn warn_of_groups(&mut self, from: SessionId, groups: usize) {
        if let Some(sender) = self.session_mut(from)
            && !std::mem::replace(&mut sender.warned, true)
        {
            let sender = sender.private_group;
            tracing::warn!(%sender, groups, "delivered to no one: more than {MAX_GROUPS} groups");
        }
    }

    /// Takes a session out of all its groups, and forgets it.
    pub(crate) fn disconnect(&mut self, id: SessionId, out: &mut impl Deliver) {
        let Some(session) = self.sessions.get_mut(id.0).and_then(Option::take) else {
            return;
        };
        self.route.forget();
        let (origin, who) = (session.daemon, session.private_group);
        self.by_name.remove(&who);
        let Some(node) = self.daemons.get_mut(origin.0).filter(|node| node.up) else {
            return;
        };
        node.replica.forget(who);
        self.order(Event { origin, who, what: What::End }, out);
    }

    /// Appends an event to the order of its component, and delivers all events that
    /// can be delivered.
    fn order(&mut self, event: Event, out: &mut impl Deliver) {
        if let Some(remote) = &mut self.remote {
            return remote.push(event.who, &event.what);
        }
        let place = self.daemons[event.origin.0].component;
        let component = &mut self.components[place];
        if component.is_direct(event.origin, &self.held) {
            for daemon in component.daemons.iter() {
                self.apply(daemon, &event, out);
            }
        } else {
            component.push(event, &self.held);
            self.advance(place, out);
        }
    }

    /// Delivers all that the daemons of a component have received.
    fn advance(&mut self, place: usize, out: &mut impl Deliver) {
        let daemons = self.components[place].daemons;
        for daemon in daemons.iter() {
            let applied = |state: &State| state.daemons[daemon.0].applied;
            while let Some(event) = self.components[place].next(daemon, applied(self)).cloned() {
                self.apply(daemon, &event, out);
                self.daemons[daemon.0].applied += 1;
            }
        }
        let applied = daemons.iter().map(|daemon| self.daemons[daemon.0].applied).min();
        self.components[place].trim(applied.unwrap_or_default());
    }

    /// Applies an event at a daemon.
    fn apply(&mut self, at: DaemonId, event: &Event, out: &mut impl Deliver) {
        if let What::Multicast(message) = &event.what {
            return self.multicast(at, event.who, message, out);
        }
        self.route.forget();
        let local = self.local(at, event);
        self.daemons[at.0].replica.apply(event, local, out);
    }

    /// Returns the session that joins, if it is one of the daemon `at`.
    fn local(&self, at: DaemonId, event: &Event) -> Option<Local> {
        let What::Join { session: id, serial, .. } = event.what else {
            return None;
        };
        let session = self.session(id)?;
        let is_local = at == event.origin && session.serial == serial;
        is_local.then_some(Local { session: id, membership: session.membership })
    }

    /// Delivers a message to the sessions of one daemon.
    fn multicast(
        &mut self,
        at: DaemonId,
        from: Name,
        message: &Message<impl AsRef<[u8]>>,
        out: &mut impl Deliver,
    ) {
        let State { daemons, sessions, by_name, route, .. } = self;
        let groups = &daemons[at.0].replica.groups;
        let receivers = route.find(at, from, message, groups, by_name, sessions);
        out.deliver(receivers.iter().copied(), message.bytes.as_ref());
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id.0)?.as_ref()
    }

    fn session_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id.0)?.as_mut()
    }
}

/// Returns the name with nothing but zeros behind it, for the fields that go out in it.
fn tidy(name: Name) -> Name {
    Name::new(name.as_bytes()).unwrap_or(Name::EMPTY)
}

/// The flag of messages that Flush Spread sends to some members of a group (`fl.h`).
pub(crate) const SUBGROUP_CAST: ServiceType = ServiceType::from_bits_retain(0x4000_0000);

/// Returns the bytes that the receivers of a message get: those that came, unless its
/// header is not fit for them.
///
/// A header of the other byte order is turned around, except for its hint, which
/// tells the receivers the order of the body. Bits that make a message something
/// other than a message of an application are cleared, but for the flag of Flush Spread; and
/// a name that fills its field to the last byte, where C programs need a zero, is cut.
fn as_delivered<'a>(frame: FrameRef<'a>, multicast: &Multicast<'_>, sender: Name) -> Cow<'a, [u8]> {
    let header = frame.header();
    let service_type = ServiceType::regular(multicast.service, multicast.self_discard)
        | header.service_type & SUBGROUP_CAST;
    if header.order == ByteOrder::NATIVE
        && header.service_type == service_type
        && header.name.as_field()[NAME_FIELD - 1] == 0
    {
        return Cow::Borrowed(frame.as_bytes());
    }
    let header = Header { service_type, name: sender, order: ByteOrder::NATIVE, ..*header };
    let mut bytes = frame.as_bytes().to_vec();
    let head = header.encode();
    bytes[..head.len()].copy_from_slice(&head);
    Cow::Owned(bytes)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod pen;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
