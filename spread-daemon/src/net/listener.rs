//! A listening socket: a TCP port or a unix socket.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token, event};
use socket2::{Domain, SockRef, TcpKeepalive, Type};

use super::socket_file::{Lock, SocketFile, is_answered, is_socket};
use super::stream::Stream;
use crate::admin::inspection::Inspection;
use crate::cluster::DaemonId;
use crate::error::StartError;

/// The address of a listener that is closed for good.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// After this long in silence a client's host is asked whether it is there. One
/// that is not loses its connection after twice the time.
const IDLE: Duration = Duration::from_secs(60);

/// Connections that wait for the daemon to take them.
const BACKLOG: i32 = 1024;

/// The purpose of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Clients of a daemon.
    Clients(DaemonId),
    /// Programs that ask how the daemon is.
    Inspection(Inspection),
}

/// A socket that takes connections.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) door: Door,
    socket: Socket,
    /// The file goes with the listener.
    file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(Port),
    Unix(UnixListener),
    /// Takes no connections for a while, but keeps its port if it can.
    Suspended {
        address: SocketAddr,
        reserved: Option<socket2::Socket>,
    },
}

/// A TCP socket that listens.
#[derive(Debug)]
struct Port {
    socket: TcpListener,
    /// Others have it as well, such as the service manager, and go on to listen.
    is_shared: bool,
}

impl Drop for Port {
    /// A child process has a copy of each descriptor from its fork to its exec. Closing alone would
    /// leave the port taken until then, and a daemon that starts again at once would not get it.
    fn drop(&mut self) {
        if !self.is_shared {
            // It fails only where a listener cannot be shut down.
            let _ = SockRef::from(&self.socket).shutdown(Shutdown::Both);
        }
    }
}

impl Listener {
    /// Listens at a TCP address; port 0 is a free port.
    pub(crate) fn tcp(
        address: SocketAddr,
        door: Door,
    ) -> Result<(Listener, SocketAddr), StartError> {
        let listener = TcpListener::bind(address).map_err(|e| match e.kind() {
            ErrorKind::AddrInUse => StartError::PortTaken { address },
            _ => StartError::io(format!("listen at {address}"), e),
        })?;
        let actual = listener
            .local_addr()
            .map_err(|e| StartError::io(format!("learn the port of {address}"), e))?;
        // Connections have it from their beginning then.
        do_not_pace(SockRef::from(&listener), address);
        let socket = Socket::Tcp(Port { socket: listener, is_shared: false });
        Ok((Listener { door, socket, file: None }, actual))
    }

    /// Listens at a TCP socket that was opened elsewhere.
    pub(crate) fn inherited_tcp(
        socket: std::net::TcpListener,
        door: Door,
    ) -> Result<(Listener, SocketAddr), StartError> {
        let prepared = socket.set_nonblocking(true).and_then(|()| socket.local_addr());
        let address = prepared.map_err(|e| StartError::io("use the TCP socket given", e))?;
        check_listens(SockRef::from(&socket))
            .map_err(|e| StartError::io(format!("use the TCP socket given, at {address}"), e))?;
        do_not_pace(SockRef::from(&socket), address);
        let socket = TcpListener::from_std(socket);
        let socket = Socket::Tcp(Port { socket, is_shared: true });
        Ok((Listener { door, socket, file: None }, address))
    }

    /// Listens at a unix socket that was opened elsewhere, and so is its file.
    pub(crate) fn inherited_unix(
        socket: std::os::unix::net::UnixListener,
        door: Door,
    ) -> Result<(Listener, PathBuf), StartError> {
        let prepared = socket.set_nonblocking(true).and_then(|()| socket.local_addr());
        let address = prepared.map_err(|e| StartError::io("use the unix socket given", e))?;
        let path = address.as_pathname().unwrap_or(Path::new("")).to_owned();
        check_listens(SockRef::from(&socket)).map_err(|e| {
            StartError::io(format!("use the unix socket given, at {}", path.display()), e)
        })?;
        let socket = Socket::Unix(UnixListener::from_std(socket));
        Ok((Listener { door, socket, file: None }, path))
    }

    /// Listens at a socket file that every user may connect to, if it is for
    /// clients, and else only its owner.
    ///
    /// A file that is there already is never taken from a program that answers. One that
    /// nobody listens at is replaced: a daemon left it behind when it was killed, for the
    /// lock tells that none is about to listen.
    pub(crate) fn unix(path: &Path, door: Door, lock: &Arc<Lock>) -> Result<Listener, StartError> {
        let listener = match UnixListener::bind(path) {
            Err(e) if e.kind() == ErrorKind::AddrInUse && is_socket(path) => {
                if is_answered(path) {
                    return Err(StartError::SocketInUse { path: path.into() });
                }
                tracing::info!("replaced the file {}, at which nobody listens", path.display());
                fs::remove_file(path)
                    .map_err(|e| StartError::io(format!("remove {}", path.display()), e))?;
                UnixListener::bind(path)
            }
            Err(e) if e.kind() == ErrorKind::AddrInUse => {
                Err(io::Error::new(ErrorKind::AlreadyExists, "it is no socket; remove it"))
            }
            bound => bound,
        };
        let listener = listener
            .map_err(|e| StartError::io(format!("listen at the file {}", path.display()), e))?;
        let file = SocketFile::new(path, lock)?;
        let mode = if matches!(door, Door::Clients(_)) { 0o666 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|e| StartError::io(format!("set who may use {}", path.display()), e))?;
        Ok(Listener { door, socket: Socket::Unix(listener), file: Some(file) })
    }

    /// Accepts the next connection; `None` if there is none.
    ///
    /// # Errors
    ///
    /// An error of the operating system, most often that no file descriptor is free.
    pub(crate) fn accept(&self) -> io::Result<Option<Stream>> {
        loop {
            return match self.accept_once() {
                Ok(stream) => Ok(Some(stream)),
                Err(e) => match e.kind() {
                    ErrorKind::WouldBlock => Ok(None),
                    // That client is gone; the next one may not be.
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => continue,
                    _ => Err(e),
                },
            };
        }
    }

    fn accept_once(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Tcp(port) => {
                let (stream, peer) = port.socket.accept()?;
                do_not_pace(SockRef::from(&stream), peer);
                // A message must not wait for the acknowledgement of the one
                // before. It fails only on a connection that is gone already.
                let _ = stream.set_nodelay(true);
                // A client whose host is gone leaves its groups after a while.
                let keepalive =
                    TcpKeepalive::new().with_time(IDLE).with_interval(IDLE / 4).with_retries(4);
                let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                Ok(Stream::Tcp(stream))
            }
            Socket::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
            Socket::Suspended { .. } => Err(ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes no connections any more.
    pub(crate) fn close(&mut self, registry: &Registry) {
        // It fails only for a listener that is not registered.
        let _ = event::Source::deregister(self, registry);
        self.socket = Socket::Suspended { address: NOWHERE, reserved: None };
        self.file = None;
    }

    /// Refuses connections until [`Listener::resume`]; only for TCP.
    pub(crate) fn suspend(&mut self, registry: &Registry) {
        let Socket::Tcp(port) = &mut self.socket else {
            return;
        };
        // It fails only for a listener that is not registered.
        let _ = registry.deregister(&mut port.socket);
        let Ok(address) = port.socket.local_addr() else {
            return;
        };
        self.socket = Socket::Suspended { address, reserved: None };
        let reserved = reserve(address).ok();
        self.socket = Socket::Suspended { address, reserved };
    }

    /// Takes connections again; they are to be registered for anew.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        let Socket::Suspended { address, reserved } = &mut self.socket else {
            return Ok(());
        };
        let socket = match reserved.take() {
            Some(socket) => socket,
            None => reserve(*address)?,
        };
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket.into());
        self.socket = Socket::Tcp(Port { socket, is_shared: false });
        Ok(())
    }
}

/// Checks that a socket listens: each wait for its connections would end at once.
fn check_listens(socket: SockRef<'_>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if !socket.is_listener()? {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it does not listen"));
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
    Ok(())
}

/// Returns a socket that has a port and takes no connections.
fn reserve(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As when the port was first bound: connections that it had may linger.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets a congestion control without pacing for a connection from the host itself. There
/// is no network to pace for, and the timers of one that paces, such as bbr, take time.
fn do_not_pace(socket: SockRef<'_>, peer: SocketAddr) {
    #[cfg(target_os = "linux")]
    if peer.ip().is_loopback() {
        // Linux has reno always and for everybody; where it has not, it is slower.
        let _ = socket.set_tcp_congestion(b"reno");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (socket, peer);
}

impl event::Source for Listener {
    fn register(&mut self, on: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(port) => port.socket.register(on, token, what),
            Socket::Unix(listener) => listener.register(on, token, what),
            Socket::Suspended { .. } => Ok(()),
        }
    }

    fn reregister(&mut self, on: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(port) => port.socket.reregister(on, token, what),
            Socket::Unix(listener) => listener.reregister(on, token, what),
            Socket::Suspended { .. } => Ok(()),
        }
    }

    fn deregister(&mut self, on: &Registry) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(port) => port.socket.deregister(on),
            Socket::Unix(listener) => listener.deregister(on),
            Socket::Suspended { .. } => Ok(()),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    const DOOR: Door = Door::Inspection(Inspection::Status);

    /// A copy of the descriptor, as a child process has one until it runs its program.
    fn copy_of(listener: &Listener) -> socket2::Socket {
        let Socket::Tcp(port) = &listener.socket else { panic!("{listener:?}") };
        SockRef::from(&port.socket).try_clone().unwrap()
    }

    #[test]
    fn a_port_is_free_at_once_whoever_has_a_copy_of_its_descriptor() {
        let (listener, address) = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), DOOR).unwrap();
        let _copy = copy_of(&listener);
        drop(listener);
        let (mut again, _) = Listener::tcp(address, DOOR).unwrap();
        let _copy = copy_of(&again);
        let poll = mio::Poll::new().unwrap();
        again.suspend(poll.registry());
        let Socket::Suspended { reserved, .. } = &again.socket else { panic!("{again:?}") };
        assert!(reserved.is_some(), "the port is kept");
        TcpStream::connect(address).unwrap_err();
        again.resume().unwrap();
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn who_gave_a_socket_goes_on_to_listen() {
        let given = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (listener, address) =
            Listener::inherited_tcp(given.try_clone().unwrap(), DOOR).unwrap();
        drop(listener);
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn a_socket_that_is_given_and_does_not_listen_is_refused() {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let error = Listener::inherited_tcp(socket.into(), DOOR).unwrap_err();
        assert!(error.to_string().starts_with("cannot use the TCP socket given, at 127.0.0.1:"));
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        Listener::inherited_unix(socket.into(), DOOR).unwrap_err();
    }

    #[test]
    fn connections_from_the_host_itself_are_not_paced() {
        for host in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
            let (listener, address) = Listener::tcp((host, 0).into(), DOOR).unwrap();
            let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
            let accepted = loop {
                if let Some(stream) = listener.accept().unwrap() {
                    break stream;
                }
            };
            let Stream::Tcp(stream) = &accepted else { panic!("{accepted:?}") };
            let congestion = SockRef::from(stream).tcp_congestion().unwrap();
            assert!(congestion.starts_with(b"reno\0"), "{congestion:?}");
        }
    }
}
