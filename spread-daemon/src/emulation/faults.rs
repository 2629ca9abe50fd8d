//! Faults that a test causes in a cluster and at its clients, between two turns
//! of their loop.

use std::time::Duration;

use crate::cluster::{DaemonId, DaemonSet};
use crate::error::ClusterError;
use crate::net::connection::Connection;
use crate::net::event_loop::EventLoop;
use crate::net::identity::unix_time;
use crate::net::listener::Door;

/// Parts the daemons; those that are not named form one more part.
pub(super) fn partition(this: &mut EventLoop, parts: &[Vec<String>]) -> Result<(), ClusterError> {
    let mut rest = this.server.sessions.cluster.all();
    let mut sets = Vec::new();
    for part in parts {
        let mut set = DaemonSet::default();
        for name in part {
            let daemon = daemon(this, name)?;
            if !rest.contains(daemon) {
                return Err(ClusterError::NamedTwice { name: name.clone() });
            }
            rest.remove(daemon);
            set.insert(daemon);
        }
        sets.push(set);
    }
    sets.push(rest);
    part(this, sets);
    Ok(())
}

/// Ends all partitions.
pub(super) fn merge(this: &mut EventLoop) {
    let all = this.server.sessions.cluster.all();
    part(this, vec![all]);
}

fn part(this: &mut EventLoop, parts: Vec<DaemonSet>) {
    tracing::info!(?parts, "the daemons part");
    let sessions = &mut this.server.sessions;
    sessions.cluster.partition(parts, unix_time(), &mut sessions.connections);
    end_change(this);
}

pub(super) fn crash(this: &mut EventLoop, name: &str) -> Result<(), ClusterError> {
    let daemon = daemon(this, name)?;
    let sessions = &mut this.server.sessions;
    if !sessions.cluster.is_up(daemon) {
        return Err(ClusterError::Down { name: name.to_owned() });
    }
    sessions.cluster.crash(daemon, unix_time(), &mut sessions.connections);
    this.close_door(Door::Clients(daemon));
    end_change(this);
    Ok(())
}

pub(super) fn restart(this: &mut EventLoop, name: &str) -> Result<(), ClusterError> {
    let daemon = daemon(this, name)?;
    if this.server.sessions.cluster.is_up(daemon) {
        return Err(ClusterError::Up { name: name.to_owned() });
    }
    this.open_door(Door::Clients(daemon))
        .map_err(|source| ClusterError::Io { name: name.to_owned(), source })?;
    let sessions = &mut this.server.sessions;
    sessions.cluster.restart(daemon, unix_time(), &mut sessions.connections);
    end_change(this);
    Ok(())
}

/// Holds the messages from one daemon to another.
pub(super) fn hold(this: &mut EventLoop, from: &str, to: &str) -> Result<(), ClusterError> {
    let (from, to) = (daemon(this, from)?, daemon(this, to)?);
    this.server.sessions.cluster.hold(from, to);
    Ok(())
}

/// Hands over the messages that are held on a link.
pub(super) fn release(this: &mut EventLoop, from: &str, to: &str) -> Result<(), ClusterError> {
    let (from, to) = (daemon(this, from)?, daemon(this, to)?);
    let sessions = &mut this.server.sessions;
    sessions.cluster.release(from, to, &mut sessions.connections);
    end_change(this);
    Ok(())
}

/// Delays deliveries to a client: for a time, or until [`open_gate`].
pub(super) fn set_gate(
    this: &mut EventLoop,
    client: &str,
    delay: Option<Duration>,
) -> Result<(), ClusterError> {
    let key = key(this, client)?;
    this.server.sessions.set_gate(key, delay);
    Ok(())
}

/// Delivers the messages that are delayed for a client.
pub(super) fn open_gate(this: &mut EventLoop, client: &str) -> Result<(), ClusterError> {
    let key = key(this, client)?;
    this.server.sessions.open_gate(key);
    Ok(())
}

/// Cuts a client's connection in both directions, without an end.
pub(super) fn sever(this: &mut EventLoop, client: &str) -> Result<(), ClusterError> {
    let key = key(this, client)?;
    let connection = this.server.sessions.connections.get_mut(key);
    connection.into_iter().for_each(Connection::sever);
    Ok(())
}

/// Closes a client's connection.
pub(super) fn disconnect(this: &mut EventLoop, client: &str) -> Result<(), ClusterError> {
    let key = key(this, client)?;
    this.server.sessions.connections.close_later(key);
    this.close();
    Ok(())
}

fn daemon(this: &EventLoop, name: &str) -> Result<DaemonId, ClusterError> {
    let daemon = this.server.sessions.cluster.daemon(name);
    daemon.ok_or_else(|| ClusterError::NoSuchDaemon { name: name.to_owned() })
}

fn key(this: &EventLoop, client: &str) -> Result<usize, ClusterError> {
    let key = this.server.sessions.client(client);
    key.ok_or_else(|| ClusterError::NoSuchClient { name: client.to_owned() })
}

/// Closes the clients that the change has overrun; no sender is paused for it.
fn end_change(this: &mut EventLoop) {
    this.server.sessions.connections.take_behind();
    this.close();
}
