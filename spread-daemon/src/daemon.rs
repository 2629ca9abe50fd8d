//! A daemon that runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::admin::health::Health;
use crate::admin::status::Status;
use crate::builder::Builder;
use crate::error::StartError;
use crate::net::control::{Control, Running};
use crate::net::event_loop::EventLoop;
use crate::net::incoming::Incoming;
use crate::net::listener::Door;

/// A daemon that runs in a thread of this process, until it is stopped or
/// dropped. Any number of them can run side by side.
///
/// ```
/// # use spread_daemon::Daemon;
/// let daemon = Daemon::builder().start()?;
/// assert_eq!(daemon.address(), format!("{}@127.0.0.1", daemon.socket_addr().port()));
/// daemon.stop();
/// # Ok::<(), spread_daemon::StartError>(())
/// ```
#[derive(Debug)]
pub struct Daemon {
    /// Those that it listens at, at least one.
    socket_addrs: Vec<SocketAddr>,
    unix_path: Option<PathBuf>,
    metrics_addr: Option<SocketAddr>,
    running: Running<EventLoop>,
    /// Where its clients come in.
    door: Door,
    /// The settings with which it was started.
    builder: Builder,
}

impl Daemon {
    pub(crate) fn new(
        socket_addrs: Vec<SocketAddr>,
        unix_path: Option<PathBuf>,
        metrics_addr: Option<SocketAddr>,
        running: Running<EventLoop>,
        door: Door,
        builder: Builder,
    ) -> Daemon {
        Daemon { socket_addrs, unix_path, metrics_addr, running, door, builder }
    }

    /// Returns the daemon's TCP address as clients name it: `PORT@HOST`. If it listens
    /// at all addresses of the host, the loopback address stands for them. Of several addresses it
    /// is the first.
    pub fn address(&self) -> String {
        named(self.socket_addr())
    }

    /// Returns all of the daemon's TCP addresses as clients name them, as [`Daemon::address`] does,
    /// in the order in which they were given.
    pub fn addresses(&self) -> Vec<String> {
        self.socket_addrs.iter().copied().map(named).collect()
    }

    /// Returns the daemon's unix socket as clients name it: `PORT`; `None` if there is
    /// no unix socket. They find it only in `/tmp`.
    pub fn unix_address(&self) -> Option<String> {
        self.unix_path.as_ref().map(|_| self.socket_addr().port().to_string())
    }

    /// Returns the TCP address that the daemon listens at, with the actual port. Of several
    /// addresses it is the first.
    pub fn socket_addr(&self) -> SocketAddr {
        self.socket_addrs[0]
    }

    /// Returns the file of the daemon's unix socket, if it has one. Of several that were given to
    /// [`Builder::start_with`], it is the first.
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix_path.as_deref()
    }

    /// Returns the address of the metrics, if they were asked for.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics_addr
    }

    /// Returns the daemon's status; `None` if the daemon has failed, and inside its own
    /// [`AccessPolicy`](crate::AccessPolicy), where it cannot answer.
    pub fn status(&self) -> Option<Status> {
        self.admin_handle().status()
    }

    /// Ends the session of a client, named by its private group, or of this daemon by its
    /// private name alone. Returns its private group; `None` if there is no such session,
    /// and where [`Daemon::status`] returns `None`.
    ///
    /// The client may connect again at once.
    pub fn kick(&self, client: &str) -> Option<String> {
        self.admin_handle().kick(client)
    }

    /// Waits until the daemon serves clients; returns `false` if it has ended before, which
    /// [`Daemon::wait`] explains, and inside its own [`AccessPolicy`](crate::AccessPolicy).
    ///
    /// A daemon of a single host serves them when it has started. One of several hosts does
    /// when it is in a configuration with the others; before, it may be refused by them.
    pub fn wait_until_ready(&self) -> bool {
        let (done, ready) = mpsc::sync_channel(1);
        self.control().call(|this| this.tell_when_ready(done)).is_ok() && ready.recv().is_ok()
    }

    /// Stops the daemon from another thread, for example one that waits for a
    /// signal while this one waits in [`Daemon::wait`].
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(self.control()))
    }

    /// Asks for the status of the daemon, and kicks clients, from another thread.
    pub fn admin_handle(&self) -> AdminHandle {
        AdminHandle(Arc::clone(self.control()))
    }

    /// Changes the settings of the daemon from another thread.
    pub fn reload_handle(&self) -> ReloadHandle {
        ReloadHandle { control: Arc::clone(self.control()), builder: self.builder.clone() }
    }

    /// Gives the daemon connections that the program has accepted itself, from another thread.
    pub fn admit_handle(&self) -> AdmitHandle {
        AdmitHandle { control: Arc::clone(self.control()), door: self.door }
    }

    pub(crate) fn control(&self) -> &Arc<Control<EventLoop>> {
        self.running.control()
    }

    /// Waits until the daemon has ended, because of its [`StopHandle`] or because
    /// it failed.
    ///
    /// # Errors
    ///
    /// The error with which the daemon ended.
    pub fn wait(mut self) -> io::Result<()> {
        self.running.wait()
    }

    /// Stops the daemon, as dropping it does: disconnects its clients, removes
    /// its socket file and waits for its thread.
    pub fn stop(self) {
        drop(self.running);
    }
}

/// Returns an address as clients name it.
fn named(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("{}@{host}", address.port())
}

/// Stops a [`Daemon`] that is owned elsewhere.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Control<EventLoop>>);

impl StopHandle {
    /// Ends the daemon gently, within the given time. Returns at once.
    ///
    /// The daemon handles everything that clients had sent before, for at most a second,
    /// reads nothing more, and ends when all that is queued has been sent to its clients. Then, or
    /// when the time is over, it logs for each client how many messages could not be sent to it;
    /// those in the buffers of its socket do not count.
    pub fn drain(&self, time: Duration) {
        self.0.post(move |this| this.drain(time));
    }

    /// Ends the daemon and disconnects its clients. Returns at once.
    pub fn stop(&self) {
        self.0.stop();
    }
}

/// Asks a [`Daemon`] that is owned elsewhere, and kicks its clients.
///
/// Each call waits for the daemon's loop, and returns `None` if the daemon has ended, and inside
/// its own [`AccessPolicy`](crate::AccessPolicy), where it cannot answer.
///
/// ```
/// # use spread_daemon::{Daemon, Health};
/// let daemon = Daemon::builder().start()?;
/// let handle = daemon.admin_handle();
/// assert_eq!(handle.health(), Some(Health::Healthy));
/// assert_eq!(handle.status().unwrap().counts.sessions, 0);
/// assert_eq!(handle.kick("#ann#localhost"), None);
/// daemon.stop();
/// assert_eq!(handle.health(), None);
/// # Ok::<(), spread_daemon::StartError>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdminHandle(Arc<Control<EventLoop>>);

impl AdminHandle {
    /// Returns the daemon's status.
    pub fn status(&self) -> Option<Status> {
        self.0.call(|this| this.server.status()).ok()
    }

    /// Returns the numbers of the daemon's status: all but its lists of sessions, groups,
    /// cut-offs and views, and its history.
    pub fn numbers(&self) -> Option<Status> {
        self.0.call(|this| this.server.numbers()).ok()
    }

    /// Returns whether the daemon takes clients, and if not, why.
    pub fn health(&self) -> Option<Health> {
        self.0.call(|this| this.server.health()).ok()
    }

    /// Ends the session of a client as [`Daemon::kick`] does; returns its private group, or
    /// `None` also if there is no such session.
    pub fn kick(&self, client: &str) -> Option<String> {
        self.kick_by(client, "the program")
    }

    /// Ends the session of a client as [`AdminHandle::kick`] does, for somebody whom the log names.
    pub fn kick_by(&self, client: &str, by: &str) -> Option<String> {
        let (client, by) = (client.to_owned(), by.to_owned());
        self.0.call(move |this| this.server.kick(&client, &by)).ok().flatten()
    }
}

/// Changes the settings of a [`Daemon`] that is owned elsewhere.
#[derive(Clone, Debug)]
pub struct ReloadHandle {
    control: Arc<Control<EventLoop>>,
    builder: Builder,
}

impl ReloadHandle {
    /// Takes over the settings of a builder that can change while the daemon runs: the
    /// authentication, the access policy, the limits, the slow-consumer policy and the time
    /// for the handshake. Returns what else differs from the builder that started the daemon,
    /// which takes a new start to change.
    ///
    /// Sessions stay as they are, also those that could not be opened any more, and a client
    /// that has begun to connect goes on under the settings of before. A client for which more
    /// messages wait than may from now on has a second to read them. With a lower
    /// [`Builder::max_queued_bytes`], the clients that keep most memory in use are
    /// disconnected.
    ///
    /// A client that is connecting has at most the new time for the handshake left. When this
    /// returns, the settings hold for whoever connects.
    ///
    /// ```
    /// # use spread_daemon::Daemon;
    /// let daemon = Daemon::builder().start()?;
    /// let differences = daemon.reload_handle().reload(&Daemon::builder().max_sessions(5))?;
    /// assert_eq!((differences, daemon.status().unwrap().limits.sessions), (vec![], 5));
    /// # Ok::<(), spread_daemon::StartError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Builder::check`], and [`StartError::Stopped`] if the daemon has ended and
    /// where [`Daemon::status`] returns `None`. Then nothing has changed.
    pub fn reload(&self, builder: &Builder) -> Result<Vec<&'static str>, StartError> {
        builder.check()?;
        let settings = builder.settings().clone();
        let reloaded = self.control.call(move |this| this.server.reload(&settings));
        reloaded.map_err(|_| StartError::Stopped)?;
        Ok(self.builder.fixed_differences(builder))
    }
}

/// Gives connections to a [`Daemon`] that is owned elsewhere.
#[derive(Clone, Debug)]
pub struct AdmitHandle {
    control: Arc<Control<EventLoop>>,
    door: Door,
}

impl AdmitHandle {
    /// Gives the daemon a connection, and returns at once. From here on it is as one that the daemon
    /// has accepted itself, with the same limits, time for the handshake, authentication and access
    /// policy. It is closed if the daemon has ended or takes nothing new.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// # use spread_daemon::{Daemon, Incoming};
    /// let daemon = Daemon::builder().start()?;
    /// let (daemons, mut ours) = UnixStream::pair()?;
    /// let incoming = Incoming::new(daemons).address(([192, 0, 2, 7], 40_000)).user("ann");
    /// daemon.admit_handle().admit(incoming);
    /// // What a client says first: its version, what it wants, the length of its name, its name.
    /// ours.write_all(&[5, 0, 1, 1, 3, b'a', b'n', b'n'])?;
    /// let mut methods = [0; 6];
    /// ours.read_exact(&mut methods)?;
    /// assert_eq!(&methods, b"\x05NULL ");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn admit(&self, incoming: Incoming) {
        let door = self.door;
        self.control.post(move |this| this.adopt(incoming, door));
    }

    /// Sets when the certificate expires by which the program serves clients over TLS, for the
    /// [status](crate::Status::tls_certificate_expiry) and the metrics.
    pub fn certificate_expires(&self, at: SystemTime) {
        // Before 1970 it is as invalid as in 1970.
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.control.post(move |this| this.server.certificate_expiry = Some(at));
    }

    /// Counts a client that the program has rejected itself, in the
    /// [totals](crate::Totals::rejected) of the status.
    pub fn count_rejected(&self) {
        self.control.post(|this| this.server.count_rejected());
    }
}
