//! What errors say of addresses, times and authentication.

use std::fmt;
use std::io;
use std::net::Ipv6Addr;
use std::time::Duration;

use spread_core::Address;

/// Where a daemon is said to listen: of `4803` the path that is meant.
pub(crate) struct Place<'a>(pub(crate) &'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Address::parse(self.0) {
            Ok(Address::Unix(path)) => path.display().fmt(f),
            _ => f.write_str(self.0.trim()),
        }
    }
}

/// What may be wrong with an address at which nothing listens.
pub(crate) fn nobody_listens(address: &str) -> &'static str {
    match Address::parse(address) {
        Ok(Address::Tcp { host, .. }) if host.parse() == Ok(Ipv6Addr::LOCALHOST) => {
            "is it running, and is this its port? Unless told otherwise, a daemon listens at \
             127.0.0.1 and not at ::1"
        }
        Ok(Address::Unix(_)) => "is it running, and is this its socket?",
        _ => "is it running, and is this its port?",
    }
}

/// A time in seconds.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.as_secs_f64())
    }
}

pub(crate) fn connect_timeout(address: &str, timeout: Duration) -> String {
    let place = Place(address);
    if timeout.is_zero() {
        return format!("a timeout of zero leaves no time to connect to {place}");
    }
    let time = Seconds(timeout);
    format!(
        "nothing at {place} answered as a Spread daemon within {time} \
         (stopped, or another kind of server?)"
    )
}

/// Why a daemon does not let a client in, as far as the methods that the client uses and those
/// that the daemon permits tell.
pub(crate) fn not_authorized(wanted: &[String], offered: Option<&[String]>) -> String {
    let is_none = |method: &String| method == "NULL";
    let own: Vec<&str> = wanted.iter().filter(|m| !is_none(m)).map(String::as_str).collect();
    let methods = own.join(", ");
    let Some(offered) = offered else {
        return match own[..] {
            [] => "the daemon demands authentication; none was given".to_owned(),
            _ => format!("the daemon did not accept the authentication (method {methods})"),
        };
    };
    let permitted = offered.join(", ");
    let refused = wanted.iter().find(|method| !offered.contains(method));
    match (refused, &own[..]) {
        _ if offered.is_empty() => "the daemon permits no method of authentication".to_owned(),
        (None, []) => "the daemon rejected this client".to_owned(),
        (None, ["PWORD"]) => WRONG_PASSWORD.to_owned(),
        (None, ["IP"]) => "the daemon rejected the address of this host (method IP)".to_owned(),
        (None, _) => format!("the daemon rejected this client (method {methods})"),
        (Some(_), []) if permitted == "PWORD" => {
            "the daemon demands a user and password (PWORD); none was given".to_owned()
        }
        (Some(_), []) => format!("the daemon demands authentication ({permitted}); none was given"),
        (Some(_), ["PWORD"]) if offered.iter().all(is_none) => {
            "the daemon asks for no password, and PWORD was given".to_owned()
        }
        (Some(method), _) => {
            format!("the daemon does not permit the method {method}, it permits {permitted}")
        }
    }
}

const WRONG_PASSWORD: &str = "wrong user or password (method PWORD)";

/// What an authenticator that has given up says.
pub(crate) fn authentication_failed(method: &str, source: &io::Error) -> String {
    match method {
        "PWORD" if source.kind() == io::ErrorKind::PermissionDenied => WRONG_PASSWORD.to_owned(),
        _ => format!("the authentication failed (method {method})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_the_socket_that_it_means() {
        for (address, place) in [
            ("", "/tmp/4803"),
            ("4999", "/tmp/4999"),
            (" /run/spread", "/run/spread"),
            ("4803@host", "4803@host"),
            ("4803@[::1]\n", "4803@[::1]"),
            ("what", "what"),
        ] {
            assert_eq!(Place(address).to_string(), place);
        }
    }

    #[test]
    fn times_are_in_seconds() {
        for (time, text) in [(10_000, "10 s"), (50, "0.05 s"), (1500, "1.5 s"), (0, "0 s")] {
            assert_eq!(Seconds(Duration::from_millis(time)).to_string(), text);
        }
        assert!(!connect_timeout("4803", Duration::ZERO).contains("0 s"));
    }

    #[test]
    fn an_authentication_says_what_would_be_let_in() {
        let methods = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (wanted, offered, text) in [
            ("NULL", Some("PWORD"), "a user and password (PWORD); none was given"),
            ("NULL", Some("IP PWORD"), "authentication (IP, PWORD); none was given"),
            ("NULL", Some("NULL"), "the daemon rejected this client"),
            ("NULL", Some(""), "permits no method"),
            ("NULL", None, "demands authentication; none was given"),
            ("PWORD", Some("NULL PWORD"), "wrong user or password (method PWORD)"),
            ("PWORD", Some("NULL"), "asks for no password"),
            ("PWORD", Some("IP"), "does not permit the method PWORD, it permits IP"),
            ("PWORD", None, "did not accept the authentication (method PWORD)"),
            ("IP", Some("IP"), "the address of this host"),
            ("BACK PWORD", Some("BACK PWORD"), "(method BACK, PWORD)"),
            ("BACK PWORD", Some("PWORD"), "the method BACK, it permits PWORD"),
        ] {
            let offered = offered.map(methods);
            let told = not_authorized(&methods(wanted), offered.as_deref());
            assert!(told.contains(text), "{wanted}, {offered:?}: {told}");
        }
        let refused = io::ErrorKind::PermissionDenied.into();
        assert_eq!(authentication_failed("PWORD", &refused), WRONG_PASSWORD);
        assert!(authentication_failed("BACK", &refused).contains("(method BACK)"));
        let limits = io::ErrorKind::InvalidInput.into();
        assert!(authentication_failed("PWORD", &limits).contains("failed (method PWORD)"));
    }
}
