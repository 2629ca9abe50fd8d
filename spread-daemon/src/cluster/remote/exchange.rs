//! What the members of a view tell each other before they form a configuration.
//!
//! First each of them flushes: it tells from which configuration it comes and who is
//! left of it. When all have, and those of a side tell the same, the label of the next
//! configuration is known to all alike, because they all have the same flushes. Then each
//! consents by a state; the first of a side brings its groups with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spread_wire::Name;

use super::Refusal;
use super::view::{Fnv, MemberId, View};
use super::wire::{Flush, State};
use crate::cluster::replica::{Configuration, Group};
use crate::cluster::{DaemonId, DaemonSet};

/// The exchange of the members of one view.
#[derive(Debug)]
pub(super) struct Exchange {
    view: View,
    digest: u64,
    /// All daemons of the configuration file.
    all: DaemonSet,
    flushes: BTreeMap<MemberId, Flush>,
    /// Members that sent what is no packet instead of a flush.
    foreign: BTreeSet<MemberId>,
    agreed: Option<Agreed>,
    /// Whether it was told who is missing.
    has_complained: bool,
}

/// What the flushes of all members tell: the next configuration.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) label: u64,
    pub(super) daemons: BTreeMap<DaemonId, (MemberId, Flush)>,
    /// The states that have come: the groups, and whether no part is missing.
    states: BTreeMap<DaemonId, Brought>,
}

#[derive(Debug, Default)]
struct Brought {
    groups: HashMap<Name, Group>,
    log: u64,
    is_whole: bool,
}

impl Exchange {
    pub(super) fn new(view: View, digest: u64, all: DaemonSet) -> Exchange {
        let (flushes, foreign) = Default::default();
        Exchange { view, digest, all, flushes, foreign, agreed: None, has_complained: false }
    }

    /// Takes a flush. It replaces an earlier one of the same member, and with it the
    /// label that all would have had. Returns whether it is the first of that member.
    pub(super) fn flush(&mut self, from: MemberId, flush: Flush) -> bool {
        self.foreign.remove(&from);
        let is_first = self.flushes.insert(from, flush).is_none();
        self.agreed = self.agree();
        is_first
    }

    /// Takes bytes that are no packet: their sender, if it has not flushed, speaks another
    /// protocol, and is not waited for. Returns whether that changes anything.
    pub(super) fn foreign(&mut self, from: MemberId) -> bool {
        let is_new = self.view.contains(from)
            && !self.flushes.contains_key(&from)
            && self.foreign.insert(from);
        if is_new {
            self.agreed = self.agree();
        }
        is_new
    }

    /// Takes a state, if it is one of the next configuration.
    pub(super) fn state(&mut self, from: MemberId, state: State) {
        let Some(agreed) = self.agreed.as_mut().filter(|agreed| agreed.label == state.label) else {
            return;
        };
        let sender = agreed.daemons.iter().find(|(_, (member, _))| *member == from);
        let Some((daemon, (_, flush))) = sender else {
            return;
        };
        let brought = agreed.states.entry(*daemon).or_default();
        brought.is_whole |= state.is_last;
        brought.log = state.log;
        if flush.side.first() == Some(*daemon) {
            state.groups.into_iter().for_each(|(name, group)| brought.add(name, group, flush.side));
        }
    }

    /// Returns what is agreed once all members have flushed.
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        self.agreed.as_ref()
    }

    /// Ends the exchange, if all have consented and those of each side have received the
    /// same.
    pub(super) fn take_formed(&mut self) -> Option<Agreed> {
        self.agreed.take_if(|agreed| {
            let is_apart = |daemon: &DaemonId| !agreed.apart(*daemon).is_empty();
            agreed.missing().next().is_none() && !agreed.daemons.keys().any(is_apart)
        })
    }

    /// Returns whether all members have flushed, or never will.
    pub(super) fn has_all(&self) -> bool {
        self.silent().next().is_none()
    }

    /// Returns the members that have not flushed.
    pub(super) fn silent(&self) -> impl Iterator<Item = MemberId> {
        let members = self.view.members().iter().copied();
        members.filter(|m| !self.flushes.contains_key(m) && !self.foreign.contains(m))
    }

    /// Returns the other members that have not done their part.
    pub(super) fn missing(&self, me: MemberId) -> Vec<MemberId> {
        let mut missing: Vec<MemberId> = match &self.agreed {
            Some(agreed) => agreed.missing().collect(),
            None => self.silent().collect(),
        };
        missing.retain(|member| *member != me);
        missing
    }

    /// Returns which daemon a member is, if it has flushed.
    pub(super) fn daemon(&self, member: MemberId) -> Option<DaemonId> {
        self.participants().into_iter().find(|(_, (of, _))| *of == member).map(|(daemon, _)| daemon)
    }

    /// Returns which other members have not done their part, once.
    pub(super) fn complaint(&mut self, me: MemberId) -> Option<String> {
        let missing: Vec<String> = self.missing(me).iter().map(MemberId::to_string).collect();
        let is_due = !missing.is_empty() && !std::mem::replace(&mut self.has_complained, true);
        is_due.then(|| missing.join(", "))
    }

    /// Returns the daemons that tell the same side as `flush`.
    pub(super) fn alike(&self, flush: &Flush) -> DaemonSet {
        let participants = self.participants();
        let alike = participants.iter().filter(|(_, (_, other))| is_alike(flush, other));
        alike.map(|(daemon, _)| *daemon).collect()
    }

    fn agree(&self) -> Option<Agreed> {
        if !self.has_all() {
            return None;
        }
        let daemons = self.participants();
        for (daemon, (_, flush)) in &daemons {
            let is_told =
                |d: DaemonId| daemons.get(&d).is_some_and(|(_, other)| is_alike(flush, other));
            if !flush.side.contains(*daemon) || !flush.side.iter().all(is_told) {
                return None;
            }
        }
        let mut label = Fnv::default();
        daemons.values().for_each(|(_, flush)| label.write(&flush.encode()));
        Some(Agreed { label: label.finish(), daemons, states: BTreeMap::new() })
    }

    /// Returns who takes part: the members of the same configuration file, each daemon
    /// once.
    fn participants(&self) -> BTreeMap<DaemonId, (MemberId, Flush)> {
        let mut daemons: BTreeMap<DaemonId, (MemberId, Flush)> = BTreeMap::new();
        for (member, flush) in &self.flushes {
            let is_known = flush.digest == self.digest && self.all.contains(flush.daemon);
            if !is_known || !self.view.contains(*member) {
                continue;
            }
            let known = daemons.entry(flush.daemon).or_insert((*member, *flush));
            // One that has been in a configuration goes before one that begins.
            if known.1.former == 0 && flush.former != 0 {
                *known = (*member, *flush);
            }
        }
        daemons
    }

    /// Returns why this daemon cannot take part, if so: it begins, another member has
    /// another configuration file or protocol, and no daemon like this one has been in a
    /// configuration; or another member is the same daemon.
    pub(super) fn refusal(&self, me: MemberId) -> Option<Refusal> {
        let own = self.flushes.get(&me).filter(|_| self.has_all())?;
        let is_known = self.participants().values().any(|(_, flush)| flush.former != 0);
        if !is_known {
            if let Some((member, flush)) = self.stranger() {
                return Some(Refusal::Configuration { name: flush.name, member });
            }
            if let Some(member) = self.foreign.first() {
                return Some(Refusal::Foreign { member: *member });
            }
        }
        let (member, _) = *self.participants().get(&own.daemon)?;
        (member != me).then_some(Refusal::Duplicate { name: own.name, member })
    }

    /// Returns a member with another configuration file.
    fn stranger(&self) -> Option<(MemberId, &Flush)> {
        let mut others = self.flushes.iter().filter(|(_, flush)| flush.digest != self.digest);
        others.next().map(|(member, flush)| (*member, flush))
    }
}

/// Returns whether two daemons come from the same configuration and tell the same
/// daemons to be left of it.
fn is_alike(one: &Flush, other: &Flush) -> bool {
    (one.former, one.side) == (other.former, other.side)
}

impl Brought {
    /// Adds a group, or the rest of one that a part had no room for. Members at daemons
    /// of another side are not taken.
    fn add(&mut self, name: Name, group: Group, side: DaemonSet) {
        let known = self.groups.entry(name);
        let known = known.or_insert(Group { members: Vec::new(), ..group });
        let members = group.members.into_iter().filter(|member| side.contains(member.daemon));
        for member in members {
            if known.members.last().is_none_or(|last| last.rank() < member.rank()) {
                known.members.push(member);
            }
        }
    }
}

/// A side that comes into a configuration, with its groups.
pub(super) type Side = (DaemonSet, HashMap<Name, Group>);

impl Agreed {
    /// Returns the daemons of the side of one that have received other events, once all have
    /// consented.
    pub(super) fn apart(&self, from: DaemonId) -> DaemonSet {
        let log = |daemon| self.states.get(&daemon).map(|state| state.log);
        let side = self.daemons.get(&from).map(|(_, flush)| flush.side).unwrap_or_default();
        if self.missing().next().is_some() {
            return DaemonSet::default();
        }
        side.iter().filter(|daemon| log(*daemon) != log(from)).collect()
    }

    /// Returns how many events the daemon of the side of one that has delivered most had
    /// delivered.
    pub(super) fn delivered(&self, from: DaemonId) -> u64 {
        let side = self.daemons.get(&from).map(|(_, flush)| flush.side).unwrap_or_default();
        let flushes = side.iter().filter_map(|daemon| self.daemons.get(&daemon));
        flushes.map(|(_, flush)| flush.delivered).max().unwrap_or_default()
    }

    /// Returns the members that have not consented.
    fn missing(&self) -> impl Iterator<Item = MemberId> {
        let is_whole = |daemon| self.states.get(daemon).is_some_and(|state| state.is_whole);
        let missing = self.daemons.iter().filter(move |(daemon, _)| !is_whole(daemon));
        missing.map(|(_, (member, _))| *member)
    }

    /// Returns the ids of the configuration. Its time is even, and above all that the
    /// daemons know of.
    pub(super) fn configuration(&self) -> Configuration {
        let flushes = || self.daemons.values().map(|(_, flush)| flush);
        let latest = flushes().map(|flush| flush.latest).max().unwrap_or_default();
        let first = flushes().next();
        let (proc_id, clock) = first.map_or((0, 0), |first| (first.proc_id, first.clock));
        let time = clock.max(latest.wrapping_add(1));
        Configuration { proc_id, time: time.wrapping_add(time & 1) }
    }

    /// Returns the sides and the groups that they bring.
    pub(super) fn into_sides(mut self) -> Vec<Side> {
        let mut sides = Vec::new();
        for (daemon, (_, flush)) in &self.daemons {
            if flush.side.first() == Some(*daemon) {
                let brought = self.states.remove(daemon).unwrap_or_default();
                let mut groups = brought.groups;
                groups.retain(|_, group| !group.members.is_empty());
                sides.push((flush.side, groups));
            }
        }
        sides
    }
}
