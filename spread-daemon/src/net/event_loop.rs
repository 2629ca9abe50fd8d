//! The loop that serves all connections of a daemon, in one thread.

use std::io::{self, ErrorKind};
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};

use super::connection::{Connection, Fill};
use super::control::{Control, Running};
use super::hosts::{Channel, GroupError, Hosts, Join, Parted, Refused};
use super::incoming::{Incoming, Origin};
use super::listener::{Door, Listener};
use super::listeners::{Accepted, Listeners};
use super::server::Server;
use super::sessions::Sessions;
use super::stream::Stream;
use super::verifier::Verifier;
use super::wait::Wait;
use crate::admin::health::Health;
use crate::admin::status::CutOffReason;
use crate::cluster::{Remote, State};
use crate::settings::Settings;

/// Bytes read from one connection before the others have their turn.
const TURN: usize = 64 * 1024;

/// Connections accepted from one listener before the clients have their turn.
const ACCEPTS: usize = 64;

/// Bytes of one connection that may be on their way: more than the buffers of both its
/// sockets hold.
const IN_FLIGHT: usize = 16 << 20;

/// Limit of the time to handle what clients had sent before a call.
const CATCH_UP: Duration = Duration::from_secs(1);

const WAKER: Token = Token(usize::MAX);

const HOSTS: Token = Token(usize::MAX - 1);

/// The loop: the poller, and what it serves.
#[derive(Debug)]
pub(crate) struct EventLoop {
    poll: Poll,
    control: Arc<Control<EventLoop>>,
    listeners: Listeners,
    pub(crate) server: Server,
    /// Why the daemons of other hosts cannot have this one.
    refused: Option<Refused>,
    busy_poll: Duration,
    /// Reads all that has been sent, and accepts nothing.
    catches_up: bool,
    /// When it ends even if something is still queued.
    drain_until: Option<Instant>,
    /// Who waits until nothing is queued.
    settling: Vec<SyncSender<()>>,
    /// Who waits until this daemon serves clients.
    awaiting: Vec<SyncSender<()>>,
    scratch: Box<[u8]>,
}

impl EventLoop {
    /// Starts a loop in a thread of its own.
    ///
    /// # Errors
    ///
    /// An error of the operating system that refuses a poller or a thread.
    pub(crate) fn start(
        listeners: Vec<Listener>,
        cluster: State,
        hosts: Option<Hosts>,
        settings: &Settings,
    ) -> io::Result<Running<EventLoop>> {
        let poll = Poll::new()?;
        let control = Arc::new(Control::new(Waker::new(poll.registry(), WAKER)?));
        let listeners = Listeners::new(listeners, poll.registry())?;
        let poster: Arc<Control<EventLoop>> = Arc::clone(&control);
        let post = move |checked| poster.post(|this| this.server.checked(checked));
        let verifier = Verifier::new(post);
        let event_loop = EventLoop {
            poll,
            control: Arc::clone(&control),
            listeners,
            server: Server::new(cluster, hosts, settings, verifier),
            refused: None,
            busy_poll: settings.busy_poll,
            catches_up: false,
            drain_until: None,
            settling: Vec::new(),
            awaiting: Vec::new(),
            scratch: vec![0; TURN].into_boxed_slice(),
        };
        event_loop.watch_hosts()?;
        Running::start(event_loop, control, EventLoop::run)
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    ///
    /// An error of [`Poll::poll`], or that the daemons of other hosts cannot have this one.
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut wait = Wait::new(self.busy_poll);
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
            self.tell_settled();
            self.tell_ready();
            if let Some(refused) = self.refused.take() {
                return Err(io::Error::other(refused));
            }
        }
        self.tell_given_up();
        Ok(())
    }

    /// Logs what could not be sent to clients when the time to drain is over. What is in the buffers
    /// of sockets has been sent, whether or not the client has read it.
    fn tell_given_up(&self) {
        let connections = self.server.sessions.connections.iter();
        let sessions = connections.filter(|(_, c)| self.server.drains && c.has_session());
        for (_, session) in sessions.filter(|(_, session)| session.queued() > 0) {
            tracing::warn!(
                client = session.private_group(),
                messages = session.queued(),
                "the daemon ends with messages that could not be sent to a client"
            );
        }
    }

    /// Sends to `done` when the clients' sockets have taken all that is queued.
    pub(crate) fn settle(&mut self, done: SyncSender<()>) {
        self.settling.push(done);
    }

    fn tell_settled(&mut self) {
        let mut connections = self.server.sessions.connections.iter();
        if !self.settling.is_empty() && connections.all(|(_, c)| c.queue.is_empty()) {
            for done in self.settling.drain(..) {
                // Who asked may have given up.
                let _ = done.try_send(());
            }
        }
    }

    /// Sends to `done` when this daemon is in a configuration; at once on a single host.
    pub(crate) fn tell_when_ready(&mut self, done: SyncSender<()>) {
        self.awaiting.push(done);
    }

    fn tell_ready(&mut self) {
        if self.awaiting.is_empty() {
            return;
        }
        if matches!(self.server.health(), Health::Healthy | Health::Full(_)) {
            for done in self.awaiting.drain(..) {
                // Who asked may have given up.
                let _ = done.try_send(());
            }
        }
    }

    /// Handles the events, the input and the deadlines that are due.
    fn turn(&mut self, events: &Events) {
        events.iter().for_each(|event| self.note(event));
        if !self.catches_up {
            self.accept();
        }
        self.server.close_late(Instant::now());
        self.close();
        self.exchange();
        if Hosts::takes_requests(&self.server.sessions.cluster) {
            self.server.sessions.connections.release();
        }
        for _ in 0..self.server.sessions.connections.to_read() {
            if let Some(key) = self.server.sessions.connections.next_to_read() {
                self.read_or_hold(key);
                self.close();
            }
        }
        self.exchange();
        self.server.sessions.pass_gates();
        self.flush();
        self.server.sessions.resume();
        self.server.note_rates(Instant::now());
    }

    /// Registers the group of the daemons of other hosts.
    fn watch_hosts(&self) -> io::Result<()> {
        match self.server.hosts.as_ref().and_then(Hosts::fd) {
            Some(fd) => {
                self.poll.registry().register(&mut SourceFd(&fd), HOSTS, Interest::READABLE)
            }
            None => Ok(()),
        }
    }

    /// Does what the daemons of other hosts ask, and tells them what clients ask.
    fn exchange(&mut self) {
        let Server { sessions, hosts: Some(hosts), .. } = &mut self.server else {
            return;
        };
        if hosts.is_to_join(Instant::now()) {
            let join = hosts.begin_to_join();
            return self.join_again(join);
        }
        match hosts.exchange(sessions) {
            Ok(()) => self.close(),
            Err(parted) => self.part(parted),
        }
    }

    /// Joins the daemons of other hosts again, in a thread of its own: it may take seconds.
    fn join_again(&mut self, join: Arc<Join>) {
        let control = Arc::clone(&self.control);
        let join = move || {
            let joined = join();
            control.post(|this| this.joined(joined));
        };
        let thread = thread::Builder::new().name("spread-join".to_owned()).spawn(join);
        if let Err(error) = thread {
            self.joined(Err(error.into()));
        }
    }

    /// Goes on with the channel to the daemons of other hosts, or joins them later.
    fn joined(&mut self, joined: Result<Box<dyn Channel>, GroupError>) {
        let Server { sessions, hosts: Some(hosts), .. } = &mut self.server else {
            return;
        };
        let joined = joined.and_then(|channel| hosts.join_again(channel, &mut sessions.cluster));
        if let Err(error) = joined {
            tracing::debug!(error, "cannot join the daemons of the other hosts");
            return hosts.join_later(error.to_string());
        }
        tracing::warn!("joined the daemons of the other hosts again");
        if let Err(error) = self.watch_hosts() {
            self.part(Parted::Gone(error.into()));
        }
    }

    /// Disconnects all clients, because this daemon is no longer with the others.
    fn part(&mut self, parted: Parted) {
        let reason = match parted {
            Parted::Gone(error) => {
                let reason = error.to_string();
                tracing::error!(error, "disconnected all clients: the other hosts are gone");
                reason
            }
            Parted::Refused(refused) => {
                let reason = refused.to_string();
                self.refused = Some(refused);
                reason
            }
        };
        let Server { sessions, hosts, .. } = &mut self.server;
        if let Some(hosts) = hosts {
            if let Some(fd) = hosts.fd()
                && let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd))
            {
                tracing::debug!(%error, "cannot deregister the group");
            }
            hosts.leave(reason, &mut sessions.cluster);
        }
        let connections = &mut sessions.connections;
        let is_client = |(key, c): (usize, &Connection)| match c.door {
            Door::Clients(_) => Some(key),
            Door::Inspection(_) => None,
        };
        let keys: Vec<usize> = connections.iter().filter_map(is_client).collect();
        for key in keys {
            connections.cut_off(key, CutOffReason::HostsGone, "the other hosts are gone");
            // Those without a session go, too.
            connections.close_later(key);
        }
        self.close();
    }

    fn note(&mut self, event: &Event) {
        if event.token() == WAKER {
            return;
        }
        if event.token() == HOSTS {
            return self.server.hosts.iter_mut().for_each(Hosts::note);
        }
        let Some(key) = event.token().0.checked_sub(self.listeners.len()) else {
            return self.listeners.note(event.token().0);
        };
        let connections = &mut self.server.sessions.connections;
        let Some(connection) = connections.get_mut(key) else {
            return;
        };
        connection.hung_up |= event.is_read_closed() || event.is_error();
        let is_over = connection.hung_up;
        if event.is_writable() || is_over {
            connection.queue.unblock();
            if connection.queued() > 0 {
                connections.flush_later(key);
            }
        }
        if event.is_readable() || is_over {
            connections.read_later(key);
        }
    }

    /// Accepts the connections that wait.
    fn accept(&mut self) {
        let now = Instant::now();
        for place in self.listeners.take_ready(now) {
            let mut more = true;
            for _ in 0..ACCEPTS {
                match self.listeners.accept(place) {
                    Ok(Some(accepted)) => self.admit(accepted),
                    Ok(None) => more = false,
                    Err(error) => {
                        tracing::error!(%error, "cannot accept a connection");
                        self.listeners.retry_later(now);
                        more = false;
                    }
                }
                self.close();
                if !more {
                    break;
                }
            }
            if more {
                self.listeners.note(place);
            }
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        let Accepted { stream, door, is_last } = accepted;
        if is_last && !self.server.close_oldest_pending() {
            let address = stream.peer();
            return self.server.refuse(stream, address);
        }
        let address = stream.peer();
        self.serve(stream, door, Origin { address, ..Origin::default() });
    }

    /// Serves a connection that the program has accepted.
    pub(crate) fn adopt(&mut self, incoming: Incoming, door: Door) {
        let Incoming { stream, origin } = incoming;
        if self.server.drains {
            return;
        }
        match stream.set_nonblocking(true) {
            Ok(()) => self.serve(Stream::Unix(UnixStream::from_std(stream)), door, origin),
            Err(error) => tracing::error!(%error, "cannot serve a connection"),
        }
        self.close();
    }

    fn serve(&mut self, mut stream: Stream, door: Door, origin: Origin) {
        let token = self.token(self.server.sessions.connections.vacant_key());
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self.poll.registry().register(&mut stream, token, interest) {
            Ok(()) => self.server.admit(stream, door, origin),
            Err(error) => tracing::error!(%error, "cannot serve a connection"),
        }
    }

    /// Returns the token of a connection's events.
    fn token(&self, key: usize) -> Token {
        Token(self.listeners.len() + key)
    }

    /// Reads a connection, unless it is a session whose requests cannot go on. Whoever asks for the
    /// status, or is on its way to a session, is read in any case.
    fn read_or_hold(&mut self, key: usize) {
        let Sessions { cluster, connections, .. } = &mut self.server.sessions;
        if !Hosts::takes_requests(cluster)
            && connections.get(key).is_some_and(Connection::has_session)
        {
            return connections.hold(key);
        }
        self.read(key);
    }

    /// Handles the kept input of a connection, then reads it once and handles what came.
    fn read(&mut self, key: usize) {
        if !self.server.is_read(key) {
            self.server.close_if_gone(key);
            return;
        }
        let connections = &mut self.server.sessions.connections;
        let backlog = connections.get_mut(key).map(|c| &mut c.has_backlog);
        if backlog.is_some_and(mem::take) {
            self.server.serve(key);
        }
        if !self.server.is_read(key) || self.server.drains {
            return;
        }
        let connections = &mut self.server.sessions.connections;
        let Some(connection) = connections.get_mut(key) else {
            return;
        };
        if self.catches_up && connection.caught_up >= IN_FLIGHT {
            return;
        }
        match connection.fill(&mut self.scratch) {
            Fill::Nothing => {}
            Fill::End if connection.severed => {}
            Fill::End => self.server.end_of_input(key),
            Fill::Some(len) => {
                connection.caught_up += len;
                let is_severed = connection.severed;
                if connection.readable {
                    connections.read_later(key);
                }
                if !is_severed {
                    self.server.take_in(key, &self.scratch[..len]);
                }
            }
        }
    }

    /// Writes what has been queued, and what the end of the sessions brings that are
    /// closed because too much of it would have to be kept.
    fn flush(&mut self) {
        self.server.sessions.connections.flush();
        while self.server.sessions.connections.has_to_close() {
            self.close();
            self.server.sessions.connections.flush();
        }
    }

    /// Closes the connections that are at their end.
    pub(crate) fn close(&mut self) {
        while let Some(key) = self.server.sessions.connections.next_to_close() {
            if let Some(Connection { mut stream, .. }) = self.server.close(key)
                && let Err(error) = self.poll.registry().deregister(&mut stream)
            {
                tracing::debug!(%error, key, "cannot deregister");
            }
        }
    }

    /// Handles everything that clients had sent before this call, within a second. No
    /// sender is paused meanwhile and nothing is accepted.
    pub(crate) fn catch_up(&mut self) {
        self.catch_up_until(Instant::now() + CATCH_UP);
    }

    /// Handles everything that clients had sent before this call, until the given time
    /// or until the loop is stopped.
    ///
    /// Data of a TCP client may still be in the send buffer of its own host, whose length
    /// is not known here. So each connection is read until it is empty or has given as
    /// much as the buffers can hold.
    fn catch_up_until(&mut self, until: Instant) {
        let connections = &mut self.server.sessions.connections;
        connections.iter_mut().for_each(|(_, connection)| connection.caught_up = 0);
        connections.flow.suspend();
        self.server.sessions.resume();
        self.catches_up = true;
        let mut events = Events::with_capacity(1024);
        while !self.control.is_stopped() {
            match self.poll.poll(&mut events, self.catch_up_timeout(until)) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // The next poll of the loop returns it.
                Err(_) => break,
                Ok(()) => {}
            }
            let connections = &self.server.sessions.connections;
            if events.is_empty() && connections.to_read() == 0 && !connections.has_held() {
                break;
            }
            self.turn(&events);
            if until <= Instant::now() {
                tracing::warn!("clients had sent more than could be handled in time");
                break;
            }
        }
        self.catches_up = false;
        let connections = &mut self.server.sessions.connections;
        connections.flow.resume();
        let sends_on = |(key, c): (usize, &Connection)| (c.caught_up >= IN_FLIGHT).then_some(key);
        let unread: Vec<usize> = connections.iter().filter_map(sends_on).collect();
        unread.into_iter().for_each(|key| connections.read_later(key));
    }

    /// Returns how long to wait for events while the loop catches up: only for room for the
    /// requests of sessions that are held back.
    fn catch_up_timeout(&self, until: Instant) -> Option<Duration> {
        let connections = &self.server.sessions.connections;
        if connections.to_read() > 0 || !connections.has_held() {
            return Some(Duration::ZERO);
        }
        let left = until.saturating_duration_since(Instant::now());
        Some(self.timeout().map_or(left, |timeout| timeout.min(left)))
    }

    /// Takes nothing new, and ends when all that is queued has gone out, or after
    /// the given time.
    pub(crate) fn drain(&mut self, time: Duration) {
        let now = Instant::now();
        self.drain_until = now.checked_add(time);
        self.catch_up_until(now + time.min(CATCH_UP));
        self.listeners.close(self.poll.registry());
        self.server.drains = true;
    }

    fn is_drained(&self) -> bool {
        let is_late = || self.drain_until.is_some_and(|until| until <= Instant::now());
        let mut connections = self.server.sessions.connections.iter();
        let remote = self.server.sessions.cluster.remote();
        let mut is_written = || connections.all(|(_, connection)| connection.queued() == 0);
        self.server.drains && (is_late() || remote.is_none_or(Remote::is_idle) && is_written())
    }

    /// Refuses connections at a door, and closes those that came in there.
    pub(crate) fn close_door(&mut self, door: Door) {
        self.listeners.suspend(door, self.poll.registry());
        let connections = &mut self.server.sessions.connections;
        let of_door = |(key, c): (usize, &Connection)| (c.door == door).then_some(key);
        let keys: Vec<usize> = connections.iter().filter_map(of_door).collect();
        keys.into_iter().for_each(|key| connections.close_later(key));
        self.close();
    }

    /// Takes connections at a door again.
    ///
    /// # Errors
    ///
    /// An error of the operating system; another program may have the port.
    pub(crate) fn open_door(&mut self, door: Door) -> io::Result<()> {
        self.listeners.resume(door, self.poll.registry())
    }

    /// Returns how long to wait for events until a deadline is due.
    fn timeout(&self) -> Option<Duration> {
        let Server { sessions, .. } = &self.server;
        let connections = &sessions.connections;
        let is_released = connections.has_held() && Hosts::takes_requests(&sessions.cluster);
        let to_read = connections.to_read() > 0 || is_released;
        let has_more = self.server.hosts.as_ref().is_some_and(Hosts::has_more);
        if to_read || has_more || self.listeners.has_ready() {
            return Some(Duration::ZERO);
        }
        let times = [
            self.server.next_late(),
            self.listeners.retry_at(),
            sessions.next_resume(),
            sessions.next_pass(),
            self.server.hosts.as_ref().and_then(Hosts::next_time),
            self.drain_until,
        ];
        let next = times.into_iter().flatten().min()?;
        // A poll that ends a little early would come back at once, in vain.
        Some(next.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }
}
