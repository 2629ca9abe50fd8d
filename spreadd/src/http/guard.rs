//! Who is served: the names under which a browser may know the server, and the token.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::uri::Authority;

use super::token::Token;

/// Returns whether a request names this host as its own: `localhost` or a loopback address.
///
/// A page of another site that lets its name point here reaches the server, too. But its
/// requests have that name in their `Host`.
pub(super) fn names_this_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else {
        return false;
    };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip: IpAddr| ip.is_loopback())
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
    fn only_loopback_names_are_names_of_this_host() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.1.2.3", "[::1]:8080"] {
            assert!(names_this_host(&headers(HOST, &[host])), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:8080",
            "192.0.2.1:8080",
            "127.0.0.1.evil.example",
            "[::2]",
            "",
            "a b",
        ] {
            assert!(!names_this_host(&headers(HOST, &[host])), "{host}");
        }
        assert!(!names_this_host(&headers(HOST, &[])));
        assert!(!names_this_host(&headers(HOST, &["localhost", "evil.example"])));
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
