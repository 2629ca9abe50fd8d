//! How a connection is made.

use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_wire::{ErrorCode, PrivateGroup};

use crate::address::Address;
use crate::connection::Connection;
use crate::sys::{Code, ConnectError, ConnectRequest, RawMailbox};
use crate::{Authenticator, Error, Mailbox, multicast};

/// How long a connect takes at most, unless another time is set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a connection is to be like; made by [`Mailbox::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    addresses: Vec<String>,
    private_name: Option<String>,
    membership: bool,
    priority: bool,
    timeout: Option<Duration>,
    coalesce: Option<Duration>,
    authenticators: Vec<Arc<dyn Authenticator>>,
}

impl Builder {
    pub(crate) fn new(address: String) -> Builder {
        Builder {
            addresses: vec![address],
            private_name: None,
            membership: true,
            priority: false,
            timeout: Some(CONNECT_TIMEOUT),
            coalesce: None,
            authenticators: Vec::new(),
        }
    }

    /// Asks for a private name: 1 to 10 bytes from `$` to `~`, unique at the
    /// daemon. Without one the daemon makes one up.
    pub fn private_name(mut self, name: impl Into<String>) -> Builder {
        self.private_name = Some(name.into());
        self
    }

    /// Whether to receive membership messages (`group_membership`); they are
    /// received unless this says no.
    pub fn membership(mut self, membership: bool) -> Builder {
        self.membership = membership;
        self
    }

    /// Asks for a priority connection, which no Spread daemon so far treats
    /// differently.
    pub fn priority(mut self, priority: bool) -> Builder {
        self.priority = priority;
        self
    }

    /// How long to wait for each daemon, from the look-up of its host's name to the
    /// end of the handshake; 10 s unless set, without end if `None`.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Builder {
        self.timeout = timeout.into();
        self
    }

    /// Spares wake-ups while messages keep coming: a receive that has to wait, less than
    /// `time` after the last message, sleeps for `time` first. What comes meanwhile is then
    /// received at once. Zero: it never sleeps, it waits for the very next message.
    ///
    /// It saves processor time, and some of the daemon's, where small messages come one by
    /// one and more often than every `time`; 50 to 200 us are good values. They may be late
    /// by that, and by what a timer adds to it, on Linux some 50 us. A message that comes
    /// alone is not: `time` after the last one a receive waits as ever. So this is for
    /// those who follow a stream, not for those who wait for an answer.
    ///
    /// Unless set, receives sleep for 200 us at a time, and only while that makes a stream
    /// faster, as it does for a client that floods a Spread daemon. A stream that comes at
    /// the pace of its sender is no faster, and one who waits for each message as an answer
    /// gets no stream. Whether it is faster is tried with at most eight sleeps, after 1,000
    /// messages that came within 20 ms, and the more rarely the more often it was not.
    ///
    /// It concerns receives that wait, not [`try_receive`](crate::Mailbox::try_receive) or
    /// async mailboxes. After messages of 8 KiB and more they do not sleep, because it
    /// saves nothing. An [`Interrupter`](crate::Interrupter) does not cut the sleep short.
    pub fn coalesce(mut self, time: Duration) -> Builder {
        self.coalesce = Some(time);
        self
    }

    /// Authenticates, for example by [`UserPassword`](crate::UserPassword). A connect
    /// goes through all methods given, at most three, in turn; without one it uses
    /// `NULL`, which exchanges nothing.
    ///
    /// The library has one list of methods for the process, so a connect that
    /// authenticates waits for other connects to be over, and they for it. A list
    /// that was set before through the C interface is lost.
    pub fn authenticate(mut self, authenticator: impl Authenticator + 'static) -> Builder {
        self.authenticators.push(Arc::new(authenticator));
        self
    }

    /// Names a further daemon, to be tried if those named before cannot be
    /// reached.
    pub fn or_address(mut self, address: impl Into<String>) -> Builder {
        self.addresses.push(address.into());
        self
    }

    /// Connects, as `SP_connect_timeout(3)` does, but tries all daemons named, and
    /// all addresses of their hosts, in turn.
    ///
    /// A daemon that is reached and says no has the last word, unless it is full.
    ///
    /// # Errors
    ///
    /// That of the last daemon tried:
    ///
    /// - [`IllegalAddress`](Error::IllegalAddress),
    ///   [`UnknownHost`](Error::UnknownHost) and
    ///   [`IllegalPrivateName`](Error::IllegalPrivateName): before anything is
    ///   sent.
    /// - [`CouldNotConnect`](Error::CouldNotConnect),
    ///   [`ConnectTimeout`](Error::ConnectTimeout),
    ///   [`NotSpread`](Error::NotSpread) and
    ///   [`ConnectionClosed`](Error::ConnectionClosed): there is no daemon, or it
    ///   is not well.
    /// - [`NameInUse`](Error::NameInUse),
    ///   [`TooManySessions`](Error::TooManySessions),
    ///   [`IncompatibleVersion`](Error::IncompatibleVersion) and
    ///   [`NotAuthorized`](Error::NotAuthorized): the daemon says no.
    /// - [`Authentication`](Error::Authentication): an authenticator gave up.
    pub fn connect(&self) -> Result<Mailbox, Error> {
        self.open().map(Mailbox::new)
    }

    pub(crate) fn open(&self) -> Result<Connection, Error> {
        let name = match &self.private_name {
            Some(name) => c_string(multicast::private_name(name)?.as_str()),
            None => CString::default(),
        };
        // A slip in a later address shows at once, not when it is needed.
        let addresses =
            self.addresses.iter().map(|text| Ok((text.as_str(), Address::parse(text)?)));
        let addresses = addresses.collect::<Result<Vec<_>, Error>>()?;
        let mut addresses = addresses.into_iter();
        let Some((text, address)) = addresses.next() else {
            return Err(Error::CouldNotConnect { address: String::new() });
        };
        let mut result = self.open_at(text, &address, &name);
        for (text, address) in addresses {
            match &result {
                Err(error) if error.is_retryable() => {
                    result = self.open_at(text, &address, &name);
                }
                _ => break,
            }
        }
        result
    }

    /// Connects to one daemon.
    fn open_at(&self, text: &str, address: &Address, name: &CString) -> Result<Connection, Error> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let candidates = match address.candidates(text, deadline) {
            Err(Error::UnknownHost { source, .. }) if source.kind() == io::ErrorKind::TimedOut => {
                return Err(self.error(ErrorCode::CouldNotConnect.into(), text, is_late()));
            }
            candidates => candidates?,
        };
        self.open_any(text, candidates, deadline, name)
    }

    /// Connects to one daemon, at the first of its addresses that it listens at.
    fn open_any(
        &self,
        text: &str,
        candidates: Vec<String>,
        deadline: Option<Instant>,
        name: &CString,
    ) -> Result<Connection, Error> {
        let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let mut failure = ErrorCode::CouldNotConnect.into();
        for candidate in candidates {
            if is_late() {
                break;
            }
            let request = ConnectRequest {
                address: &c_string(&candidate),
                private_name: name,
                priority: self.priority,
                membership: self.membership,
                deadline,
                authenticators: &self.authenticators,
            };
            match RawMailbox::connect(&request) {
                Ok((raw, private_group)) => {
                    let private_group = PrivateGroup::try_from(private_group)
                        .map_err(|_| Error::NotSpread { address: text.to_owned() })?;
                    return Ok(Connection::new(raw, private_group, self.coalesce));
                }
                Err(ConnectError::Authentication { method, source })
                    if source.kind() != io::ErrorKind::TimedOut =>
                {
                    return Err(Error::Authentication { method, source });
                }
                Err(ConnectError::Authentication { .. }) => {
                    failure = ErrorCode::CouldNotConnect.into();
                }
                Err(ConnectError::Code(code)) => failure = code,
            }
        }
        Err(self.error(failure, text, is_late()))
    }

    fn error(&self, code: Code, address: &str, late: bool) -> Error {
        let address = || address.to_owned();
        let name = || self.private_name.clone().unwrap_or_default();
        match (code.known(), self.timeout) {
            // The C library says of a time-out that the connection was closed.
            (Some(ErrorCode::CouldNotConnect | ErrorCode::ConnectionClosed), Some(timeout))
                if late =>
            {
                Error::ConnectTimeout { address: address(), timeout }
            }
            (Some(ErrorCode::CouldNotConnect), _) => Error::CouldNotConnect { address: address() },
            (Some(ErrorCode::ConnectionClosed), _) => Error::ConnectionClosed,
            // The address has been parsed, so it is one of a kind.
            (Some(ErrorCode::IllegalSpread), _) => Error::IllegalAddress {
                address: address(),
                reason: "the library in use does not take it",
            },
            // What is no code of the library came from the peer.
            (Some(ErrorCode::IllegalMessage) | None, _) => Error::NotSpread { address: address() },
            (Some(ErrorCode::RejectNotUnique), _) => Error::NameInUse { name: name() },
            (Some(ErrorCode::RejectQuota), _) => Error::TooManySessions,
            (Some(ErrorCode::RejectVersion), _) => Error::IncompatibleVersion,
            (Some(ErrorCode::RejectAuth), _) => Error::NotAuthorized,
            _ => Error::Library { call: "SP_connect_timeout", code: code.0 },
        }
    }
}

/// A text without a zero byte in it as a C string.
fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use spread_daemon::Daemon;

    use super::*;

    #[test]
    fn all_addresses_of_a_host_are_tried() {
        let daemon = Daemon::builder().start().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let nobody = format!("{port}@127.0.0.1");
        let builder = Builder::new("a host".to_owned());
        let open = |candidates: &[&str]| {
            let candidates = candidates.iter().map(|&candidate| candidate.to_owned()).collect();
            builder.open_any("a host", candidates, None, &CString::default())
        };
        let connection = open(&[&nobody, &daemon.address()]).unwrap();
        assert_eq!(connection.private_group().daemon(), "localhost");
        assert!(matches!(open(&[&nobody]), Err(Error::CouldNotConnect { .. })));
    }
}
