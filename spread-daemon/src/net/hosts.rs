//! The daemons of other hosts: what is between their group communication and the state
//! of this daemon.

use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::Name;

use super::connection::ConnectionId;
use super::connections::Connections;
use super::identity::unix_time;
use super::sessions::Sessions;
use crate::admin::status::HostsStatus;
use crate::cluster::{
    Awaited, DaemonId, DaemonSet, Identity, MemberId, Refusal, Remote, State, Told, digest,
};

/// Events taken of the group before the clients have their turn.
const TURN: usize = 64;

/// How long to wait for room in the group; no event tells of it.
const ROOM: Duration = Duration::from_millis(2);

/// Interval of the attempts to join a group again, and of the repetitions while a
/// configuration is formed.
const SECOND: Duration = Duration::from_secs(1);

/// Any error of a group communication.
pub(crate) type GroupError = Box<dyn Error + Send + Sync>;

/// A group communication that gives the messages of all its members one order.
pub(crate) trait Channel: fmt::Debug + Send {
    /// Returns the descriptor that is readable when there is something to take.
    fn fd(&self) -> RawFd;

    /// Returns this process as the others see it.
    fn member(&self) -> MemberId;

    /// Returns what the group delivers next, if there is something.
    fn take(&mut self) -> Result<Option<Told>, GroupError>;

    /// Sends a message to all members; returns whether there was room.
    fn send(&mut self, message: &[u8]) -> Result<bool, GroupError>;
}

/// Joins the group.
pub(crate) type Join = dyn Fn() -> Result<Box<dyn Channel>, GroupError> + Send + Sync;

/// The daemons of several hosts, and how this one joins them.
#[derive(Clone)]
pub(crate) struct Membership {
    /// All daemons, in the order of the configuration.
    pub(crate) names: Vec<String>,
    pub(crate) join: Arc<Join>,
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The daemon's place among those of other hosts.
#[derive(Debug)]
pub(crate) struct Hosts {
    membership: Membership,
    daemon: DaemonId,
    /// `None` while the group communication is gone.
    channel: Option<Box<dyn Channel>>,
    /// A time above those in the ids of all views so far.
    time: i32,
    /// More can be taken, though no event will say so.
    has_more: bool,
    /// Why there is no channel.
    error: Option<String>,
    /// The configuration that the log has told of last.
    logged: u64,
    /// When to send again, because there was no room.
    send_at: Option<Instant>,
    /// When to join again.
    join_at: Option<Instant>,
    /// When to repeat what a configuration in the making may lack.
    repeat_at: Option<Instant>,
    /// A client that is behind with what the others send, and until when to wait for it.
    behind: Option<(ConnectionId, Instant)>,
    /// Configurations formed before the daemon joined again.
    formed: u64,
    /// Sends for which there was no room.
    full: u64,
    /// How often the daemon has joined again.
    rejoined: u64,
}

/// Why the daemon is no longer with the others.
#[derive(Debug)]
pub(crate) enum Parted {
    /// The group communication has failed.
    Gone(GroupError),
    /// The others cannot have it.
    Refused(Refused),
}

/// Why the daemons of other hosts cannot have this one.
#[derive(Debug, thiserror::Error)]
#[error("refused by the daemons of the other hosts: {refusal} (here: {names})")]
pub(crate) struct Refused {
    refusal: Refusal,
    /// The daemons of this one's configuration file.
    names: String,
}

impl Hosts {
    /// Joins the others as this daemon.
    ///
    /// # Errors
    ///
    /// The error with which the group cannot be joined.
    pub(crate) fn join(
        membership: Membership,
        daemon: DaemonId,
        cluster: &mut State,
    ) -> Result<Hosts, GroupError> {
        let channel = (membership.join)()?;
        let mut hosts = Hosts {
            membership,
            daemon,
            channel: None,
            time: unix_time(),
            has_more: false,
            error: None,
            logged: 0,
            send_at: None,
            join_at: None,
            repeat_at: None,
            behind: None,
            formed: 0,
            full: 0,
            rejoined: 0,
        };
        hosts.join_over(channel, cluster)?;
        Ok(hosts)
    }

    /// Returns the function that joins the group again, which may take seconds. The caller
    /// passes on what it returns: to [`Hosts::join_again`] or to [`Hosts::join_later`].
    pub(crate) fn begin_to_join(&mut self) -> Arc<Join> {
        self.join_at = None;
        Arc::clone(&self.membership.join)
    }

    /// Joins the others again over a new channel, after this daemon has left them.
    ///
    /// # Errors
    ///
    /// Those of the channel.
    pub(crate) fn join_again(
        &mut self,
        channel: Box<dyn Channel>,
        cluster: &mut State,
    ) -> Result<(), GroupError> {
        self.join_over(channel, cluster)?;
        self.rejoined += 1;
        Ok(())
    }

    /// Joins the others with an empty state.
    fn join_over(
        &mut self,
        channel: Box<dyn Channel>,
        cluster: &mut State,
    ) -> Result<(), GroupError> {
        let names: Vec<&str> = self.membership.names.iter().map(String::as_str).collect();
        let incarnation = RandomState::new().build_hasher().finish();
        let identity = Identity {
            daemon: self.daemon,
            name: Name::new(names[self.daemon.0])?,
            member: channel.member(),
            digest: digest(&names),
            all: (0..names.len()).map(DaemonId).collect(),
            incarnation,
            proc_id: incarnation as i32,
            time: self.time.max(unix_time()),
        };
        cluster.join(Remote::new(identity));
        self.channel = Some(channel);
        self.error = None;
        self.logged = 0;
        self.has_more = true;
        Ok(())
    }

    /// Returns what the status tells of the others.
    pub(crate) fn status(&self, cluster: &State) -> HostsStatus {
        let presence = cluster.presence();
        let name = |daemon: DaemonId| self.membership.names[daemon.0].clone();
        let names = |daemons: DaemonSet| daemons.iter().map(name).collect();
        let here = presence.present.union(DaemonSet::of(self.daemon));
        let awaited = cluster.remote().map(Remote::awaited).unwrap_or_default();
        let awaited = awaited.into_iter().map(|awaited| match awaited {
            Awaited::Daemon(daemon) => name(daemon),
            Awaited::Process(member) => member.to_string(),
        });
        HostsStatus {
            present: names(presence.present),
            absent: names(cluster.all().without(here)),
            reason: self.reason(cluster),
            waits_for: awaited.collect(),
            configuration: presence.configuration,
            forming: presence.forming,
            outbox_bytes: presence.unsent,
            safe_lag: presence.safe_lag,
            configurations: self.formed + presence.formed,
            full: self.full,
            rejoined: self.rejoined,
        }
    }

    /// Returns why this daemon is in no configuration, if so.
    pub(crate) fn reason(&self, cluster: &State) -> Option<String> {
        match cluster.remote() {
            Some(remote) if remote.configuration() != 0 => None,
            Some(_) => Some("the first one is being formed".to_owned()),
            None => {
                let error = self.error.as_deref();
                Some(error.unwrap_or("the other hosts are being joined").to_owned())
            }
        }
    }

    /// Returns what the log is to tell of the configuration, if it is another one than before.
    fn newly_formed(&mut self, cluster: &State) -> Option<HostsStatus> {
        let formed = cluster.remote().map(Remote::configuration).unwrap_or_default();
        if formed == 0 || formed == self.logged {
            return None;
        }
        self.logged = formed;
        Some(self.status(cluster))
    }

    /// Returns the descriptor of the group, unless it is gone.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.channel.as_deref().map(Channel::fd)
    }

    /// Notes that there is something to take.
    pub(crate) fn note(&mut self) {
        self.has_more = true;
    }

    /// Returns whether clients are to be read: not while what they have sent cannot go on.
    pub(crate) fn takes_requests(cluster: &State) -> bool {
        cluster.remote().is_none_or(|remote| !remote.is_full())
    }

    /// Takes what the group has delivered, and sends what is to be sent.
    ///
    /// # Errors
    ///
    /// [`Parted`] if this daemon is no longer with the others; the caller closes its
    /// sessions.
    pub(crate) fn exchange(&mut self, sessions: &mut Sessions) -> Result<(), Parted> {
        let now = Instant::now();
        let Sessions { cluster, connections, .. } = sessions;
        if self.behind.is_some_and(|(receiver, until)| is_behind(connections, receiver, until, now))
        {
            // Its queue would only grow.
            return self.send(cluster, now);
        }
        self.behind = None;
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat_at = None;
            cluster.repeat(connections);
        }
        for _ in 0..TURN {
            if !self.has_more || self.behind.is_some() {
                break;
            }
            self.take(cluster, connections)?;
        }
        self.send(cluster, now)?;
        let is_forming = cluster.remote().is_some_and(Remote::is_forming);
        match is_forming {
            true => drop(self.repeat_at.get_or_insert(now + SECOND)),
            false => self.repeat_at = None,
        }
        Ok(())
    }

    fn take(&mut self, cluster: &mut State, connections: &mut Connections) -> Result<(), Parted> {
        let Some(channel) = &mut self.channel else {
            self.has_more = false;
            return Ok(());
        };
        let Some(told) = channel.take().map_err(Parted::Gone)? else {
            self.has_more = false;
            return Ok(());
        };
        if let Err(refusal) = cluster.told(told, connections) {
            let names = self.membership.names.join(" ");
            return Err(Parted::Refused(Refused { refusal, names }));
        }
        if let Some(status) = self.newly_formed(cluster) {
            match status.absent.is_empty() {
                true => tracing::info!("{}", status.formed()),
                false => tracing::warn!("{}", status.formed()),
            }
        }
        if let Some((key, until)) = connections.take_behind()
            && let Some(receiver) = connections.id(key)
        {
            // The sender is elsewhere: nobody can be paused for long.
            let until = until.unwrap_or_else(|| Instant::now() + SECOND);
            self.behind = Some((receiver, until));
        }
        Ok(())
    }

    fn send(&mut self, cluster: &mut State, now: Instant) -> Result<(), Parted> {
        self.send_at = None;
        let (Some(channel), Some(remote)) = (&mut self.channel, cluster.remote_mut()) else {
            return Ok(());
        };
        let mut has_room = true;
        let send = |packet: &[u8]| {
            has_room = channel.send(packet)?;
            Ok(has_room)
        };
        remote.transmit(unix_time(), send).map_err(Parted::Gone)?;
        if !has_room {
            self.full += 1;
            self.send_at = Some(now + ROOM);
        }
        Ok(())
    }

    /// Leaves the others for this reason, and joins them again in a second.
    pub(crate) fn leave(&mut self, reason: String, cluster: &mut State) {
        if let Some(remote) = cluster.remote() {
            self.time = remote.next_time();
        }
        self.formed += cluster.presence().formed;
        cluster.part_from_others();
        self.channel = None;
        self.has_more = false;
        self.send_at = None;
        self.repeat_at = None;
        self.behind = None;
        self.join_later(reason);
    }

    /// Joins the others again in a second; this is why not at once.
    pub(crate) fn join_later(&mut self, reason: String) {
        self.error = Some(reason);
        self.join_at = Some(Instant::now() + SECOND);
    }

    /// Returns whether the time has come to join the others again.
    pub(crate) fn is_to_join(&self, now: Instant) -> bool {
        self.join_at.is_some_and(|at| at <= now)
    }

    /// Returns whether [`Hosts::exchange`] has something to do at once.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more && self.behind.is_none()
    }

    /// Returns when to go on even if no event comes until then.
    pub(crate) fn next_time(&self) -> Option<Instant> {
        // What is to be repeated waits for the client that is behind.
        let go_on_at = self.behind.map_or(self.repeat_at, |(_, until)| Some(until));
        [self.send_at, self.join_at, go_on_at].into_iter().flatten().min()
    }
}

/// Returns whether a client has not caught up yet and has time left to.
fn is_behind(
    connections: &mut Connections,
    receiver: ConnectionId,
    until: Instant,
    now: Instant,
) -> bool {
    let receiver = connections.find(receiver);
    now < until && receiver.is_some_and(|receiver| receiver.congestion.is_behind())
}

#[cfg(test)]
mod tests;
