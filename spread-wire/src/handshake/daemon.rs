//! The daemon's side.

use bytes::{Buf, BytesMut};

use super::{ACCEPT, AUTH_CHOICE, AUTH_IP, AUTH_NAME, AUTH_NULL, Version};
use crate::limits::MAX_PRIVATE_NAME;
use crate::{ErrorCode, PrivateGroup, PrivateName};

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The version it speaks.
    pub version: Version,
    /// The name it wants; without one the daemon makes one up.
    pub private_name: Option<PrivateName>,
    /// Whether it wants membership messages.
    pub membership: bool,
    /// Its priority, 0 or 1.
    pub priority: bool,
}

/// What the daemon is to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DaemonStep {
    /// Wait for more bytes.
    Receive,
    /// Look at the request and call [`Daemon::greet`] or [`Daemon::reject`].
    Greet(ConnectRequest),
    /// Do the exchange of these methods in turn, then call [`Daemon::accept`]
    /// or [`Daemon::reject`].
    Authenticate(Vec<String>),
    /// Send the byte of this code and close.
    Reject(ErrorCode),
    /// Accepted: frames follow on the stream.
    Done,
}

/// The daemon's side of a handshake.
///
/// Unlike Spread's own daemon it takes the bytes in pieces of any size.
#[derive(Clone, Debug)]
pub struct Daemon {
    permitted: Vec<String>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Request,
    Greet(ConnectRequest),
    Choice(ConnectRequest),
    Authenticate(ConnectRequest, Vec<String>),
    Rejected(ErrorCode),
    Done,
}

impl Daemon {
    /// A handshake in which the client may choose among the given methods.
    ///
    /// Clients take a list of at most [`AUTH_CHOICE`] bytes, with a blank after
    /// each method: those beyond it are not permitted.
    pub fn new(permitted: &[&str]) -> Daemon {
        let mut list_len = 0;
        let fits = |method: &&&str| {
            list_len += method.len() + 1;
            list_len <= AUTH_CHOICE
        };
        let permitted = permitted.iter().take_while(fits).map(|m| m.to_string()).collect();
        Daemon { permitted, state: State::Request }
    }

    /// Takes from `stream` what belongs to the handshake and says what to do
    /// next. Called again without new bytes, it says the same again.
    pub fn handle(&mut self, stream: &mut BytesMut) -> DaemonStep {
        match &self.state {
            State::Request => match parse_request(stream) {
                Ok(Some(request)) => self.state = State::Greet(request),
                Ok(None) => {}
                Err(code) => self.state = State::Rejected(code),
            },
            State::Choice(request) if stream.len() >= AUTH_CHOICE => {
                self.state = match self.parse_choice(&stream[..AUTH_CHOICE]) {
                    Some(methods) => State::Authenticate(*request, methods),
                    None => State::Rejected(ErrorCode::RejectAuth),
                };
                stream.advance(AUTH_CHOICE);
            }
            _ => {}
        }
        match &self.state {
            State::Request | State::Choice(_) => DaemonStep::Receive,
            State::Greet(request) => DaemonStep::Greet(*request),
            State::Authenticate(_, methods) => DaemonStep::Authenticate(methods.clone()),
            State::Rejected(code) => DaemonStep::Reject(*code),
            State::Done => DaemonStep::Done,
        }
    }

    /// Lets the client go on to authenticate; returns what to send to it.
    ///
    /// A client too old for that gets no bytes, and as with Spread's own daemon
    /// one of the methods that exchange nothing is chosen for it: `IP`, or else
    /// `NULL`. Where neither is permitted, [`handle`](Self::handle) rejects the
    /// client, as it does any client where no method is permitted at all.
    pub fn greet(&mut self) -> Vec<u8> {
        let State::Greet(request) = self.state else {
            return Vec::new();
        };
        if request.version < Version::WITH_AUTH {
            let is_permitted = |method: &&str| self.permitted.iter().any(|p| p == method);
            self.state = match [AUTH_IP, AUTH_NULL].into_iter().find(is_permitted) {
                Some(method) => State::Authenticate(request, vec![method.to_owned()]),
                None => State::Rejected(ErrorCode::RejectAuth),
            };
            return Vec::new();
        }
        self.state = match self.permitted[..] {
            [] => State::Rejected(ErrorCode::RejectAuth),
            _ => State::Choice(request),
        };
        let list: String = self.permitted.iter().map(|method| format!("{method} ")).collect();
        let mut bytes = vec![list.len() as u8];
        bytes.extend_from_slice(list.as_bytes());
        bytes
    }

    /// Accepts the client under a private group; returns what to send to it.
    pub fn accept(&mut self, private_group: PrivateGroup) -> Vec<u8> {
        let State::Authenticate(request, _) = &self.state else {
            return Vec::new();
        };
        let Version { major, minor, patch } = Version::CURRENT;
        let mut bytes = vec![ACCEPT];
        bytes.extend_from_slice(&[major, minor, patch][..request.version.len()]);
        let name = private_group.as_str();
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        self.state = State::Done;
        bytes
    }

    /// Rejects the client; returns what to send to it before closing.
    pub fn reject(&mut self, code: ErrorCode) -> Vec<u8> {
        self.state = State::Rejected(code);
        vec![code.byte()]
    }

    fn parse_choice(&self, choice: &[u8]) -> Option<Vec<String>> {
        let mut methods = Vec::new();
        for field in choice.chunks(AUTH_NAME) {
            let name = field.split(|&b| b == 0).next().unwrap_or(field);
            if name.is_empty() {
                break;
            }
            methods.push(self.permitted.iter().find(|m| m.as_bytes() == name)?.clone());
        }
        (!methods.is_empty()).then_some(methods)
    }
}

/// Takes a connection request off the stream; `Ok(None)` while it is short.
fn parse_request(stream: &mut BytesMut) -> Result<Option<ConnectRequest>, ErrorCode> {
    let [major, minor, ..] = stream[..] else {
        return Ok(None);
    };
    let mut version = Version { major, minor, patch: 0 };
    // Spread's daemon reads the bytes as signed.
    if version < Version::OLDEST || major > i8::MAX as u8 {
        return Err(ErrorCode::RejectVersion);
    }
    let head = version.len() + 2;
    if stream.len() < head {
        return Ok(None);
    }
    if version.len() == 3 {
        version.patch = stream[2];
    }
    let (flags, len) = (stream[head - 2], usize::from(stream[head - 1]));
    if len > MAX_PRIVATE_NAME {
        return Err(ErrorCode::RejectIllegalName);
    }
    if stream.len() < head + len {
        return Ok(None);
    }
    let private_name = match &stream[head..head + len] {
        [] => None,
        name => Some(PrivateName::new(name).map_err(|_| ErrorCode::RejectIllegalName)?),
    };
    stream.advance(head + len);
    Ok(Some(ConnectRequest {
        version,
        private_name,
        membership: flags & 1 != 0,
        priority: flags & 0xf0 != 0,
    }))
}
