//! Settings that change while a daemon runs.

mod support;

use std::time::Duration;

use spread_daemon::{Authentication, Daemon, Method, Passwords, SlowReceivers, StartError};
use spread_wire::ErrorCode;
use spread_wire::handshake::{ClientError, Connect};
use support::client::Client;

fn named(name: &str) -> Connect {
    Connect::new(Some(name.parse().unwrap()))
}

/// Demands the password "secret" of the user "ann".
fn with_password() -> Authentication {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    Authentication::deny_all().require(Method::Password(passwords))
}

fn secret() -> Vec<u8> {
    let mut secret = b"ann".to_vec();
    secret.resize(32, 0);
    secret.extend_from_slice(b"secret\0\0");
    secret
}

#[test]
fn methods_and_limits_change_and_sessions_stay() {
    let daemon = Daemon::builder().start().unwrap();
    let handle = daemon.reload_handle();
    let mut before = Client::connect(daemon.socket_addr(), "before");
    before.join("group");
    let builder = Daemon::builder().authentication(with_password()).max_session_messages(7);
    assert_eq!(handle.reload(&builder).unwrap(), Vec::<&str>::new());
    let refused = Client::try_connect(daemon.socket_addr(), named("other"));
    assert!(refused.is_err(), "a client without a password");
    let enter =
        || Client::try_authenticate(daemon.socket_addr(), named("ann"), &["PWORD"], &secret());
    drop(enter().unwrap());
    assert_eq!(daemon.status().unwrap().limits.session_messages, 7);
    before.multicast("group", b"still here");
    assert_eq!(before.receive_body(), b"still here");

    handle.reload(&Daemon::builder().max_sessions(1)).unwrap();
    match Client::try_connect(daemon.socket_addr(), named("more")) {
        Err(ClientError::Rejected(ErrorCode::RejectQuota)) => {}
        other => panic!("{:?}", other.map(|client| client.private_group)),
    }
    before.multicast("group", b"still here");
    assert_eq!(before.receive_body(), b"still here");
}

#[test]
fn a_client_in_its_handshake_goes_on_under_the_methods_it_was_greeted_with() {
    let daemon = Daemon::builder().start().unwrap();
    let mut client = Client::bare(daemon.socket_addr());
    client.send(&named("slow").encode());
    assert_eq!(client.receive_up_to(6), b"\x05NULL ");
    let builder = Daemon::builder().authentication(with_password());
    daemon.reload_handle().reload(&builder).unwrap();
    let mut choice = b"NULL".to_vec();
    choice.resize(90, 0);
    client.send(&choice);
    assert_eq!(client.receive_up_to(1), [1]);
    assert_eq!(daemon.status().unwrap().sessions.len(), 1);
}

#[test]
fn settings_that_cannot_change_are_told_and_wrong_ones_change_nothing() {
    let daemon = Daemon::builder().start().unwrap();
    let handle = daemon.reload_handle();
    let other = Daemon::builder().name("other").port(1).max_sessions(5);
    assert_eq!(handle.reload(&other).unwrap(), ["name", "port"]);
    assert_eq!(daemon.status().unwrap().limits.sessions, 5);
    assert!(handle.reload(&Daemon::builder().name("two words").max_sessions(9)).is_err());
    let status = daemon.status().unwrap();
    assert_eq!((&*status.daemon, status.limits.sessions), ("localhost", 5));
}

#[test]
fn a_daemon_that_has_ended_takes_no_settings() {
    let daemon = Daemon::builder().start().unwrap();
    let handle = daemon.reload_handle();
    daemon.stop();
    assert!(matches!(handle.reload(&Daemon::builder()), Err(StartError::Stopped)));
}

#[test]
fn a_shorter_time_for_the_handshake_counts_for_those_that_are_connecting() {
    let daemon = Daemon::builder().handshake_timeout(Duration::from_secs(3600)).start().unwrap();
    let mut first = Client::bare(daemon.socket_addr());
    // The daemon has the first one when it answers the second.
    let _second = Client::connect(daemon.socket_addr(), "second");
    let builder = Daemon::builder().handshake_timeout(Duration::from_millis(10));
    daemon.reload_handle().reload(&builder).unwrap();
    first.wait_for_close();
}

#[test]
fn a_sender_that_waits_for_good_goes_on_when_backpressure_ends() {
    sender_goes_on(10);
}

#[test]
fn a_sender_that_waits_for_good_goes_on_when_its_receiver_is_above_a_new_limit() {
    sender_goes_on(3);
}

/// Ends backpressure with another limit of messages, while a sender waits for a receiver that
/// does not read.
fn sender_goes_on(limit: usize) {
    let settings = Daemon::builder().max_session_messages(10);
    let daemon = settings.slow_receivers(SlowReceivers::Backpressure).start().unwrap();
    let mut slow = Client::connect(daemon.socket_addr(), "slow");
    slow.join("group");
    let mut sender = Client::connect(daemon.socket_addr(), "sender");
    let sending = std::thread::spawn(move || {
        (0..1000).for_each(|_| sender.multicast("group", &[7; 50_000]));
        sender.multicast("#sender#localhost", b"all is sent");
        assert_eq!(sender.receive_body(), b"all is sent");
    });
    while daemon.status().unwrap().totals.throttled == 0 {
        std::thread::yield_now();
    }
    let settings = Daemon::builder().max_session_messages(limit);
    daemon.reload_handle().reload(&settings).unwrap();
    sending.join().unwrap();
    assert_eq!(daemon.status().unwrap().totals.cut_off, 1);
    slow.wait_for_close();
}
