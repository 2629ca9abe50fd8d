//! Where a daemon listens: `4803`, `4803@host` or `/path/to/socket`.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use spread_wire::ErrorCode;

use crate::socket::time_left;
use crate::types::DEFAULT_SPREAD_PORT;

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix stream socket on this host, `/tmp/PORT` unless its path is given.
    Unix(PathBuf),
    /// A TCP port of a host.
    Tcp { host: String, port: u16 },
}

impl Address {
    /// Reads `PORT` or `PORT@HOST`, or a path from the root, which the C library
    /// does not know; nothing means the usual port.
    pub(crate) fn parse(name: &str) -> Result<Address, ErrorCode> {
        if name.is_empty() {
            return Ok(Address::local(DEFAULT_SPREAD_PORT as u16));
        }
        if name.starts_with('/') {
            return Ok(Address::Unix(name.into()));
        }
        let (port, host) = match name.split_once('@') {
            Some((port, host)) => (port, Some(host)),
            None => (name, None),
        };
        if !port.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ErrorCode::IllegalSpread);
        }
        let port = port.parse().map_err(|_| ErrorCode::IllegalSpread)?;
        match host {
            None => Ok(Address::local(port)),
            Some("") => Err(ErrorCode::IllegalSpread),
            Some(host) => Ok(Address::Tcp { host: host.to_owned(), port }),
        }
    }

    fn local(port: u16) -> Address {
        Address::Unix(format!("/tmp/{port}").into())
    }
}

/// Looks a host up; all its addresses, in the order of preference.
///
/// A lookup cannot be stopped. With a deadline it goes on in a thread of its
/// own, which is left to itself when the time is over.
pub(crate) fn resolve(
    host: &str,
    port: u16,
    deadline: Option<Instant>,
) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if deadline.is_none() {
        return Ok((host, port).to_socket_addrs()?.collect());
    }
    let answer = Arc::new((Mutex::new(None), Condvar::new()));
    let (host, found) = (host.to_owned(), Arc::clone(&answer));
    thread::Builder::new().name("spread-resolve".to_owned()).spawn(move || {
        let addresses = (host, port).to_socket_addrs().map(Vec::from_iter);
        // Nobody may be waiting any more.
        *found.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(addresses);
        found.1.notify_one();
    })?;
    let (addresses, is_there) = &*answer;
    let addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
    let time = time_left(deadline).unwrap_or_default();
    let (mut addresses, _) = is_there
        .wait_timeout_while(addresses, time, |addresses| addresses.is_none())
        .unwrap_or_else(PoisonError::into_inner);
    addresses.take().unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Result<Address, ErrorCode> {
        Ok(Address::Tcp { host: host.to_owned(), port })
    }

    #[test]
    fn a_port_alone_is_a_socket_on_this_host() {
        assert_eq!(Address::parse("4804"), Ok(Address::Unix("/tmp/4804".into())));
        assert_eq!(Address::parse(""), Ok(Address::Unix("/tmp/4803".into())));
    }

    #[test]
    fn a_path_is_a_socket_anywhere() {
        assert_eq!(Address::parse("/run/spread"), Ok(Address::Unix("/run/spread".into())));
    }

    #[test]
    fn a_port_at_a_host_is_tcp() {
        assert_eq!(Address::parse("4803@localhost"), tcp("localhost", 4803));
        assert_eq!(Address::parse("65535@::1"), tcp("::1", 65535));
    }

    #[test]
    fn anything_else_is_no_address() {
        for wrong in ["@", "4803@", "@host", "port@host", "+1", "65536", "4803 ", "-1@host"] {
            assert_eq!(Address::parse(wrong), Err(ErrorCode::IllegalSpread), "{wrong}");
        }
    }

    #[test]
    fn a_literal_address_needs_no_lookup() {
        let found = resolve("::1", 4803, None).unwrap();
        assert_eq!(found, [SocketAddr::new("::1".parse().unwrap(), 4803)]);
    }
}
