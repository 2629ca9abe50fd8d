//! Connections over TLS, to a `spreadd` that is built with it; see `ci/tls.sh`.

mod certificates;
mod command_line;
mod ends;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use spread::{
    AsyncMailbox, Backoff, Builder, Error, Library, Mailbox, Message, Service, SessionEvent,
    TlsConfig, TlsError,
};
use support::tls::{Authority, TlsDaemon};
use support::{Expect, PATIENCE, block_on, unique};
use tokio::io::AsyncReadExt;

/// The hosts that a daemon's certificate is for, unless a test is about them.
const HOSTS: [&str; 2] = ["localhost", "127.0.0.1"];

fn over_tls(daemon: &TlsDaemon, config: TlsConfig) -> Builder {
    Mailbox::builder(&daemon.address).private_name(unique("t")).tls(config)
}

/// Starts a daemon, and returns a config that trusts it.
fn trusted() -> (TlsDaemon, TlsConfig) {
    let authority = Authority::new("the authority");
    let daemon = TlsDaemon::start(&authority, &authority.of_hosts(&HOSTS), &[]);
    (daemon, authority.config())
}

/// The reason why there is no connection over TLS.
fn tls_error(builder: &Builder) -> TlsError {
    match builder.connect() {
        Err(Error::Tls { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_over_tls_and_one_without_are_in_one_group() {
    let (daemon, config) = trusted();
    let mut secret = over_tls(&daemon, config).connect().unwrap();
    let mut plain = Mailbox::builder(&daemon.plain).connect().unwrap();
    secret.join("g").unwrap();
    secret.view_of("g", 1);
    plain.join("g").unwrap();
    secret.view_of("g", 2);
    plain.view_of("g", 2);
    secret.multicast(Service::Agreed, "g", b"from within").unwrap();
    plain.multicast(Service::Agreed, "g", b"from without").unwrap();
    for mailbox in [&mut secret, &mut plain] {
        let mut payloads = [(); 2].map(|()| mailbox.next_regular().payload().to_vec());
        payloads.sort();
        assert_eq!(payloads, [&b"from within"[..], b"from without"]);
    }
    secret.disconnect().unwrap();
    plain.view_of("g", 1);
}

#[test]
fn messages_of_100_000_bytes_go_both_ways() {
    let (daemon, config) = trusted();
    let mut one = over_tls(&daemon, config.clone()).connect().unwrap();
    let mut other = over_tls(&daemon, config).connect().unwrap();
    let names = [one.private_group().to_string(), other.private_group().to_string()];
    for round in 0..50_u8 {
        let body: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8 ^ round).collect();
        one.multicast(Service::Fifo, names[1].as_str(), &body).unwrap();
        other.multicast(Service::Fifo, names[0].as_str(), &body).unwrap();
        assert!(one.next_regular().payload() == body && other.next_regular().payload() == body);
    }
}

#[test]
fn the_wrong_port_is_told_both_ways() {
    let (daemon, config) = trusted();
    let error = Mailbox::connect(&daemon.address).unwrap_err();
    assert!(matches!(error, Error::SpeaksTls { .. }), "{error:?}");
    let begin = Instant::now();
    let plain = Mailbox::builder(&daemon.plain).tls(config.clone());
    let error = tls_error(&plain);
    assert!(matches!(error, TlsError::Closed(_) | TlsError::NotTls(_)), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let unix = tls_error(&Mailbox::builder("4803").tls(config));
    assert!(matches!(unix, TlsError::NoHost), "{unix:?}");
}

#[test]
fn a_session_connects_again_over_tls() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let first = TlsDaemon::start(&authority, &own, &[]);
    let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(100));
    let builder = over_tls(&first, authority.config());
    let mut session = builder.session(backoff).unwrap();
    session.join("g").unwrap();
    while !matches!(next(&mut session), SessionEvent::Message(Message::Membership(_))) {}
    let port = first.address.split_once('@').unwrap().0.to_owned();
    drop(first);
    let second = TlsDaemon::start(&authority, &own, &[&format!("--tls-port={port}")]);
    while !matches!(next(&mut session), SessionEvent::Restored { .. }) {}
    while !matches!(next(&mut session), SessionEvent::Message(Message::Membership(_))) {}
    session.multicast(Service::Fifo, "g", b"again").unwrap();
    while !matches!(next(&mut session), SessionEvent::Message(Message::Regular(_))) {}
    session.disconnect().unwrap();
    drop(second);
}

fn next(session: &mut spread::Session) -> SessionEvent {
    session.receive_timeout(PATIENCE).unwrap().expect("an event")
}

#[test]
fn async_mailboxes_go_over_tls_and_a_connect_that_is_dropped_ends() {
    let (daemon, config) = trusted();
    block_on(async {
        let mut mailbox = AsyncMailbox::connect(over_tls(&daemon, config.clone())).await.unwrap();
        mailbox.join("g").await.unwrap();
        mailbox.receive().await.unwrap();
        mailbox.multicast(Service::Agreed, "g", &[9; 50_000]).await.unwrap();
        let Message::Regular(message) = mailbox.receive().await.unwrap() else { panic!() };
        assert_eq!(message.payload(), [9; 50_000]);
        mailbox.disconnect().await.unwrap();
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("{}@127.0.0.1", silent.local_addr().unwrap().port());
        let connect = AsyncMailbox::connect(Mailbox::builder(address).tls(config));
        let begun = async {
            let (mut stream, _) = silent.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream
        };
        let mut stream = tokio::select! {
            stream = begun => stream,
            connected = connect => panic!("{connected:?}"),
        };
        // The connect has been dropped. A reset is an end as well.
        let _ = stream.read_to_end(&mut Vec::new()).await;
    });
}

#[test]
fn only_our_own_library_goes_over_tls() {
    let config = Authority::new("the authority").config();
    let builder = Mailbox::builder("4804@localhost").library(Library::Sys).tls(config);
    let is_refused = |error: Error| {
        let Error::Tls { address, source } = &error else { panic!("{error:?}") };
        assert_eq!(address, "4804@localhost");
        assert!(matches!(source, TlsError::Library), "{source:?}");
        assert!(!error.is_retryable());
    };
    is_refused(builder.connect().unwrap_err());
    is_refused(builder.clone().session(Backoff::default()).unwrap_err());
    is_refused(block_on(AsyncMailbox::connect(builder)).unwrap_err());
}
