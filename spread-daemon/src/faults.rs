//! What a test does to the daemons of a cluster and to its clients.

use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Events, Interest, Token};
use spread_wire::Name;

use crate::cluster::{DaemonId, DaemonSet};
use crate::connection::Connection;
use crate::error::ClusterError;
use crate::gate::Gate;
use crate::listener::Door;
use crate::server::Server;

/// Turns that [`Server::catch_up`] takes at most, because a client may send
/// without end.
const TURNS: usize = 1000;

impl Server {
    /// Does whatever clients have asked for up to now.
    pub(crate) fn catch_up(&mut self) {
        let mut events = Events::with_capacity(1024);
        for _ in 0..TURNS {
            match self.poll.poll(&mut events, Some(Duration::ZERO)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return,
                Ok(()) => {}
            }
            if events.is_empty() && !self.is_busy() {
                return;
            }
            self.turn(&events);
        }
    }

    /// The daemon of a name.
    pub(crate) fn daemon(&self, name: &str) -> Result<DaemonId, ClusterError> {
        let daemon = self.cluster.daemon(name);
        daemon.ok_or_else(|| ClusterError::NoSuchDaemon { name: name.to_owned() })
    }

    pub(crate) fn partition(&mut self, parts: Vec<DaemonSet>) {
        tracing::info!(?parts, "the daemons part");
        self.cluster.partition(parts, now(), &mut self.connections);
        self.after_change();
    }

    pub(crate) fn crash(&mut self, name: &str) -> Result<(), ClusterError> {
        let daemon = self.daemon(name)?;
        if !self.cluster.is_up(daemon) {
            return Err(ClusterError::Down { name: name.to_owned() });
        }
        let of_daemon = |(key, connection): (usize, &Connection)| {
            (connection.door == Door::Clients(daemon)).then_some(key)
        };
        let keys: Vec<usize> = self.connections.slab.iter().filter_map(of_daemon).collect();
        self.cluster.crash(daemon, now(), &mut self.connections);
        keys.into_iter().for_each(|key| self.drop_connection(key));
        for place in self.doors_of(daemon) {
            self.listeners[place].suspend(self.poll.registry());
            self.to_accept.retain(|waiting| *waiting != place);
        }
        self.after_change();
        Ok(())
    }

    pub(crate) fn restart(&mut self, name: &str) -> Result<(), ClusterError> {
        let daemon = self.daemon(name)?;
        if self.cluster.is_up(daemon) {
            return Err(ClusterError::Up { name: name.to_owned() });
        }
        for place in self.doors_of(daemon) {
            let listener = &mut self.listeners[place];
            listener
                .resume()
                .and_then(|()| {
                    let registry = self.poll.registry();
                    registry.register(listener, Token(place), Interest::READABLE)
                })
                .map_err(|source| ClusterError::Io { name: name.to_owned(), source })?;
        }
        self.cluster.restart(daemon, now(), &mut self.connections);
        self.after_change();
        Ok(())
    }

    /// Has deliveries to a client wait: for a time, or until the gate is opened.
    pub(crate) fn gate(
        &mut self,
        client: &str,
        delay: Option<Duration>,
    ) -> Result<(), ClusterError> {
        let key = self.client(client)?;
        if let Some(connection) = self.connections.slab.get_mut(key) {
            connection.gate.get_or_insert_default().set(delay);
            self.gated.push(key);
        }
        Ok(())
    }

    pub(crate) fn open_gate(&mut self, client: &str) -> Result<(), ClusterError> {
        let key = self.client(client)?;
        self.connections.open_gate(key);
        Ok(())
    }

    /// Lets pass what has waited long enough.
    pub(crate) fn pass_gates(&mut self) {
        if self.gated.is_empty() {
            return;
        }
        let now = Instant::now();
        let slab = &self.connections.slab;
        self.gated.retain(|key| slab.get(*key).is_some_and(|c| c.gate.is_some()));
        self.gated.sort_unstable();
        self.gated.dedup();
        for place in 0..self.gated.len() {
            self.connections.pass(self.gated[place], now);
        }
    }

    /// When something may pass a gate.
    pub(crate) fn next_pass(&self) -> Option<Instant> {
        let gates =
            self.gated.iter().filter_map(|key| self.connections.slab.get(*key)?.gate.as_ref());
        gates.filter_map(Gate::next_due).min()
    }

    fn client(&self, private_group: &str) -> Result<usize, ClusterError> {
        let name = Name::new(private_group).ok();
        let session = name.and_then(|name| self.cluster.session_of(name));
        session
            .map(|session| session.0)
            .ok_or_else(|| ClusterError::NoSuchClient { name: private_group.to_owned() })
    }

    fn doors_of(&self, daemon: DaemonId) -> Vec<usize> {
        let is_of = |place: &usize| self.listeners[*place].door == Door::Clients(daemon);
        (0..self.listeners.len()).filter(is_of).collect()
    }

    /// Closes whom the change has crowded; nobody is to be paused for it.
    fn after_change(&mut self) {
        self.connections.take_crowded();
        self.close();
    }
}

/// Seconds as they stand in the ids of views.
pub(crate) fn now() -> i32 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i32
}
