//! A connection: its stream, its phase, its input and the messages that wait for it.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;

use super::batch::{Batch, Run};
use super::gate::Gate;
use super::incoming::{Guard, Origin};
use super::listener::Door;
use super::memory::Memory;
use super::queue::Queue;
use super::stream::Stream;
use crate::admin::inspection::Inspection;
use crate::session::access::ClientInfo;
use crate::session::flow_control::Congestion;
use crate::session::handshake::Handshake;

/// A connection: its place among all, and a serial number that tells it from others
/// that had the place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    pub(crate) key: usize,
    pub(crate) serial: u64,
}

/// The phase of a connection.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The client is on its way to a session.
    Handshake(Box<Handshake>),
    /// Its password is being checked.
    Checking(Box<Handshake>),
    /// It has a session.
    Session,
    /// A program asks how the daemon is.
    Inspection(Inspection),
    /// The last answer is queued: a rejection or a status. The connection stays until
    /// the client has closed its side, because closing with bytes unread could take
    /// the answer away from it.
    Answered,
}

/// The result of reading a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// As many bytes.
    Some(usize),
    /// Nothing for now.
    Nothing,
    /// The end of the stream, or an error, which ends it as well.
    End,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) phase: Phase,
    /// The door of its listener.
    pub(crate) door: Door,
    /// The address of the client; `None` for the unix socket.
    pub(crate) address: Option<SocketAddr>,
    /// The name of the transport that it comes by.
    pub(crate) transport: &'static str,
    /// Tells it from others that had its place before.
    pub(crate) serial: u64,
    /// The client, once it has a session.
    pub(crate) client: Option<ClientInfo>,
    /// When it connected.
    pub(crate) since: Instant,
    /// Requests that came from it.
    pub(crate) received: u64,
    /// Messages that were queued for it.
    pub(crate) delivered: u64,
    /// How often it was paused.
    pub(crate) throttled: u64,
    /// Input that is not a whole frame yet, or was left when the sender was paused.
    pub(crate) input: BytesMut,
    pub(crate) queue: Queue,
    /// Deliveries that a test delays before they are queued.
    pub(crate) gate: Option<Gate>,
    /// More can be read, though no event will say so.
    pub(crate) readable: bool,
    /// The client has closed its side; all that came before is still to be read.
    pub(crate) hung_up: bool,
    /// Nothing more is written: the stream is broken, or about to be closed.
    mute: bool,
    /// A test has cut the connection: what comes is dropped, also its end.
    pub(crate) severed: bool,
    /// Whether its queue is behind.
    pub(crate) congestion: Congestion,
    /// It is not read, because a receiver of its messages is behind.
    pub(crate) paused: bool,
    /// Whole frames may be left in `input`, because it was paused.
    pub(crate) has_backlog: bool,
    /// Bytes that were read of it while the loop catches up.
    pub(crate) caught_up: usize,
    /// It is in the list of those to be read.
    pub(crate) to_read: bool,
    /// It is in the list of those to be flushed.
    pub(crate) to_flush: bool,
    /// It is in the list of those to be closed.
    pub(crate) to_close: bool,
    /// Tells the program of the end, if that has accepted the connection.
    _guard: Option<Guard>,
}

impl Connection {
    pub(crate) fn new(
        stream: Stream,
        phase: Phase,
        door: Door,
        origin: Origin,
        serial: u64,
    ) -> Connection {
        Connection {
            address: origin.address,
            transport: origin.transport.unwrap_or(stream.transport()),
            stream,
            phase,
            door,
            serial,
            client: None,
            since: Instant::now(),
            received: 0,
            delivered: 0,
            throttled: 0,
            input: BytesMut::new(),
            queue: Queue::default(),
            gate: None,
            readable: false,
            hung_up: false,
            mute: false,
            severed: false,
            congestion: Congestion::default(),
            paused: false,
            has_backlog: false,
            caught_up: 0,
            to_read: false,
            to_flush: false,
            to_close: false,
            _guard: origin.guard,
        }
    }

    pub(crate) fn has_session(&self) -> bool {
        matches!(self.phase, Phase::Session)
    }

    /// Returns the name of its session; empty without one.
    pub(crate) fn private_group(&self) -> String {
        self.client.as_ref().map(|client| client.private_group.to_string()).unwrap_or_default()
    }

    /// Returns the address of its client without the port; empty for the unix socket.
    pub(crate) fn address_text(&self) -> String {
        self.address.map(|address| address.ip().to_string()).unwrap_or_default()
    }

    /// Reads once into `scratch`, as much as it holds.
    pub(crate) fn fill(&mut self, scratch: &mut [u8]) -> Fill {
        loop {
            return match self.stream.read(scratch) {
                Ok(0) => Fill::End,
                Ok(len) => {
                    // A stream that gave less than it could has no more, and
                    // will report what comes then; unless it reported its end.
                    self.readable = len == scratch.len() || self.hung_up;
                    Fill::Some(len)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Fill::Nothing
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot read");
                    Fill::End
                }
            };
        }
    }

    /// Messages that wait to be written.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len() + self.gate.as_ref().map_or(0, Gate::len)
    }

    /// Bytes of memory that the messages that wait keep in use, divided among their
    /// receivers.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.queue.kept_bytes() + self.gate.as_ref().map_or(0, Gate::bytes)
    }

    /// Puts a message of the batch behind those that wait; it is lost if nothing
    /// can be written any more.
    pub(crate) fn queue(&mut self, message: Run, batch: &Batch, memory: &Memory) {
        if self.mute {
            return;
        }
        match &mut self.gate {
            Some(gate) => {
                gate.push(batch.bytes(message), memory.charge(message.len()), Instant::now());
            }
            None => self.queue.push(message),
        }
    }

    /// Drops the messages that wait and those that are queued from now on.
    pub(crate) fn mute(&mut self) {
        self.mute = true;
        self.gate = None;
        self.queue.clear();
    }

    /// Drops all further input and output; the client is not told.
    pub(crate) fn sever(&mut self) {
        self.mute();
        self.input.clear();
        self.severed = true;
    }

    /// Writes as much as the stream takes.
    ///
    /// An error does not end the connection, because the client may have sent
    /// messages before it went; they are still to be read, and then the end.
    pub(crate) fn flush(&mut self, batch: &Batch) {
        if let Err(error) = self.queue.flush(batch, &mut self.stream) {
            tracing::debug!(%error, "cannot write");
            self.mute();
        }
        if matches!(self.phase, Phase::Answered) && self.queue.is_empty() && !self.mute {
            self.mute = true;
            // It fails only if the client is gone, which reading will tell.
            let _ = self.stream.finish();
        }
    }
}
