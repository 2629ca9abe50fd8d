//! Who is served: the names under which a browser may know the server, and the token.

use std::net::IpAddr;
use std::str::FromStr;

use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Request, Version};

use super::token::Token;

/// A name of the server beside its addresses and `localhost`.
#[derive(Clone, Debug)]
pub(crate) struct HostName(String);

impl FromStr for HostName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<HostName, &'static str> {
        let authority = text.parse::<Authority>();
        if authority.is_ok_and(|authority| authority.host() == text) && !text.contains('*') {
            Ok(HostName(without_root(text).to_owned()))
        } else {
            Err("it is the name of a host, without a port and without *")
        }
    }
}

/// Returns a name without the dot that stands for the root of all names.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Returns whether a request names the server as it may be: by an IP address, as `localhost`, or
/// by one of its names.
///
/// A page of another site that lets its name point here reaches the server, too. But its
/// requests have that name in their `Host`. An address cannot be made to point elsewhere.
pub(super) fn names_this_host(headers: &HeaderMap, names: &[HostName]) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let address: Result<IpAddr, _> = host.trim_start_matches('[').trim_end_matches(']').parse();
    let host = without_root(host);
    address.is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(&name.0))
}

/// Returns whether a request is without `Host`, as only HTTP/1.0 allows it and no browser sends it.
pub(super) fn is_no_browser<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_10 && !request.headers().contains_key(HOST)
}

/// Returns whether a request presents the token: `Authorization: Bearer TOKEN`.
pub(super) fn presents(headers: &HeaderMap, token: &Token) -> bool {
    let mut values = headers.get_all(AUTHORIZATION).iter().map(|value| value.as_bytes());
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some((scheme, credentials)) = value.split_at_checked("Bearer ".len()) else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && token.is(credentials.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: hyper::header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn the_host_is_an_address_localhost_or_a_name_that_was_given() {
        let names = ["spread.example", "box"].map(|name| name.parse::<HostName>().unwrap());
        let is = |hosts: &[&str]| names_this_host(&headers(HOST, hosts), &names);
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "192.0.2.1:8080",
            "[::1]:8080",
            "[2001:db8::7]",
            "Spread.Example:80",
            "box",
            "localhost.",
            "localhost.:8080",
            "spread.example.",
        ] {
            assert!(is(&[host]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost..",
            "localhost.evil.example:8080",
            "box.evil.example",
            "evil.spread.example",
            "127.0.0.1.evil.example",
            "192.0.2",
            "[::2",
            "",
            "a b",
        ] {
            assert!(!is(&[host]), "{host}");
        }
        assert!(!is(&[]));
        assert!(!is(&["localhost", "evil.example"]));
        assert!(!names_this_host(&headers(HOST, &["box"]), &[]));
    }

    #[test]
    fn a_name_of_a_host_has_no_port_path_or_user() {
        for text in ["spread.example", "spread.example.", "box", "a-b.example"] {
            assert!(text.parse::<HostName>().is_ok(), "{text}");
        }
        for text in ["", "box:80", "http://box", "box/", "me@box", "a b", "b\u{fc}ro", "*.box", "*"]
        {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_token_is_presented_as_a_whole_and_once() {
        let folder = std::env::temp_dir().join(format!("spreadd-token-{}", std::process::id()));
        std::fs::write(&folder, "0123456789abcdef\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&folder, mode).unwrap();
        let token = Token::load(&folder);
        std::fs::remove_file(&folder).unwrap();
        let token = token.unwrap();
        for value in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef"] {
            assert!(presents(&headers(AUTHORIZATION, &[value]), &token), "{value}");
        }
        for value in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef", ""]
        {
            assert!(!presents(&headers(AUTHORIZATION, &[value]), &token), "{value}");
        }
        let right = "Bearer 0123456789abcdef";
        assert!(!presents(&headers(AUTHORIZATION, &[right, right]), &token));
        assert!(!presents(&HeaderMap::new(), &token));
    }
}
