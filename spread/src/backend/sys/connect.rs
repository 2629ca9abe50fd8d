//! Connecting.

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use spread_core::{Address, ConnectError, Request};
use spread_sys::{SP_connect_timeout, mailbox, sp_time};
use spread_wire::handshake::{AUTH_NULL, ClientError};
use spread_wire::limits::NAME_FIELD;
use spread_wire::{ErrorCode, Name, PrivateGroup};

use super::auth::{Exchanges, METHODS, set_null_method};
use super::{Code, RawMailbox, Result};
use crate::Authenticator;

const ACCEPTED: c_int = spread_sys::ACCEPT_SESSION as c_int;

/// Connects at the first of the addresses of a daemon that it listens at.
///
/// The library tries one address at a time, so each has its share of the time that is left.
pub(crate) fn connect(
    address: &Address,
    request: &Request,
    authenticators: &[&dyn Authenticator],
    deadline: Option<Instant>,
) -> Result<(spread_core::Connection, RawMailbox), ConnectError> {
    let candidates = candidates(address, deadline)?;
    let mut failure = ConnectError::Unreachable(io::ErrorKind::NotFound.into());
    for (index, candidate) in candidates.iter().enumerate() {
        let share = deadline.map(|deadline| {
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            now + left / (candidates.len() - index) as u32
        });
        match connect_to(candidate, request, authenticators, share) {
            Err(ConnectError::Unreachable(error)) => {
                failure = ConnectError::Unreachable(error);
            }
            Err(ConnectError::TimedOut) => failure = ConnectError::TimedOut,
            done => return done,
        }
    }
    Err(failure)
}

/// The addresses to try one after the other, as libspread understands them.
///
/// A host is looked up here, because the C library tries but the first of its addresses,
/// and does not tell an unknown host from a bad address.
fn candidates(address: &Address, deadline: Option<Instant>) -> Result<Vec<String>, ConnectError> {
    let (port, host) = match address {
        Address::Unix(path) => {
            let path = path.to_string_lossy();
            // The C library knows the sockets below /tmp, by their port.
            let port = path.strip_prefix("/tmp/").filter(|port| port.parse::<u16>().is_ok());
            return Ok(vec![port.unwrap_or(&path).to_owned()]);
        }
        Address::Tcp { port, host } => (*port, host),
    };
    let found = spread_core::resolve(host, port, deadline).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ConnectError::TimedOut,
        _ if spread_core::is_resource(&error) => ConnectError::Local(error),
        _ => ConnectError::UnknownHost(error),
    })?;
    Ok(found.iter().map(|address| format!("{port}@{}", scoped_ip(address))).collect())
}

fn scoped_ip(address: &SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        address => IpAddr::to_string(&address.ip()),
    }
}

fn connect_to(
    address: &str,
    request: &Request,
    authenticators: &[&dyn Authenticator],
    deadline: Option<Instant>,
) -> Result<(spread_core::Connection, RawMailbox), ConnectError> {
    // The library has one list of methods for the whole process.
    let methods = METHODS.get(Default::default);
    let turn = match authenticators {
        [] => methods.share(deadline),
        _ => methods.own(deadline),
    };
    let _turn = turn.ok_or(ConnectError::TimedOut)?;
    let mut exchanges = Exchanges::new(authenticators, deadline);
    if !authenticators.is_empty() {
        exchanges.set()?;
    }
    let result = connect_with_methods(address, request, deadline);
    if !authenticators.is_empty() {
        set_null_method();
    }
    match (result, exchanges.failure()) {
        (Ok(connected), _) => Ok(connected),
        (Err(_), Some((_, source))) if source.kind() == io::ErrorKind::TimedOut => {
            Err(ConnectError::TimedOut)
        }
        (Err(_), Some((method, source))) => {
            Err(ConnectError::Authentication { method, offered: None, source })
        }
        // The library does not tell what the daemon permits.
        (Err(ConnectError::Handshake(ClientError::Rejected(ErrorCode::RejectAuth))), None) => {
            let wanted = match authenticators {
                [] => vec![AUTH_NULL.to_owned()],
                some => some.iter().map(|one| one.method().to_owned()).collect(),
            };
            Err(ConnectError::NotAuthorized { wanted, offered: None })
        }
        (Err(error), None) => Err(error),
    }
}

fn connect_with_methods(
    address: &str,
    request: &Request,
    deadline: Option<Instant>,
) -> Result<(spread_core::Connection, RawMailbox), ConnectError> {
    let name = request.private_name.as_ref().map_or("", |name| name.as_str());
    let (Ok(address), Ok(name)) = (CString::new(address), CString::new(name)) else {
        return Err(ConnectError::UnknownHost(io::ErrorKind::InvalidInput.into()));
    };
    let mut mbox: mailbox = -1;
    // One byte more than a name takes, so that it ends whatever comes.
    let mut private_group: [c_char; NAME_FIELD + 1] = [0; NAME_FIELD + 1];
    let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    // SAFETY: both strings are terminated, `mbox` and `private_group` are writable and the
    // latter holds MAX_GROUP_NAME bytes. The methods set are those of this connect, which
    // lives through the call.
    let result = unsafe {
        SP_connect_timeout(
            address.as_ptr(),
            name.as_ptr(),
            c_int::from(request.priority),
            c_int::from(request.membership),
            &mut mbox,
            private_group.as_mut_ptr(),
            left.map_or(sp_time { sec: 0, usec: 0 }, time),
        )
    };
    if result != ACCEPTED || mbox < 0 {
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        return Err(failure(Code(result), is_late));
    }
    let raw = RawMailbox { mbox, generation: spread_os::generation() };
    raw.set_up();

    let mut field = [0; NAME_FIELD];
    for (byte, &c) in field.iter_mut().zip(&private_group) {
        *byte = c as u8;
    }
    let private_group = PrivateGroup::try_from(Name::from_field(field))
        .map_err(|error| ConnectError::from(ClientError::PrivateGroup(error)))?;
    // SAFETY: the mailbox is an open descriptor as long as `raw` lives.
    let fd = unsafe { BorrowedFd::borrow_raw(mbox) };
    let fd = fd.try_clone_to_owned().map_err(ConnectError::Local)?;
    Ok((spread_core::Connection::on_socket(fd, private_group), raw))
}

/// What a code of `SP_connect_timeout` means. A daemon may reject with any code, and the library
/// hands it on as one of its own: those that the library has for failures are taken for these.
fn failure(code: Code, is_late: bool) -> ConnectError {
    let told = || io::Error::other(format!("SP_connect_timeout returned {}", code.0));
    match code.known() {
        // The C library has the same code for the end of the time and of the connection.
        Some(ErrorCode::CouldNotConnect | ErrorCode::ConnectionClosed) if is_late => {
            ConnectError::TimedOut
        }
        Some(ErrorCode::CouldNotConnect) => match lacked_resource() {
            Some(error) => ConnectError::Local(error),
            None => ConnectError::Unreachable(told()),
        },
        Some(ErrorCode::ConnectionClosed | ErrorCode::NetErrorOnSession) => {
            ConnectError::Closed(told())
        }
        Some(ErrorCode::IllegalMessage) => {
            ClientError::Protocol("the library does not understand its answer").into()
        }
        Some(ErrorCode::IllegalSpread) => ConnectError::UnknownHost(told()),
        Some(code) => ClientError::Rejected(code).into(),
        None => ClientError::Protocol("the library returned an unknown code").into(),
    }
}

/// What a connect lacks besides a daemon: the library has one code for either, so this asks
/// the system for a socket as well.
fn lacked_resource() -> Option<io::Error> {
    UnixDatagram::unbound().err().filter(spread_core::is_resource)
}

impl RawMailbox {
    /// Sets what the C library leaves to its callers.
    fn set_up(&self) {
        // SAFETY: takes no pointer; the descriptor is open.
        unsafe { libc::fcntl(self.mbox, libc::F_SETFD, libc::FD_CLOEXEC) };
        // A peer that sends urgent data would make the descriptor poll readable for ever.
        self.set(libc::SO_OOBINLINE, 1);
        // With a receive buffer of a fixed size, as the C library has it, TCP drops what takes
        // more memory than it expected, and Linux drops the acknowledgements behind it. If
        // the client is in the middle of a send then, neither side goes on. SOCK_SNDBUF_LOCK
        // without SOCK_RCVBUF_LOCK gives the size back to the kernel.
        #[cfg(target_os = "linux")]
        self.set(libc::SO_BUF_LOCK, 1);
    }

    /// Sets an option of the socket. It fails where the system, or this kind of socket, does
    /// not have it, and then there is no way.
    fn set(&self, option: c_int, value: c_int) {
        // SAFETY: the option reads one int; the descriptor is open.
        unsafe {
            libc::setsockopt(
                self.mbox,
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
    }
}

fn time(duration: Duration) -> sp_time {
    // A `long` has 32 bits somewhere; nobody waits for longer than that.
    let sec = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    // Zero would mean without end, so it becomes 1 us.
    let usec = if sec == 0 { duration.subsec_micros().max(1) } else { duration.subsec_micros() };
    sp_time { sec: sec.into(), usec: usec as _ }
}
