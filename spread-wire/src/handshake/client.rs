//! The client's side.

use super::{ACCEPT, AUTH_CHOICE, AUTH_METHODS, AUTH_NAME, AUTH_NULL, Version, rejection};
use crate::{ErrorCode, NameError, PrivateGroup, PrivateName};

/// Bytes of another protocol that an error shows.
const SHOWN: usize = 40;

/// What a client wants of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The version it speaks.
    pub version: Version,
    /// The name it asks for; without one the daemon makes one up.
    pub private_name: Option<PrivateName>,
    /// Whether it wants membership messages.
    pub membership: bool,
    /// Its priority, 0 or 1; it has no effect.
    pub priority: bool,
}

impl Connect {
    /// A request with membership messages and the usual priority.
    pub fn new(private_name: Option<PrivateName>) -> Connect {
        Connect { version: Version::CURRENT, private_name, membership: true, priority: false }
    }

    /// The bytes of the request, to be sent in one piece.
    pub fn encode(&self) -> Vec<u8> {
        let version = [self.version.major, self.version.minor, self.version.patch];
        let mut bytes = version[..self.version.len()].to_vec();
        bytes.push(u8::from(self.membership) | u8::from(self.priority) << 4);
        let name = self.private_name.as_ref().map_or("", PrivateName::as_str);
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes
    }
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The daemon rejected the client.
    #[error(transparent)]
    Rejected(#[from] ErrorCode),
    /// The daemon does not permit a method that the client chose.
    #[error("the daemon permits the authentication methods {permitted:?}, not {method}")]
    MethodNotPermitted {
        /// The method chosen.
        method: String,
        /// What the daemon permits.
        permitted: String,
    },
    /// The answer is not that of a Spread daemon.
    #[error("the answer is not that of a Spread daemon: {0}")]
    Protocol(&'static str),
    /// The peer speaks another protocol, such as HTTP or SSH.
    #[error("the peer speaks another protocol, its answer begins with \"{}\"", begin.escape_ascii())]
    OtherProtocol {
        /// The first bytes of its answer, at most 40.
        begin: Vec<u8>,
    },
    /// The daemon gave an illegal private group.
    #[error("the daemon gave an illegal private group")]
    PrivateGroup(#[source] NameError),
}

/// What the client is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientStep {
    /// Receive exactly this many bytes and hand them to [`Client::handle`].
    Receive(usize),
    /// Send these bytes in one piece.
    Send(Vec<u8>),
    /// Do the exchange of the chosen methods, one after the other, then call
    /// [`Client::authenticated`].
    Authenticate,
    /// The session is there.
    Done(Accepted),
}

/// What the daemon granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The version of the daemon.
    pub version: Version,
    /// The client's private group.
    pub private_group: PrivateGroup,
}

/// The client's side of a handshake.
///
/// ```
/// use spread_wire::handshake::{Client, ClientStep, Connect};
///
/// let mut client = Client::new(Connect::new(None), &["NULL"]);
/// let ClientStep::Send(request) = client.next_step() else { panic!() };
/// assert_eq!(request, [5, 0, 1, 1, 0]);
/// assert_eq!(client.next_step(), ClientStep::Receive(1));
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connect: Connect,
    methods: Vec<String>,
    /// The list of methods that the daemon permits, once it has come.
    permitted: Option<String>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    SendRequest,
    MethodsLen,
    Methods(usize),
    SendChoice,
    Authenticate,
    Answer,
    Name { version: Version, len: usize },
    Done(Accepted),
}

impl Client {
    /// A handshake that authenticates with the given methods, at most three.
    pub fn new(connect: Connect, methods: &[&str]) -> Client {
        let methods = methods.iter().take(AUTH_METHODS).map(|m| m.to_string()).collect();
        Client { connect, methods, permitted: None, state: State::SendRequest }
    }

    /// A handshake without authentication, as most daemons permit it.
    pub fn unauthenticated(connect: Connect) -> Client {
        Client::new(connect, &[AUTH_NULL])
    }

    /// What to do next. A step to send is returned once.
    pub fn next_step(&mut self) -> ClientStep {
        let step = self.step();
        match self.state {
            State::SendRequest if self.connect.version < Version::WITH_AUTH => {
                self.state = State::Answer;
            }
            State::SendRequest => self.state = State::MethodsLen,
            State::SendChoice => self.state = State::Authenticate,
            _ => {}
        }
        step
    }

    fn step(&self) -> ClientStep {
        match &self.state {
            State::SendRequest => ClientStep::Send(self.connect.encode()),
            State::MethodsLen => ClientStep::Receive(1),
            State::Methods(len) => ClientStep::Receive(*len),
            State::SendChoice => ClientStep::Send(self.choice()),
            State::Authenticate => ClientStep::Authenticate,
            State::Answer => ClientStep::Receive(2 + self.connect.version.len()),
            State::Name { len, .. } => ClientStep::Receive(*len),
            State::Done(accepted) => ClientStep::Done(*accepted),
        }
    }

    /// Takes the bytes that the last step asked for.
    ///
    /// A rejection is one byte, after which the daemon closes: a caller that
    /// gets fewer bytes than the step asked for hands over what it got.
    ///
    /// # Errors
    ///
    /// [`ClientError`]: the daemon rejected the client, or the peer is not a Spread daemon.
    pub fn handle(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let ClientStep::Receive(wanted) = self.step() else {
            return Err(ClientError::Protocol("bytes that were not asked for"));
        };
        let first_byte = match self.state {
            State::MethodsLen | State::Answer => Some(first(bytes)?),
            _ => None,
        };
        if bytes.len() != wanted {
            self.check(bytes)?;
            return Err(ClientError::Protocol("it ends early"));
        }
        self.state = match (&self.state, first_byte) {
            (State::MethodsLen, Some(len)) => match usize::from(len) {
                0 => self.check_permitted("")?,
                len if len > AUTH_CHOICE => return Err(other_protocol(bytes.iter())),
                len => State::Methods(len),
            },
            (State::Methods(len), _) => {
                check_list(*len, bytes)?;
                self.check_permitted(&String::from_utf8_lossy(bytes))?
            }
            (State::Answer, Some(answer)) => {
                check_answer(answer, bytes)?;
                let patch = if bytes.len() == 5 { bytes[3] } else { 0 };
                let version = Version { major: bytes[1], minor: bytes[2], patch };
                if version.major < Version::OLDEST.major {
                    return Err(ErrorCode::RejectVersion.into());
                }
                match usize::from(bytes[bytes.len() - 1]) {
                    0 => return Err(ClientError::Protocol("it gives no private group")),
                    len => State::Name { version, len },
                }
            }
            (State::Name { version, .. }, _) => State::Done(Accepted {
                version: *version,
                private_group: PrivateGroup::new(bytes).map_err(ClientError::PrivateGroup)?,
            }),
            (state, _) => state.clone(),
        };
        Ok(())
    }

    /// Checks the first bytes of those that the last step asked for, as far as they have come:
    /// a peer that is no daemon may never send the rest.
    ///
    /// # Errors
    ///
    /// [`ClientError`]: the daemon rejected the client, or the peer is not a Spread daemon.
    pub fn check(&self, begun: &[u8]) -> Result<(), ClientError> {
        match self.state {
            State::Methods(len) => check_list(len, begun),
            State::Answer if !begun.is_empty() => check_answer(first(begun)?, begun),
            _ => Ok(()),
        }
    }

    /// The authentication methods that the daemon permits, once its list has come.
    pub fn permitted(&self) -> Option<impl Iterator<Item = &str>> {
        self.permitted.as_deref().map(str::split_ascii_whitespace)
    }

    /// Tells that the exchanges of the chosen methods have been done.
    pub fn authenticated(&mut self) {
        if matches!(self.state, State::Authenticate) {
            self.state = State::Answer;
        }
    }

    /// Goes on to the choice if the daemon permits all of it.
    fn check_permitted(&mut self, permitted: &str) -> Result<State, ClientError> {
        self.permitted = Some(permitted.to_owned());
        let is_permitted =
            |method: &String| permitted.split_ascii_whitespace().any(|p| p == method);
        match self.methods.iter().find(|&method| !is_permitted(method)) {
            Some(method) => Err(ClientError::MethodNotPermitted {
                method: method.clone(),
                permitted: permitted.trim_end().to_owned(),
            }),
            None => Ok(State::SendChoice),
        }
    }

    fn choice(&self) -> Vec<u8> {
        let mut choice = vec![0; AUTH_CHOICE];
        for (field, method) in choice.chunks_mut(AUTH_NAME).zip(&self.methods) {
            let len = method.len().min(AUTH_NAME);
            field[..len].copy_from_slice(&method.as_bytes()[..len]);
        }
        choice
    }
}

/// Names and blanks: a line of another protocol ends otherwise. Its length came before it.
fn check_list(len: usize, bytes: &[u8]) -> Result<(), ClientError> {
    match bytes.iter().all(|&byte| byte == b' ' || byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(other_protocol([len as u8].iter().chain(bytes))),
    }
}

fn check_answer(answer: u8, bytes: &[u8]) -> Result<(), ClientError> {
    match answer {
        ACCEPT => Ok(()),
        _ => Err(other_protocol(bytes.iter())),
    }
}

fn other_protocol<'a>(answer: impl Iterator<Item = &'a u8>) -> ClientError {
    ClientError::OtherProtocol { begin: answer.take(SHOWN).copied().collect() }
}

fn first(bytes: &[u8]) -> Result<u8, ClientError> {
    let Some(&byte) = bytes.first() else {
        return Err(ErrorCode::ConnectionClosed.into());
    };
    rejection(byte).map_err(|code| match code {
        Some(code) => ClientError::Rejected(code),
        None => ClientError::Protocol("it rejects with an unknown code"),
    })
}
