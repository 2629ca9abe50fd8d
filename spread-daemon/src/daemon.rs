//! A daemon that runs.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::admin::status::Status;
use crate::net::control::{Control, Running};
use crate::net::event_loop::EventLoop;

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
    socket_addr: SocketAddr,
    unix_path: Option<PathBuf>,
    metrics_addr: Option<SocketAddr>,
    running: Running<EventLoop>,
}

impl Daemon {
    pub(crate) fn new(
        socket_addr: SocketAddr,
        unix_path: Option<PathBuf>,
        metrics_addr: Option<SocketAddr>,
        running: Running<EventLoop>,
    ) -> Daemon {
        Daemon { socket_addr, unix_path, metrics_addr, running }
    }

    /// Returns the daemon's TCP address as clients name it: `PORT@HOST`. If it listens
    /// at all addresses of the host, the loopback address stands for them.
    pub fn address(&self) -> String {
        let host = match self.socket_addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("{}@{host}", self.socket_addr.port())
    }

    /// Returns the daemon's unix socket as clients name it: `PORT`; `None` if there is
    /// no unix socket. They find it only in `/tmp`.
    pub fn unix_address(&self) -> Option<String> {
        self.unix_path.as_ref().map(|_| self.socket_addr.port().to_string())
    }

    /// Returns the TCP address that the daemon listens at, with the actual port.
    pub fn socket_addr(&self) -> SocketAddr {
        self.socket_addr
    }

    /// Returns the file of the daemon's unix socket, if it has one.
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
        self.control().call(|this| this.server.status()).ok()
    }

    /// Stops the daemon from another thread, for example one that waits for a
    /// signal while this one waits in [`Daemon::wait`].
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(self.control()))
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

/// Stops a [`Daemon`] that is owned elsewhere.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Control<EventLoop>>);

impl StopHandle {
    /// Ends the daemon gently, within the given time. Returns at once.
    ///
    /// The daemon handles everything that clients had sent before, for at most a second,
    /// reads nothing more, and ends when its clients have read what is queued for them.
    pub fn drain(&self, time: Duration) {
        self.0.post(move |this| this.drain(time));
    }

    /// Ends the daemon and disconnects its clients. Returns at once.
    pub fn stop(&self) {
        self.0.stop();
    }
}
