//! The builder of a daemon.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use spread_wire::{PrivateGroup, PrivateName};

use crate::admin::inspection::Inspection;
use crate::cluster::DaemonId;
use crate::daemon::Daemon;
use crate::error::StartError;
use crate::net::event_loop::EventLoop;
use crate::net::identity::state;
use crate::net::listener::{Door, Listener};
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
    remove_stale_socket: bool,
    status_socket: bool,
    metrics: Option<SocketAddr>,
    settings: Settings,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            name: "localhost".to_owned(),
            bind: Ipv4Addr::LOCALHOST.into(),
            bind_also: Vec::new(),
            port: 0,
            unix_dir: None,
            remove_stale_socket: false,
            status_socket: false,
            metrics: None,
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

    /// Sets whether to remove a socket file that is in the way when nobody listens at it.
    /// Default: no, it is a [`StartError::StaleSocket`].
    pub fn remove_stale_socket(mut self, remove: bool) -> Builder {
        self.remove_stale_socket = remove;
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

    /// Checks what can be checked without opening a socket; [`start`](Builder::start) does so
    /// first.
    ///
    /// # Errors
    ///
    /// [`StartError::IllegalName`] and [`StartError::BusyPoll`].
    pub fn check(&self) -> Result<(), StartError> {
        let time = self.settings.busy_poll;
        if time > Builder::MAX_BUSY_POLL {
            return Err(StartError::BusyPoll { time });
        }
        let client = PrivateName::new("c");
        let named = client.and_then(|client| PrivateGroup::of(client, &self.name));
        named
            .map(drop)
            .map_err(|source| StartError::IllegalName { name: self.name.clone(), source })
    }

    /// Starts the daemon in a thread of its own. When this returns, clients can
    /// connect.
    ///
    /// # Errors
    ///
    /// [`StartError`], by what is in the way: the name, the port, the socket file, a
    /// time that is too long.
    pub fn start(self) -> Result<Daemon, StartError> {
        self.check()?;
        let door = Door::Clients(DaemonId::FIRST);
        let (tcp, address) = Listener::tcp(SocketAddr::new(self.bind, self.port), door)?;
        let cluster = state(&[&self.name], &[address])?;
        let mut listeners = vec![tcp];
        for ip in &self.bind_also {
            let other = SocketAddr::new(*ip, address.port());
            listeners.push(Listener::tcp(other, door)?.0);
        }
        let mut ips = std::iter::once(&self.bind).chain(&self.bind_also);
        if ips.any(|ip| !ip.is_loopback()) && self.settings.authentication.admits_anyone() {
            tracing::warn!(%address, "other hosts can connect, and there is no authentication");
        }
        let unix_path = self.unix_dir.map(|dir| dir.join(address.port().to_string()));
        if let Some(path) = &unix_path {
            listeners.push(Listener::unix(path, door, self.remove_stale_socket)?);
            if self.status_socket {
                // The daemon has the port, so a file with its name is stale.
                let path = path.with_extension("status");
                listeners.push(Listener::unix(&path, Door::Inspection(Inspection::Status), true)?);
            }
        }
        let metrics = self
            .metrics
            .map(|at| Listener::tcp(at, Door::Inspection(Inspection::Metrics)))
            .transpose()?;
        let metrics_addr = metrics.as_ref().map(|(_, address)| *address);
        listeners.extend(metrics.map(|(listener, _)| listener));
        let running = EventLoop::start(listeners, cluster, &self.settings)
            .map_err(|e| StartError::io("start the daemon", e))?;
        Ok(Daemon::new(address, unix_path, metrics_addr, running))
    }
}
