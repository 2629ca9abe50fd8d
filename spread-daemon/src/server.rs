//! The loop that serves all clients of a daemon, in one thread.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};
use spread_wire::{FrameRef, HEADER_LEN, Header, Limits, Request, ServiceType};

use crate::access::{Access, judge, rejected};
use crate::cluster::{Deliver, End, SessionId, State};
use crate::connection::{Connection, Fill, Phase};
use crate::connections::Connections;
use crate::control::Control;
use crate::listener::Listener;
use crate::pacing::Paused;
use crate::settings::Settings;
use crate::status::Rate;
use crate::verifier::Verifier;
use crate::wait::Wait;

/// Bytes read from one connection before the others have their turn.
const TURN: usize = 64 * 1024;

const WAKER: Token = Token(usize::MAX);

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) poll: Poll,
    control: Arc<Control>,
    pub(crate) listeners: Vec<Listener>,
    /// Listeners that may have more connections, though no event will say so.
    pub(crate) to_accept: Vec<usize>,
    /// When to look at the listeners again although they have failed.
    pub(crate) accept_again: Option<Instant>,
    pub(crate) cluster: State,
    pub(crate) connections: Connections,
    pub(crate) settings: Settings,
    /// Connections that may have more to read, though no event will say so.
    to_read: VecDeque<usize>,
    /// When which connection's handshake must be over, the first one first.
    pub(crate) handshakes: VecDeque<(Instant, usize, u64)>,
    /// Connections that are not read on for a moment.
    pub(crate) paused: Vec<Paused>,
    /// Connections with a gate, and maybe some without.
    pub(crate) gated: Vec<usize>,
    /// Checks passwords, if there are any.
    pub(crate) verifier: Option<Verifier>,
    /// Connections that neither have nor want a session.
    pub(crate) guests: usize,
    pub(crate) started: Instant,
    pub(crate) received_rate: Rate,
    pub(crate) delivered_rate: Rate,
    /// Until when what is queued may still go out before the loop ends.
    drain_until: Option<Instant>,
    pub(crate) serial: u64,
    scratch: Box<[u8]>,
}

impl Server {
    pub(crate) fn new(
        mut listeners: Vec<Listener>,
        cluster: State,
        settings: Settings,
    ) -> io::Result<Server> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        for (index, listener) in listeners.iter_mut().enumerate() {
            poll.registry().register(listener, Token(index), Interest::READABLE)?;
        }
        let control = Arc::new(Control::new(waker));
        let now = Instant::now();
        let passwords = settings.authentication.passwords().cloned();
        let verifier = passwords
            .map(|passwords| Verifier::start(passwords, Arc::clone(&control)))
            .transpose()?;
        Ok(Server {
            poll,
            control,
            verifier,
            listeners,
            to_accept: Vec::new(),
            accept_again: None,
            cluster,
            connections: Connections::new(&settings),
            settings,
            to_read: VecDeque::new(),
            handshakes: VecDeque::new(),
            paused: Vec::new(),
            gated: Vec::new(),
            guests: 0,
            started: now,
            received_rate: Rate::new(now),
            delivered_rate: Rate::new(now),
            drain_until: None,
            serial: 0,
            scratch: vec![0; TURN].into_boxed_slice(),
        })
    }

    /// Reaches the loop from any thread.
    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    ///
    /// What [`Poll::poll`] returns, which nothing can be done about.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut wait = Wait::new(self.settings.busy_poll);
        while !self.control.is_stopped() && !self.is_drained() {
            let waited = wait.for_events(self.timeout(), |timeout| {
                self.poll.poll(&mut events, timeout)?;
                Ok(!events.is_empty())
            });
            match waited {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                waited => waited?,
            }
            self.turn(&events);
            // A task may have taken the event that tells of the next one.
            let mut tasks = self.control.take();
            while !tasks.is_empty() {
                tasks.into_iter().for_each(|task| task(&mut self));
                tasks = self.control.take();
            }
            self.flush();
        }
        Ok(())
    }

    /// Does what the events and the clocks say.
    pub(crate) fn turn(&mut self, events: &Events) {
        events.iter().for_each(|event| self.note(event));
        self.accept();
        self.end_late_handshakes();
        for _ in 0..self.to_read.len() {
            if let Some(key) = self.to_read.pop_front() {
                self.read(key);
            }
        }
        self.pass_gates();
        self.flush();
        self.resume();
        let (now, totals) = (Instant::now(), &self.connections.totals);
        self.received_rate.note(now, totals.received);
        self.delivered_rate.note(now, totals.delivered);
    }

    /// Writes what has been queued, and what the end of those says who are cut off
    /// because too much of it must be kept.
    fn flush(&mut self) {
        self.connections.flush();
        while self.connections.has_to_close() {
            self.close();
            self.connections.flush();
        }
    }

    /// Takes nothing new, and ends when all that is queued has gone out, or after
    /// the given time.
    pub(crate) fn drain(&mut self, time: Duration) {
        self.catch_up();
        let registry = self.poll.registry();
        self.listeners.iter_mut().for_each(|listener| listener.close(registry));
        self.to_accept.clear();
        self.drain_until = Instant::now().checked_add(time);
    }

    fn is_drained(&self) -> bool {
        self.drain_until.is_some_and(|until| {
            let is_done = |(_, connection): (usize, &Connection)| connection.queued() == 0;
            until <= Instant::now() || self.connections.slab.iter().all(is_done)
        })
    }

    /// Whether there is something to do though no event says so.
    pub(crate) fn is_busy(&self) -> bool {
        !self.to_read.is_empty() || !self.to_accept.is_empty()
    }

    /// How long nothing can happen but events.
    fn timeout(&self) -> Option<Duration> {
        if self.is_busy() {
            return Some(Duration::ZERO);
        }
        let handshake = self.handshakes.front().map(|(deadline, ..)| *deadline);
        let times =
            [handshake, self.accept_again, self.next_resume(), self.next_pass(), self.drain_until];
        let next = times.into_iter().flatten().min()?;
        // A poll that ends a little early would come back at once, in vain.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn note(&mut self, event: &Event) {
        let Token(number) = event.token();
        if event.token() == WAKER {
            return;
        }
        let Some(key) = number.checked_sub(self.listeners.len()) else {
            if !self.to_accept.contains(&number) {
                self.to_accept.push(number);
            }
            return;
        };
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        connection.hung_up |= event.is_read_closed() || event.is_error();
        let is_over = connection.hung_up;
        if event.is_writable() || is_over {
            connection.output.unblock();
            if connection.queued() > 0 {
                self.connections.flush_later(key);
            }
        }
        if event.is_readable() || is_over {
            self.read_later(key);
        }
    }

    /// What events of the connection have.
    pub(crate) fn token(&self, key: usize) -> Token {
        Token(self.listeners.len() + key)
    }

    /// Has the connection read in this turn or the next.
    pub(crate) fn read_later(&mut self, key: usize) {
        if let Some(connection) = self.connections.slab.get_mut(key)
            && !connection.to_read
        {
            connection.to_read = true;
            self.to_read.push_back(key);
        }
    }

    /// Reads a connection once and does what has come in.
    fn read(&mut self, key: usize) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        connection.to_read = false;
        if connection.paused {
            return;
        }
        if connection.has_backlog {
            connection.has_backlog = false;
            self.serve(key);
        }
        self.fill(key);
        self.close();
    }

    /// Reads a connection, unless there is still enough to do for it.
    fn fill(&mut self, key: usize) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        if connection.paused || connection.to_close || self.drain_until.is_some() {
            return;
        }
        match connection.fill(&mut self.scratch) {
            Fill::Nothing => {}
            Fill::End => self.connections.close_later(key),
            Fill::Some(len) => {
                if connection.readable {
                    self.read_later(key);
                }
                let scratch = mem::take(&mut self.scratch);
                self.take_in(key, &scratch[..len]);
                self.scratch = scratch;
            }
        }
    }

    /// Does what has just been read from a connection, where it lies, and keeps
    /// what cannot be done yet.
    fn take_in(&mut self, key: usize, mut came: &[u8]) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        let is_session = matches!(connection.phase, Phase::Session);
        if is_session && !connection.input.is_empty() {
            complete(&mut connection.input, &mut came);
            self.serve(key);
        }
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        if is_session && connection.input.is_empty() && !connection.paused {
            let done = self.serve_session(key, came);
            came = &came[done..];
        }
        if let Some(connection) = self.connections.slab.get_mut(key) {
            connection.input.extend_from_slice(came);
        }
        if !is_session {
            self.serve(key);
        }
    }

    /// Does what has come in from a connection.
    pub(crate) fn serve(&mut self, key: usize) {
        let Some(connection) = self.connections.slab.get_mut(key) else {
            return;
        };
        match connection.phase {
            Phase::Handshake(_) => self.shake_hands(key),
            Phase::Session => {
                let mut input = mem::take(&mut connection.input);
                let done = self.serve_session(key, &input);
                input.advance(done);
                // Without anything in it, it is not kept: many a session is idle.
                if let Some(connection) = self.connections.slab.get_mut(key)
                    && !input.is_empty()
                {
                    connection.input = input;
                }
            }
            Phase::Inspection => self.inspect(key),
            Phase::Answered => connection.input.clear(),
        }
    }

    /// Does what the frames in `input` ask; returns how many of its bytes are done
    /// with.
    fn serve_session(&mut self, key: usize, input: &[u8]) -> usize {
        let session = SessionId(key);
        let mut rest = input;
        while self.connections.slab.get(key).is_some_and(|connection| !connection.to_close) {
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

    /// Does what a client asks, if it may.
    fn handle(&mut self, session: SessionId, frame: FrameRef<'_>) -> Result<(), End> {
        self.connections.totals.received += 1;
        if frame.header().service_type.contains(ServiceType::JOIN)
            && self.cluster.groups_of(session) >= self.settings.session_groups
        {
            self.cluster.check(session, frame.header())?;
            self.refuse(session, frame);
            return Ok(());
        }
        if let Some(policy) = &self.settings.policy {
            self.cluster.check(session, frame.header())?;
            let client = self.connections.slab.get(session.0).and_then(|c| c.client.as_ref());
            let request = Request::parse(frame)?;
            if client.is_none_or(|client| judge(&**policy, client, &request) == Access::Refused) {
                self.refuse(session, frame);
                return Ok(());
            }
        }
        self.cluster.handle(session, frame, &mut self.connections)
    }

    /// Lets a request come back to its client.
    fn refuse(&mut self, session: SessionId, frame: FrameRef<'_>) {
        self.connections.totals.refused += 1;
        self.connections.deliver([session], &rejected(frame));
    }

    /// Ends the session of a client that breaks the protocol.
    fn end(&mut self, key: usize, error: impl Display) {
        tracing::warn!(key, %error, "closed a session");
        self.connections.close_later(key);
    }

    /// Closes the connections that are at their end; their sessions leave.
    pub(crate) fn close(&mut self) {
        while let Some(key) = self.connections.next_to_close() {
            self.connections.flush_last(key);
            self.drop_connection(key);
            self.cluster.disconnect(SessionId(key), &mut self.connections);
            // Whom the views crowd, nobody could be paused for.
            self.connections.take_crowded();
        }
    }

    /// Closes a connection; what is to become of its session is left open.
    pub(crate) fn drop_connection(&mut self, key: usize) {
        let Some(mut connection) = self.connections.slab.try_remove(key) else {
            return;
        };
        if !connection.phase.is_client() {
            self.guests -= 1;
        }
        if let Err(error) = self.poll.registry().deregister(&mut connection.stream) {
            tracing::debug!(%error, key, "cannot deregister");
        }
        tracing::info!(key, "closed a connection");
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
            // It has no end, and will be told from its header.
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

/// The header of a frame that has not come all.
fn begun(input: &[u8]) -> Option<Header> {
    Header::decode(input.first_chunk()?, Limits::FROM_CLIENT).ok()
}
