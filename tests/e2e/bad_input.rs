//! What a person gets wrong, and what a daemon does: each has an error of its
//! own, and a message that says what to do.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::Peer;
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, chain, is_installed_library, library,
    on_each_transport, unique,
};
use spread::{Error, Library, Mailbox, NameError, Service};
use spread_wire::ErrorCode;

on_each_transport!(
    a_name_in_use_is_refused,
    a_private_name_that_is_too_long_or_illegal_is_refused,
    a_group_name_that_is_illegal_is_refused,
    a_message_that_is_too_long_is_refused,
    a_message_to_too_many_groups_is_refused,
    after_a_refused_call_the_mailbox_goes_on,
);

fn a_name_in_use_is_refused(daemon: TestDaemon) {
    let name = unique("ali");
    let builder = builder(daemon.address()).private_name(&name);
    let alice = builder.connect().unwrap();
    let error = builder.connect().unwrap_err();
    assert!(matches!(&error, Error::NameInUse { name: n, .. } if *n == name), "{error:?}");
    let text = error.to_string();
    let told = format!("the private name {name:?} is already in use at the daemon ");
    assert!(text.starts_with(&told) && text.ends_with(daemon.address()), "{text}");
    assert_eq!(error.code(), Some(-6));
    alice.disconnect().unwrap();
    builder.connect().unwrap();
}

fn a_private_name_that_is_too_long_or_illegal_is_refused(daemon: TestDaemon) {
    let connect = |name: &str| builder(daemon.address()).private_name(name).connect().unwrap_err();
    let error = connect("elevenchars");
    let too_long = NameError::TooLong { len: 11, max: 10 };
    assert!(matches!(error, Error::IllegalPrivateName { source, .. } if source == too_long));
    assert_eq!(
        chain(&error),
        "illegal private name \"elevenchars\": a name of 11 bytes is too long: the limit is 10"
    );
    for name in ["al ice", "al#ice", "\u{e4}", ""] {
        assert!(matches!(connect(name), Error::IllegalPrivateName { .. }), "{name:?}");
    }
}

fn a_group_name_that_is_illegal_is_refused(daemon: TestDaemon) {
    let alice = daemon.connect("ali");
    type Call = fn(&Mailbox, &str) -> Result<(), Error>;
    let calls: [Call; 3] = [
        |mailbox, group| mailbox.join(group),
        |mailbox, group| mailbox.leave(group),
        |mailbox, group| mailbox.multicast(Service::Agreed, group, b"x"),
    ];
    for call in calls {
        for group in ["two words", "", "#x", &"x".repeat(32)] {
            let error = call(&alice, group).unwrap_err();
            assert!(matches!(error, Error::IllegalGroup { .. }), "{group:?}: {error:?}");
            assert_eq!(error.code(), Some(-14));
        }
    }
    assert!(alice.join(alice.private_group().as_str()).is_err(), "no one joins a private group");
    let error = alice.join("two words").unwrap_err();
    assert_eq!(
        chain(&error),
        "illegal group name \"two words\": byte 0x20 at position 3 is not allowed: \
         a name is printable ASCII except space, `!`, `\"` and `#`"
    );
}

fn a_message_that_is_too_long_is_refused(daemon: TestDaemon) {
    let alice = daemon.connect("ali");
    let body = vec![0; spread::MAX_BODY_AND_GROUPS - 31];
    let error = alice.multicast(Service::Agreed, "g", &body).unwrap_err();
    assert!(matches!(error, Error::MessageTooLong { len: 143_152, max: 143_151 }), "{error:?}");
    assert_eq!(error.code(), Some(-17));
}

fn a_message_to_too_many_groups_is_refused(daemon: TestDaemon) {
    let alice = daemon.connect("ali");
    for count in [44, 100, 101, 312, 10_000] {
        let error = alice.multicast(Service::Agreed, vec!["g"; count], b"x").unwrap_err();
        assert!(matches!(error, Error::TooManyGroups { count: c, max: 43 } if c == count));
    }
    let none: [&str; 0] = [];
    let error = alice.multicast(Service::Agreed, none, b"x").unwrap_err();
    assert!(matches!(error, Error::NoGroups), "{error:?}");
}

fn after_a_refused_call_the_mailbox_goes_on(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    alice.join("two words").unwrap_err();
    alice.multicast(Service::Agreed, "", b"x").unwrap_err();
    alice.multicast(Service::Agreed, vec!["g"; 44], b"x").unwrap_err();
    alice.multicast(Service::Agreed, alice.private_group(), b"fine").unwrap();
    assert_eq!(alice.next_regular().payload(), b"fine");
}

#[test]
fn an_address_that_is_none_is_refused() {
    for address in ["localhost", "4803@", "70000", "4803@two words"] {
        let error = builder(address).connect().unwrap_err();
        assert!(matches!(error, Error::IllegalAddress { .. }), "{address}: {error:?}");
        assert!(error.to_string().contains("as in 4803@localhost"), "{error}");
    }
}

#[test]
fn without_a_daemon_the_error_says_where_it_looked() {
    let port = free_port();
    for address in [format!("{port}@127.0.0.1"), port.to_string()] {
        let error = builder(&address).connect().unwrap_err();
        let is_told = match library() {
            Library::Native => matches!(error, Error::Refused { .. }),
            // libspread has one code for all that keeps it from a daemon.
            _ => matches!(error, Error::Unreachable { .. }),
        };
        assert!(is_told, "{address}: {error:?}");
        assert!(error.to_string().contains(&address), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "{error:?}");
        assert_eq!(error.code(), Some(-2));
    }
}

#[test]
fn an_unknown_host_is_told_apart() {
    let error = builder("4803@no-such-host.invalid").connect().unwrap_err();
    assert!(matches!(error, Error::UnknownHost { .. }), "{error:?}");
    assert!(error.to_string().contains("no-such-host.invalid"), "{error}");
}

#[test]
fn a_daemon_that_stops_ends_a_receive() {
    for transport in [Transport::Tcp, Transport::Unix] {
        let daemon = TestDaemon::embedded(transport);
        let mut alice = daemon.connect("ali");
        let waiting = thread::spawn(move || (alice.receive().unwrap_err(), alice));
        drop(daemon);
        let (error, mut alice) = waiting.join().unwrap();
        assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}");
        assert!(error.is_closed());
        assert!(matches!(alice.receive(), Err(Error::ConnectionClosed { .. })));
        assert!(matches!(alice.receive_timeout(PATIENCE), Err(Error::ConnectionClosed { .. })));
        assert!(matches!(alice.join("g"), Err(Error::ConnectionClosed { .. })));
    }
}

#[test]
fn what_answers_but_is_no_daemon_is_told_apart() {
    let page =
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\nConnection: close\r\n\r\nBad Request";
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], page, b"\x7f\x7f", b"\xf6"] {
        let peer = Peer::rude(Transport::Tcp, move |client| {
            client.send(garbage)?;
            client.end()
        });
        let error = builder(peer.address()).connect().unwrap_err();
        // The C library takes the first letter of a text for the length of a list of methods.
        // If as much does not come, it tells that the connection was closed, else that the
        // method is not in the list.
        if is_installed_library()
            && matches!(error, Error::ClosedInHandshake { .. } | Error::NotAuthorized { .. })
        {
            continue;
        }
        assert!(matches!(error, Error::NotSpread { .. }), "{garbage:?}: {error:?}");
        assert!(error.to_string().contains(peer.address()), "{error}");
    }
}

#[test]
fn a_server_of_another_kind_that_waits_for_more_is_told_apart_at_once() {
    // What the error shows: the first bytes, or what they mean.
    let banners: [(bool, &[u8], &str); 4] = [
        // Some speak first.
        (true, b"SSH-2.0-OpenSSH_9.6p1\r\n", "SSH-2.0-OpenSSH_9.6p1"),
        (true, b"220 mail.example ESMTP\r\n", "220 mail.example ESMTP"),
        // Others answer, and leave the connection open.
        (false, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "400 Bad Request"),
        (false, b"\x15\x03\x01\x00\x02\x02\x46", "speaks TLS"),
    ];
    for (speaks_first, banner, shown) in banners {
        let peer = Peer::rude(Transport::Tcp, move |client| {
            if !speaks_first {
                client.read_some()?;
            }
            client.send(banner)?;
            client.wait()
        });
        // The C library waits for a list that never comes.
        let timeout = if is_installed_library() { Duration::from_millis(300) } else { PATIENCE };
        let begin = Instant::now();
        let error = builder(peer.address()).timeout(timeout).connect().unwrap_err();
        if is_installed_library() && matches!(error, Error::ConnectTimeout { .. }) {
            continue;
        }
        let is_told = matches!(error, Error::NotSpread { .. } | Error::SpeaksTls { .. });
        assert!(is_told, "{}: {error:?}", banner.escape_ascii());
        if library() == Library::Native {
            assert!(error.to_string().contains(shown), "{error}");
        }
        assert!(begin.elapsed() < PATIENCE / 2, "{}", banner.escape_ascii());
    }
}

#[test]
fn a_connection_that_fails_keeps_the_error_of_the_system() {
    let peer = Peer::start(Transport::Tcp, |client| client.reset());
    let mut alice = builder(peer.address()).connect().unwrap();
    let error = alice.receive().unwrap_err();
    let Error::ConnectionClosed { source } = &error else { panic!("{error:?}") };
    if library() == Library::Native {
        let kind = source.as_ref().map(|source| source.kind());
        assert_eq!(kind, Some(std::io::ErrorKind::ConnectionReset), "{error:?}");
    }
    let again = alice.receive().unwrap_err();
    assert!(matches!(again, Error::ConnectionClosed { source: None }), "{again:?}");
}

#[test]
fn an_error_of_a_connect_names_where_the_daemon_was_looked_for() {
    let port = free_port();
    for (address, place) in [
        (format!("{port}"), format!("/tmp/{port}")),
        (format!("/tmp/{port}"), format!("/tmp/{port}")),
        (format!("{port}@127.0.0.1"), format!("{port}@127.0.0.1")),
    ] {
        let error = builder(&address).connect().unwrap_err();
        assert!(error.to_string().contains(&place), "{address:?}: {error}");
    }
    let [one, other] = free_ports();
    let several = builder(format!("{one}@127.0.0.1")).or_address(format!("{other}@127.0.0.1"));
    let text = chain(&several.connect().unwrap_err());
    for port in [one, other] {
        assert_eq!(text.matches(&format!("{port}@127.0.0.1")).count(), 1, "{text}");
    }
}

#[test]
fn an_ipv6_address_may_stand_in_brackets() {
    let error = builder("4803@[localhost]").connect().unwrap_err();
    assert!(error.to_string().contains("as in 4803@[::1]"), "{error}");
    let Ok(silent) = TcpListener::bind("[::1]:0") else {
        return println!("not tested: this host has no IPv6");
    };
    let address = format!("{}@[::1]", silent.local_addr().unwrap().port());
    let connect = builder(&address).timeout(Duration::from_millis(50)).connect();
    assert!(matches!(connect, Err(Error::ConnectTimeout { .. })), "{connect:?}");
}

#[test]
fn a_peer_that_closes_at_once_ends_the_connect() {
    let peer = Peer::rude(Transport::Tcp, |client| client.end());
    let error = builder(peer.address()).connect().unwrap_err();
    assert!(matches!(error, Error::ClosedInHandshake { .. }), "{error:?}");
    assert!(error.is_retryable() && !error.is_closed() && error.code() == Some(-8));
    assert!(error.to_string().starts_with(peer.address()), "{error}");
}

#[test]
fn a_daemon_that_stops_in_the_middle_of_the_handshake_ends_the_connect() {
    // The methods it permits, its word that one is accepted, its version, a name.
    let answer = b"\x05NULL \x01\x05\x00\x01\x08#me#peer";
    for len in 0..answer.len() {
        let peer = Peer::rude(Transport::Tcp, move |client| {
            client.send(&answer[..len])?;
            client.end()
        });
        let error = builder(peer.address()).connect().unwrap_err();
        let is_told = matches!(error, Error::ClosedInHandshake { .. } | Error::NotSpread { .. });
        assert!(is_told, "after {len} bytes: {error:?}");
    }
}

#[test]
fn a_peer_that_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{}@127.0.0.1", silent.local_addr().unwrap().port());
    let timeout = Duration::from_millis(50);
    let error = builder(&address).timeout(timeout).connect().unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { timeout: t, .. } if t == timeout), "{error:?}");
    let text = format!("nothing at {address} answered as a Spread daemon within 0.05 s");
    assert!(error.to_string().starts_with(&text), "{error}");
}

#[test]
fn every_rejection_has_its_error() {
    type Matches = fn(&Error) -> bool;
    let rejections: [(ErrorCode, Matches); 5] = [
        (ErrorCode::RejectQuota, |e| matches!(e, Error::TooManySessions)),
        (ErrorCode::RejectNotUnique, |e| matches!(e, Error::NameInUse { .. })),
        (ErrorCode::RejectVersion, |e| matches!(e, Error::IncompatibleVersion)),
        (ErrorCode::RejectAuth, |e| matches!(e, Error::NotAuthorized { .. })),
        (ErrorCode::RejectIllegalName, |e| matches!(e, Error::Library { code: -5, .. })),
    ];
    for (code, matches) in rejections {
        let peer = Peer::rude(Transport::Tcp, move |client| client.send(&[code.byte()]));
        let error = builder(peer.address()).connect().unwrap_err();
        assert!(matches(&error), "{code:?}: {error:?}");
        assert_eq!(error.code(), Some(code.code()));
    }
}

#[test]
fn a_daemon_that_sends_garbage_ends_the_mailbox() {
    let messages: [&[u8]; 4] = [
        b"this is no header of a message of Spread at all",
        // Lengths that no daemon sends, and negative ones.
        &header(0x8000_0090, 1, i32::MAX),
        &header(0x8000_0090, -1, 0),
        // A service type that is none.
        &header(0x8000_4080, 0, 0),
    ];
    for garbage in messages {
        let garbage = [garbage, &[0; 48]].concat();
        let peer = Peer::start(Transport::Tcp, move |client| client.send(&garbage));
        let mut alice = builder(peer.address()).connect().unwrap();
        let error = alice.receive().unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        assert!(error.is_closed());
        assert!(alice.receive().unwrap_err().is_closed());
        assert!(alice.multicast(Service::Agreed, "g", b"x").unwrap_err().is_closed());
    }
}

#[test]
fn a_daemon_that_stops_in_the_middle_of_a_message_ends_the_mailbox() {
    let peer = Peer::start(Transport::Tcp, |client| {
        client.send(&header(0x8000_0090, 0, 1000))?;
        client.send(&[0; 999])?;
        client.end()
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    let error = alice.receive_timeout(PATIENCE).unwrap_err();
    assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}");
}

#[test]
fn half_a_message_is_not_waited_for_beyond_the_timeout() {
    let peer = Peer::start(Transport::Tcp, |client| {
        client.send(&header(0x8000_0090, 0, 1000))?;
        client.send(&[7; 999])?;
        client.wait()?;
        client.send(&[7])
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    assert!(alice.receive_timeout(Duration::from_millis(30)).unwrap().is_none());
    assert!(alice.try_receive().unwrap().is_none());
    peer.go_on();
    assert_eq!(alice.next_regular().payload(), [7; 1000]);
}

/// A header as a little-endian daemon sends it.
fn header(service_type: u32, num_groups: i32, data_len: i32) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[..4].copy_from_slice(&service_type.to_le_bytes());
    bytes[4..10].copy_from_slice(b"#bob#x");
    bytes[36..40].copy_from_slice(&num_groups.to_le_bytes());
    bytes[40..44].copy_from_slice(&0x8000_0080u32.to_le_bytes());
    bytes[44..].copy_from_slice(&data_len.to_le_bytes());
    bytes
}

fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// Returns ports that nobody listens at, each another one.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}
