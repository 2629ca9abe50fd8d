//! Connects to a daemon: the socket, then the handshake.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use socket2::{Domain, SockAddr, Socket, Type};
use spread_wire::ErrorCode;
use spread_wire::handshake::{Accepted, Client, ClientError, ClientStep, Connect};

use crate::address::{Address, resolve};
use crate::auth;
use crate::session::Session;
use crate::socket::{Ready, Stream, time_left, wait};

/// What Spread asks for, both ways: room for a message of the greatest length, for
/// callers who wait until all of one is there. TCP would begin with less.
const SOCKET_BUFFER: usize = 200 * 1024;

/// Linux's `SOCK_SNDBUF_LOCK`, without `SOCK_RCVBUF_LOCK`.
#[cfg(target_os = "linux")]
const FIXED_SEND_BUFFER: libc::c_int = 1;

/// Opens a session, before the deadline if there is one.
///
/// # Errors
///
/// - `IllegalSpread`: the host is unknown.
/// - `CouldNotConnect`: nobody listens there, or time is over.
/// - `ConnectionClosed`: the daemon closed without an answer.
/// - `IllegalMessage`: what answers is no Spread daemon.
/// - The code with which the daemon rejects.
pub(crate) fn connect(
    address: &Address,
    request: Connect,
    deadline: Option<Instant>,
) -> Result<Session, ErrorCode> {
    let stream = open(address, deadline)?;
    let accepted = shake_hands(&stream, request, deadline)?;
    Ok(Session::new(stream, accepted.private_group))
}

fn open(address: &Address, deadline: Option<Instant>) -> Result<Stream, ErrorCode> {
    match address {
        Address::Unix(path) => open_unix(path, deadline).map_err(|_| ErrorCode::CouldNotConnect),
        Address::Tcp { host, port } => {
            let candidates = resolve(host, *port, deadline).map_err(|e| match e.kind() {
                ErrorKind::TimedOut => ErrorCode::CouldNotConnect,
                _ => ErrorCode::IllegalSpread,
            })?;
            open_any(candidates, deadline).ok_or(ErrorCode::CouldNotConnect)
        }
    }
}

/// Connects to the first address at which somebody listens.
fn open_any(addresses: Vec<SocketAddr>, deadline: Option<Instant>) -> Option<Stream> {
    addresses.into_iter().find_map(|to| open_tcp(to, deadline).ok())
}

fn open_tcp(to: SocketAddr, deadline: Option<Instant>) -> io::Result<Stream> {
    let domain = Domain::for_address(to);
    let socket = new_socket(domain)?;
    #[cfg(target_os = "linux")]
    {
        let_receive_buffer_grow(&socket);
        if to.ip().is_loopback() {
            // There is no network to be spared, and the timers of a congestion control that
            // paces, such as bbr, take time. Linux has reno always and for everybody; where
            // it has not, it is slower.
            let _ = socket.set_tcp_congestion(b"reno");
        }
    }
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    socket.set_nonblocking(true)?;
    if let Err(e) = socket.connect(&to.into()) {
        let under_way = e.raw_os_error() == Some(libc::EINPROGRESS);
        if !under_way && e.kind() != ErrorKind::Interrupted {
            return Err(e);
        }
        wait(socket.as_fd(), Ready::ToWrite, deadline)?;
        if let Some(e) = socket.take_error()? {
            return Err(e);
        }
    }
    socket.set_nonblocking(false)?;
    Ok(Stream::new(socket, domain))
}

/// A connect to a unix socket blocks only while the daemon's backlog is full,
/// and that cannot be polled for.
fn open_unix(path: &Path, deadline: Option<Instant>) -> io::Result<Stream> {
    let socket = new_socket(Domain::UNIX)?;
    let to = SockAddr::unix(path)?;
    loop {
        let left = time_left(deadline);
        if left.is_some_and(|left| left.is_zero()) {
            return Err(ErrorKind::TimedOut.into());
        }
        socket.set_write_timeout(left)?;
        match socket.connect(&to) {
            Ok(()) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    socket.set_write_timeout(None)?;
    Ok(Stream::new(socket, Domain::UNIX))
}

/// A socket that does not survive `exec`.
fn new_socket(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, None)?;
    // As much as the system grants; the window of TCP is settled by connecting.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

/// Has the system treat the buffer for what is received as if nobody had set its size:
/// it gets larger if what comes takes more memory than TCP expected.
///
/// A buffer of a fixed size does not, and TCP drops what is too much. Linux then also
/// drops the acknowledgements that come after it, until the client receives. If it is
/// in the middle of a send, neither side goes on.
#[cfg(target_os = "linux")]
fn let_receive_buffer_grow(socket: &Socket) {
    let fixed = FIXED_SEND_BUFFER;
    // SAFETY: the option reads one int. It fails before Linux 5.14, where there is no way.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BUF_LOCK,
            (&raw const fixed).cast(),
            size_of_val(&fixed) as libc::socklen_t,
        );
    }
}

/// Takes off the stream what belongs to the handshake and not a byte more: a
/// message may follow at once.
fn shake_hands(
    stream: &Stream,
    request: Connect,
    deadline: Option<Instant>,
) -> Result<Accepted, ErrorCode> {
    let methods = auth::methods();
    let names: Vec<&str> = methods.iter().map(auth::Method::name).collect();
    let mut client = Client::new(request, &names);
    let mut answer = [0; u8::MAX as usize];
    loop {
        match client.next_step() {
            ClientStep::Send(bytes) => {
                stream.send(&mut [io::IoSlice::new(&bytes)]).map_err(failure)?;
            }
            ClientStep::Receive(len) => {
                let wanted = answer.get_mut(..len).ok_or(ErrorCode::IllegalMessage)?;
                let count = stream.read_by(wanted, deadline).map_err(failure)?;
                if count == 0 {
                    return Err(ErrorCode::ConnectionClosed);
                }
                client.handle(&answer[..count]).map_err(|e| match e {
                    ClientError::Rejected(code) => code,
                    ClientError::MethodNotPermitted { .. } => ErrorCode::RejectAuth,
                    _ => ErrorCode::IllegalMessage,
                })?;
            }
            ClientStep::Authenticate => {
                if !methods.iter().all(|method| method.exchange(stream.as_fd())) {
                    return Err(ErrorCode::RejectAuth);
                }
                client.authenticated();
            }
            ClientStep::Done(accepted) => return Ok(accepted),
        }
    }
}

fn failure(e: io::Error) -> ErrorCode {
    match e.kind() {
        ErrorKind::TimedOut => ErrorCode::CouldNotConnect,
        _ => ErrorCode::ConnectionClosed,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn all_addresses_of_a_host_are_tried() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(open_any(vec![nobody, listener.local_addr().unwrap()], None).is_some());
        assert!(open_any(vec![nobody], None).is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nothing_is_paced_on_the_host_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = open_tcp(listener.local_addr().unwrap(), None).unwrap();
        let fd = stream.as_fd();
        let congestion = socket2::SockRef::from(&fd).tcp_congestion().unwrap();
        assert!(congestion.starts_with(b"reno\0"), "{congestion:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_receive_buffer_may_grow() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = open_tcp(listener.local_addr().unwrap(), None).unwrap();
        let fd = stream.as_fd();
        let size = socket2::SockRef::from(&fd).recv_buffer_size().unwrap();
        assert!(size >= new_socket(Domain::IPV4).unwrap().recv_buffer_size().unwrap());
        let mut locked: libc::c_int = -1;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the option writes one int, and there is room for it.
        let result = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_BUF_LOCK,
                (&raw mut locked).cast(),
                &mut len,
            )
        };
        assert_eq!((result, locked), (0, FIXED_SEND_BUFFER));
    }
}
