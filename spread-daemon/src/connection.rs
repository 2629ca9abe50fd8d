//! One client's connection: its stream, what came of it and what goes to it.

use std::io::{self, Read};
use std::net::IpAddr;
use std::time::Instant;

use bytes::BytesMut;

use crate::access::ClientInfo;
use crate::admission::Admission;
use crate::batch::{Batch, Run};
use crate::gate::Gate;
use crate::listener::Door;
use crate::memory::Memory;
use crate::output::Output;
use crate::pacing::Patience;
use crate::stream::Stream;

/// How far a connection has come.
#[derive(Debug)]
pub(crate) enum Phase {
    /// It tells who it is.
    Handshake(Admission),
    /// It has a session.
    Session,
    /// It has come to look, and is about to say at what.
    Inspection,
    /// It got, or is about to get, its rejection or what it asked for. It stays
    /// until the client has closed its side, because closing with bytes unread
    /// could take the answer away from it.
    Answered,
}

/// What reading a connection brought.
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
    /// Where it came in.
    pub(crate) door: Door,
    /// Where the client is; `None` for the unix socket.
    pub(crate) address: Option<IpAddr>,
    /// Tells it from others that had its place before.
    pub(crate) serial: u64,
    /// Who it is, if a policy wants to know.
    pub(crate) client: Option<ClientInfo>,
    /// What came and is not a whole frame yet.
    pub(crate) input: BytesMut,
    pub(crate) output: Output,
    /// What a test has wait before it is queued.
    pub(crate) gate: Option<Gate>,
    /// More can be read, though no event will say so.
    pub(crate) readable: bool,
    /// The client has closed its side; all that came before is still to be read.
    pub(crate) hung_up: bool,
    /// Nothing more is written: the stream is broken, or about to be closed.
    mute: bool,
    /// Since its queue was crowded: for how long those who crowd it wait.
    pub(crate) crowded: Option<Patience>,
    /// It is not read on, because a receiver of its messages is crowded.
    pub(crate) paused: bool,
    /// Whole frames are left in `input`, because it was paused.
    pub(crate) has_backlog: bool,
    /// Waits in the list of those to be read.
    pub(crate) to_read: bool,
    /// Waits in the list of those to be flushed.
    pub(crate) to_flush: bool,
    /// Waits in the list of those to be closed.
    pub(crate) to_close: bool,
}

impl Phase {
    /// Whether it has a session or wants one.
    pub(crate) fn is_client(&self) -> bool {
        matches!(self, Phase::Handshake(_) | Phase::Session)
    }
}

impl Connection {
    pub(crate) fn new(stream: Stream, phase: Phase, door: Door, serial: u64) -> Connection {
        Connection {
            address: stream.peer(),
            stream,
            phase,
            door,
            serial,
            client: None,
            input: BytesMut::new(),
            output: Output::default(),
            gate: None,
            readable: false,
            hung_up: false,
            mute: false,
            crowded: None,
            paused: false,
            has_backlog: false,
            to_read: false,
            to_flush: false,
            to_close: false,
        }
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
        self.output.len() + self.gate.as_ref().map_or(0, Gate::len)
    }

    /// Bytes that wait to be written.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.output.bytes() + self.gate.as_ref().map_or(0, Gate::bytes)
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
            None => self.output.push(message),
        }
    }

    /// Drops what waits, and whatever is queued from now on.
    pub(crate) fn mute(&mut self) {
        self.mute = true;
        self.gate = None;
        self.output.clear();
    }

    /// Writes what the stream takes.
    ///
    /// An error does not end the connection, because the client may have sent
    /// messages before it went; they are still to be read, and then the end.
    pub(crate) fn flush(&mut self, batch: &Batch) {
        if let Err(error) = self.output.flush(batch, &mut self.stream) {
            tracing::debug!(%error, "cannot write");
            self.mute();
        }
        if matches!(self.phase, Phase::Answered) && self.output.is_empty() && !self.mute {
            self.mute = true;
            // It fails only if the client is gone, which reading will tell.
            let _ = self.stream.finish();
        }
    }
}
