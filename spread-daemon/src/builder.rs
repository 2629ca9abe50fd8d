//! The builder of a daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use spread_wire::{PrivateGroup, PrivateName};

use crate::admin::inspection::Inspection;
use crate::cluster::DaemonId;
use crate::daemon::Daemon;
use crate::error::StartError;
use crate::net::event_loop::EventLoop;
use crate::net::hosts::{Hosts, Membership};
use crate::net::identity::{daemon_ids, state};
use crate::net::listener::{Door, Listener};
use crate::net::socket_file::Lock;
use crate::session::access::{AccessPolicy, Policy};
use crate::session::authentication::Authentication;
use crate::session::flow_control::SlowReceivers;
use crate::settings::{self, Settings};

/// Starts a [`Daemon`]; [`Daemon::builder`] makes one.
///
/// ```
/// # use spread_daemon::Daemon;
/// let dir = std::env::temp_dir();
/// let daemon = Daemon::builder().name("test").unix_dir(dir).max_sessions(10).start()?;
/// assert_eq!(daemon.unix_address(), Some(daemon.socket_addr().port().to_string()));
/// # Ok::<(), spread_daemon::StartError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is started before `start`"]
pub struct Builder {
    name: String,
    bind: IpAddr,
    bind_also: Vec<IpAddr>,
    port: u16,
    unix_dir: Option<PathBuf>,
    status_socket: bool,
    metrics: Option<SocketAddr>,
    /// The daemons of several hosts, if it is one of them.
    membership: Option<Membership>,
    settings: Settings,
}

/// Listening sockets that are open already, for [`Builder::start_with`]: those that a service
/// manager has opened for the daemon, for example.
#[derive(Debug, Default)]
pub struct Sockets {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

impl Sockets {
    /// Adds a TCP socket. With one, [`Builder::port`] and the addresses do not count.
    pub fn tcp(mut self, socket: TcpListener) -> Sockets {
        self.tcp.push(socket);
        self
    }

    /// Adds a unix socket for clients, whose file the daemon does not remove. With one, the daemon
    /// makes none in [`Builder::unix_dir`].
    pub fn unix(mut self, socket: UnixListener) -> Sockets {
        self.unix.push(socket);
        self
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: "localhost".to_owned(),
            bind: Ipv4Addr::LOCALHOST.into(),
            bind_also: Vec::new(),
            port: 0,
            unix_dir: None,
            status_socket: false,
            metrics: None,
            membership: None,
            settings: Settings::default(),
        }
    }
}

impl Daemon {
    /// Returns a builder with the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// The longest time for [`Builder::busy_poll`]: 10 milliseconds.
    pub const MAX_BUSY_POLL: Duration = settings::MAX_BUSY_POLL;

    /// Sets the name of the daemon, the last part of its clients' private groups: 1 to 19
    /// characters of printable ASCII except space, `!`, `"` and `#`. Default: `localhost`.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Sets the address to listen at. Default: 127.0.0.1, so that only clients on this host
    /// connect. The daemon warns of an address that other hosts reach if there is no
    /// [authentication](Builder::authentication).
    pub fn bind(mut self, address: impl Into<IpAddr>) -> Builder {
        self.bind = address.into();
        self
    }

    /// Adds an address to listen at, with the same port.
    pub fn bind_also(mut self, address: impl Into<IpAddr>) -> Builder {
        self.bind_also.push(address.into());
        self
    }

    /// Sets the TCP port to listen at. Default: 0, which is a free port.
    pub fn port(mut self, port: u16) -> Builder {
        self.port = port;
        self
    }

    /// Listens at a unix socket, too: the file in this directory that has the TCP
    /// port as its name. Clients that connect to `PORT`, without a host, look for
    /// `/tmp/PORT`. Default: no unix socket.
    ///
    /// A file that a daemon left behind when it was killed is replaced. That of a daemon
    /// that lives never is: it holds a lock on the file `PORT.lock` in the directory, and one
    /// without such a lock accepts connections.
    pub fn unix_dir(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.unix_dir = Some(dir.into());
        self
    }

    /// Sets whether to answer `spreadd status` at `PORT.status` beside the unix socket;
    /// only this user may ask. Default: no.
    pub fn status_socket(mut self, wanted: bool) -> Builder {
        self.status_socket = wanted;
        self
    }

    /// Answers `GET /metrics` at an address, for Prometheus; port 0 is a free port.
    /// There is no access control beside the address. Default: no.
    pub fn metrics(mut self, address: impl Into<SocketAddr>) -> Builder {
        self.metrics = Some(address.into());
        self
    }

    /// Sets how many sessions may be open; more clients get `REJECT_QUOTA`. Each needs a
    /// file descriptor of the process. Beside them 1,024 connections may be without a
    /// session; one more closes the oldest of them. Default: 1000.
    pub fn max_sessions(mut self, sessions: usize) -> Builder {
        self.settings.sessions = sessions;
        self
    }

    /// Sets how many messages may wait for a client that does not read them, beyond what
    /// its socket holds; with one more it is disconnected. This is `MaxSessionMessages` in
    /// the `spread.conf` of Spread. Default: 1000, at least 1.
    pub fn max_session_messages(mut self, messages: usize) -> Builder {
        self.settings.session_messages = messages.max(1);
        self
    }

    /// Sets the slow-consumer policy. Default: the client is disconnected.
    pub fn slow_receivers(mut self, slow_receivers: SlowReceivers) -> Builder {
        self.settings.slow_receivers = slow_receivers;
        self
    }

    /// Sets how many bytes of messages may wait for all clients together, beyond what
    /// their sockets hold; a message that waits for several of them counts once. With
    /// more, the clients that keep most memory in use are disconnected. Default: 512 MiB.
    ///
    /// This bounds the daemon's memory: beside it there are about half a MiB for
    /// each client that is in the middle of sending a long message, 500 bytes for
    /// each membership in a group, and a few KiB for each session.
    pub fn max_queued_bytes(mut self, bytes: usize) -> Builder {
        self.settings.queued_bytes = bytes;
        self
    }

    /// Sets how many groups a client may join; with one more its join comes back as a
    /// rejected message. Default: 10,000.
    pub fn max_session_groups(mut self, groups: usize) -> Builder {
        self.settings.session_groups = groups;
        self
    }

    /// Sets how long a client may take to connect before it is disconnected; the time
    /// in which its password waits to be checked does not count. Default: 10 seconds.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.handshake = timeout;
        self
    }

    /// Sets the authentication of clients. Default: any client may connect.
    pub fn authentication(mut self, authentication: Authentication) -> Builder {
        self.settings.authentication = authentication;
        self
    }

    /// Sets the policy that decides what clients may do. Default: everything is allowed.
    pub fn access_policy(mut self, policy: impl AccessPolicy + 'static) -> Builder {
        self.settings.policy = Some(Policy::new(policy));
        self
    }

    /// Sets how long the daemon polls for further events after each event before it
    /// sleeps: at most [`Builder::MAX_BUSY_POLL`]. Default: zero, it sleeps at once.
    ///
    /// A message that comes meanwhile need not wait until the daemon's thread has been
    /// woken, which is much of the latency of a lone message between idle cores; compare
    /// `net.core.busy_poll` of Linux. A time that covers the answer of a client on this
    /// host, some 50 microseconds, is enough.
    ///
    /// Busy polling takes up to a core while messages come; an idle daemon takes no CPU
    /// time. It pays if that core is idle otherwise: though the daemon yields between two
    /// polls, clients that need all cores become slower, above all with long messages.
    pub fn busy_poll(mut self, time: Duration) -> Builder {
        self.settings.busy_poll = time;
        self
    }

    /// Makes this one of the daemons of several hosts, which have their groups in common;
    /// its [name](Builder::name) is one of theirs. Default: a single host.
    ///
    /// When Corosync ends, the daemon's clients are disconnected, as when it ends itself;
    /// it serves clients again once it has joined the others again. A daemon that the
    /// others cannot have ends with an error: one with other names than they, or with the
    /// name of one that is there.
    ///
    /// [`SlowReceivers::Backpressure`] is not possible with it: see
    /// [`StartError::Backpressure`].
    #[cfg(feature = "corosync")]
    pub fn corosync(self, daemons: crate::Corosync) -> Builder {
        self.membership(daemons.membership())
    }

    #[cfg(any(test, feature = "corosync"))]
    pub(crate) fn membership(mut self, membership: Membership) -> Builder {
        self.membership = Some(membership);
        self
    }

    /// Checks what can be checked without opening a socket; [`start`](Builder::start) does so
    /// first.
    ///
    /// # Errors
    ///
    /// [`StartError::IllegalName`] and [`StartError::BusyPoll`]; for one of several hosts
    /// [`StartError::Daemons`], [`StartError::NotNamed`] and [`StartError::Backpressure`].
    pub fn check(&self) -> Result<(), StartError> {
        let time = self.settings.busy_poll;
        if time > Builder::MAX_BUSY_POLL {
            return Err(StartError::BusyPoll { time });
        }
        if let Some(membership) = &self.membership {
            daemon_ids(&membership.names)?;
            self.place()?;
            if self.settings.slow_receivers == SlowReceivers::Backpressure {
                return Err(StartError::Backpressure);
            }
        }
        let client = PrivateName::new("c");
        let named = client.and_then(|client| PrivateGroup::of(client, &self.name));
        named
            .map(drop)
            .map_err(|source| StartError::IllegalName { name: self.name.clone(), source })
    }

    /// Returns the settings in which another builder differs, of those that
    /// [`ReloadHandle::reload`](crate::ReloadHandle::reload) does not take over.
    pub(crate) fn fixed_differences(&self, other: &Builder) -> Vec<&'static str> {
        let names = |builder: &Builder| builder.membership.as_ref().map(|m| m.names.clone());
        let addresses = |builder: &Builder| (builder.bind, builder.bind_also.clone());
        let differences = [
            ("name", self.name != other.name),
            ("addresses", addresses(self) != addresses(other)),
            ("port", self.port != other.port),
            ("unix socket", self.unix_dir != other.unix_dir),
            ("status socket", self.status_socket != other.status_socket),
            ("metrics", self.metrics != other.metrics),
            ("daemons of other hosts", names(self) != names(other)),
            ("busy polling", self.settings.busy_poll != other.settings.busy_poll),
        ];
        differences.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts the daemon in a thread of its own. When this returns, clients can
    /// connect; one of several hosts may still be refused by the others, for which
    /// [`Daemon::wait_until_ready`] waits.
    ///
    /// # Errors
    ///
    /// [`StartError`], by what is in the way: the name, the port, the socket file, a
    /// time that is too long.
    pub fn start(self) -> Result<Daemon, StartError> {
        self.start_with(Sockets::default())
    }

    /// Starts the daemon as [`Builder::start`] does, with sockets that are open already.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`].
    pub fn start_with(self, sockets: Sockets) -> Result<Daemon, StartError> {
        self.check()?;
        let builder = self.clone();
        let daemon = self.place()?;
        let door = Door::Clients(daemon);
        let (mut listeners, addresses) = self.listen(sockets.tcp, door)?;
        let address = addresses[0];
        let mut cluster = match &self.membership {
            None => state(&[&self.name], &[address])?,
            Some(membership) => {
                let names: Vec<&str> = membership.names.iter().map(String::as_str).collect();
                state(&names, &[address])?
            }
        };
        let mut unix_path = self.unix_dir.map(|dir| dir.join(address.port().to_string()));
        if let Some(path) = &unix_path {
            let lock = Lock::take(path)?;
            if sockets.unix.is_empty() {
                listeners.push(Listener::unix(path, door, &lock)?);
            }
            if self.status_socket {
                let path = path.with_extension("status");
                let door = Door::Inspection(Inspection::Status);
                listeners.push(Listener::unix(&path, door, &lock)?);
            }
        }
        let mut given = Vec::new();
        for socket in sockets.unix {
            let (listener, path) = Listener::inherited_unix(socket, door)?;
            listeners.push(listener);
            given.push(path);
        }
        unix_path = given.into_iter().next().or(unix_path);
        let metrics = self
            .metrics
            .map(|at| Listener::tcp(at, Door::Inspection(Inspection::Metrics)))
            .transpose()?;
        let metrics_addr = metrics.as_ref().map(|(_, address)| *address);
        listeners.extend(metrics.map(|(listener, _)| listener));
        let join = |membership| Hosts::join(membership, daemon, &mut cluster);
        let hosts = self.membership.map(join).transpose();
        let hosts = hosts.map_err(|source| StartError::Group { source })?;
        let running = EventLoop::start(listeners, cluster, hosts, &self.settings)
            .map_err(|e| StartError::io("start the daemon", e))?;
        Ok(Daemon::new(addresses, unix_path, metrics_addr, running, door, builder))
    }

    /// Returns the listeners at TCP, at least one, and their addresses.
    fn listen(
        &self,
        sockets: Vec<TcpListener>,
        door: Door,
    ) -> Result<(Vec<Listener>, Vec<SocketAddr>), StartError> {
        let mut listeners = Vec::new();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for socket in sockets {
            let (listener, address) = Listener::inherited_tcp(socket, door)?;
            listeners.push(listener);
            addresses.push(address);
        }
        if addresses.is_empty() {
            for ip in std::iter::once(&self.bind).chain(&self.bind_also) {
                let port = addresses.first().map_or(self.port, SocketAddr::port);
                let (listener, address) = Listener::tcp(SocketAddr::new(*ip, port), door)?;
                listeners.push(listener);
                addresses.push(address);
            }
        }
        let address = addresses[0];
        let is_reachable = addresses.iter().any(|address| !address.ip().is_loopback());
        if is_reachable && self.settings.authentication.admits_anyone() {
            tracing::warn!(%address, "other hosts can connect, and there is no authentication");
        }
        Ok((listeners, addresses))
    }

    /// Returns the place of this daemon among those of several hosts.
    fn place(&self) -> Result<DaemonId, StartError> {
        let Some(membership) = &self.membership else {
            return Ok(DaemonId::FIRST);
        };
        let place = membership.names.iter().position(|name| *name == self.name);
        let not_named =
            || StartError::NotNamed { name: self.name.clone(), names: membership.names.join(", ") };
        place.map(DaemonId).ok_or_else(not_named)
    }
}
