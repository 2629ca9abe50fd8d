//! The groups as one daemon knows them.
//!
//! Every daemon of a component does the same with the same events in the same
//! order, so that all of them know the same groups. Each tells its own clients.

use std::collections::{BTreeSet, HashMap};

use bytes::BytesMut;
use spread_wire::{ByteOrder, Cause, Delivery, GroupId, Groups, MembershipBody, Name};

use super::component::{Event, What};
use super::{Change, DaemonId, DaemonSet, Deliver, SessionId};

/// The common part of the ids of the views of one configuration of daemons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Configuration {
    /// See [`GroupId::proc_id`].
    pub(crate) proc_id: i32,
    /// See [`GroupId::time`].
    pub(crate) time: i32,
}

impl Configuration {
    fn view(self, index: i32) -> GroupId {
        GroupId { proc_id: self.proc_id, time: self.time, index }
    }

    fn has(self, id: GroupId) -> bool {
        (self.proc_id, self.time) == (id.proc_id, id.time)
    }
}

/// The groups of a component as one of its daemons knows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) groups: HashMap<Name, Group>,
    /// The groups of each member, ordered by name, because a member that ends
    /// leaves them in that order.
    pub(super) joined: HashMap<Name, BTreeSet<Name>>,
    configuration: Configuration,
    /// Between the transitional signal and the next view: the daemons that are
    /// no longer there.
    gone: DaemonSet,
}

/// A group with at least one member.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// The id of the last view. It keeps the configuration in which the group
    /// was last changed by the network, or came to be.
    pub(super) id: GroupId,
    /// Whether the network has changed it since.
    pub(super) changed: bool,
    /// In the order that is the same everywhere.
    pub(super) members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) daemon: DaemonId,
    pub(super) name: Name,
    /// The session, if it is one of this daemon.
    pub(super) local: Option<Local>,
}

/// A member that is a client of the daemon itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    pub(super) session: SessionId,
    /// Whether it wants membership messages.
    pub(super) membership: bool,
}

impl Member {
    /// Returns the key by which the members of a group are ordered.
    pub(super) fn rank(&self) -> (DaemonId, Name) {
        (self.daemon, self.name)
    }
}

impl Group {
    /// Returns the sessions of this daemon that are members.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.members.iter().filter_map(|member| member.local).map(|local| local.session)
    }

    /// Returns those members' sessions that want membership messages.
    fn listeners(&self) -> impl Iterator<Item = SessionId> {
        listeners(&self.members)
    }

    fn names(&self) -> Vec<Name> {
        self.members.iter().map(|member| member.name).collect()
    }

    fn tell_view(
        &self,
        group: Name,
        cause: Cause,
        vs_sets: Vec<Vec<Name>>,
        my_vs_set: usize,
        out: &mut impl Deliver,
    ) {
        let mut listeners = self.listeners().peekable();
        if listeners.peek().is_none() {
            return;
        }
        let view = self.view(group, cause, vs_sets, my_vs_set);
        out.deliver(listeners, &view);
    }

    fn view(
        &self,
        group: Name,
        cause: Cause,
        vs_sets: Vec<Vec<Name>>,
        my_vs_set: usize,
    ) -> BytesMut {
        let names = self.names();
        let body = MembershipBody { group_id: self.id, vs_sets, my_vs_set };
        encode(&Delivery::View { group, cause, members: Groups::from(&names[..]), body })
    }

    /// Delivers the signal that the view ends.
    fn tell_end(&self, group: Name, out: &mut impl Deliver) {
        let signal = encode(&Delivery::Transitional { group, group_id: self.id });
        out.deliver(self.listeners(), &signal);
    }

    /// Delivers the view of a change by one member.
    fn tell_change(
        &self,
        group: Name,
        cause: Cause,
        changed: Name,
        gone: DaemonSet,
        out: &mut impl Deliver,
    ) {
        if !self.changed {
            return self.tell_view(group, cause, vec![vec![changed]], 0, out);
        }
        // After a transitional signal it is told as one more view that the
        // network brings, and that is about to end, too.
        let joiner = (cause == Cause::Join).then_some(changed);
        let vs_sets = self.transitional_sets(gone, joiner);
        let last = vs_sets.len() - 1;
        let view = self.view(group, Cause::Network, vs_sets.clone(), 0);
        let (own, others): (Vec<_>, Vec<_>) =
            self.members.iter().partition(|member| Some(member.name) == joiner);
        out.deliver(listeners(others), &view);
        let view = self.view(group, Cause::Network, vs_sets, last);
        out.deliver(listeners(own), &view);
        self.tell_end(group, out);
    }

    /// Returns the vs_sets of a view after the signal: the members that are still there;
    /// the members at each daemon that is gone; a member that has just joined.
    fn transitional_sets(&self, gone: DaemonSet, joiner: Option<Name>) -> Vec<Vec<Name>> {
        let others = || self.members.iter().filter(|member| Some(member.name) != joiner);
        let here = others().filter(|m| !gone.contains(m.daemon)).map(|m| m.name).collect();
        let of = |daemon| others().filter(move |m| m.daemon == daemon).map(|m| m.name).collect();
        let mut sets: Vec<Vec<Name>> = vec![here];
        sets.extend(gone.iter().map(of));
        sets.extend(joiner.map(|joiner| vec![joiner]));
        sets.retain(|set| !set.is_empty());
        sets
    }
}

impl Replica {
    /// Returns the state of a daemon that starts alone.
    pub(super) fn new(configuration: Configuration) -> Replica {
        Replica { configuration, ..Replica::default() }
    }

    /// Does what an event does to the groups; `local` is the session that joins, if it is
    /// one of this daemon.
    pub(super) fn apply(&mut self, event: &Event, local: Option<Local>, out: &mut impl Deliver) {
        let (daemon, name) = (event.origin, event.who);
        match event.what {
            What::Join { group, .. } => self.join(Member { daemon, name, local }, group, out),
            What::Leave { group } => self.leave(daemon, name, group, out),
            What::End => self.end(daemon, name, out),
            What::Multicast(_) => {}
        }
    }

    fn join(&mut self, joiner: Member, group: Name, out: &mut impl Deliver) {
        let id = self.configuration.view(0);
        let empty = || Group { id, changed: false, members: Vec::new() };
        let joined = self.groups.entry(group).or_insert_with(empty);
        let Err(place) = joined.members.binary_search_by_key(&joiner.rank(), Member::rank) else {
            return;
        };
        joined.members.insert(place, joiner);
        if self.gone.contains(joiner.daemon) {
            // Its own side may tell the next view that goes with the former id.
            joined.changed = true;
            if !self.configuration.has(joined.id) {
                joined.id = self.configuration.view(1);
            }
        }
        joined.id.index = joined.id.index.wrapping_add(1);
        self.joined.entry(joiner.name).or_default().insert(group);
        out.changed(Change {
            group,
            cause: Cause::Join,
            member: Some(joiner.name),
            members: joined.members.len(),
        });
        joined.tell_change(group, Cause::Join, joiner.name, self.gone, out);
    }

    fn leave(&mut self, daemon: DaemonId, name: Name, group: Name, out: &mut impl Deliver) {
        let Some(groups) = self.joined.get_mut(&name) else {
            return;
        };
        if !groups.remove(&group) {
            return;
        }
        if groups.is_empty() {
            self.joined.remove(&name);
        }
        self.remove(daemon, name, group, Cause::Leave, out);
    }

    /// Takes a member that is no more out of all its groups.
    fn end(&mut self, daemon: DaemonId, name: Name, out: &mut impl Deliver) {
        for group in self.joined.remove(&name).unwrap_or_default() {
            self.remove(daemon, name, group, Cause::Disconnect, out);
        }
    }

    /// Delivers nothing more to a session that is no more, although it is still
    /// a member until that has come in its turn.
    pub(super) fn forget(&mut self, name: Name) {
        for group in self.joined.get(&name).into_iter().flatten() {
            let members = self.groups.get_mut(group).map(|group| &mut group.members);
            members.into_iter().flatten().filter(|m| m.name == name).for_each(|m| m.local = None);
        }
    }

    /// Takes a member out of a group; a group without members is forgotten, and
    /// counts its views anew when it comes back.
    fn remove(
        &mut self,
        daemon: DaemonId,
        name: Name,
        group: Name,
        cause: Cause,
        out: &mut impl Deliver,
    ) {
        let Some(left) = self.groups.get_mut(&group) else {
            return;
        };
        let Ok(place) = left.members.binary_search_by_key(&(daemon, name), Member::rank) else {
            return;
        };
        let member = left.members.remove(place);
        if let (Cause::Leave, Some(Local { session, membership: true })) = (cause, member.local) {
            out.deliver([session], &encode(&Delivery::SelfLeave { group }));
        }
        left.id.index = left.id.index.wrapping_add(1);
        out.changed(Change { group, cause, member: Some(name), members: left.members.len() });
        if left.members.is_empty() {
            self.groups.remove(&group);
        } else {
            left.tell_change(group, cause, name, self.gone, out);
        }
    }

    /// Signals the end of the views of all groups that lose members with the
    /// daemons that are gone. What is still delivered comes after the signal, of which
    /// there is only one however often daemons are lost before the next view.
    pub(super) fn part(
        &mut self,
        gone: DaemonSet,
        transitional: Configuration,
        out: &mut impl Deliver,
    ) {
        self.gone = self.gone.union(gone);
        self.configuration = transitional;
        let loses = |group: &Group| group.members.iter().any(|m| gone.contains(m.daemon));
        let mut losing: Vec<_> = self.groups.iter_mut().filter(|(_, group)| loses(group)).collect();
        losing.sort_by_key(|(name, _)| **name);
        for (name, group) in losing {
            if !group.changed {
                group.tell_end(*name, out);
            }
            group.id = transitional.view(1);
            group.changed = true;
        }
    }

    /// Returns the groups without the members at daemons that are gone: the same at all
    /// daemons that stay together.
    pub(super) fn remaining(&self) -> HashMap<Name, Group> {
        let mut groups = self.groups.clone();
        groups.retain(|_, group| {
            group.members.retain(|member| !self.gone.contains(member.daemon));
            !group.members.is_empty()
        });
        groups
    }

    /// Begins a configuration of those who come from several former sides, each
    /// with the groups it brings; `mine` is the place of this daemon's own.
    /// The members of the groups that change hear of it.
    pub(super) fn form(
        &mut self,
        configuration: Configuration,
        sides: &[HashMap<Name, Group>],
        mine: usize,
        out: &mut impl Deliver,
    ) {
        self.configuration = configuration;
        self.gone = DaemonSet::default();
        self.joined.clear();
        let known = std::mem::take(&mut self.groups);
        let names: BTreeSet<Name> = sides.iter().flat_map(HashMap::keys).copied().collect();
        for name in names {
            let mut parts: Vec<_> = sides.iter().map(|side| side.get(&name)).enumerate().collect();
            parts.retain(|(_, part)| part.is_some());
            parts.sort_by_key(|(_, part)| part.map(|group| group.id));
            let own = parts.iter().position(|(side, _)| *side == mine);
            let parts: Vec<&Group> = parts.into_iter().filter_map(|(_, part)| part).collect();
            let known = known.get(&name).map_or(&[][..], |group| &group.members);
            let group = merged(known, configuration, &parts);
            if group.changed {
                let (cause, members) = (Cause::Network, group.members.len());
                out.changed(Change { group: name, cause, member: None, members });
            }
            for member in &group.members {
                self.joined.entry(member.name).or_default().insert(name);
            }
            if let Some(own) = own.filter(|_| group.changed) {
                let vs_sets = parts.iter().map(|part| part.names()).collect();
                group.tell_view(name, Cause::Network, vs_sets, own, out);
            }
            self.groups.insert(name, Group { changed: false, ..group });
        }
        let mut ended: Vec<Name> =
            known.into_keys().filter(|name| !self.groups.contains_key(name)).collect();
        ended.sort_unstable();
        for group in ended {
            out.changed(Change { group, cause: Cause::Network, member: None, members: 0 });
        }
    }
}

/// Returns the group that comes of what the sides bring; whether it has changed is still
/// in it. The sessions of this daemon are those among the members that are `known`.
fn merged(known: &[Member], configuration: Configuration, parts: &[&Group]) -> Group {
    let local = |rank| {
        let place = known.binary_search_by_key(&rank, Member::rank).ok()?;
        known[place].local
    };
    let members = parts.iter().flat_map(|part| &part.members);
    let mut members: Vec<Member> =
        members.map(|m| Member { local: local(m.rank()), ..*m }).collect();
    members.sort_by_key(Member::rank);
    let changed = parts.len() > 1 || parts.iter().any(|part| part.changed);
    let unchanged = parts.first().map(|part| part.id).filter(|_| !changed);
    Group { id: unchanged.unwrap_or(configuration.view(1)), changed, members }
}

/// Returns the sessions of this daemon among some members that want membership
/// messages.
fn listeners<'a>(members: impl IntoIterator<Item = &'a Member>) -> impl Iterator<Item = SessionId> {
    let local = members.into_iter().filter_map(|member| member.local);
    local.filter(|local| local.membership).map(|local| local.session)
}

pub(super) fn encode(delivery: &Delivery<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    delivery.encode(ByteOrder::NATIVE, &mut out);
    out
}
