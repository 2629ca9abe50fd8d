//! Where a daemon listens: `PORT`, `PORT@HOST`, or the path of a unix socket.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The port of a daemon unless its configuration says otherwise (`DEFAULT_SPREAD_PORT`).
pub use spread_wire::DEFAULT_PORT;

/// The address of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix stream socket on this host.
    Unix(PathBuf),
    /// A TCP port of a host.
    Tcp {
        /// The port, not 0.
        port: u16,
        /// The name or the literal address of the host.
        host: String,
    },
}

/// Why a text is not the address of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// What stands for the port is no number from 1 to 65535.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// Nothing stands behind the `@`.
    #[error("no host after the @")]
    NoHost,
    /// The host has a blank, an `@` or a zero byte in its name.
    #[error("a host has no blank and no @ in its name")]
    Host,
    /// What stands in brackets is no IPv6 address.
    #[error("only an IPv6 address stands in brackets, as in 4803@[::1]")]
    Brackets,
    /// The path of a unix socket is relative.
    #[error("the path of a socket is absolute, as in /tmp/4803")]
    RelativePath,
    /// The path of a unix socket has a zero byte in it.
    #[error("a path has no zero byte")]
    Path,
}

impl Address {
    /// Reads `PORT` (the unix socket `/tmp/PORT`), `PORT@HOST`, or an absolute path. An empty
    /// text means [`DEFAULT_PORT`] on this host. White space around the text and in front of the
    /// host is ignored, as libspread ignores it; an IPv6 address may stand in brackets.
    ///
    /// # Errors
    ///
    /// [`AddressError`] says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let text = text.trim();
        if text.starts_with('/') {
            return match text.contains('\0') {
                true => Err(AddressError::Path),
                false => Ok(Address::Unix(text.into())),
            };
        }
        let (port, host) = match text.split_once('@') {
            Some((port, host)) => (port, Some(host.trim_start())),
            None => (text, None),
        };
        let port = match port {
            path if path.contains('/') => return Err(AddressError::RelativePath),
            "" if host.is_none() => DEFAULT_PORT,
            digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(AddressError::Port)?
            }
            _ => return Err(AddressError::Port),
        };
        match host {
            None => Ok(Address::Unix(format!("/tmp/{port}").into())),
            Some("") => Err(AddressError::NoHost),
            Some(host) if host.contains(|c: char| c.is_whitespace() || c == '@' || c == '\0') => {
                Err(AddressError::Host)
            }
            Some(host) => Ok(Address::Tcp { port, host: without_brackets(host)?.to_owned() }),
        }
    }
}

fn without_brackets(host: &str) -> Result<&str, AddressError> {
    if !host.contains(['[', ']']) {
        return Ok(host);
    }
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    // A scope may follow, as in fe80::1%eth0.
    let is_v6 =
        |host: &&str| host.split('%').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    inside.filter(is_v6).ok_or(AddressError::Brackets)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => path.display().fmt(f),
            Address::Tcp { port, host } => write!(f, "{port}@{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(port: u16, host: &str) -> Result<Address, AddressError> {
        Ok(Address::Tcp { port, host: host.to_owned() })
    }

    #[test]
    fn a_port_alone_is_a_socket_on_this_host() {
        assert_eq!(Address::parse("4804"), Ok(Address::Unix("/tmp/4804".into())));
        assert_eq!(Address::parse(""), Ok(Address::Unix("/tmp/4803".into())));
    }

    #[test]
    fn a_path_is_a_socket_anywhere() {
        assert_eq!(Address::parse("/run/spread"), Ok(Address::Unix("/run/spread".into())));
        assert_eq!(Address::parse("/run/\0"), Err(AddressError::Path));
        for relative in ["./4803", "run/spread", "4803/"] {
            assert_eq!(Address::parse(relative), Err(AddressError::RelativePath), "{relative}");
        }
    }

    #[test]
    fn a_port_at_a_host_is_tcp() {
        assert_eq!(Address::parse("4803@localhost"), tcp(4803, "localhost"));
        assert_eq!(Address::parse("65535@::1"), tcp(65535, "::1"));
        assert_eq!(Address::parse("4803@[::1]"), tcp(4803, "::1"));
        assert_eq!(Address::parse("4803@[fe80::1%eth0]"), tcp(4803, "fe80::1%eth0"));
        assert_eq!(Address::parse("1@fe80::1%eth0"), tcp(1, "fe80::1%eth0"));
    }

    #[test]
    fn white_space_around_an_address_is_ignored() {
        assert_eq!(Address::parse(" 4803\r\n"), Ok(Address::Unix("/tmp/4803".into())));
        assert_eq!(Address::parse("\t4803@localhost "), tcp(4803, "localhost"));
        assert_eq!(Address::parse("4803@ localhost\n"), tcp(4803, "localhost"));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for wrong in ["localhost", "@localhost", "0", "65536", "-1", "+1", "@", "0@h"] {
            assert_eq!(Address::parse(wrong), Err(AddressError::Port), "{wrong}");
        }
        assert_eq!(Address::parse("4803@"), Err(AddressError::NoHost));
        for wrong in ["1@[localhost]", "1@[::1", "1@::1]", "1@[127.0.0.1]", "1@[]", "1@[[::1]]"] {
            assert_eq!(Address::parse(wrong), Err(AddressError::Brackets), "{wrong}");
        }
        for wrong in ["1@a b", "1@a@b", "1@\0"] {
            assert_eq!(Address::parse(wrong), Err(AddressError::Host), "{wrong}");
        }
    }
}
