//! The requests of clients with a session, and the senders that wait for their receivers.

use std::collections::HashMap;
use std::fmt::Display;
use std::mem;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use spread_wire::{FrameRef, HEADER_LEN, Header, Limits, Name, Request, ServiceType};

use super::connection::{Connection, ConnectionId};
use super::connections::Connections;
use super::gate::Gate;
use super::peers;
use crate::admin::status::CutOffReason;
use crate::cluster::{Deliver, End, SessionId, State};
use crate::session::access::{Access, Policy, rejected};
use crate::settings::Settings;

/// Interval of the look for senders that were closed while they are paused for a
/// time without end.
const LOOK: Duration = Duration::from_millis(250);

/// The groups, the connections, and what stands between them.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) cluster: State,
    pub(crate) connections: Connections,
    policy: Option<Policy>,
    /// Groups that one session may join.
    pub(super) max_groups: usize,
    paused: Vec<Paused>,
    /// When to look next for senders that were closed while they are paused.
    next_look: Option<Instant>,
    /// Connections with a gate, and maybe some without.
    gated: Vec<usize>,
}

/// A sender that is not read until a receiver has caught up.
#[derive(Clone, Copy, Debug)]
struct Paused {
    sender: ConnectionId,
    receiver: ConnectionId,
    /// When it is read on even if the receiver is still behind.
    until: Option<Instant>,
}

impl Sessions {
    pub(crate) fn new(cluster: State, settings: &Settings) -> Sessions {
        Sessions {
            cluster,
            connections: Connections::new(settings),
            policy: settings.policy.clone(),
            max_groups: settings.session_groups,
            paused: Vec::new(),
            next_look: None,
            gated: Vec::new(),
        }
    }

    /// Takes over settings. All senders go on: who is paused was paused under the former ones.
    pub(crate) fn reload(&mut self, settings: &Settings) {
        self.policy = settings.policy.clone();
        self.max_groups = settings.session_groups;
        self.connections.reload(settings, Instant::now());
        for Paused { sender, .. } in mem::take(&mut self.paused) {
            self.read_on(sender);
        }
    }

    /// Handles what has just been read from a session, where it lies, and keeps what
    /// cannot be done yet.
    pub(crate) fn take_in(&mut self, key: usize, mut came: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.input.is_empty() {
            complete(&mut connection.input, &mut came);
            self.serve(key);
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if connection.input.is_empty() && !connection.paused {
            let done = self.serve_frames(key, came);
            came = &came[done..];
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.input.extend_from_slice(came);
        }
    }

    /// Handles the kept input of a session.
    pub(crate) fn serve(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let mut input = mem::take(&mut connection.input);
        let done = self.serve_frames(key, &input);
        input.advance(done);
        // Empty memory is not kept: many a session is idle.
        if let Some(connection) = self.connections.get_mut(key)
            && !input.is_empty()
        {
            connection.input = input;
        }
    }

    /// Handles the frames in `input` until the sender is paused; returns how
    /// many bytes are done with.
    fn serve_frames(&mut self, key: usize, input: &[u8]) -> usize {
        let session = SessionId(key);
        let mut rest = input;
        while self.connections.get(key).is_some_and(|connection| !connection.to_close) {
            let done = match FrameRef::decode(rest, Limits::FROM_CLIENT) {
                Ok(Some(frame)) => {
                    rest = &rest[frame.as_bytes().len()..];
                    self.handle(session, frame)
                }
                Ok(None) => match begun(rest) {
                    // With a wrong header there is no use in waiting for the rest.
                    Some(header) => match self.cluster.check(session, &header) {
                        Ok(()) => break,
                        wrong => wrong,
                    },
                    None => break,
                },
                Err(error) => {
                    self.end(key, error);
                    break;
                }
            };
            match done {
                Ok(()) if self.pause(key) => break,
                Ok(()) => {}
                Err(End::Disconnect) => self.connections.close_later(key),
                Err(error) => self.end(key, error),
            }
        }
        input.len() - rest.len()
    }

    /// Handles a request if the client may make it.
    fn handle(&mut self, session: SessionId, frame: FrameRef<'_>) -> Result<(), End> {
        let totals = &mut self.connections.totals;
        totals.received += 1;
        totals.received_bytes += frame.as_bytes().len() as u64;
        if let Some(connection) = self.connections.get_mut(session.0) {
            connection.received += 1;
        }
        if frame.header().service_type.contains(ServiceType::JOIN)
            && self.cluster.groups_of(session) >= self.max_groups
        {
            self.cluster.check(session, frame.header())?;
            self.refuse(session, frame);
            return Ok(());
        }
        if let Some(policy) = &self.policy {
            self.cluster.check(session, frame.header())?;
            let client = self.connections.get(session.0).and_then(|c| c.client.as_ref());
            let request = Request::parse(frame)?;
            if client.is_none_or(|client| policy.judge(client, &request) == Access::Refused) {
                self.refuse(session, frame);
                return Ok(());
            }
        }
        self.cluster.handle(session, frame, &mut self.connections)
    }

    /// Returns a request to its client.
    fn refuse(&mut self, session: SessionId, frame: FrameRef<'_>) {
        self.connections.totals.refused += 1;
        self.connections.deliver([session], &rejected(frame));
    }

    /// Ends the session of a client that breaks the protocol.
    fn end(&mut self, key: usize, error: impl Display) {
        let detail = format!("it broke the protocol: {error}");
        self.connections.cut_off(key, CutOffReason::Protocol, &detail);
    }

    /// Takes a connection off the list, after what can still be written to it; its
    /// session leaves its groups.
    pub(crate) fn close(&mut self, key: usize) -> Option<Connection> {
        self.connections.flush_last(key);
        let connection = self.connections.remove(key);
        self.cluster.disconnect(SessionId(key), &mut self.connections);
        // No sender is paused for receivers of these views.
        self.connections.take_behind();
        connection
    }

    /// Pauses a sender if a receiver of its last message is behind; tells whether it
    /// did.
    fn pause(&mut self, key: usize) -> bool {
        let Some((receiver, until)) = self.connections.take_behind() else {
            return false;
        };
        let Some(receiver) = self.connections.id(receiver) else {
            return false;
        };
        let flow = self.connections.flow;
        let Some(sender) = self.connections.get_mut(key) else {
            return false;
        };
        if !flow.can_pause(sender.hung_up) {
            return false;
        }
        sender.paused = true;
        sender.has_backlog = true;
        sender.throttled += 1;
        let sender = ConnectionId { key, serial: sender.serial };
        self.connections.totals.throttled += 1;
        self.paused.push(Paused { sender, receiver, until });
        if until.is_none() {
            self.next_look.get_or_insert_with(|| Instant::now() + LOOK);
        }
        true
    }

    /// Reads on the senders whose receivers have caught up, whose time has come, or
    /// that cannot be paused any more.
    pub(crate) fn resume(&mut self) {
        if self.paused.is_empty() {
            self.next_look = None;
            return;
        }
        let now = Instant::now();
        if self.next_look.is_some_and(|at| at <= now) {
            self.look_for_closed_senders();
            self.next_look = Some(now + LOOK);
        }
        for paused in mem::take(&mut self.paused) {
            let receiver = self.connections.find(paused.receiver);
            let is_behind = receiver.is_some_and(|receiver| receiver.congestion.is_behind());
            let waits = is_behind && paused.until.is_none_or(|until| now < until);
            let flow = self.connections.flow;
            let Some(sender) = self.connections.find(paused.sender) else {
                continue;
            };
            if waits && flow.can_pause(sender.hung_up) {
                self.paused.push(paused);
                continue;
            }
            self.read_on(paused.sender);
        }
    }

    fn read_on(&mut self, sender: ConnectionId) {
        if let Some(connection) = self.connections.find(sender) {
            connection.paused = false;
            self.connections.read_later(sender.key);
        }
    }

    /// Notes which paused senders have closed their side behind data that is not read.
    fn look_for_closed_senders(&mut self) {
        let Sessions { connections, paused, .. } = self;
        let endless = paused.iter().filter(|paused| paused.until.is_none());
        let addresses = endless.filter_map(|Paused { sender, .. }| {
            Some((*sender, connections.find(*sender)?.stream.addresses()?))
        });
        let addresses: Vec<_> = addresses.collect();
        if addresses.is_empty() {
            return;
        }
        for id in peers::closed(&addresses) {
            connections.find(id).into_iter().for_each(|sender| sender.hung_up = true);
        }
    }

    /// Returns when [`Sessions::resume`] is due even if no event comes until then.
    pub(crate) fn next_resume(&self) -> Option<Instant> {
        self.paused.iter().filter_map(|paused| paused.until).chain(self.next_look).min()
    }

    /// Returns the receivers that senders are paused for, by the keys of the senders.
    pub(crate) fn throttled(&self) -> HashMap<usize, usize> {
        self.paused.iter().map(|paused| (paused.sender.key, paused.receiver.key)).collect()
    }

    /// Returns the client with this private group.
    pub(crate) fn client(&self, private_group: &str) -> Option<usize> {
        let name = Name::new(private_group).ok()?;
        self.cluster.session_of(name).map(|session| session.0)
    }

    /// Delays deliveries to a client: for a time, or until [`Sessions::open_gate`].
    pub(crate) fn set_gate(&mut self, key: usize, delay: Option<Duration>) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.gate.get_or_insert_default().set(delay);
            self.gated.push(key);
        }
    }

    /// Delivers what waits for a client at once.
    pub(crate) fn open_gate(&mut self, key: usize) {
        self.connections.open_gate(key);
    }

    /// Queues the messages that have waited at their gates for long enough.
    pub(crate) fn pass_gates(&mut self) {
        if self.gated.is_empty() {
            return;
        }
        let now = Instant::now();
        let connections = &self.connections;
        self.gated.retain(|key| connections.get(*key).is_some_and(|c| c.gate.is_some()));
        self.gated.sort_unstable();
        self.gated.dedup();
        for key in &self.gated {
            self.connections.pass(*key, now);
        }
    }

    /// Returns when the next message may pass its gate.
    pub(crate) fn next_pass(&self) -> Option<Instant> {
        let gates = self.gated.iter().filter_map(|key| self.connections.get(*key)?.gate.as_ref());
        gates.filter_map(Gate::next_due).min()
    }
}

/// Moves bytes from `came` behind those of a frame that has begun, up to its end.
fn complete(begun: &mut BytesMut, came: &mut &[u8]) {
    // A frame's length stands in its header, which may have to be completed before.
    loop {
        let header = begun.first_chunk().map(|head| Header::decode(head, Limits::FROM_CLIENT));
        let len = match header {
            None => HEADER_LEN,
            Some(Ok(header)) => header.frame_len(),
            // It has no end; decoding it will tell.
            Some(Err(_)) => return,
        };
        let (missing, rest) = came.split_at(came.len().min(len.saturating_sub(begun.len())));
        if missing.is_empty() {
            return;
        }
        begun.reserve(len - begun.len());
        begun.extend_from_slice(missing);
        *came = rest;
    }
}

/// Returns the header of a frame that has not come whole.
fn begun(input: &[u8]) -> Option<Header> {
    Header::decode(input.first_chunk()?, Limits::FROM_CLIENT).ok()
}
