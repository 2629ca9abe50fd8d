//! The daemon inside a program.

mod support;

use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use spread_daemon::{Builder, Daemon, StartError};
use spread_wire::Cause;
use support::client::Client;

#[test]
fn several_daemons_in_one_process_know_nothing_of_each_other() {
    let daemons = [1, 2, 3].map(|_| Daemon::builder().start().unwrap());
    let mut clients = daemons.each_ref().map(|daemon| {
        let mut client = Client::connect(daemon.socket_addr(), "same");
        client.join("group");
        client
    });
    clients[0].multicast("group", b"here only");
    clients[1].multicast("group", b"and there");
    assert_eq!(clients[0].receive_body(), b"here only");
    assert_eq!(clients[1].receive_body(), b"and there");
    let [first, second, third] = daemons;
    drop(first);
    clients[0].wait_for_close();
    second.stop();
    clients[1].wait_for_close();
    clients[2].multicast("group", b"still here");
    assert_eq!(clients[2].receive_body(), b"still here");
    drop(third);
}

#[test]
fn its_addresses_are_those_that_clients_use() {
    let daemon = Daemon::builder().start().unwrap();
    let port = daemon.socket_addr().port();
    assert_eq!(daemon.address(), format!("{port}@127.0.0.1"));
    assert_eq!((daemon.unix_address(), daemon.unix_path()), (None, None));

    let folder = std::env::temp_dir();
    let daemon = Daemon::builder().bind([0, 0, 0, 0]).unix_dir(&folder).start().unwrap();
    let port = daemon.socket_addr().port();
    assert_eq!(daemon.address(), format!("{port}@127.0.0.1"));
    assert_eq!(daemon.unix_address(), Some(port.to_string()));
    assert_eq!(daemon.unix_path(), Some(&*folder.join(port.to_string())));
}

#[test]
fn its_socket_file_goes_with_it_also_in_a_panic() {
    let daemon = Daemon::builder().unix_dir(std::env::temp_dir()).start().unwrap();
    let path = daemon.unix_path().unwrap().to_owned();
    assert!(UnixStream::connect(&path).is_ok());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _daemon = daemon;
        std::panic::resume_unwind(Box::new("a test fails"));
    }));
    assert!(panicked.is_err() && !path.exists());
}

#[test]
fn its_port_is_free_again_when_it_has_stopped() {
    let daemon = Daemon::builder().start().unwrap();
    let address = daemon.socket_addr();
    let mut client = Client::connect(address, "client");
    daemon.stop();
    client.wait_for_close();
    let daemon = Daemon::builder().port(address.port()).start().unwrap();
    Client::connect(daemon.socket_addr(), "client").join("group");
}

#[test]
fn limits_may_be_as_wide_as_their_types() {
    let daemon = Daemon::builder()
        .max_sessions(usize::MAX)
        .max_session_messages(usize::MAX)
        .handshake_timeout(Duration::MAX)
        .start()
        .unwrap();
    Client::connect(daemon.socket_addr(), "client").join("group");
}

#[test]
fn a_daemon_that_busy_polls_serves_and_stops_while_it_polls() {
    let daemon = Daemon::builder().busy_poll(Builder::MAX_BUSY_POLL).start().unwrap();
    let mut client = Client::connect(daemon.socket_addr(), "client");
    client.join("group");
    for number in 0..100_u32 {
        client.multicast("group", &number.to_le_bytes());
        assert_eq!(client.receive_body(), number.to_le_bytes());
    }
    // It has just sent a message.
    daemon.stop_handle().stop();
    client.wait_for_close();
    daemon.wait().unwrap();
}

#[test]
fn a_daemon_does_not_busy_poll_for_longer_than_a_moment() {
    let time = Builder::MAX_BUSY_POLL + Duration::from_nanos(1);
    let error = Daemon::builder().busy_poll(time).start().unwrap_err();
    assert!(matches!(error, StartError::BusyPoll { time: refused } if refused == time));
    assert_eq!(error.to_string(), "cannot busy-poll for 10.000001ms, but for 10ms at most");
}

#[test]
fn why_it_does_not_start_is_told_apart() {
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = holder.local_addr().unwrap();
    let start = |port| Daemon::builder().port(port).start();
    assert!(matches!(
        start(taken.port()),
        Err(StartError::PortTaken { address }) if address == taken
    ));
    assert!(matches!(
        Daemon::builder().name("no blanks").start(),
        Err(StartError::IllegalName { name, .. }) if name == "no blanks"
    ));
    assert!(matches!(
        Daemon::builder().unix_dir("/no/such/folder").start(),
        Err(StartError::Io { .. })
    ));
}

#[test]
fn clients_of_the_port_and_of_the_socket_file_meet() {
    use std::io::{Read, Write};
    let daemon = Daemon::builder().unix_dir(std::env::temp_dir()).start().unwrap();
    let mut inet = Client::connect(daemon.socket_addr(), "inet");
    inet.join("group");
    let mut unix = UnixStream::connect(daemon.unix_path().unwrap()).unwrap();
    unix.set_read_timeout(Some(support::client::DEADLINE)).unwrap();
    // Too old to authenticate, so all in one.
    unix.write_all(b"\x03\x0f\x00\x01\x04unix").unwrap();
    let mut accepted = [0; 20];
    unix.read_exact(&mut accepted).unwrap();
    assert_eq!(&accepted, b"\x01\x05\x00\x01\x0f#unix#localhost");
    let mut join =
        inet.encode(&spread_wire::Request::Join(spread_wire::Name::new("group").unwrap()));
    join[5..9].copy_from_slice(b"unix");
    unix.write_all(&join).unwrap();
    assert_eq!(inet.receive_view(), ("group".to_owned(), Cause::Join));
    drop(unix);
    assert_eq!(inet.receive_view(), ("group".to_owned(), Cause::Disconnect));
}

#[test]
fn a_socket_file_is_taken_over_from_a_dead_daemon_and_never_from_a_live_one() {
    let folder = std::env::temp_dir();
    let first = Daemon::builder().unix_dir(&folder).start().unwrap();
    let path = first.unix_path().unwrap().to_owned();
    let lock = path.with_extension("lock");
    assert!(lock.exists());
    // As daemons at two addresses of a host, or in two containers with one /tmp.
    let port = first.socket_addr().port();
    let beside = || Daemon::builder().bind([127, 0, 0, 2]).port(port).unix_dir(&folder).start();
    assert!(matches!(beside(), Err(StartError::SocketInUse { .. })));
    // Not even if nobody listens yet.
    std::fs::remove_file(&path).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(matches!(beside(), Err(StartError::Locked { .. })));
    drop(first);
    assert!(path.exists() && !lock.exists(), "it has removed what was its own");
    let second = beside().unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    drop(second);
    assert!(!path.exists() && !lock.exists());
    // One without a lock that answers.
    let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
    assert!(matches!(beside(), Err(StartError::SocketInUse { .. })));
    drop(other);
    std::fs::remove_file(&path).unwrap();
}
