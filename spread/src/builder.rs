//! How a connection is made.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_core::{Address, Connect, ConnectError, Method, Request};
use spread_wire::ErrorCode;
use spread_wire::handshake::ClientError;

use crate::backend::Backend;
use crate::connection::Connection;
use crate::{Authenticator, Error, Library, Mailbox, multicast};

/// How long a connect takes at most, unless another time is set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Methods of authentication of one connect, and bytes of the name of one.
const MAX_METHODS: usize = 3;
const MAX_METHOD: usize = 29;

const INVALID: io::ErrorKind = io::ErrorKind::InvalidInput;

/// The longest time by which receives are coalesced.
const MAX_COALESCE: Duration = Duration::from_millis(10);

/// What a connection is to be like; made by [`Mailbox::builder`].
#[derive(Clone, Debug)]
pub struct Builder {
    addresses: Vec<String>,
    private_name: Option<String>,
    membership: bool,
    priority: bool,
    timeout: Option<Duration>,
    coalesce: Duration,
    library: Library,
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
            coalesce: Duration::ZERO,
            library: Library::default(),
            authenticators: Vec::new(),
        }
    }

    /// Asks for a private name: 1 to 10 bytes of printable ASCII except space, `!`, `"` and
    /// `#`, unique at the daemon. Without one the daemon makes one up.
    pub fn private_name(mut self, name: impl Into<String>) -> Builder {
        self.private_name = Some(name.into());
        self
    }

    /// Whether to receive membership messages (`group_membership`). Defaults to `true`.
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

    /// Coalesces receives: one that has to wait, less than `time` after the last message,
    /// waits for `time` before it looks again, and then receives what has come at once.
    /// Defaults to zero, which waits for the very next message; at most 10 ms.
    ///
    /// It saves processor time, and some of the daemon's, where small messages come one by
    /// one and more often than every `time`; 50 to 200 us are good values. They may be late
    /// by that, and by what a timer adds to it, on Linux some 50 us. A message that comes
    /// alone is not late: `time` after the last one a receive waits as ever. So this is for
    /// programs that follow a stream, not for those that wait for an answer.
    ///
    /// It concerns receives that wait, not [`try_receive`](crate::Mailbox::try_receive) or
    /// async mailboxes, and has no effect after messages of 8 KiB and more, where it would
    /// save nothing. An [`Interrupter`](crate::Interrupter) and a shut-down end the wait.
    pub fn coalesce(mut self, time: Duration) -> Builder {
        self.coalesce = time.min(MAX_COALESCE);
        self
    }

    /// Chooses the library that the mailbox goes through. Defaults to [`Library::Native`].
    pub fn library(mut self, library: Library) -> Builder {
        self.library = library;
        self
    }

    /// Authenticates, for example by [`UserPassword`](crate::UserPassword). A connect
    /// goes through all methods given, at most three, one after the other; without one it
    /// uses `NULL`, which exchanges nothing.
    ///
    /// libspread has one list of methods for the process. So over `Library::Sys` a connect
    /// that authenticates waits for other connects over it, and they for it; the wait counts
    /// against the [`timeout`](Builder::timeout). A list that was set before through the C
    /// interface is lost.
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

    /// Connects, as `SP_connect_timeout(3)` does, but tries all daemons named, one after the
    /// other, and all addresses of a host: each a quarter of a second after the one before,
    /// and the first that accepts is taken (RFC 8305).
    ///
    /// A rejection is returned at once; only [`TooManySessions`](Error::TooManySessions)
    /// moves on to the next daemon.
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
    ///   fails.
    /// - [`NameInUse`](Error::NameInUse),
    ///   [`TooManySessions`](Error::TooManySessions),
    ///   [`IncompatibleVersion`](Error::IncompatibleVersion) and
    ///   [`NotAuthorized`](Error::NotAuthorized): the daemon rejects the client.
    /// - [`Authentication`](Error::Authentication): an authenticator gave up.
    pub fn connect(&self) -> Result<Mailbox, Error> {
        self.open().map(Mailbox::new)
    }

    pub(crate) fn open(&self) -> Result<Connection, Error> {
        let mut result = Err(Error::CouldNotConnect { address: String::new() });
        for (text, address) in self.addresses()? {
            result = self.open_at(text, address);
            if !matches!(&result, Err(error) if error.is_retryable()) {
                break;
            }
        }
        result
    }

    /// The daemons to be tried. A mistake in a later address shows at once, not when it is
    /// needed.
    pub(crate) fn addresses(&self) -> Result<Vec<(&str, Address)>, Error> {
        self.check_methods()?;
        let parse = |text: &String| {
            Address::parse(text)
                .map_err(|reason| Error::IllegalAddress { address: text.clone(), reason })
        };
        self.addresses.iter().map(|text| Ok((text.as_str(), parse(text)?))).collect()
    }

    /// The protocol has room for three names of methods, separated by blanks in its list.
    fn check_methods(&self) -> Result<(), Error> {
        let is_name =
            |name: &str| (1..=MAX_METHOD).contains(&name.len()) && !name.contains([' ', '\0']);
        let mut names = self.authenticators.iter().map(|a| a.method());
        if self.authenticators.len() <= MAX_METHODS && names.clone().all(is_name) {
            return Ok(());
        }
        let limits = "a connect has at most 3 methods, with names of 1 to 29 bytes and no blank";
        let method = names.by_ref().collect::<Vec<_>>().join(", ");
        Err(Error::Authentication { method, source: io::Error::new(INVALID, limits) })
    }

    /// Connects to one daemon.
    pub(crate) fn open_at(&self, text: &str, address: Address) -> Result<Connection, Error> {
        match self.library {
            Library::Native => {
                let connected = self.begin(address)?.wait();
                self.connected(text, connected.map(|core| (core, Backend::Native)))
            }
            #[cfg(feature = "sys")]
            Library::Sys => {
                let authenticators: Vec<_> = self.authenticators.iter().map(|a| &**a).collect();
                let connected = crate::backend::sys::connect(
                    &address,
                    &self.request()?,
                    &authenticators,
                    self.deadline(),
                );
                self.connected(text, connected.map(|(core, raw)| (core, Backend::Sys(raw))))
            }
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn uses(&self) -> Library {
        self.library
    }

    /// Begins to connect to one daemon by the core.
    pub(crate) fn begin(&self, address: Address) -> Result<Connect, Error> {
        let connect = Connect::new(address, self.request()?).deadline(self.deadline());
        if self.authenticators.is_empty() {
            return Ok(connect);
        }
        let methods = self.authenticators.iter().map(|a| Method::new(a.method(), a.begin()));
        Ok(connect.authenticate(methods.collect()))
    }

    fn request(&self) -> Result<Request, Error> {
        let name = self.private_name.as_deref();
        let mut request = Request::new(name.map(multicast::private_name).transpose()?);
        request.membership = self.membership;
        request.priority = self.priority;
        Ok(request)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// Takes note of what came of a connect.
    pub(crate) fn connected(
        &self,
        address: &str,
        result: Result<(spread_core::Connection, Backend), ConnectError>,
    ) -> Result<Connection, Error> {
        let address = || address.to_owned();
        let name = || self.private_name.clone().unwrap_or_default();
        let (core, backend) = result.map_err(|error| match error {
            ConnectError::UnknownHost(source) => Error::UnknownHost { address: address(), source },
            ConnectError::Unreachable(_) => Error::CouldNotConnect { address: address() },
            ConnectError::TimedOut => {
                let timeout = self.timeout.unwrap_or_default();
                Error::ConnectTimeout { address: address(), timeout }
            }
            ConnectError::Closed(_) => Error::ConnectionClosed,
            ConnectError::Authentication { method, source } => {
                Error::Authentication { method, source }
            }
            ConnectError::Local(source) => Error::Resource(source),
            ConnectError::Handshake(ClientError::Rejected(code)) => match code {
                ErrorCode::ConnectionClosed => Error::ConnectionClosed,
                ErrorCode::RejectNotUnique => Error::NameInUse { name: name() },
                ErrorCode::RejectQuota => Error::TooManySessions,
                ErrorCode::RejectVersion => Error::IncompatibleVersion,
                ErrorCode::RejectAuth => Error::NotAuthorized,
                code => Error::Library { call: "SP_connect_timeout", code: code.code() },
            },
            ConnectError::Handshake(ClientError::MethodNotPermitted { .. }) => Error::NotAuthorized,
            _ => Error::NotSpread { address: address() },
        })?;
        Ok(Connection::new(core, backend, self.coalesce))
    }
}
