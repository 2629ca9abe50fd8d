//! Connections over TLS, to a `spreadd` that is built with it; see `ci/tls.sh`.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;
use spread::{
    AsyncMailbox, Backoff, Builder, Error, Mailbox, Message, Service, SessionEvent, TlsConfig,
    TlsError, UserPassword,
};
use support::program::Program;
use support::tls::{Authority, Certificate, TlsDaemon, built, daemon};
use support::{Expect, PATIENCE, block_on, chain, poll, unique};
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

fn showing(config: TlsConfig, own: &Certificate) -> TlsConfig {
    config.certificate(&own.chain, &own.key).unwrap()
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
fn a_daemon_that_is_not_the_one_that_is_meant_is_refused() {
    let authority = Authority::new("the authority");
    let daemon = TlsDaemon::start(&authority, &authority.of_hosts(&HOSTS), &[]);
    let other = Authority::new("another authority").config();
    let error = tls_error(&over_tls(&daemon, other));
    assert!(matches!(error, TlsError::Untrusted(_)), "{error:?}");
    let named = authority.config().server_name("elsewhere.example.org").unwrap();
    let error = tls_error(&over_tls(&daemon, named));
    assert!(matches!(error, TlsError::WrongName(_)), "{error:?}");
    let named = authority.config().server_name("localhost").unwrap();
    over_tls(&daemon, named).connect().unwrap();
}

#[test]
fn a_certificate_that_has_expired_is_refused_until_the_daemon_has_another_one() {
    let authority = Authority::new("the authority");
    let mut daemon = TlsDaemon::start(&authority, &authority.expired(&HOSTS), &[]);
    let builder = over_tls(&daemon, authority.config());
    let error = tls_error(&builder);
    assert!(matches!(error, TlsError::Expired(_)), "{error:?}");
    let mut reload = |certificate: &Certificate, answer: &str| {
        daemon.replace(certificate);
        daemon.program.signal(Signal::SIGHUP);
        daemon.program.line_with(&[answer]);
    };
    reload(&authority.of_hosts(&HOSTS), "reloaded");
    let mut stays = builder.connect().unwrap();
    let mixed = Certificate {
        chain: authority.of_hosts(&HOSTS).chain,
        key: authority.of_hosts(&HOSTS).key,
    };
    reload(&mixed, "not reloaded, all is as before: the key in ");
    let me = stays.private_group().to_string();
    stays.multicast(Service::Fifo, me.as_str(), b"still here").unwrap();
    stays.next_regular();
    builder.clone().private_name(unique("u")).connect().unwrap();
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (cert, key) = (file("cert.pem", &own.chain), file("key.pem", &own.key));
    let (empty, cut) = (file("empty.pem", ""), file("cut.pem", &own.chain[..100]));
    let other = file("other.pem", &authority.of_hosts(&HOSTS).key);
    let missing = dir.path().join("missing.pem").display().to_string();
    for (cert, key, ca, reason) in [
        (&missing, &key, &cert, format!("cannot read {missing}: No such file")),
        (&empty, &key, &cert, format!("there is no certificate in {empty}")),
        (&cut, &key, &cert, format!("{cut} is not PEM")),
        (&cert, &empty, &cert, format!("there is no private key in {empty}")),
        (&cert, &other, &cert, format!("the key in {other} does not belong to the certificate")),
        (&cert, &key, &missing, format!("cannot read {missing}: No such file")),
    ] {
        let options = [
            "--no-config",
            "--check",
            &format!("--tls-cert={cert}"),
            &format!("--tls-key={key}"),
            &format!("--tls-client-ca={ca}"),
        ];
        daemon(&options).line_with(&[&reason]);
    }
}

#[test]
fn a_client_shows_the_certificate_that_the_daemon_wants() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let mut daemon = TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA"]);
    let trusting = authority.config();
    let error = tls_error(&over_tls(&daemon, trusting.clone()));
    assert!(matches!(error, TlsError::CertificateRequired), "{error:?}");
    daemon.program.line_with(&["rejected a client: peer sent no certificates"]);
    let strange = Authority::new("another authority").of_user("mallory");
    let error = tls_error(&over_tls(&daemon, showing(trusting.clone(), &strange)));
    assert!(matches!(error, TlsError::CertificateRefused(_)), "{error:?}");
    daemon.program.line_with(&["rejected a client: invalid peer certificate"]);
    for (certificate, user) in [
        (authority.of_user("ann"), "ann"),
        (authority.without_common_name(&["bob.example.org"]), "bob.example.org"),
    ] {
        over_tls(&daemon, showing(trusting.clone(), &certificate)).connect().unwrap();
        daemon.program.line_with(&[&format!("user={user:?}")]);
    }
    let nameless = authority.without_common_name(&[]);
    let error = over_tls(&daemon, showing(trusting, &nameless)).connect().unwrap_err();
    assert!(matches!(error, Error::ClosedInHandshake { .. }), "{error:?}");
    daemon.program.line_with(&["rejected a client: its certificate has no name"]);
    daemon.ask(&["status", "--json"]).line_with(&["\"rejected_total\":3"]);
}

#[test]
fn a_certificate_stands_for_the_password_unless_both_are_demanded() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let ann = showing(authority.config(), &authority.of_user("ann"));
    let dir = tempfile::tempdir().unwrap();
    let passwords = with_password(&dir, "ann", "secret");
    let options = ["--tls-client-ca=CA", &passwords];
    let daemon = TlsDaemon::start(&authority, &own, &options);
    let both = |daemon: &TlsDaemon, password: &str| {
        over_tls(daemon, ann.clone()).authenticate(UserPassword::new("ann", password)).connect()
    };
    over_tls(&daemon, ann.clone()).connect().unwrap();
    both(&daemon, "secret").unwrap();
    let error = both(&daemon, "wrong").unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
    let error = Mailbox::connect(&daemon.plain).unwrap_err();
    assert!(matches!(error, Error::NotAuthorized { .. }), "{error:?}");
    let daemon =
        TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA", &passwords, "--tls-passwords"]);
    let error = over_tls(&daemon, ann.clone()).connect().unwrap_err();
    assert!(matches!(error, Error::NotAuthorized { .. }), "{error:?}");
    both(&daemon, "secret").unwrap();
}

/// Makes a file with the password of a user; returns the option for it.
fn with_password(dir: &tempfile::TempDir, user: &str, password: &str) -> String {
    let file = dir.path().join("spread.access_pword").display().to_string();
    let mut passwd = Program::start(&built("spreadd"), &["passwd", &file, user], &[]);
    passwd.type_line(password);
    passwd.finish();
    format!("--passwords={file}")
}

#[test]
fn passwords_over_tls_have_to_be_demanded_of_every_client() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let passwords = with_password(&dir, "ann", "secret");
    let conf = dir.path().join("spread.conf").display().to_string();
    let methods = |methods: &str| {
        let segment = "Spread_Segment 127.0.0.255:4803 {\n localhost 127.0.0.1\n}";
        std::fs::write(&conf, format!("{segment}\n{methods}\n")).unwrap();
    };
    let config = format!("--config={conf}");
    let options = ["--tls-client-ca=CA", "--tls-passwords", &config];
    methods("RequiredAuthMethods = \"PWORD\"");
    let mut daemon = TlsDaemon::start(&authority, &own, &options);
    methods("AllowedAuthMethods = \"NULL PWORD\"");
    daemon.program.signal(Signal::SIGHUP);
    let refused = "--tls-passwords without a password that every client has to give";
    daemon.program.line_with(&["not reloaded, all is as before: ", refused]);
    let ann = showing(authority.config(), &authority.of_user("ann"));
    // The daemon still waits for the password.
    let error = over_tls(&daemon, ann).timeout(Duration::from_millis(500)).connect().unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
    let (cert, key, ca) = (daemon.file("cert.pem"), daemon.file("key.pem"), daemon.file("ca.pem"));
    let fixed = [
        "--check",
        &format!("--tls-cert={cert}"),
        &format!("--tls-key={key}"),
        &format!("--tls-client-ca={ca}"),
        "--tls-passwords",
    ];
    let checked = |others: &[&str], said: &str| {
        support::tls::daemon(&[&fixed[..], others].concat()).line_with(&[said]);
    };
    checked(&["--no-config"], refused);
    checked(&[&config], refused);
    checked(&[&config, &passwords], "is fine");
}

#[test]
fn a_key_that_all_users_can_read_is_warned_of() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&cert, &own.chain).unwrap();
    std::fs::write(&key, &own.key).unwrap();
    let options = [
        "--no-config",
        "--check",
        &format!("--tls-cert={}", cert.display()),
        &format!("--tls-key={}", key.display()),
    ];
    for (mode, warns) in [(0o640, false), (0o644, true)] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        let lines = daemon(&options).succeed();
        let warned = lines.iter().any(|line| line.contains("all users can read the private key"));
        assert_eq!(warned, warns, "{lines:?}");
    }
}

#[test]
fn an_address_list_holds_for_clients_over_tls() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("allowed");
    for (allowed, is_in) in [("127.0.0.1\n", true), ("10.0.0.0/8\n", false)] {
        std::fs::write(&list, allowed).unwrap();
        let option = format!("--allow={}", list.display());
        let daemon = TlsDaemon::start(&authority, &own, &[&option]);
        let connected = over_tls(&daemon, authority.config()).connect();
        match is_in {
            true => drop(connected.unwrap()),
            false => assert!(matches!(connected, Err(Error::NotAuthorized { .. }))),
        }
    }
}

#[test]
fn the_wrong_port_is_told_both_ways() {
    let (daemon, config) = trusted();
    let error = Mailbox::connect(&daemon.address).unwrap_err();
    assert!(matches!(error, Error::NotSpread { .. }), "{error:?}");
    assert!(chain(&error).contains("TLS"), "{}", chain(&error));
    let begin = Instant::now();
    let plain = Mailbox::builder(&daemon.plain).tls(config.clone());
    let error = tls_error(&plain);
    assert!(matches!(error, TlsError::Closed(_) | TlsError::NotTls(_)), "{error:?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let unix = tls_error(&Mailbox::builder("4803").tls(config));
    assert!(matches!(unix, TlsError::NoHost), "{unix:?}");
}

#[test]
fn a_server_that_says_nothing_takes_the_time_of_a_connect_and_no_more() {
    let authority = Authority::new("the authority");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{}@127.0.0.1", silent.local_addr().unwrap().port());
    let builder =
        Mailbox::builder(address).tls(authority.config()).timeout(Duration::from_millis(200));
    let error = builder.connect().unwrap_err();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
    // The handshake has been given up, so the server sees the end of the connection.
    let (mut stream, _) = silent.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = Vec::new();
    let _ = stream.read_to_end(&mut hello).map_err(|e| assert!(!is_timeout(&e), "{e}"));
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[test]
fn hostile_peers_keep_nobody_out_and_are_closed_in_time() {
    /// Connections that may be in the TLS handshake.
    const PENDING: usize = 256;
    let (mut daemon, config) = trusted();
    let (port, host) = daemon.address.split_once('@').unwrap();
    let begin = Instant::now();
    let peers: Vec<TcpStream> = (0..PENDING + 16)
        .map(|number| {
            let mut peer = TcpStream::connect((host, port.parse().unwrap())).unwrap();
            match number {
                // Most say nothing; others what is not TLS, the beginning of a record, or a long one.
                16.. => {}
                _ if number % 4 == 0 => {}
                _ if number % 4 == 1 => peer.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap(),
                _ if number % 4 == 2 => peer.write_all(&[0x16, 3, 1, 0x40]).unwrap(),
                _ => peer.write_all(&[&[0x16, 3, 1, 0x3f, 0xff][..], &[1; 9000]].concat()).unwrap(),
            }
            peer
        })
        .collect();
    daemon.program.line_with(&["closed: others need the room of a connection"]);
    let mut mailbox = over_tls(&daemon, config).connect().unwrap();
    let me = mailbox.private_group().to_string();
    mailbox.multicast(Service::Fifo, me.as_str(), b"x").unwrap();
    mailbox.next_regular();
    for mut peer in peers {
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        // It may be reset behind what the daemon had not read.
        if let Err(error) = peer.read_to_end(&mut answer) {
            assert!(!is_timeout(&error), "{error}");
        }
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    mailbox.multicast(Service::Fifo, me.as_str(), b"y").unwrap();
    mailbox.next_regular();
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
fn a_slow_reader_is_cut_off_and_the_others_go_on() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&HOSTS);
    let daemon = TlsDaemon::start(&authority, &own, &["--max-session-messages=100"]);
    let mut slow = over_tls(&daemon, authority.config()).connect().unwrap();
    slow.join("g").unwrap();
    slow.view_of("g", 1);
    let mut sender = over_tls(&daemon, authority.config()).connect().unwrap();
    sender.join("watch").unwrap();
    sender.join("g").unwrap();
    sender.view_of("g", 2);
    let options = spread::SendOptions::new(Service::Fifo).self_discard(true);
    let begin = Instant::now();
    // Until the view that comes when it has been cut off.
    while !poll(&sender, libc::POLLIN, Duration::ZERO) {
        sender.multicast(options, "g", [0; 100_000]).unwrap();
        assert!(begin.elapsed() < 2 * PATIENCE);
    }
    sender.view_of("g", 1);
    let mut count = 0;
    let error = loop {
        match slow.receive_timeout(PATIENCE) {
            Ok(message) => assert!(message.is_some()),
            Err(error) => break error,
        }
        count += 1;
    };
    assert!(error.is_closed() && count > 1, "{count}: {error:?}");
}

#[test]
fn the_end_of_the_daemon_ends_connections_and_loses_nothing() {
    let (daemon, config) = trusted();
    let mut mailbox = over_tls(&daemon, config.clone()).connect().unwrap();
    let mut stays = over_tls(&daemon, config).connect().unwrap();
    stays.join("g").unwrap();
    stays.view_of("g", 1);
    let me = mailbox.private_group().to_string();
    for _ in 0..500 {
        mailbox.multicast(Service::Fifo, me.as_str(), [7; 4000]).unwrap();
    }
    mailbox.join("g").unwrap();
    // So the daemon has read what comes before the join.
    stays.view_of("g", 2);
    daemon.program.signal(Signal::SIGTERM);
    let mut count = 0;
    let error = loop {
        match mailbox.receive_timeout(PATIENCE) {
            Ok(Some(Message::Regular(_))) => count += 1,
            Ok(Some(_)) => {}
            Ok(None) => panic!("no end within {PATIENCE:?}"),
            Err(error) => break error,
        }
    };
    assert!(error.is_closed(), "{error:?}");
    assert_eq!(count, 500);
    assert!(stays.disconnect().is_err());
    let begin = Instant::now();
    daemon.program.succeed();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[test]
fn a_client_that_is_killed_or_half_closed_leaves_its_groups() {
    let (daemon, config) = trusted();
    let mut watcher = over_tls(&daemon, config.clone()).connect().unwrap();
    watcher.join("g").unwrap();
    watcher.view_of("g", 1);
    let ca = daemon.file("ca.pem");
    let options = ["-d", &daemon.address, "--tls-ca", &ca, "sub", "g"];
    let killed = Program::start(&built("spreadctl"), &options, &[]);
    watcher.view_of("g", 2);
    killed.kill();
    watcher.view_of("g", 1);
    let half_closed = over_tls(&daemon, config).connect().unwrap();
    half_closed.join("g").unwrap();
    watcher.view_of("g", 2);
    SockRef::from(&half_closed.as_fd()).shutdown(Shutdown::Write).unwrap();
    watcher.view_of("g", 1);
}

/// Connects through a proxy; returns its two sockets, too.
fn through_a_proxy(daemon: &TlsDaemon, config: TlsConfig) -> (Mailbox, [TcpStream; 2]) {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("{}@127.0.0.1", proxy.local_addr().unwrap().port());
    let (port, host) = daemon.address.split_once('@').unwrap();
    let server = TcpStream::connect((host, port.parse().unwrap())).unwrap();
    let client = std::thread::spawn(move || {
        Mailbox::builder(address).private_name(unique("p")).tls(config).connect().unwrap()
    });
    let (accepted, _) = proxy.accept().unwrap();
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || std::io::copy(&mut from, &mut to))
    };
    copy(accepted.try_clone().unwrap(), server.try_clone().unwrap());
    copy(server.try_clone().unwrap(), accepted.try_clone().unwrap());
    (client.join().unwrap(), [accepted, server])
}

#[test]
fn both_halves_are_told_that_the_connection_was_cut() {
    let (daemon, config) = trusted();
    for asks_disconnect in [false, true] {
        let (mailbox, sockets) = through_a_proxy(&daemon, config.clone());
        sockets.iter().for_each(|socket| socket.shutdown(Shutdown::Both).unwrap());
        assert!(poll(&mailbox, 0, PATIENCE), "no end within {PATIENCE:?}");
        let (sender, mut receiver) = mailbox.split();
        let begin = Instant::now();
        let mut errors = Vec::new();
        while errors.len() < 2 {
            errors.extend(sender.multicast(Service::Fifo, "g", b"x").err());
            assert!(begin.elapsed() < PATIENCE);
        }
        errors.push(match asks_disconnect {
            true => receiver.disconnect().unwrap_err(),
            false => receiver.receive_timeout(PATIENCE).unwrap_err(),
        });
        for error in errors {
            assert!(matches!(error, Error::ConnectionClosed { source: Some(_) }), "{error:?}");
            assert!(chain(&error).contains("close_notify"), "{}", chain(&error));
        }
    }
}

#[test]
fn a_kicked_client_that_floods_gets_what_was_sent_to_it() {
    let (daemon, config) = trusted();
    for round in 0..10 {
        let mailbox = over_tls(&daemon, config.clone()).connect().unwrap();
        let me = mailbox.private_group().to_string();
        let (flooder, mut receiver) = mailbox.split();
        let flood = std::thread::spawn(move || {
            while flooder.multicast(Service::Fifo, "nobody", [0; 1000]).is_ok() {}
        });
        let mut sender = Mailbox::connect(&daemon.plain).unwrap();
        for _ in 0..100 {
            sender.multicast(Service::Fifo, me.as_str(), [7; 1000]).unwrap();
        }
        // So the daemon has sent them.
        sender.join("g").unwrap();
        sender.view_of("g", 1);
        daemon.ask(&["kick", &me]).succeed();
        let mut count = 0;
        let error = loop {
            match receiver.receive_timeout(PATIENCE) {
                Ok(Some(Message::Regular(_))) => count += 1,
                Ok(other) => panic!("{other:?}"),
                Err(error) => break error,
            }
        };
        assert!(error.is_closed(), "{error:?}");
        assert_eq!(count, 100, "round {round}: {error:?}");
        flood.join().unwrap();
    }
}

#[test]
fn sigint_does_not_wait_for_a_client_that_does_not_read() {
    for signals in [&[Signal::SIGINT][..], &[Signal::SIGTERM, Signal::SIGINT]] {
        let (daemon, config) = trusted();
        let silent = over_tls(&daemon, config).connect().unwrap();
        let me = silent.private_group().to_string();
        let mut sender = Mailbox::connect(&daemon.plain).unwrap();
        for _ in 0..200 {
            sender.multicast(Service::Fifo, me.as_str(), [0; 100_000]).unwrap();
        }
        sender.join("g").unwrap();
        sender.view_of("g", 1);
        let begin = Instant::now();
        signals.iter().for_each(|signal| daemon.program.signal(*signal));
        daemon.program.succeed();
        // A client has 5 seconds to read.
        assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    }
}

#[test]
fn an_end_without_close_notify_is_told_and_is_an_end_for_the_daemon() {
    let (daemon, config) = trusted();
    let mut watcher = Mailbox::connect(&daemon.plain).unwrap();
    watcher.join("g").unwrap();
    watcher.view_of("g", 1);
    // The proxy ends the TCP connections in an orderly way, and TLS not at all.
    let (mut mailbox, sockets) = through_a_proxy(&daemon, config);
    mailbox.join("g").unwrap();
    mailbox.view_of("g", 2);
    watcher.view_of("g", 2);
    sockets.iter().for_each(|socket| socket.shutdown(Shutdown::Both).unwrap());
    watcher.view_of("g", 1);
    let error = mailbox.receive_timeout(PATIENCE).unwrap_err();
    assert!(matches!(error, Error::ConnectionClosed { source: Some(_) }), "{error:?}");
    assert!(chain(&error).contains("close_notify"), "{}", chain(&error));
    assert!(mailbox.disconnect().is_err());
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
fn the_command_line_connects_over_tls() {
    let authority = Authority::new("the authority");
    let own = authority.of_hosts(&["spread.example.org"]);
    let daemon = TlsDaemon::start(&authority, &own, &["--tls-client-ca=CA"]);
    let ann = authority.of_user("ann");
    let file = |name: &str| daemon.dir.path().join(name).display().to_string();
    std::fs::write(file("ann.pem"), &ann.chain).unwrap();
    std::fs::write(file("ann.key"), &ann.key).unwrap();
    let (ca, cert, key) = (file("ca.pem"), file("ann.pem"), file("ann.key"));
    let told = [
        "-d",
        &daemon.address,
        "--tls-ca",
        &ca,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-name",
        "spread.example.org",
        "pub",
        "g",
        "hello",
    ];
    Program::start(&built("spreadctl"), &told, &[]).succeed();
    let variables = [
        ("SPREAD_DAEMON", &*daemon.address),
        ("SPREAD_TLS_CA", &ca),
        ("SPREAD_TLS_CERT", &cert),
        ("SPREAD_TLS_KEY", &key),
        ("SPREAD_TLS_NAME", "spread.example.org"),
    ];
    Program::start(&built("spreadctl"), &["pub", "g", "hello"], &variables).succeed();
    let mut without = told[..4].to_vec();
    without.extend(["pub", "g", "hello"]);
    let mut program = Program::start(&built("spreadctl"), &without, &[]);
    program.line_with(&["for another name"]);
}
