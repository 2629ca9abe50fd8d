//! Where a daemon is: `PORT` or `PORT@HOST`, as everywhere in Spread, or a path.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use crate::Error;

/// The daemon that an empty address means: `DEFAULT_SPREAD_PORT` on this host.
const DEFAULT_PORT: u16 = 4803;

/// A daemon's address, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// The unix socket of a daemon on this host.
    Unix(u16),
    /// A unix socket elsewhere.
    Path(String),
    /// A daemon that is reached by TCP.
    Tcp { port: u16, host: String },
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, Error> {
        let illegal = |reason| Error::IllegalAddress { address: text.to_owned(), reason };
        if text.starts_with('/') && !text.contains('\0') {
            return Ok(Address::Path(text.to_owned()));
        }
        let (port, host) = match text.split_once('@') {
            Some((port, host)) => (port, Some(host)),
            None => (text, None),
        };
        let port = match port {
            "" if host.is_none() => DEFAULT_PORT,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
                Ok(0) | Err(_) => return Err(illegal("a port is a number from 1 to 65535")),
                Ok(port) => port,
            },
            _ => return Err(illegal("a port is a number from 1 to 65535")),
        };
        match host {
            None => Ok(Address::Unix(port)),
            Some("") => Err(illegal("no host after the @")),
            Some(host) if host.contains(|c: char| c.is_whitespace() || c == '@' || c == '\0') => {
                Err(illegal("a host has no blank and no @ in its name"))
            }
            Some(host) => Ok(Address::Tcp { port, host: host.to_owned() }),
        }
    }

    /// The addresses to try in turn, as libspread understands them.
    ///
    /// A host is looked up here, because the C library tries but the first of
    /// its addresses and does not tell an unknown host from a bad address.
    pub(crate) fn candidates(
        &self,
        text: &str,
        deadline: Option<Instant>,
    ) -> Result<Vec<String>, Error> {
        let (port, host) = match self {
            Address::Unix(port) => return Ok(vec![port.to_string()]),
            Address::Path(path) => return Ok(vec![path.clone()]),
            Address::Tcp { port, host } => (port, host),
        };
        let found = look_up(host, deadline);
        let found = found.map_err(|source| Error::UnknownHost { address: text.to_owned(), source });
        Ok(found?.iter().map(|ip| format!("{port}@{ip}")).collect())
    }
}

/// The addresses of a host, at least one.
///
/// A look-up cannot be stopped. With a deadline it goes on in a thread of its own,
/// which is left to itself when the time is over.
fn look_up(host: &str, deadline: Option<Instant>) -> io::Result<Vec<IpAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    let host = host.to_owned();
    let search = move || -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|found| found.ip()).collect())
    };
    let found = match deadline {
        None => search()?,
        Some(deadline) => by(deadline, search)?,
    };
    if found.is_empty() { Err(io::Error::other("it has no address")) } else { Ok(found) }
}

/// What `search` finds until the deadline.
fn by<T: Send + 'static>(
    deadline: Instant,
    search: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (done, result) = mpsc::channel();
    // Nobody may be waiting any more.
    thread::Builder::new().spawn(move || drop(done.send(search())))?;
    let left = deadline.saturating_duration_since(Instant::now());
    result.recv_timeout(left).map_err(|_| io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_address_is_a_port_or_a_port_at_a_host() {
        let tcp = |port, host: &str| Address::Tcp { port, host: host.to_owned() };
        assert_eq!(Address::parse("").unwrap(), Address::Unix(4803));
        assert_eq!(Address::parse("4803").unwrap(), Address::Unix(4803));
        assert_eq!(Address::parse("/run/s").unwrap(), Address::Path("/run/s".to_owned()));
        assert_eq!(Address::parse("4803@localhost").unwrap(), tcp(4803, "localhost"));
        assert_eq!(Address::parse("1@::1").unwrap(), tcp(1, "::1"));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        let wrong =
            ["localhost", "4803@", "@localhost", "0", "65536", "-1", "+1", "1@a b", "1@a@b"];
        for wrong in wrong {
            let error = Address::parse(wrong).unwrap_err();
            assert!(matches!(error, Error::IllegalAddress { .. }), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_look_up_is_not_waited_for_beyond_the_deadline() {
        let (answer, question) = mpsc::channel::<()>();
        let search = move || question.recv().map_err(io::Error::other);
        let error = by(Instant::now() + Duration::from_millis(10), search).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(answer);

        let deadline = Instant::now() + Duration::from_secs(20);
        assert_eq!(by(deadline, || Ok(7)).unwrap(), 7);
        assert!(by(deadline, || io::Result::<()>::Err(io::Error::other("no"))).is_err());
    }
}
