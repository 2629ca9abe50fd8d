//! How a connection is made.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_core::{Address, Connect, ConnectError, Keepalive, Method, Request};
use spread_wire::ErrorCode;
use spread_wire::handshake::ClientError;

use crate::backend::Backend;
use crate::connection::Connection;
use crate::failures::Tried;
use crate::tls::Link;
use crate::trace::{self, Event};
use crate::{Authenticator, Error, Library, Mailbox, multicast};
#[cfg(feature = "tls")]
use crate::{TlsConfig, TlsError};

/// How long a connect takes at most, unless another time is set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How soon a dead peer is noticed, unless another time is set.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Methods of authentication of one connect, and bytes of the name of one.
const MAX_METHODS: usize = 3;
const MAX_METHOD: usize = 29;

/// How a server for TLS begins its answer to what is not TLS: by an alert.
const TLS_ALERT: [u8; 2] = [0x15, 3];

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
    keepalive: Option<Duration>,
    library: Library,
    authenticators: Vec<Arc<dyn Authenticator>>,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
}

/// A connect that has begun, and its side of TLS.
pub(crate) type Begun = (Connect, Option<Link>);

impl Builder {
    pub(crate) fn new(address: String) -> Builder {
        Builder {
            addresses: vec![address],
            private_name: None,
            membership: true,
            priority: false,
            timeout: Some(CONNECT_TIMEOUT),
            coalesce: Duration::ZERO,
            keepalive: Some(KEEPALIVE),
            library: Library::default(),
            authenticators: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
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
    /// end of the handshake; 10 s unless set, without end if `None`. Zero is no time at all: each
    /// connect fails with [`ConnectTimeout`](Error::ConnectTimeout).
    ///
    /// A session has as long again to send the joins of its groups on a new connection, and 10 s
    /// if `None`; then the attempt has failed.
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

    /// Sets how soon a TCP connection notices that the daemon's host is dead or cut off, though
    /// nothing comes that says so. Defaults to 60 s; `None` turns it off. At least 4 s and at
    /// most 9 hours, of which whole seconds count.
    ///
    /// After half of that time without a word from the daemon, its host is probed; without an
    /// answer the connection ends, and receives and sends return
    /// [`ConnectionClosed`](Error::ConnectionClosed). On Linux the same holds for what was sent
    /// and is not acknowledged (`TCP_USER_TIMEOUT`). To a daemon on another host this means as
    /// well that it takes something within that time: one that holds a sender back for longer
    /// is not told from a dead one. Unix sockets need none of this.
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>) -> Builder {
        self.keepalive = time.into();
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

    /// Connects over TLS 1.3 to the port that the daemon has for it, such as that of
    /// `spreadd --tls-port`. All addresses are then `PORT@HOST`, and the library is
    /// [`Library::Native`].
    ///
    /// TLS keeps messages and passwords secret on the way between this client and its daemon, lets
    /// nobody change them there, and shows that the daemon is the one that is meant. The daemon
    /// itself reads all messages, as do its other clients in the groups, and what it sends to
    /// daemons of other hosts does not go over TLS.
    ///
    /// The handshake counts against the [`timeout`](Builder::timeout). A session connects again
    /// over TLS, too.
    ///
    /// The bytes of all connections over TLS are moved by one thread of the process, over a socket
    /// pair for each. The descriptor of a mailbox is an end of the pair, which can be polled. Call
    /// [`disconnect`](Mailbox::disconnect) before the process ends: what the thread has not sent by
    /// then is lost, while without TLS the kernel would still send it. The child of a fork inherits the TCP connections of
    /// its parent; they end for the daemon when the parent disconnects, but if the parent is killed
    /// only when the child has ended, too, or calls exec.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Builder {
        self.tls = Some(tls);
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
    /// Before anything is sent:
    ///
    /// - [`IllegalAddress`](Error::IllegalAddress): one of the addresses cannot be understood.
    /// - [`IllegalPrivateName`](Error::IllegalPrivateName): the private name is none.
    /// - [`IllegalKeepalive`](Error::IllegalKeepalive): the time for
    ///   [`keepalive`](Builder::keepalive) is too short or too long.
    ///
    /// If several daemons are named and none accepts, [`NoDaemon`](Error::NoDaemon) with the
    /// errors of all. Otherwise that of the daemon:
    ///
    /// - [`UnknownHost`](Error::UnknownHost): its host has no address.
    /// - [`Refused`](Error::Refused): nothing listens at the address.
    /// - [`Unreachable`](Error::Unreachable): the address cannot be reached.
    /// - [`ConnectTimeout`](Error::ConnectTimeout): the session was not there in time. So end
    ///   connects to a server of another kind that waits for more, such as HTTP.
    /// - [`NotSpread`](Error::NotSpread): what answers is no Spread daemon.
    /// - [`SpeaksTls`](Error::SpeaksTls): what answers speaks TLS, and this connection does not.
    /// - [`ClosedInHandshake`](Error::ClosedInHandshake): the daemon closed the connection, or
    ///   the network failed, during the handshake.
    /// - [`NameInUse`](Error::NameInUse): the daemon has a client of that private name.
    /// - [`TooManySessions`](Error::TooManySessions): the daemon has no room for another client.
    /// - [`IncompatibleVersion`](Error::IncompatibleVersion): the daemon does not serve clients
    ///   of this version.
    /// - [`NotAuthorized`](Error::NotAuthorized): the daemon does not accept the authentication.
    /// - `Tls`, with the feature `tls`: TLS failed. A certificate of the daemon that is not
    ///   accepted moves on to the next daemon; that the daemon does not accept this client's does
    ///   not.
    /// - [`Authentication`](Error::Authentication): an authenticator gave up, or there are too
    ///   many of them, or one has no legal name.
    /// - [`Resource`](Error::Resource): this process or this host lacks descriptors, memory or
    ///   threads.
    /// - [`Library`](Error::Library): the daemon, or libspread, returned a code that is none of
    ///   a connect.
    pub fn connect(&self) -> Result<Mailbox, Error> {
        self.open().map(Mailbox::new)
    }

    pub(crate) fn open(&self) -> Result<Connection, Error> {
        let mut tried = Tried::default();
        for (text, address) in self.addresses()? {
            match self.open_at(text, address) {
                Ok(connection) => return Ok(connection),
                Err(error) => tried.add(text, error)?,
            }
        }
        Err(tried.into_error())
    }

    /// The daemons to be tried. A mistake in a later address, or in what each of them is asked
    /// for, shows at once, not when it is needed.
    pub(crate) fn addresses(&self) -> Result<Vec<(&str, Address)>, Error> {
        self.check_methods()?;
        self.checked_keepalive()?;
        self.request()?;
        let parse = |text: &String| {
            Address::parse(text)
                .map_err(|reason| Error::IllegalAddress { address: text.clone(), reason })
        };
        let parsed = self.addresses.iter().map(|text| Ok((text.as_str(), parse(text)?)));
        let parsed: Vec<_> = parsed.collect::<Result<_, Error>>()?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            for (text, address) in &parsed {
                self.check_tls(tls, address)
                    .map_err(|source| Error::Tls { address: (*text).to_owned(), source })?;
            }
        }
        Ok(parsed)
    }

    /// Fails for what cannot be connected to over TLS.
    #[cfg(feature = "tls")]
    fn check_tls(&self, tls: &TlsConfig, address: &Address) -> Result<(), TlsError> {
        if self.library != Library::Native {
            return Err(TlsError::Library);
        }
        match address {
            Address::Tcp { host, .. } => tls.name_for(host).map(drop).map_err(TlsError::Name),
            Address::Unix(_) => Err(TlsError::NoHost),
        }
    }

    /// What the builder says of the keepalive.
    fn checked_keepalive(&self) -> Result<Keepalive, Error> {
        match self.keepalive {
            None => Ok(Keepalive::Off),
            Some(time) if (Keepalive::LEAST..=Keepalive::MOST).contains(&time) => {
                Ok(Keepalive::Within(time))
            }
            Some(time) => Err(Error::IllegalKeepalive { time }),
        }
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
        let source = io::Error::new(INVALID, limits);
        Err(Error::Authentication { method, offered: None, source })
    }

    /// Connects to one daemon.
    pub(crate) fn open_at(&self, text: &str, address: Address) -> Result<Connection, Error> {
        match self.library {
            Library::Native => {
                let (connect, link) = self.begin(address)?;
                let connected = connect.wait();
                self.connected(text, connected.map(|core| (core, Backend::Native)), link)
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
                let keepalive = self.checked_keepalive()?;
                let connected = connected.and_then(|(core, raw)| {
                    // The library has set what the system says.
                    keepalive.set_on(&core).map_err(ConnectError::Closed)?;
                    Ok((core, raw))
                });
                self.connected(text, connected.map(|(core, raw)| (core, Backend::Sys(raw))), None)
            }
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn uses(&self) -> Library {
        self.library
    }

    /// Begins to connect to one daemon by the core.
    pub(crate) fn begin(&self, address: Address) -> Result<Begun, Error> {
        #[cfg(feature = "tls")]
        let (link, enter) = self.tunnel(&address)?.unzip();
        let mut connect = Connect::new(address, self.request()?)
            .deadline(self.deadline())
            .keepalive(self.checked_keepalive()?);
        if !self.authenticators.is_empty() {
            let methods = self.authenticators.iter().map(|a| Method::new(a.method(), a.begin()));
            connect = connect.authenticate(methods.collect());
        }
        #[cfg(feature = "tls")]
        if let Some(enter) = enter {
            connect = connect.tunnel(enter);
        }
        #[cfg(not(feature = "tls"))]
        let link = None;
        Ok((connect, link))
    }

    /// Returns the side of TLS of a connect, and how its socket goes over to it.
    #[cfg(feature = "tls")]
    fn tunnel(&self, address: &Address) -> Result<Option<(Link, crate::tls::Enter)>, Error> {
        let Some(tls) = &self.tls else {
            return Ok(None);
        };
        let name = match address {
            Address::Tcp { host, .. } => tls.name_for(host).map_err(TlsError::Name),
            Address::Unix(_) => Err(TlsError::NoHost),
        };
        let failed = |source| Error::Tls { address: address.to_string(), source };
        Ok(Some(Link::new(tls, name.map_err(failed)?)))
    }

    fn request(&self) -> Result<Request, Error> {
        let name = self.private_name.as_deref();
        let mut request = Request::new(name.map(multicast::private_name).transpose()?);
        request.membership = self.membership;
        request.priority = self.priority;
        Ok(request)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| Instant::now().checked_add(timeout))
    }

    /// By when a session has joined its groups on a new connection: also without a time for
    /// connects, since a daemon that takes no joins is not worth waiting for.
    pub(crate) fn joined_by(&self) -> Instant {
        let deadline = self.deadline();
        deadline.unwrap_or_else(|| Instant::now() + CONNECT_TIMEOUT)
    }

    /// Takes note of what came of a connect.
    pub(crate) fn connected(
        &self,
        address: &str,
        result: Result<(spread_core::Connection, Backend), ConnectError>,
        link: Option<Link>,
    ) -> Result<Connection, Error> {
        let address = || address.to_owned();
        let name = || self.private_name.clone().unwrap_or_default();
        let not_spread = |reason: String| Error::NotSpread { address: address(), reason };
        let connected = result.map_err(|error| match error {
            ConnectError::UnknownHost(source) => Error::UnknownHost { address: address(), source },
            // For a unix socket, no file means no daemon.
            ConnectError::Unreachable(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
                ) =>
            {
                Error::Refused { address: address(), source }
            }
            ConnectError::Unreachable(source) => Error::Unreachable { address: address(), source },
            ConnectError::TimedOut => {
                let timeout = self.timeout.unwrap_or_default();
                Error::ConnectTimeout { address: address(), timeout }
            }
            ConnectError::Closed(source) => {
                let source = Some(source).filter(|e| e.kind() != io::ErrorKind::UnexpectedEof);
                Error::ClosedInHandshake { address: address(), source }
            }
            ConnectError::NotAuthorized { wanted, offered } => {
                Error::NotAuthorized { wanted, offered }
            }
            ConnectError::Authentication { method, offered, source } => {
                Error::Authentication { method, offered, source }
            }
            ConnectError::Local(source) => Error::Resource(source),
            ConnectError::Handshake(ClientError::Rejected(code)) => match code {
                ErrorCode::ConnectionClosed => {
                    Error::ClosedInHandshake { address: address(), source: None }
                }
                ErrorCode::RejectNotUnique => Error::NameInUse { name: name(), address: address() },
                ErrorCode::RejectQuota => Error::TooManySessions,
                ErrorCode::RejectVersion => Error::IncompatibleVersion,
                code => Error::Library { call: "SP_connect_timeout", code: code.code() },
            },
            ConnectError::Handshake(ClientError::Protocol(reason)) => not_spread(reason.to_owned()),
            ConnectError::Handshake(ClientError::OtherProtocol { begin })
                if begin.starts_with(&TLS_ALERT) =>
            {
                Error::SpeaksTls { address: address() }
            }
            ConnectError::Handshake(ClientError::OtherProtocol { begin }) => not_spread(format!(
                "it speaks another protocol, its answer begins with \"{}\"",
                begin.escape_ascii()
            )),
            _ => not_spread("it gives an illegal private group".to_owned()),
        });
        #[cfg(feature = "tls")]
        let connected = connected.map_err(|error| match (error, &link) {
            (error @ Error::ClosedInHandshake { .. }, Some(link)) => match link.connect_failed() {
                Some(source) => Error::Tls { address: address(), source },
                None => error,
            },
            (error, _) => error,
        });
        let (core, backend) =
            connected.inspect_err(|error| trace::connect_failed(&address(), error))?;
        let connection = Connection::new(core, backend, self.coalesce).over(link);
        connection.tell(Event::Connected { address: &address(), library: connection.library() });
        Ok(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_joins_its_groups_in_a_bounded_time() {
        let builder = Mailbox::builder("4803");
        for timeout in [None, Some(Duration::MAX), Some(CONNECT_TIMEOUT)] {
            let begin = Instant::now();
            let time = builder.clone().timeout(timeout).joined_by() - begin;
            assert!(time >= CONNECT_TIMEOUT && time < 2 * CONNECT_TIMEOUT, "{timeout:?}: {time:?}");
        }
        let short = builder.timeout(Duration::from_millis(50)).joined_by();
        assert!(short < Instant::now() + CONNECT_TIMEOUT / 2);
    }
}
