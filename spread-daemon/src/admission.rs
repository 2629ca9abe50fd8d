//! How clients get in: taking connections, the handshake, and the quota.

use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use mio::Interest;
use spread_wire::ErrorCode;
use spread_wire::handshake::{ConnectRequest, Daemon as Handshake, DaemonStep};

use crate::access::{Access, ClientInfo};
use crate::authentication::Step;
use crate::cluster::{DaemonId, NotUnique, SessionId};
use crate::connection::{Connection, Phase};
use crate::listener::Door;
use crate::passwords::{PASSWORD_LEN, USER_LEN};
use crate::server::Server;
use crate::stream::Stream;
use crate::verifier::Claim;

/// Connections taken from one listener before the clients have their turn.
const ACCEPTS: usize = 64;

/// Connections beyond the limit of sessions: those that are being rejected, and
/// those that have come to look.
const GUESTS: usize = 64;

/// How long to wait before a connection is taken after none could be, for
/// example because no file descriptor was free.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How far a client has come with telling who it is.
#[derive(Debug)]
pub(crate) struct Admission {
    handshake: Handshake,
    daemon: DaemonId,
    /// What it has to show yet, once it has chosen how.
    left: Option<VecDeque<Step>>,
    /// The user whose password it knew.
    user: Option<String>,
}

/// What a client has shown.
enum Shown {
    All,
    NotYet,
    Wrong,
}

impl Server {
    /// Takes the connections that wait.
    pub(crate) fn accept(&mut self) {
        if self.accept_again.is_some_and(|at| at <= Instant::now()) {
            self.accept_again = None;
            self.to_accept = (0..self.listeners.len()).collect();
        }
        for index in std::mem::take(&mut self.to_accept) {
            let mut more = true;
            for _ in 0..ACCEPTS {
                match self.listeners[index].accept() {
                    Ok(stream) => self.admit(stream, self.listeners[index].door),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => more = false,
                    // That client is gone; the next one may not be.
                    Err(e) if e.kind() == ErrorKind::ConnectionAborted => {}
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot take a connection");
                        self.accept_again = Some(Instant::now() + ACCEPT_AGAIN);
                        more = false;
                    }
                }
                if !more {
                    break;
                }
            }
            if more {
                self.to_accept.push(index);
            }
        }
    }

    /// Makes a connection of a stream, if there is still room for a session.
    fn admit(&mut self, mut stream: Stream, door: Door) {
        let open = self.connections.slab.len();
        if open >= self.settings.sessions.saturating_add(GUESTS) {
            // It may get lost, but there is no room to wait for its client.
            let _ = stream.write(&[ErrorCode::RejectQuota.byte()]);
            return;
        }
        let phase = match door {
            Door::Clients(daemon) => Phase::Handshake(Admission {
                handshake: Handshake::new(&self.settings.authentication.names()),
                daemon,
                left: None,
                user: None,
            }),
            Door::Status | Door::Metrics => Phase::Inspection,
        };
        let is_client = phase.is_client();
        let key = self.connections.slab.vacant_key();
        let token = self.token(key);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
            tracing::error!(%error, "cannot take a connection");
            return;
        }
        self.serial += 1;
        self.connections.slab.insert(Connection::new(stream, phase, door, self.serial));
        // A time that no clock can show is no limit.
        if let Some(deadline) = Instant::now().checked_add(self.settings.handshake) {
            self.handshakes.push_back((deadline, key, self.serial));
        }
        if !is_client {
            self.guests += 1;
        } else if open - self.guests >= self.settings.sessions {
            tracing::warn!("rejected a client: there are {} sessions", self.settings.sessions);
            self.reject(key, ErrorCode::RejectQuota);
        }
    }

    /// Closes the connections whose handshake has taken too long.
    pub(crate) fn end_late_handshakes(&mut self) {
        while let Some(&(deadline, key, serial)) = self.handshakes.front() {
            let connection = self.connections.slab.get(key).filter(|c| c.serial == serial);
            let open = connection.is_some_and(|c| !matches!(c.phase, Phase::Session));
            if open && deadline > Instant::now() {
                return;
            }
            self.handshakes.pop_front();
            if open {
                tracing::debug!(key, "closed: its handshake takes too long");
                self.connections.close_later(key);
                self.close();
            }
        }
    }

    /// Goes on with a handshake as far as the bytes that came allow.
    pub(crate) fn shake_hands(&mut self, key: usize) {
        let session = SessionId(key);
        loop {
            let Some(Connection { phase: Phase::Handshake(admission), input, .. }) =
                self.connections.slab.get_mut(key)
            else {
                return;
            };
            let answer = match admission.handshake.handle(input) {
                DaemonStep::Receive => return,
                DaemonStep::Greet(ConnectRequest { private_name, membership, .. }) => {
                    // From here on the private name is kept for this client.
                    let daemon = admission.daemon;
                    match self.cluster.connect(session, daemon, private_name, membership) {
                        Ok(()) => admission.handshake.greet(),
                        Err(NotUnique) => return self.reject(key, ErrorCode::RejectNotUnique),
                    }
                }
                DaemonStep::Authenticate(methods) => match self.authenticate(key, &methods) {
                    Shown::All => return self.establish(key),
                    Shown::NotYet => return,
                    Shown::Wrong => return self.reject(key, ErrorCode::RejectAuth),
                },
                DaemonStep::Reject(code) => return self.reject(key, code),
                DaemonStep::Done => return self.begin_session(key),
            };
            self.connections.send(key, &answer);
        }
    }

    /// Goes through the methods that a client has chosen, and those that are
    /// required, as far as the bytes that came allow.
    fn authenticate(&mut self, key: usize, chosen: &[String]) -> Shown {
        let authentication = &self.settings.authentication;
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return Shown::NotYet;
        };
        let Phase::Handshake(admission) = &mut connection.phase else {
            return Shown::NotYet;
        };
        let left = admission.left.get_or_insert_with(|| authentication.steps(chosen));
        while let Some(step) = left.front() {
            match step {
                Step::Anyone => {}
                Step::Address if authentication.admits(connection.address) => {}
                Step::Address => {
                    tracing::warn!(address = ?connection.address, "rejected a client: not in the list");
                    return Shown::Wrong;
                }
                Step::Password if connection.input.len() < USER_LEN + PASSWORD_LEN => {
                    return Shown::NotYet;
                }
                Step::Password => {
                    let user = connection.input.split_to(USER_LEN);
                    let password = connection.input.split_to(PASSWORD_LEN);
                    let claim = Claim {
                        key,
                        serial: connection.serial,
                        user: String::from_utf8_lossy(text(&user)).into_owned(),
                        password: text(&password).to_vec(),
                    };
                    // It goes on when the password has been checked.
                    connection.paused = true;
                    let is_taken = self.verifier.as_ref().is_some_and(|v| v.check(claim));
                    return if is_taken { Shown::NotYet } else { Shown::Wrong };
                }
            }
            left.pop_front();
        }
        Shown::All
    }

    /// Goes on with a handshake after a password was checked.
    pub(crate) fn judged(&mut self, key: usize, serial: u64, user: String, is_right: bool) {
        let connection = self.connections.slab.get_mut(key).filter(|c| c.serial == serial);
        let Some(connection) = connection else {
            return;
        };
        let Phase::Handshake(admission) = &mut connection.phase else {
            return;
        };
        connection.paused = false;
        if let Some(left) = admission.left.as_mut().filter(|_| is_right) {
            left.pop_front();
            admission.user = Some(user);
        }
        self.connections.send(key, &[u8::from(is_right)]);
        if is_right {
            self.shake_hands(key);
        } else {
            self.reject(key, ErrorCode::RejectAuth);
        }
        self.read_later(key);
    }

    /// Accepts a client that has shown all it has to, if the policy lets it in.
    fn establish(&mut self, key: usize) {
        let private_group = self.cluster.establish(SessionId(key));
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        let (Some(private_group), Phase::Handshake(admission)) =
            (private_group, &mut connection.phase)
        else {
            return self.reject(key, ErrorCode::RejectAuth);
        };
        if let Some(policy) = &self.settings.policy {
            let (user, address) = (admission.user.take(), connection.address);
            let client = ClientInfo { private_group, user, address };
            if policy.connect(&client) == Access::Refused {
                return self.reject(key, ErrorCode::RejectAuth);
            }
            connection.client = Some(client);
        }
        tracing::info!(key, %private_group, "a session begins");
        self.connections.totals.connected += 1;
        let answer = admission.handshake.accept(private_group);
        self.connections.send(key, &answer);
        self.begin_session(key);
    }

    fn begin_session(&mut self, key: usize) {
        if let Some(connection) = self.connections.slab.get_mut(key) {
            connection.phase = Phase::Session;
        }
        self.serve(key);
    }

    /// Tells a client why it is not let in.
    fn reject(&mut self, key: usize, code: ErrorCode) {
        tracing::debug!(key, %code, "rejected a client");
        self.connections.totals.rejected += 1;
        self.answer(key, &[code.byte()]);
        self.cluster.disconnect(SessionId(key), &mut self.connections);
    }

    /// Sends the last that a connection gets to hear. It lasts until it has heard
    /// it, or until its handshake has taken too long.
    pub(crate) fn answer(&mut self, key: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        if std::mem::replace(&mut connection.phase, Phase::Answered).is_client() {
            self.guests += 1;
        }
        // Its end is still to be read.
        connection.paused = false;
        connection.input.clear();
        self.connections.send(key, bytes);
    }
}

/// What stands in a field before its first zero.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}
