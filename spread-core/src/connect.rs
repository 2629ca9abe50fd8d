//! Opening a connection, step by step and without waiting.

mod handshake;
mod opening;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use spread_wire::handshake::Connect as Request;

use crate::error::is_resource;
use crate::poll::{Ready, wait_slice};
use crate::resolve::{Lookup, literal};
use crate::stream::Stream;
use crate::{Address, ConnectError, Connection, Keepalive};
use handshake::{Handshake, Talk};
use opening::{Opening, Target};

pub use handshake::{AuthExchange, AuthStep, Method};

/// A connect under way: the look-up of the host, the socket, the handshake.
///
/// Several addresses of a host are tried side by side, each a quarter of a second after the
/// one before (RFC 8305), and the first that accepts is taken.
#[derive(Debug)]
pub struct Connect {
    request: Option<(Request, Vec<Method>)>,
    deadline: Option<Instant>,
    keepalive: Keepalive,
    tunnel: Option<Tunnel>,
    phase: Phase,
}

/// What a connected socket is exchanged through.
struct Tunnel(Box<dyn FnOnce(OwnedFd) -> io::Result<OwnedFd> + Send>);

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel")
    }
}

#[derive(Debug)]
enum Phase {
    Start(Address),
    LookUp(Lookup),
    Open(Opening),
    ShakeHands(Handshake),
    Over,
}

/// How far a connect has come.
#[derive(Debug)]
pub enum Progress {
    /// Something has to be [waited for](Connect::waits_for).
    Wait,
    /// The application does the exchange of this [method](Method::external), on the
    /// descriptor of the [`Connect`], and then calls [`Connect::authenticated`].
    Authenticate(String),
    /// There is a session.
    Connected(Connection),
}

impl Connect {
    /// A connect to a daemon, without authentication and without a deadline.
    pub fn new(address: Address, request: Request) -> Connect {
        let request = Some((request, vec![Method::null()]));
        let keepalive = Keepalive::System;
        let phase = Phase::Start(address);
        Connect { request, deadline: None, keepalive, tunnel: None, phase }
    }

    /// Sets when the connect fails, with [`ConnectError::TimedOut`].
    pub fn deadline(self, deadline: Option<Instant>) -> Connect {
        Connect { deadline, ..self }
    }

    /// Sets when a TCP connection gives up a peer that does not answer. Defaults to
    /// [`Keepalive::System`].
    pub fn keepalive(self, keepalive: Keepalive) -> Connect {
        Connect { keepalive, ..self }
    }

    /// Sets a function that gets the socket when it is connected, and returns the stream socket
    /// of this host over which the handshake and the session go: one end of a socket pair, for
    /// example, between whose other end and the connected socket a thread encrypts.
    ///
    /// The function is not to wait. Its error is [`ConnectError::Local`].
    pub fn tunnel(
        self,
        tunnel: impl FnOnce(OwnedFd) -> io::Result<OwnedFd> + Send + 'static,
    ) -> Connect {
        Connect { tunnel: Some(Tunnel(Box::new(tunnel))), ..self }
    }

    /// Authenticates with these methods, all of which the connect goes through, one after the other. The
    /// protocol has room for three names of at most 29 bytes.
    ///
    /// # Panics
    ///
    /// If the connect has begun.
    pub fn authenticate(self, methods: Vec<Method>) -> Connect {
        let (request, _) = self.request.expect("the connect has not begun");
        Connect { request: Some((request, methods)), ..self }
    }

    /// Connects, and waits for it.
    ///
    /// # Errors
    ///
    /// Those of [`step`](Connect::step); [`ConnectError::Authentication`] for a method that
    /// the application would have to do.
    pub fn wait(mut self) -> Result<Connection, ConnectError> {
        loop {
            match self.step()? {
                Progress::Connected(connection) => return Ok(connection),
                Progress::Authenticate(method) => {
                    let source = io::ErrorKind::Unsupported.into();
                    return Err(ConnectError::Authentication { method, offered: None, source });
                }
                Progress::Wait => {
                    let (fds, until) = self.waits_for();
                    wait_slice(&fds, until).map_err(ConnectError::Local)?;
                }
            }
        }
    }

    /// Goes on as far as that is possible without waiting.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]; the connect is over then.
    ///
    /// # Panics
    ///
    /// If the connect is over.
    pub fn step(&mut self) -> Result<Progress, ConnectError> {
        let result = self.advance();
        if !matches!(result, Ok(Progress::Wait | Progress::Authenticate(_))) {
            self.phase = Phase::Over;
        }
        result
    }

    /// Tells that the application has done its part of an authentication.
    pub fn authenticated(&mut self) {
        if let Phase::ShakeHands(handshake) = &mut self.phase {
            handshake.authenticated();
        }
    }

    /// What ends the wait for the next step: the first of these descriptors to be ready, or
    /// this moment.
    pub fn waits_for(&self) -> (Vec<(BorrowedFd<'_>, Ready)>, Option<Instant>) {
        let (fds, at) = match &self.phase {
            Phase::Start(_) | Phase::Over => (Vec::new(), Some(Instant::now())),
            Phase::LookUp(lookup) => (vec![(lookup.as_fd(), Ready::ToRead)], None),
            Phase::Open(opening) => opening.waits_for(),
            Phase::ShakeHands(handshake) => match handshake.waits_for() {
                Some(stream) => (vec![stream], None),
                None => (Vec::new(), Some(Instant::now())),
            },
        };
        let at = match (at, self.deadline) {
            (Some(at), Some(deadline)) => Some(at.min(deadline)),
            (at, deadline) => at.or(deadline),
        };
        (fds, at)
    }

    /// The socket, once the handshake has begun.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.phase {
            Phase::ShakeHands(handshake) => Some(handshake.stream().as_fd()),
            _ => None,
        }
    }

    fn advance(&mut self) -> Result<Progress, ConnectError> {
        loop {
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= now) {
                return Err(ConnectError::TimedOut);
            }
            self.phase = match &mut self.phase {
                Phase::Start(Address::Unix(path)) => {
                    let target = Target::unix(path).map_err(ConnectError::Unreachable)?;
                    Phase::Open(Opening::new(vec![target], self.keepalive, now))
                }
                Phase::Start(Address::Tcp { port, host }) => match literal(host, *port) {
                    Some(address) => {
                        Phase::Open(Opening::new(vec![Target::tcp(address)], self.keepalive, now))
                    }
                    None => {
                        let lookup = Lookup::start(host.clone(), *port);
                        Phase::LookUp(lookup.map_err(ConnectError::Local)?)
                    }
                },
                Phase::LookUp(lookup) => match lookup.result() {
                    None => return Ok(Progress::Wait),
                    Some(Err(error)) if is_resource(&error) => {
                        return Err(ConnectError::Local(error));
                    }
                    Some(Err(error)) => return Err(ConnectError::UnknownHost(error)),
                    Some(Ok(addresses)) => {
                        Phase::Open(Opening::of_host(addresses, self.keepalive, now)?)
                    }
                },
                Phase::Open(opening) => match opening.step(now)? {
                    None => return Ok(Progress::Wait),
                    Some(stream) => {
                        let stream = match self.tunnel.take() {
                            None => stream,
                            Some(Tunnel(enter)) => {
                                let inside =
                                    enter(stream.into_fd()).map_err(ConnectError::Local)?;
                                Stream::new(inside, true)
                            }
                        };
                        let (request, methods) =
                            self.request.take().expect("only this phase takes it");
                        Phase::ShakeHands(Handshake::new(stream, request, methods))
                    }
                },
                Phase::ShakeHands(handshake) => {
                    return match handshake.step()? {
                        Talk::Waits => Ok(Progress::Wait),
                        Talk::External(method) => Ok(Progress::Authenticate(method)),
                        Talk::Done(connection) => Ok(Progress::Connected(connection)),
                    };
                }
                Phase::Over => panic!("the connect is over"),
            };
        }
    }
}
