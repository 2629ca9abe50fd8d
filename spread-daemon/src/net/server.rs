//! Connections in their phases: the way to a session, the session, an inspection.

use std::collections::VecDeque;
use std::io::Write;
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use spread_wire::ErrorCode;

use super::connection::{Connection, ConnectionId, Phase};
use super::hosts::Hosts;
use super::incoming::Origin;
use super::listener::Door;
use super::sessions::Sessions;
use super::stream::Stream;
use super::verifier::{Checked, Verifier};
use crate::admin::rate::Growth;
use crate::cluster::{DaemonId, SessionId, State};
use crate::session::access::{Access, ClientInfo, Policy};
use crate::session::authentication::{Authentication, Checking};
use crate::session::handshake::{Action, Applicant, Handshake, shown};
use crate::session::login::Login;
use crate::settings::Settings;

/// Connections without a session: those on their way to one, those that were rejected,
/// and those that ask how the daemon is. One more, and the oldest is closed.
const PENDING: usize = 1024;

/// Everything that is served, without the poller.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) sessions: Sessions,
    /// The daemons of other hosts, if there are such.
    pub(crate) hosts: Option<Hosts>,
    authentication: Arc<Authentication>,
    policy: Option<Policy>,
    verifier: Verifier,
    /// Sessions that may be open.
    pub(super) max_sessions: usize,
    /// Sessions that are open.
    pub(super) open: usize,
    /// How long a connection may stay without a session.
    patience: Duration,
    /// Connections without a session, the oldest first, and maybe some that have one
    /// or were closed; each with its time, if a clock can show it.
    pending: VecDeque<(Option<Instant>, ConnectionId)>,
    pub(super) started: Instant,
    /// The same as Unix time in seconds.
    pub(super) started_at: u64,
    pub(super) growth: Growth,
    /// When the certificate expires that the program has for TLS, as Unix time in seconds.
    pub(crate) certificate_expiry: Option<u64>,
    /// Whether nothing is read any more, and the end comes when what is queued has gone out.
    pub(super) drains: bool,
}

impl Server {
    pub(crate) fn new(
        cluster: State,
        hosts: Option<Hosts>,
        settings: &Settings,
        verifier: Verifier,
    ) -> Server {
        let now = Instant::now();
        Server {
            sessions: Sessions::new(cluster, settings),
            hosts,
            authentication: Arc::new(settings.authentication.clone()),
            policy: settings.policy.clone(),
            verifier,
            max_sessions: settings.sessions,
            open: 0,
            patience: settings.handshake,
            pending: VecDeque::new(),
            started: now,
            // Before 1970 there were no clocks of this kind.
            started_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs()),
            growth: Growth::new(now),
            certificate_expiry: None,
            drains: false,
        }
    }

    /// Takes over settings; sessions that are open stay, also those that could not be opened
    /// with them, and clients that are on their way to one go on as they began, but have no
    /// more time left than the new settings give.
    pub(crate) fn reload(&mut self, settings: &Settings) {
        self.authentication = Arc::new(settings.authentication.clone());
        self.policy = settings.policy.clone();
        self.max_sessions = settings.sessions;
        self.patience = settings.handshake;
        if let Some(latest) = Instant::now().checked_add(self.patience) {
            for (deadline, _) in &mut self.pending {
                *deadline = Some(deadline.map_or(latest, |deadline| deadline.min(latest)));
            }
        }
        self.sessions.reload(settings);
    }

    /// Adds a connection for a stream. The connection that has been without a session
    /// for longest is closed if there are too many of them.
    pub(crate) fn admit(&mut self, stream: Stream, door: Door, origin: Origin) {
        if let Door::Clients(daemon) = door
            && !self.sessions.cluster.is_up(daemon)
        {
            // As if nobody listened: the daemon is not with the others.
            return;
        }
        let without_session = self.sessions.connections.len() - self.open;
        if without_session >= PENDING && !self.close_oldest_pending() {
            return self.refuse(stream, origin.address);
        }
        if self.pending.len() >= 2 * PENDING {
            self.forget_settled();
        }
        let phase = match door {
            Door::Clients(_) => {
                let authentication = Arc::clone(&self.authentication);
                Phase::Handshake(Box::new(match &origin.user {
                    None => Handshake::new(authentication),
                    Some(user) => Handshake::of_user(&authentication, user.clone()),
                }))
            }
            Door::Inspection(inspection) => Phase::Inspection(inspection),
        };
        let connections = &mut self.sessions.connections;
        let serial = connections.next_serial();
        let id = connections.insert(Connection::new(stream, phase, door, origin, serial));
        self.pending.push_back((Instant::now().checked_add(self.patience), id));
        if matches!(door, Door::Clients(_)) && self.open >= self.max_sessions {
            self.reject_full(id.key);
        }
    }

    /// Counts a client that has been rejected.
    pub(crate) fn count_rejected(&mut self) {
        self.sessions.connections.totals.rejected += 1;
    }

    /// Rejects a client for which there is no connection.
    pub(crate) fn refuse(&mut self, mut stream: Stream, address: Option<SocketAddr>) {
        let address = shown(address);
        tracing::debug!(%address, "rejected a client: there is no room for its connection");
        self.count_rejected();
        // It may get lost, but there is no room to wait for the client.
        let _ = stream.write(&[ErrorCode::RejectQuota.byte()]);
    }

    /// Closes the connection that has been without a session for longest, unless its
    /// password is being checked; tells whether there was one.
    pub(crate) fn close_oldest_pending(&mut self) -> bool {
        self.forget_settled();
        let connections = &self.sessions.connections;
        let can_close = |(_, id): &&(Option<Instant>, ConnectionId)| {
            let is_checked = |c: &Connection| c.to_close || matches!(c.phase, Phase::Checking(_));
            connections.get(id.key).is_some_and(|c| !is_checked(c))
        };
        let Some((_, ConnectionId { key, .. })) = self.pending.iter().find(can_close).copied()
        else {
            return false;
        };
        tracing::debug!(key, "closed: others need the room of a connection without a session");
        self.sessions.connections.close_later(key);
        true
    }

    /// Takes those that have a session or were closed off the list.
    fn forget_settled(&mut self) {
        let connections = &mut self.sessions.connections;
        self.pending.retain(|(_, id)| connections.find(*id).is_some_and(|c| !c.has_session()));
    }

    /// Closes the connections that have been without a session for too long.
    pub(crate) fn close_late(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.pending.front().copied() {
            let phase = self.sessions.connections.find(id).map(|connection| &connection.phase);
            let is_client = matches!(phase, Some(Phase::Handshake(_)));
            // A client gets a new deadline after the check of its password.
            let is_waiting =
                is_client || matches!(phase, Some(Phase::Inspection(_) | Phase::Answered));
            if is_waiting && deadline.is_none_or(|deadline| now < deadline) {
                return;
            }
            self.pending.pop_front();
            // A daemon that drains does not read handshakes: the client is not to blame.
            if is_client && !self.drains {
                let address = self.address(id.key);
                tracing::warn!(%address, "rejected a client: its handshake takes too long");
                self.count_rejected();
            }
            if is_waiting {
                self.sessions.connections.close_later(id.key);
            }
        }
    }

    /// Returns when the next connection has been without a session for too long.
    pub(crate) fn next_late(&self) -> Option<Instant> {
        self.pending.front().and_then(|(deadline, _)| *deadline)
    }

    /// Handles what has just been read from a connection.
    pub(crate) fn take_in(&mut self, key: usize, came: &[u8]) {
        let Some(connection) = self.sessions.connections.get_mut(key) else {
            return;
        };
        match connection.phase {
            Phase::Session => self.sessions.take_in(key, came),
            Phase::Answered => {}
            _ => {
                connection.input.extend_from_slice(came);
                self.serve(key);
            }
        }
    }

    /// Handles the kept input of a connection.
    pub(crate) fn serve(&mut self, key: usize) {
        let Some(connection) = self.sessions.connections.get_mut(key) else {
            return;
        };
        match connection.phase {
            Phase::Handshake(_) => self.shake_hands(key),
            Phase::Checking(_) => {}
            Phase::Session => self.sessions.serve(key),
            Phase::Inspection(_) => self.inspect(key),
            Phase::Answered => connection.input.clear(),
        }
    }

    /// Returns whether a connection is to be read: not while its input could only grow.
    pub(crate) fn is_read(&self, key: usize) -> bool {
        let connection = self.sessions.connections.get(key);
        connection.is_some_and(|connection| {
            !connection.paused
                && !connection.to_close
                && !matches!(connection.phase, Phase::Checking(_))
        })
    }

    /// Closes a connection whose client has gone while its password waits to be checked.
    pub(crate) fn close_if_gone(&mut self, key: usize) {
        let connection = self.sessions.connections.get(key);
        if connection.is_some_and(|c| c.hung_up && matches!(c.phase, Phase::Checking(_))) {
            self.sessions.connections.close_later(key);
        }
    }

    /// Closes a connection whose client has closed its side. A client that does so when it was
    /// told the authentication methods has none of them, and counts as rejected.
    pub(crate) fn end_of_input(&mut self, key: usize) {
        let connections = &mut self.sessions.connections;
        if let Some(connection) = connections.get(key)
            && let Phase::Handshake(handshake) = &connection.phase
            && handshake.is_undecided()
            && connection.input.is_empty()
        {
            let (address, permitted) = (shown(connection.address), handshake.permitted());
            tracing::warn!(
                %address,
                "rejected a client: it left when told the authentication methods: {permitted}"
            );
            connections.totals.rejected += 1;
        }
        connections.close_later(key);
    }

    /// Goes on with a handshake as far as the bytes that came allow.
    fn shake_hands(&mut self, key: usize) {
        while let Some(connection) = self.sessions.connections.get_mut(key)
            && let Phase::Handshake(handshake) = &mut connection.phase
        {
            let Connection { input, address, door, .. } = connection;
            match handshake.advance(input, *address) {
                Action::Receive => return,
                Action::Greet(name) => {
                    let cluster = &self.sessions.cluster;
                    if name.is_some_and(|name| !cluster.is_free(daemon_of(*door), name)) {
                        return self.reject(key, ErrorCode::RejectNotUnique);
                    }
                    let greeting = handshake.greet();
                    self.sessions.connections.send(key, &greeting);
                }
                Action::Check(login) => return self.check(key, login),
                Action::Admit(applicant) => return self.establish(key, applicant),
                Action::Reject(code) => return self.reject(key, code),
            }
        }
    }

    /// Checks a password, at once or in another thread, after which [`Server::checked`] goes on
    /// with the handshake.
    fn check(&mut self, key: usize, login: Login) {
        let Some(id) = self.sessions.connections.id(key) else {
            return;
        };
        let Some(connection) = self.sessions.connections.get_mut(key) else {
            return;
        };
        let Phase::Handshake(handshake) = &connection.phase else {
            return;
        };
        let check = match handshake.check(&login) {
            None => return self.reject(key, ErrorCode::RejectAuth),
            Some(Checking::Done(is_right)) => return self.judge(key, login.user, is_right),
            Some(Checking::Slow(check)) => check,
        };
        if let Phase::Handshake(handshake) = mem::replace(&mut connection.phase, Phase::Answered) {
            connection.phase = Phase::Checking(handshake);
        }
        let address = connection.address.map(|address| address.ip());
        if let Some(lost) = self.verifier.submit(id, address, login, check)
            && self.sessions.connections.find(lost).is_some()
        {
            self.renew(lost);
            let address = self.address(lost.key);
            tracing::warn!(%address, "rejected a client: too many passwords wait to be checked");
            // A client reads the code only behind a byte that ends the method PWORD
            // well; the code is what counts.
            self.sessions.connections.send(lost.key, &[1]);
            self.reject(lost.key, ErrorCode::RejectQuota);
            self.sessions.connections.read_later(lost.key);
        }
    }

    /// Goes on with a handshake after a password was checked.
    pub(crate) fn checked(&mut self, checked: Checked) {
        let Checked { id, user, is_right } = checked;
        self.verifier.go_on();
        let Some(connection) = self.sessions.connections.find(id) else {
            return;
        };
        match mem::replace(&mut connection.phase, Phase::Answered) {
            Phase::Checking(handshake) => connection.phase = Phase::Handshake(handshake),
            other => return connection.phase = other,
        }
        self.renew(id);
        self.judge(id.key, user, is_right);
        self.sessions.connections.read_later(id.key);
    }

    /// Begins the time of a connection anew, because waiting for a check does not count.
    fn renew(&mut self, id: ConnectionId) {
        self.pending.retain(|(_, pending)| *pending != id);
        self.pending.push_back((Instant::now().checked_add(self.patience), id));
    }

    /// Tells a client whether its password was right, and goes on with its handshake.
    fn judge(&mut self, key: usize, user: String, is_right: bool) {
        self.sessions.connections.send(key, &[u8::from(is_right)]);
        if !is_right {
            let address = self.address(key);
            tracing::warn!(%address, user, "rejected a client: unknown user or wrong password");
            return self.reject(key, ErrorCode::RejectAuth);
        }
        if let Some(connection) = self.sessions.connections.get_mut(key)
            && let Phase::Handshake(handshake) = &mut connection.phase
        {
            handshake.pass(user);
        }
        self.shake_hands(key);
    }

    /// Opens a session for a client that has passed all methods, if there is room and
    /// the policy allows it.
    fn establish(&mut self, key: usize, applicant: Applicant) {
        if self.open >= self.max_sessions {
            return self.reject_full(key);
        }
        let Sessions { cluster, connections, .. } = &mut self.sessions;
        let Some(connection) = connections.get_mut(key) else {
            return;
        };
        let Applicant { private_name, membership, user } = applicant;
        let daemon = daemon_of(connection.door);
        let session = SessionId(key);
        let Ok(private_group) = cluster.connect(session, daemon, private_name, membership) else {
            return self.reject(key, ErrorCode::RejectNotUnique);
        };
        let address = connection.address.map(|address| address.ip());
        let client = ClientInfo { private_group, user, address };
        let access = self.policy.as_ref().map(|policy| policy.connect(&client));
        if access == Some(Access::Refused) {
            cluster.disconnect(session, connections);
            return self.reject(key, ErrorCode::RejectAuth);
        }
        let (address, transport) = (shown(connection.address), connection.transport);
        let user = connection.client.insert(client).user.clone();
        let Phase::Handshake(mut handshake) = mem::replace(&mut connection.phase, Phase::Session)
        else {
            return;
        };
        tracing::info!(key, %private_group, %address, transport, user, "a session begins");
        self.open += 1;
        connections.totals.connected += 1;
        connections.send(key, &handshake.accept(private_group));
        self.sessions.serve(key);
    }

    /// Returns the address of a connection as the log shows it.
    fn address(&self, key: usize) -> String {
        shown(self.sessions.connections.get(key).and_then(|connection| connection.address))
    }

    fn reject_full(&mut self, key: usize) {
        let address = self.address(key);
        tracing::warn!(%address, "rejected a client: there are {} sessions", self.open);
        self.reject(key, ErrorCode::RejectQuota);
    }

    /// Rejects a client with an error code.
    fn reject(&mut self, key: usize, code: ErrorCode) {
        tracing::debug!(key, address = %self.address(key), %code, "rejected a client");
        self.count_rejected();
        self.answer(key, &[code.byte()]);
    }

    /// Sends the last bytes that a connection gets. It is closed when the client has
    /// closed its side, or after its time without a session.
    pub(super) fn answer(&mut self, key: usize, bytes: &[u8]) {
        if let Some(connection) = self.sessions.connections.get_mut(key) {
            connection.phase = Phase::Answered;
            connection.input.clear();
            self.sessions.connections.send(key, bytes);
        }
    }

    /// Takes a connection off the list; its session, if it has one, leaves its groups.
    pub(crate) fn close(&mut self, key: usize) -> Option<Connection> {
        let closed = self.sessions.close(key)?;
        self.open -= usize::from(closed.has_session());
        if matches!(closed.phase, Phase::Checking(_)) {
            let connections = &mut self.sessions.connections;
            self.verifier.retain(|id| connections.find(id).is_some());
        }
        tracing::info!(key, client = closed.private_group(), "closed a connection");
        Some(closed)
    }
}

/// Returns the daemon whose clients come in at a door.
fn daemon_of(door: Door) -> DaemonId {
    match door {
        Door::Clients(daemon) => daemon,
        Door::Inspection(_) => DaemonId::FIRST,
    }
}
