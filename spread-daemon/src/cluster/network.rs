//! Daemons part, come together, crash and start again; links between them are
//! held and released.
//!
//! A configuration ends in the way of extended virtual synchrony. Those who stay
//! together first tell each other what only some of them had received; deliver
//! what they can as if nothing had happened; signal the end of the views of the
//! groups that lose members; deliver what is left; and form a configuration with
//! those who come from elsewhere, in which the groups that changed get new views.

use super::component::{Component, Event};
use super::replica::{Configuration, Replica};
use super::{DaemonId, DaemonSet, Deliver, SessionId, State};

impl State {
    /// Parts the daemons: those of each part see only each other. Parts that already do,
    /// and are the same as before, do not notice. `now` is in seconds.
    pub(crate) fn partition(&mut self, parts: Vec<DaemonSet>, now: i32, out: &mut impl Deliver) {
        self.network = parts;
        self.reconfigure(now, out);
    }

    /// Ends a daemon; returns its sessions, of which nothing is known any more.
    pub(crate) fn crash(
        &mut self,
        daemon: DaemonId,
        now: i32,
        out: &mut impl Deliver,
    ) -> Vec<SessionId> {
        let of_daemon =
            |session: &Option<super::Session>| session.as_ref().is_some_and(|s| s.daemon == daemon);
        let lost: Vec<SessionId> = (0..self.sessions.len())
            .map(SessionId)
            .filter(|id| of_daemon(&self.sessions[id.0]))
            .collect();
        for id in &lost {
            if let Some(session) = self.sessions[id.0].take() {
                self.by_name.remove(&session.private_group);
            }
        }
        self.daemons[daemon.0].up = false;
        self.reconfigure(now, out);
        lost
    }

    /// Starts a daemon again after a crash.
    pub(crate) fn restart(&mut self, daemon: DaemonId, now: i32, out: &mut impl Deliver) {
        self.daemons[daemon.0].up = true;
        self.reconfigure(now, out);
    }

    /// Returns whether a daemon has not crashed.
    pub(crate) fn is_up(&self, daemon: DaemonId) -> bool {
        self.daemons[daemon.0].up
    }

    /// Holds the messages from one daemon to another.
    pub(crate) fn hold(&mut self, from: DaemonId, to: DaemonId) {
        if from != to {
            self.held.insert((from, to));
        }
    }

    /// Hands over the messages that are held, and holds no more.
    pub(crate) fn release(&mut self, from: DaemonId, to: DaemonId, out: &mut impl Deliver) {
        self.held.remove(&(from, to));
        for place in 0..self.components.len() {
            self.components[place].flush(&self.held);
            self.advance(place, out);
        }
    }

    /// Returns all daemons.
    pub(crate) fn all(&self) -> DaemonSet {
        (0..self.daemons.len()).map(DaemonId).collect()
    }

    /// Ends the components that are no longer, and begins those that are now.
    fn reconfigure(&mut self, now: i32, out: &mut impl Deliver) {
        self.route.forget();
        let up = self.all().iter().filter(|&daemon| self.is_up(daemon)).collect();
        let parts = self.network.iter().map(|part| part.common(up));
        let parts: Vec<DaemonSet> = parts.filter(|part| !part.is_empty()).collect();
        // Each configuration has a time of its own, also within a second.
        let transitional = self.tick(now);
        let regular = self.tick(now);
        let (kept, mut ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.components)
            .into_iter()
            .partition(|component| parts.contains(&component.daemons));
        let is_kept = |part: &DaemonSet| kept.iter().any(|component| component.daemons == *part);
        let begun: Vec<DaemonSet> = parts.into_iter().filter(|part| !is_kept(part)).collect();
        self.components = kept;
        for daemons in begun {
            let sides = self.end(&mut ended, daemons, transitional, out);
            self.form(daemons, &sides, regular, out);
            self.components.push(Component::new(daemons));
        }
        for (place, component) in self.components.iter().enumerate() {
            component.daemons.iter().for_each(|d| self.daemons[d.0].component = place);
        }
        for daemon in self.all().without(up).iter() {
            self.daemons[daemon.0].replica = Replica::default();
        }
    }

    /// Ends the former components of the daemons of a new one; returns the daemons that
    /// come together from each.
    fn end(
        &mut self,
        ended: &mut [Component],
        daemons: DaemonSet,
        time: i32,
        out: &mut impl Deliver,
    ) -> Vec<DaemonSet> {
        let mut sides = Vec::new();
        let mut fresh = daemons;
        for former in ended {
            let together = former.daemons.common(daemons);
            if !together.is_empty() {
                self.recover(former, together, time, out);
                sides.push(together);
                fresh = fresh.without(together);
            }
        }
        sides.extend(fresh.iter().map(DaemonSet::of));
        sides
    }

    /// Delivers the rest of a former component at the daemons that stay together, with
    /// the signal in its place.
    fn recover(
        &mut self,
        former: &Component,
        together: DaemonSet,
        time: i32,
        out: &mut impl Deliver,
    ) {
        let gone = former.daemons.without(together);
        let signal = former.before(together);
        let before = |from| former.between(from, signal).cloned().collect();
        let after = former.after(signal, together);
        let transitional = self.configuration(together, time);
        for daemon in together.iter() {
            let events: Vec<Event> = before(self.daemons[daemon.0].applied);
            events.iter().for_each(|event| self.apply(daemon, event, out));
            if !gone.is_empty() {
                self.daemons[daemon.0].replica.part(gone, transitional, out);
            }
            after.iter().for_each(|event| self.apply(daemon, event, out));
        }
    }

    /// Begins a configuration.
    fn form(&mut self, daemons: DaemonSet, sides: &[DaemonSet], time: i32, out: &mut impl Deliver) {
        let configuration = self.configuration(daemons, time);
        let mut brought = Vec::new();
        for side in sides {
            let first = side.first().map(|daemon| &self.daemons[daemon.0].replica);
            brought.extend(first.map(Replica::remaining));
        }
        for (mine, side) in sides.iter().enumerate() {
            for daemon in side.iter() {
                self.daemons[daemon.0].replica.form(configuration, &brought, mine, out);
                self.daemons[daemon.0].applied = 0;
            }
        }
    }

    fn configuration(&self, daemons: DaemonSet, time: i32) -> Configuration {
        let leader = daemons.first().map(|daemon| self.daemons[daemon.0].proc_id);
        Configuration { proc_id: leader.unwrap_or_default(), time }
    }

    fn tick(&mut self, now: i32) -> i32 {
        self.time = now.max(self.time.wrapping_add(1));
        self.time
    }
}
