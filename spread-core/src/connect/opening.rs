//! The sockets of a connect: several addresses side by side, until one accepts.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::is_resource;
use crate::poll::{Ready, wait_slice};
use crate::stream::Stream;
use crate::{ConnectError, Keepalive};

/// How long an address is tried alone before the next one is tried as well.
const STAGGER: Duration = Duration::from_millis(250);

/// When to try again to connect to a unix socket whose backlog is full: that cannot be
/// polled for.
const BACKLOG: Duration = Duration::from_millis(10);

/// What Spread asks for: room for a message of the greatest length.
const SEND_BUFFER: usize = 200 * 1024;

/// An address to connect to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    address: SockAddr,
    is_loopback: bool,
}

impl Target {
    pub(crate) fn tcp(address: SocketAddr) -> Target {
        Target { address: address.into(), is_loopback: address.ip().is_loopback() }
    }

    pub(crate) fn unix(path: &Path) -> io::Result<Target> {
        Ok(Target { address: SockAddr::unix(path)?, is_loopback: false })
    }

    fn is_unix(&self) -> bool {
        self.address.is_unix()
    }
}

/// Connects to the first of some addresses that accepts.
#[derive(Debug)]
pub(crate) struct Opening {
    targets: VecDeque<Target>,
    keepalive: Keepalive,
    under_way: Vec<Socket>,
    /// When the next target is tried.
    next: Instant,
    /// Why the last one failed.
    failure: io::Error,
}

impl Opening {
    pub(crate) fn new(targets: Vec<Target>, keepalive: Keepalive, now: Instant) -> Opening {
        let failure = io::Error::other("the host has no address");
        let under_way = Vec::new();
        Opening { targets: targets.into(), keepalive, under_way, next: now, failure }
    }

    /// Connects to a host: to addresses of both families by turns, as far as there are.
    pub(crate) fn of_host(
        addresses: Vec<SocketAddr>,
        keepalive: Keepalive,
        now: Instant,
    ) -> Result<Opening, ConnectError> {
        let Some(first) = addresses.first().copied() else {
            let no_address = io::Error::other("the host has no address");
            return Err(ConnectError::UnknownHost(no_address));
        };
        let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) =
            addresses.into_iter().partition(|address| address.is_ipv4() == first.is_ipv4());
        let mut targets = Vec::new();
        while let Some(address) = preferred.pop_front().or_else(|| other.pop_front()) {
            targets.push(Target::tcp(address));
            targets.extend(other.pop_front().map(Target::tcp));
        }
        Ok(Opening::new(targets, keepalive, now))
    }

    /// Returns a connected stream once there is one.
    pub(crate) fn step(&mut self, now: Instant) -> Result<Option<Stream>, ConnectError> {
        if let Some(socket) = self.connected(now)? {
            return stream(socket).map(Some);
        }
        while now >= self.next {
            let Some(target) = self.targets.pop_front() else { break };
            match start(&target, self.keepalive) {
                Ok((socket, true)) => return stream(socket).map(Some),
                Ok((socket, false)) => {
                    self.under_way.push(socket);
                    self.next = now + STAGGER;
                }
                Err(error) if target.is_unix() && is(&error, &[Errno::AGAIN]) => {
                    self.targets.push_front(target);
                    self.next = now + BACKLOG;
                }
                // Another address would need as much; one that is under way need not.
                Err(error) if is_resource(&error) && self.under_way.is_empty() => {
                    return Err(ConnectError::Local(error));
                }
                Err(error) => self.failure = error,
            }
        }
        if self.targets.is_empty() && self.under_way.is_empty() {
            let none = io::ErrorKind::NotConnected.into();
            return Err(ConnectError::Unreachable(std::mem::replace(&mut self.failure, none)));
        }
        Ok(None)
    }

    pub(crate) fn waits_for(&self) -> (Vec<(BorrowedFd<'_>, Ready)>, Option<Instant>) {
        let fds = self.under_way.iter().map(|socket| (socket.as_fd(), Ready::ToWrite));
        (fds.collect(), (!self.targets.is_empty()).then_some(self.next))
    }

    /// Takes the first socket that is connected. Whenever one has failed, the next target
    /// need not wait.
    fn connected(&mut self, now: Instant) -> Result<Option<Socket>, ConnectError> {
        let fds: Vec<_> = self.waits_for().0;
        let ended = wait_slice(&fds, Some(now)).map_err(ConnectError::Local)?;
        let sockets = std::mem::take(&mut self.under_way);
        let mut connected = None;
        for (socket, ended) in sockets.into_iter().zip(ended) {
            if !ended {
                self.under_way.push(socket);
                continue;
            }
            match socket.take_error() {
                Ok(None) => connected = connected.or(Some(socket)),
                Ok(Some(error)) | Err(error) => {
                    self.failure = error;
                    self.next = now;
                }
            }
        }
        Ok(connected)
    }
}

/// Begins to connect; says whether that is all.
fn start(target: &Target, keepalive: Keepalive) -> io::Result<(Socket, bool)> {
    let domain = target.address.domain();
    // A socket that does not survive `exec`.
    let socket = Socket::new(domain, Type::STREAM, None)?;
    // As much as the system grants.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    if domain != Domain::UNIX {
        #[cfg(target_os = "linux")]
        if target.is_loopback {
            // There is no network to be spared, and a congestion control that paces, such as
            // bbr, halves the rate of large messages. Every Linux has reno, for everybody.
            let _ = socket.set_tcp_congestion(b"reno");
        }
        socket.set_tcp_nodelay(true)?;
        keepalive.set(&socket, target.is_loopback)?;
        // A peer that sends urgent data would make the descriptor poll readable for ever.
        socket.set_out_of_band_inline(true)?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&target.address) {
        Ok(()) => Ok((socket, true)),
        Err(error) if is_under_way(&error) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

fn is_under_way(error: &io::Error) -> bool {
    is(error, &[Errno::INPROGRESS, Errno::INTR])
}

fn is(error: &io::Error, errnos: &[Errno]) -> bool {
    errnos.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Calls on the stream wait, unless they say otherwise.
fn stream(socket: Socket) -> Result<Stream, ConnectError> {
    socket.set_nonblocking(false).map_err(ConnectError::Local)?;
    let is_unix = socket.domain().map_err(ConnectError::Local)? == Domain::UNIX;
    Ok(Stream::new(OwnedFd::from(socket), is_unix))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn open(targets: Vec<Target>) -> Result<Stream, ConnectError> {
        let mut opening = Opening::new(targets, Keepalive::System, Instant::now());
        loop {
            if let Some(stream) = opening.step(Instant::now())? {
                return Ok(stream);
            }
            let (fds, until) = opening.waits_for();
            wait_slice(&fds, until).unwrap();
        }
    }

    fn listener() -> (TcpListener, Target) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::tcp(listener.local_addr().unwrap());
        (listener, target)
    }

    fn nobody() -> Target {
        listener().1
    }

    #[test]
    fn all_addresses_of_a_host_are_tried() {
        let (_listener, target) = listener();
        assert!(open(vec![nobody(), target]).is_ok());
        let error = open(vec![nobody(), nobody()]).unwrap_err();
        assert!(
            matches!(&error, ConnectError::Unreachable(e) if e.kind() == io::ErrorKind::ConnectionRefused),
            "{error:?}"
        );
    }

    #[test]
    fn an_address_that_is_silent_does_not_hold_up_the_next_one() {
        // A listener whose backlog is full leaves further connects unanswered.
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        silent.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        silent.listen(0).unwrap();
        let address = silent.local_addr().unwrap().as_socket().unwrap();
        let _fill = std::net::TcpStream::connect(address).unwrap();
        let (_listener, target) = listener();
        let begin = Instant::now();
        assert!(open(vec![Target::tcp(address), target]).is_ok());
        let time = begin.elapsed();
        assert!(time >= STAGGER && time < 8 * STAGGER, "{time:?}");
    }

    #[test]
    fn families_are_tried_by_turns() {
        let addresses =
            ["[::1]:1", "[::1]:2", "127.0.0.1:3", "[::1]:4"].map(|a| a.parse().unwrap());
        let opening =
            Opening::of_host(addresses.to_vec(), Keepalive::System, Instant::now()).unwrap();
        let ports: Vec<_> =
            opening.targets.iter().map(|t| t.address.as_socket().unwrap().port()).collect();
        assert_eq!(ports, [1, 3, 2, 4]);
        let error = Opening::of_host(Vec::new(), Keepalive::System, Instant::now()).unwrap_err();
        assert!(matches!(error, ConnectError::UnknownHost(_)));
    }

    #[test]
    fn the_scope_of_an_address_is_kept() {
        let address: SocketAddr = "[fe80::1%7]:1".parse().unwrap();
        let target = Target::tcp(address);
        assert_eq!(target.address.as_socket(), Some(address));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn tcp_on_the_host_itself_is_not_paced_and_its_receive_buffer_is_the_kernels() {
        let (_listener, target) = listener();
        let stream = open(vec![target]).unwrap();
        let socket = socket2::SockRef::from(&stream);
        let congestion = socket.tcp_congestion().unwrap();
        assert!(congestion.starts_with(b"reno\0"), "{congestion:?}");
        let unset = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Connecting settles the window, which may let the kernel grow it.
        assert!(socket.recv_buffer_size().unwrap() >= unset.recv_buffer_size().unwrap());
        assert!(socket.out_of_band_inline().unwrap());
    }
}
