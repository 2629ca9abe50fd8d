//! One daemon of several hosts, without I/O and without a clock.
//!
//! Below is a group communication, [Corosync's CPG], that gives the packets of all
//! daemons one order, and tells changes of the members at their place in it. Each daemon
//! applies the events in that order to its replica of the groups. What is missing to what
//! clients of Spread are told is here: configurations in the way of extended virtual
//! synchrony, safe messages, and one state of the groups after a merge.
//!
//! A [`Remote`] is told what the group communication delivers ([`Remote::told`]), has
//! [actions](Remote::next_action) for the replica, and sends packets
//! ([`Remote::transmit`]).
//!
//! # A change of the members
//!
//! 1. Each daemon stops delivering, and waits until all its own packets have come back.
//! 2. It flushes: a flush tells from which configuration it comes, who is left of it, its
//!    side, and how much it has delivered.
//! 3. The flushes of all members give the [label](exchange) of the next configuration.
//!    Each daemon consents with a state, which tells what it has received, and in which the
//!    first of each side has its groups.
//! 4. When the last state comes, the configuration is formed: at the same place of the
//!    order everywhere. Until then no daemon sends events. First each daemon delivers as much
//!    as the daemon of its side that has delivered most. If daemons are lost, the groups that
//!    lose members are signalled. The rest of what was received follows. But daemons of a side
//!    that have not received the same part, and flush again.
//!
//! Events carry the label of the configuration that they are sent in. They are applied by
//! the daemons that formed it and are of their sender's side, and by no others: after a
//! merge, a newcomer may lack some packets that were sent before it. So all of a side
//! apply the same.
//!
//! A flush that is sent before a change and comes after it may be one of several in the
//! same view. A flush that its sender has to replace is followed by the new one, which makes
//! the label another, and its sender has not consented before.
//!
//! A process that was killed while hosts came together may stay a member for some of them.
//! No flush of it comes, so the others [repeat](Remote::repeat) theirs; and who is alone on
//! its host then is believed that the other processes there are gone. That need not be
//! decided by all at once: a configuration is formed by those whose views are the same.
//!
//! [Corosync's CPG]: https://corosync.github.io/corosync/

mod exchange;
mod hosts;
mod identity;
mod outbox;
mod pending;
mod view;
mod wire;

pub(crate) use identity::{Identity, Refusal, digest};
pub(crate) use view::{MemberId, RingId};

use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use spread_wire::Name;

use super::component::{Event, What};
use super::replica::{Configuration, Group};
use super::{DaemonId, DaemonSet};
use exchange::Exchange;
use outbox::{Outbox, Sent};
use pending::Pending;
use view::{Fnv, View};
use wire::{Events, Flush, Packet, WireError};

/// Something that the group communication tells.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "corosync"), allow(dead_code, reason = "only Corosync tells it"))]
pub(crate) enum Told {
    Message { from: MemberId, bytes: Bytes },
    Members { members: Vec<MemberId>, left: Vec<MemberId>, joined: Vec<MemberId> },
    Ring(RingId),
}

/// Something to do to the replica of the groups, or for it.
#[derive(Debug)]
pub(super) enum Action {
    Apply(Event),
    /// Daemons are lost.
    Part {
        gone: DaemonSet,
        transitional: Configuration,
    },
    /// The others wait for the groups as they will be after these actions: see
    /// [`Remote::bring`].
    Bring(Vec<Action>),
    /// A configuration begins.
    Form {
        configuration: Configuration,
        sides: Vec<HashMap<Name, Group>>,
        /// The place of this daemon's own side.
        mine: usize,
    },
}

/// The state of the daemon among the others.
#[derive(Debug)]
pub(crate) struct Remote {
    me: Identity,
    view: View,
    /// How often the members have changed, or a flush had to be repeated.
    change: u32,
    /// A flush is to be sent; whether the others are to repeat theirs.
    flush_due: Option<Again>,
    formed: Formed,
    /// How many configurations were formed.
    count: u64,
    /// The daemons of that configuration that have been there ever since.
    side: DaemonSet,
    /// Those that are lost since.
    gone: DaemonSet,
    /// The greatest time in the id of a view that there may be.
    latest: i32,
    /// Since the members changed.
    exchange: Option<Exchange>,
    /// Whether this daemon has consented to what is agreed.
    has_consented: bool,
    pending: Pending,
    outbox: Outbox,
    /// Members that have sent what is no packet.
    suspects: BTreeSet<MemberId>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Again(bool);

/// The other daemons, as one of them sees them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Presence {
    /// The daemons of the present configuration; none before the first.
    pub(crate) present: DaemonSet,
    /// Its label; 0 before the first.
    pub(crate) configuration: u64,
    /// Whether the next one is being formed.
    pub(crate) forming: bool,
    /// How many were formed.
    pub(crate) formed: u64,
    /// Bytes of events that wait to be sent.
    pub(crate) unsent: usize,
    /// See [`Pending::lag`].
    pub(crate) safe_lag: u64,
}

/// Whom a daemon waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaited {
    Daemon(DaemonId),
    /// A process that has not told which daemon it is.
    Process(MemberId),
}

/// The configuration that was formed last.
#[derive(Debug, Default)]
struct Formed {
    /// 0 before the first.
    label: u64,
    time: i32,
    daemons: HashMap<MemberId, DaemonId>,
}

impl Remote {
    /// Returns the state of a daemon that joins the group.
    pub(crate) fn new(me: Identity) -> Remote {
        let side = DaemonSet::of(me.daemon);
        Remote {
            latest: me.time,
            me,
            view: View::default(),
            change: 0,
            flush_due: None,
            formed: Formed::default(),
            count: 0,
            side,
            gone: DaemonSet::default(),
            exchange: None,
            has_consented: false,
            pending: Pending::default(),
            outbox: Outbox::default(),
            suspects: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes what the group communication delivers next.
    ///
    /// # Errors
    ///
    /// [`Refusal`] if this daemon cannot take part; it is to leave the group.
    pub(crate) fn told(&mut self, told: Told) -> Result<(), Refusal> {
        match told {
            Told::Message { from, bytes } => return self.packet(from, &bytes),
            Told::Members { members, left, joined } => {
                self.view.set_members(members);
                self.changed(&left, &joined);
            }
            Told::Ring(ring) => {
                self.view.set_ring(ring);
                // The members may be the same in a new ring, and have lost packets. The ring
                // that they changed in follows them.
                if self.exchange.is_some() || self.formed.label != 0 {
                    self.begin_exchange(Again(false));
                }
            }
        }
        Ok(())
    }

    /// Appends an event of a client of this daemon.
    pub(super) fn push(&mut self, who: Name, what: &What) {
        self.outbox.push(who, what);
    }

    /// Appends a message of a client of this daemon.
    pub(super) fn push_multicast(&mut self, frame: &[u8]) {
        self.outbox.push_multicast(frame);
    }

    /// Returns whether so much waits that clients should not be read.
    pub(crate) fn is_full(&self) -> bool {
        self.outbox.is_full()
    }

    /// Returns whether all that clients asked for has gone through the order.
    pub(crate) fn is_idle(&self) -> bool {
        self.outbox.is_empty() && self.outbox.is_back() && self.pending.is_empty()
    }

    /// Returns whether the members have changed and no configuration is formed yet.
    /// [`Remote::repeat`] is to be called once a second meanwhile.
    pub(crate) fn is_forming(&self) -> bool {
        self.exchange.is_some()
    }

    pub(crate) fn presence(&self) -> Presence {
        let configuration = self.formed.label;
        let present = if configuration == 0 { DaemonSet::default() } else { self.side };
        Presence {
            present,
            configuration,
            forming: self.is_forming(),
            formed: self.count,
            unsent: self.outbox.bytes(),
            safe_lag: self.pending.lag(),
        }
    }

    /// Returns the label of the present configuration; 0 before the first.
    pub(crate) fn configuration(&self) -> u64 {
        self.formed.label
    }

    /// Returns the others that this daemon waits for: while a configuration is formed, those that
    /// have not done their part; otherwise those that have acknowledged least, if a safe message
    /// waits for them.
    pub(crate) fn awaited(&self) -> Vec<Awaited> {
        let Some(exchange) = &self.exchange else {
            let behind = self.pending.behind().without(DaemonSet::of(self.me.daemon));
            return behind.iter().map(Awaited::Daemon).collect();
        };
        let known = |member| {
            let former = || self.formed.daemons.get(&member).copied();
            let daemon = exchange.daemon(member).or_else(former);
            daemon.map_or(Awaited::Process(member), Awaited::Daemon)
        };
        exchange.missing(self.me.member).into_iter().map(known).collect()
    }

    /// Returns a time above those in all ids of views so far.
    pub(crate) fn next_time(&self) -> i32 {
        self.latest.wrapping_add(1)
    }

    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Sends what may be sent now; `send` returns whether a packet could be sent. `now` is
    /// in seconds.
    ///
    /// # Errors
    ///
    /// The errors of `send`.
    pub(crate) fn transmit<E>(
        &mut self,
        now: i32,
        mut send: impl FnMut(&[u8]) -> Result<bool, E>,
    ) -> Result<(), E> {
        if let Some(again) = self.flush_due {
            // What newcomers may lack must not come behind it.
            let packet = self.flush(again, now).encode();
            if !self.outbox.is_back() || !send(&packet)? {
                return Ok(());
            }
            self.flush_due = None;
            self.outbox.sent(Sent::Other, packet.len());
        }
        while let Some(packet) = self.outbox.control() {
            let len = packet.len();
            if !send(packet)? {
                return Ok(());
            }
            self.outbox.sent(Sent::Control, len);
        }
        if self.formed.label == 0 || self.exchange.is_some() {
            return Ok(());
        }
        let (label, position) = (self.formed.label, self.pending.position());
        while !self.pending.is_full()
            && let Some(batch) = self.outbox.batch()
        {
            wire::label_events(batch, label, position);
            let len = batch.len();
            if !send(batch)? {
                return Ok(());
            }
            self.outbox.sent(Sent::Batch, len);
            self.pending.acknowledged();
        }
        if self.pending.is_to_acknowledge() {
            let mut packet = wire::no_events();
            wire::label_events(&mut packet, label, position);
            if send(&packet)? {
                self.outbox.sent(Sent::Other, packet.len());
                self.pending.acknowledged();
            }
        }
        Ok(())
    }

    /// Repeats what may have got lost, when no configuration was formed for a second, and
    /// logs who is waited for.
    ///
    /// A packet that begins with the rest of another program's message is lost to
    /// newcomers. And what daemons tell of their sides could differ for good, if one saw
    /// another go that did not see it: then they part.
    ///
    /// States are not repeated. They come after their sender's flush in the same ring, and
    /// to whom one packet of a host comes, to them come all that follow it; only then the
    /// label is known and the state taken. One of many parts may take more than a second.
    pub(crate) fn repeat(&mut self) {
        let me = self.me.member;
        if let Some(missing) = self.exchange.as_mut().and_then(|e| e.complaint(me)) {
            tracing::warn!("the next configuration waits for {missing}");
        }
        let Some(exchange) = self.exchange.as_ref().filter(|e| e.agreed().is_none()) else {
            return;
        };
        if exchange.has_all() {
            let alike = exchange.alike(&self.flush(Again(false), 0));
            let apart = self.side.without(alike.union(DaemonSet::of(self.me.daemon)));
            if apart.is_empty() {
                return;
            }
            self.lose(apart);
        }
        self.flush_anew(Again(true));
    }

    fn flush(&self, Again(again): Again, now: i32) -> Flush {
        Flush {
            view: self.view.hash(),
            digest: self.me.digest,
            name: self.me.name,
            daemon: self.me.daemon,
            again,
            alone: self.view.is_alone(self.me.member),
            incarnation: self.me.incarnation,
            change: self.change,
            former: self.formed.label,
            side: self.side,
            proc_id: self.me.proc_id,
            clock: now,
            latest: self.latest,
            delivered: self.pending.delivered(),
        }
    }

    /// Does what follows when the members of the view are others.
    fn changed(&mut self, left: &[MemberId], joined: &[MemberId]) {
        self.suspects.retain(|member| self.view.contains(*member));
        let is_gone = |member: &MemberId| {
            // Who joins has lost what it had.
            !self.view.contains(*member) || left.contains(member) || joined.contains(member)
        };
        let former = self.formed.daemons.iter();
        let gone = former.filter(|(member, _)| is_gone(member)).map(|(_, daemon)| *daemon);
        let gone: DaemonSet = gone.collect();
        self.lose(gone.common(self.side).without(DaemonSet::of(self.me.daemon)));
        self.begin_exchange(Again(false));
    }

    /// Notes that daemons are lost.
    fn lose(&mut self, gone: DaemonSet) {
        self.side = self.side.without(gone);
        self.gone = self.gone.union(gone);
    }

    fn begin_exchange(&mut self, again: Again) {
        self.exchange = Some(Exchange::new(self.view.clone(), self.me.digest, self.me.all));
        self.flush_anew(again);
        self.outbox.clear_control();
        self.pending.acknowledged();
    }

    /// Replaces the flush of this daemon.
    fn flush_anew(&mut self, again: Again) {
        self.change = self.change.wrapping_add(1);
        self.flush_due = Some(again);
        self.has_consented = false;
    }

    /// Takes a packet. What cannot be decoded is dropped by all daemons alike.
    fn packet(&mut self, from: MemberId, bytes: &Bytes) -> Result<(), Refusal> {
        if from == self.me.member {
            self.outbox.came_back(bytes);
        }
        match Packet::decode(bytes) {
            Ok(Packet::Events(events)) => self.events(from, events),
            Ok(Packet::Flush(flush)) => return self.flushed(from, flush),
            Ok(Packet::State(state)) => {
                if let Some(exchange) = &mut self.exchange {
                    exchange.state(from, state);
                    self.form();
                }
            }
            Err(error) => return self.dropped(from, &error),
        }
        Ok(())
    }

    /// Notes that bytes were dropped that are no packet.
    fn dropped(&mut self, from: MemberId, error: &WireError) -> Result<(), Refusal> {
        if self.suspects.insert(from) {
            tracing::error!(%from, %error, "dropped a packet, and will drop others without a word");
        }
        let is_new = self.exchange.as_mut().is_some_and(|exchange| exchange.foreign(from));
        if is_new { self.exchanged() } else { Ok(()) }
    }

    fn events(&mut self, from: MemberId, Events { label, position, events }: Events) {
        let origin = self.formed.daemons.get(&from).copied();
        let Some(origin) = origin.filter(|origin| self.side.contains(*origin)) else {
            return;
        };
        if label != self.formed.label {
            return;
        }
        self.pending.acknowledge(origin, position);
        if !events.is_empty() {
            self.pending.advance(origin, events.len());
        }
        for (who, what) in events {
            self.pending.push(Event { origin, who, what });
        }
        self.deliver();
    }

    /// Delivers what can be, unless another configuration is being formed.
    fn deliver(&mut self) {
        while self.exchange.is_none()
            && let Some(event) = self.pending.next()
        {
            self.actions.push_back(Action::Apply(event));
        }
    }

    fn flushed(&mut self, from: MemberId, flush: Flush) -> Result<(), Refusal> {
        // All receive it at the same place of the order. A first flush may be from before
        // another process joined; that one's own then brings it back.
        if self.view.heard(from, flush.again && flush.alone, self.me.member) {
            self.changed(&[], &[]);
        }
        if flush.view != self.view.hash() || !self.view.contains(from) {
            return Ok(());
        }
        if self.exchange.is_none() {
            // It has missed that the configuration was formed.
            self.begin_exchange(Again(false));
        }
        if flush.again && from != self.me.member && self.flush_due.is_none() {
            self.flush_anew(Again(false));
        }
        let Some(exchange) = &mut self.exchange else {
            return Ok(());
        };
        let is_first = exchange.flush(from, flush);
        self.exchanged()?;
        // One that begins may be the one that is refused.
        let is_news = is_first && self.formed.label != 0;
        if is_news && flush.digest != self.me.digest {
            tracing::error!(
                daemon = %flush.name, member = %from,
                "refused a daemon with another configuration file: all daemons must have the same \
                 names in the same order"
            );
        } else if is_news && flush.daemon == self.me.daemon && from != self.me.member {
            tracing::error!(member = %from, "refused another daemon with the name of this one");
        }
        Ok(())
    }

    /// Does what follows when a member is not waited for any more.
    fn exchanged(&mut self) -> Result<(), Refusal> {
        let Some(exchange) = &self.exchange else {
            return Ok(());
        };
        if let Some(refusal) = exchange.refusal(self.me.member) {
            return Err(refusal);
        }
        if let Some(agreed) = exchange.agreed() {
            // Others may form it although this daemon does not.
            self.latest = self.latest.max(agreed.configuration().time);
        }
        self.has_consented = false;
        self.outbox.clear_control();
        self.consent();
        Ok(())
    }

    /// Consents to what is agreed, unless it rests on a flush that is to be replaced.
    fn consent(&mut self) {
        let Some(agreed) = self.exchange.as_ref().and_then(Exchange::agreed) else {
            return;
        };
        let own = agreed.daemons.get(&self.me.daemon);
        let is_latest = own.is_some_and(|(_, flush)| flush.change == self.change);
        if self.has_consented || self.flush_due.is_some() || !is_latest {
            return;
        }
        self.has_consented = true;
        if self.side.first() == Some(self.me.daemon) {
            let end = self.end(agreed.delivered(self.me.daemon));
            self.actions.push_back(Action::Bring(end));
        } else {
            wire::state(agreed.label, self.pending.received(), &HashMap::new())
                .into_iter()
                .for_each(|part| self.outbox.push_control(part));
        }
    }

    /// Returns what ends the former configuration: what another daemon of the side has
    /// delivered already, the signal if daemons are lost, and the rest. So the signal is at the
    /// same place for all of the side, even if they heard of the loss at different places.
    fn end(&self, delivered: u64) -> Vec<Action> {
        let waiting = self.pending.waiting().cloned();
        let mut end: Vec<Action> = waiting.map(Action::Apply).collect();
        if !self.gone.is_empty() {
            // The same at all who see the same side, and at no others: who is lost may not know
            // of it. The time is odd, as that of no formed configuration.
            let mut proc_id = Fnv::default();
            proc_id.write(&self.formed.label.to_le_bytes());
            proc_id.write(&self.side.bits().to_le_bytes());
            let time = self.formed.time.wrapping_add(1);
            let transitional = Configuration { proc_id: proc_id.finish() as i32, time };
            let before = delivered.saturating_sub(self.pending.delivered());
            let place = end.len().min(before as usize);
            end.insert(place, Action::Part { gone: self.gone, transitional });
        }
        end
    }

    /// Tells the others the groups of this side, without the members that are lost.
    pub(super) fn bring(&mut self, groups: &HashMap<Name, Group>) {
        if let Some(agreed) = self.exchange.as_ref().and_then(Exchange::agreed) {
            let parts = wire::state(agreed.label, self.pending.received(), groups);
            parts.into_iter().for_each(|part| self.outbox.push_control(part));
        }
    }

    /// Begins the next configuration, if all have consented to it.
    fn form(&mut self) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        let Some(agreed) = exchange.take_formed() else {
            let agreed = exchange.agreed();
            let apart = agreed.map(|agreed| agreed.apart(self.me.daemon)).unwrap_or_default();
            let apart = apart.common(self.side);
            if !apart.is_empty() {
                tracing::warn!("daemons have missed events of each other, and part");
                self.lose(apart);
                self.flush_anew(Again(false));
            }
            return;
        };
        self.exchange = None;
        // Everyone has come as far as to consent, and so has all of it.
        let end = self.end(agreed.delivered(self.me.daemon));
        self.actions.extend(end);
        let configuration = agreed.configuration();
        let daemons = agreed.daemons.iter();
        self.count += 1;
        self.formed = Formed {
            label: agreed.label,
            time: configuration.time,
            daemons: daemons.map(|(daemon, (member, _))| (*member, *daemon)).collect(),
        };
        self.gone = DaemonSet::default();
        self.side = agreed.daemons.keys().copied().collect();
        self.pending = Pending::new(self.side);
        let sides = agreed.into_sides();
        let mine = sides.iter().position(|(side, _)| side.contains(self.me.daemon));
        self.actions.push_back(Action::Form {
            configuration,
            sides: sides.into_iter().map(|(_, groups)| groups).collect(),
            mine: mine.unwrap_or_default(),
        });
    }
}

#[cfg(test)]
mod fabric;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
