//! The handshake over a connected stream.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use spread_wire::ErrorCode;
use spread_wire::handshake::{AUTH_NULL, Client, ClientError, ClientStep, Connect as Request};

use crate::error::is_resource;
use crate::poll::Ready;
use crate::stream::{Mode, Stream};
use crate::{ConnectError, Connection};

/// Exchanges that are made in one step of a connect, before its deadline is looked at.
const MOST: usize = 32;

/// The client's part of an authentication, as a sequence of steps without I/O.
pub trait AuthExchange: Send {
    /// Returns the next step. `received` has the bytes that the last step asked for; it is
    /// empty at first and after a step that sent something.
    ///
    /// # Errors
    ///
    /// An error gives up: the connect fails with an authentication error, of which this is the
    /// source.
    ///
    /// # Panics
    ///
    /// A panic is the connect's, unless it goes through libspread, which makes an
    /// authentication error of it.
    fn next(&mut self, received: &[u8]) -> io::Result<AuthStep>;
}

/// A step of an authentication.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthStep {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Receive exactly so many bytes, which the next step gets.
    Receive(usize),
    /// The client has done its part.
    Done,
}

impl fmt::Debug for AuthStep {
    /// Without what is sent, which may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AuthStep::Send(bytes) => write!(f, "Send({} bytes)", bytes.len()),
            AuthStep::Receive(len) => write!(f, "Receive({len})"),
            AuthStep::Done => f.write_str("Done"),
        }
    }
}

/// A method of authentication that a connect uses.
pub struct Method {
    name: String,
    /// `None`: the application does the exchange.
    exchange: Option<Box<dyn AuthExchange>>,
}

impl Method {
    /// A method by its name, and what it exchanges.
    pub fn new(name: impl Into<String>, exchange: Box<dyn AuthExchange>) -> Method {
        Method { name: name.into(), exchange: Some(exchange) }
    }

    /// A method whose exchange the application does on the descriptor; see
    /// [`Progress::Authenticate`](crate::Progress::Authenticate).
    pub fn external(name: impl Into<String>) -> Method {
        Method { name: name.into(), exchange: None }
    }

    /// `NULL`, which exchanges nothing.
    pub fn null() -> Method {
        Method::new(AUTH_NULL, Box::new(Nothing))
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Method").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Nothing;

impl AuthExchange for Nothing {
    fn next(&mut self, _received: &[u8]) -> io::Result<AuthStep> {
        Ok(AuthStep::Done)
    }
}

/// A handshake under way.
#[derive(Debug)]
pub(crate) struct Handshake {
    stream: Stream,
    client: Client,
    /// The names of all methods.
    names: Vec<String>,
    /// The methods whose exchanges have not ended.
    methods: VecDeque<Method>,
    unsent: Vec<u8>,
    sent: usize,
    /// What has come of the bytes that are wanted.
    received: Vec<u8>,
    wanted: usize,
    /// Who wants them.
    asks: Asks,
    /// Whether the next step need not wait for the stream.
    is_busy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Client,
    Method,
}

/// How far a handshake has come.
pub(crate) enum Talk {
    Waits,
    External(String),
    Done(Connection),
}

impl Handshake {
    pub(crate) fn new(stream: Stream, request: Request, methods: Vec<Method>) -> Handshake {
        let names: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
        Handshake {
            stream,
            client: Client::new(request, &names),
            names: names.into_iter().map(str::to_owned).collect(),
            methods: methods.into(),
            unsent: Vec::new(),
            sent: 0,
            received: Vec::new(),
            wanted: 0,
            asks: Asks::Client,
            is_busy: false,
        }
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// `None` if the next step need not wait.
    pub(crate) fn waits_for(&self) -> Option<(BorrowedFd<'_>, Ready)> {
        let ready = if self.sent < self.unsent.len() { Ready::ToWrite } else { Ready::ToRead };
        (!self.is_busy).then_some((self.stream.as_fd(), ready))
    }

    /// The application has done the exchange of a method.
    pub(crate) fn authenticated(&mut self) {
        if self.methods.front().is_some_and(|method| method.exchange.is_none()) {
            self.methods.pop_front();
        }
    }

    pub(crate) fn step(&mut self) -> Result<Talk, ConnectError> {
        self.advance().map_err(|error| match error {
            ConnectError::Handshake(
                ClientError::Rejected(ErrorCode::RejectAuth)
                | ClientError::MethodNotPermitted { .. },
            ) => {
                ConnectError::NotAuthorized { wanted: self.names.clone(), offered: self.offered() }
            }
            error => error,
        })
    }

    /// The methods that the daemon permits, once they are known.
    fn offered(&self) -> Option<Vec<String>> {
        self.client.permitted().map(|methods| methods.map(str::to_owned).collect())
    }

    fn advance(&mut self) -> Result<Talk, ConnectError> {
        self.is_busy = false;
        // A method may go on for ever, and a peer that answers at once with it.
        for _ in 0..MOST {
            if !self.flush()? || !self.fill()? {
                return Ok(Talk::Waits);
            }
            match self.asks {
                Asks::Client => match self.client.next_step() {
                    ClientStep::Send(bytes) => self.send(bytes),
                    // Takes off the stream what belongs to the handshake and not a byte
                    // more: a message may follow at once.
                    ClientStep::Receive(len) => self.receive(len),
                    ClientStep::Authenticate => self.asks = Asks::Method,
                    ClientStep::Done(accepted) => {
                        let stream = self.stream.clone();
                        return Ok(Talk::Done(Connection::new(stream, accepted.private_group)));
                    }
                },
                Asks::Method => {
                    let Some(method) = self.methods.front_mut() else {
                        self.client.authenticated();
                        self.asks = Asks::Client;
                        continue;
                    };
                    let Some(exchange) = &mut method.exchange else {
                        return Ok(Talk::External(method.name.clone()));
                    };
                    let received = std::mem::take(&mut self.received);
                    let next = match exchange.next(&received) {
                        Ok(next) => next,
                        Err(source) => {
                            let (method, offered) = (method.name.clone(), self.offered());
                            return Err(ConnectError::Authentication { method, offered, source });
                        }
                    };
                    match next {
                        AuthStep::Send(bytes) => self.send(bytes),
                        AuthStep::Receive(len) => self.receive(len),
                        AuthStep::Done => drop(self.methods.pop_front()),
                    }
                }
            }
        }
        self.is_busy = true;
        Ok(Talk::Waits)
    }

    fn send(&mut self, bytes: Vec<u8>) {
        (self.unsent, self.sent) = (bytes, 0);
    }

    fn receive(&mut self, len: usize) {
        self.received.clear();
        self.wanted = len;
    }

    /// Sends what is to be sent; says whether that is all.
    fn flush(&mut self) -> Result<bool, ConnectError> {
        let rest = &self.unsent[self.sent..];
        self.stream.send(rest, Mode::Try, false, &mut self.sent).map_err(failed)?;
        Ok(self.sent == self.unsent.len())
    }

    /// Receives what is wanted; says whether that is all.
    fn fill(&mut self) -> Result<bool, ConnectError> {
        while self.received.len() < self.wanted {
            let mut chunk = [0; 256];
            let most = (self.wanted - self.received.len()).min(chunk.len());
            match self.stream.recv(&mut chunk[..most], Mode::Try) {
                Ok(Some(count)) => {
                    self.received.extend_from_slice(&chunk[..count]);
                    if self.asks == Asks::Client {
                        self.client.check(&self.received)?;
                    }
                }
                Ok(None) => return Ok(false),
                // A rejection is shorter than what was asked for.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && self.asks == Asks::Client => {
                    self.client.handle(&self.received)?;
                    return Err(ConnectError::Closed(e));
                }
                Err(e) => return Err(failed(e)),
            }
        }
        if self.wanted > 0 {
            self.wanted = 0;
            if self.asks == Asks::Client {
                self.client.handle(&self.received)?;
                self.received.clear();
            }
        }
        Ok(true)
    }
}

/// What a failed call of the system on the stream means.
fn failed(error: io::Error) -> ConnectError {
    if is_resource(&error) { ConnectError::Local(error) } else { ConnectError::Closed(error) }
}
