//! Ends of connections, orderly ones and others, and peers that do not do their part.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;
use spread::{Error, Mailbox, Message, Service, TlsConfig};

use crate::support::program::Program;
use crate::support::tls::{Authority, TlsDaemon, built};
use crate::support::{Expect, PATIENCE, chain, poll, unique};
use crate::{HOSTS, over_tls, trusted};

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
    let messages_until_the_end = |mailbox: &mut Mailbox| {
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
        count
    };
    assert_eq!(messages_until_the_end(&mut mailbox), 500);
    assert_eq!(messages_until_the_end(&mut stays), 0);
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
    let told = chain(&error);
    assert!(told.ends_with(": the connection ended without close_notify of TLS"), "{told}");
    assert!(mailbox.disconnect().is_err());
}
