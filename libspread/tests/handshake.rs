//! Connecting: what is accepted, what is refused, and how long it takes.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Instant;

use common::{Client, FakeDaemon, KINDS, Kind, PATIENCE, in_time, regular};
use libspread::*;
use spread_wire::ByteOrder;

const METHODS: &[u8] = b"\x05NULL ";
const ACCEPTED: &[u8] = b"\x01\x05\x00\x01\x0b#alice#fake";

fn seconds(sec: i64) -> sp_time {
    sp_time { sec: sec as _, usec: 0 }
}

/// Connects to a daemon that answers with these bytes, and then closes.
fn connect_to(answer: &'static [u8]) -> Result<Client, i32> {
    let daemon = FakeDaemon::raw(Kind::Tcp, move |mut stream| {
        let mut request = [0; 10];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(answer).unwrap();
        stream.end();
        stream.wait_for_end();
    });
    let address = daemon.address.clone();
    in_time(move || Client::connect(&address, "alice"))
}

#[test]
fn a_session_has_the_private_group_that_the_daemon_gave() {
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |mut stream| stream.wait_for_end());
        let client = daemon.client();
        assert_eq!(client.private_group, "#alice#fake");
        assert_eq!(client.poll(), 0);
    }
}

#[test]
fn the_request_goes_out_as_recorded() {
    let daemon = FakeDaemon::raw(Kind::Tcp, |mut stream| {
        let mut request = [0; 10];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"\x05\x00\x01\x01\x05alice");
        stream.write_all(METHODS).unwrap();
        let mut choice = [0; 90];
        stream.read_exact(&mut choice).unwrap();
        assert_eq!(choice[..5], *b"NULL\0");
        assert_eq!(choice[5..], [0; 85]);
        stream.write_all(ACCEPTED).unwrap();
    });
    assert_eq!(daemon.client().private_group, "#alice#fake");
    daemon.finish();
}

#[test]
fn an_answer_may_come_byte_by_byte() {
    for kind in KINDS {
        let daemon = FakeDaemon::raw(kind, |mut stream| {
            let mut bytes = [0; 90];
            stream.read_exact(&mut bytes[..10]).unwrap();
            METHODS.chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
            stream.read_exact(&mut bytes).unwrap();
            ACCEPTED.chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
            stream.wait_for_end();
        });
        assert_eq!(daemon.client().private_group, "#alice#fake");
    }
}

#[test]
fn a_message_may_follow_the_handshake_at_once() {
    for kind in KINDS {
        let daemon = FakeDaemon::raw(kind, |mut stream| {
            let mut bytes = [0; 90];
            stream.read_exact(&mut bytes[..10]).unwrap();
            stream.write_all(METHODS).unwrap();
            stream.read_exact(&mut bytes).unwrap();
            let message = regular(ByteOrder::NATIVE, &["#alice#fake"], b"early");
            stream.write_all(&[ACCEPTED, &message].concat()).unwrap();
            stream.wait_for_end();
        });
        let client = daemon.client();
        assert!(client.becomes_readable(PATIENCE));
        assert_eq!(client.receive().body, b"early");
    }
}

#[test]
fn a_rejection_returns_the_code_of_the_daemon() {
    assert_eq!(connect_to(b"\xfa").unwrap_err(), REJECT_NOT_UNIQUE);
    assert_eq!(connect_to(b"\xfb").unwrap_err(), REJECT_ILLEGAL_NAME);
    assert_eq!(connect_to(b"\xf9").unwrap_err(), REJECT_VERSION);
    assert_eq!(connect_to(b"\xfd").unwrap_err(), REJECT_QUOTA);
    assert_eq!(connect_to(b"\x05NULL \xf7").unwrap_err(), REJECT_AUTH);
}

#[test]
fn a_daemon_that_wants_another_authentication_rejects() {
    assert_eq!(connect_to(b"\x06PWORD ").unwrap_err(), REJECT_AUTH);
    // One that permits no method at all.
    assert_eq!(connect_to(b"\0").unwrap_err(), REJECT_AUTH);
}

#[test]
fn what_is_no_spread_daemon_is_told_as_such() {
    for answer in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
        b"\x80",
        b"\x05NULL \x02\x05\0\x01\x05",
        b"\x05NULL \x01\x05\0\x01\0",
        b"\x05NULL \x01\x05\0\x01\x05alice",
        b"\x05NULL \x01\x05\0\x01\xff",
    ] {
        assert!(
            matches!(connect_to(answer), Err(ILLEGAL_MESSAGE | CONNECTION_CLOSED)),
            "{}",
            answer.escape_ascii()
        );
    }
    assert_eq!(connect_to(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err(), ILLEGAL_MESSAGE);
}

#[test]
fn a_daemon_that_closes_without_an_answer_has_closed_the_connection() {
    assert_eq!(connect_to(b"").unwrap_err(), CONNECTION_CLOSED);
}

#[test]
fn a_daemon_that_keeps_silent_is_left_when_time_is_over() {
    for kind in KINDS {
        for greeting in [b"".as_slice(), METHODS] {
            let daemon = FakeDaemon::raw(kind, |mut stream| {
                stream.write_all(greeting).unwrap();
                stream.wait_for_end();
            });
            let time_out = sp_time { sec: 0, usec: 50_000 };
            let started = Instant::now();
            let result = Client::connect_in(&daemon.address, "alice", time_out);
            assert_eq!(result.unwrap_err(), COULD_NOT_CONNECT);
            assert!(started.elapsed().as_millis() >= 50);
        }
    }
}

#[test]
fn nobody_at_the_address_is_could_not_connect() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for address in [format!("{free}@127.0.0.1"), free.to_string()] {
        assert_eq!(Client::connect(&address, "alice").unwrap_err(), COULD_NOT_CONNECT);
    }
}

#[test]
fn all_addresses_of_a_host_are_tried() {
    // Where localhost is also ::1, nobody listens there.
    let daemon = FakeDaemon::start(Kind::Tcp, |mut stream| stream.wait_for_end());
    let address = daemon.address.replace("127.0.0.1", "localhost");
    assert_eq!(Client::connect(&address, "alice").unwrap().private_group, "#alice#fake");
}

#[test]
fn what_names_no_daemon_is_illegal_spread() {
    for address in ["host", "4803@", "x4803@localhost", "70000@localhost", "4803@no.such.invalid"] {
        assert_eq!(Client::connect(address, "alice").unwrap_err(), ILLEGAL_SPREAD, "{address}");
    }
}

#[test]
fn an_illegal_private_name_is_refused_without_a_connection() {
    let nobody = "1@127.0.0.1";
    for name in ["al#ce", "al ice", "\u{e9}", "ten bytes and more"] {
        assert_eq!(Client::connect(nobody, name).unwrap_err(), REJECT_ILLEGAL_NAME, "{name}");
    }
}

#[test]
fn a_private_name_that_is_too_long_is_cut() {
    let daemon = FakeDaemon::raw(Kind::Tcp, |mut stream| {
        let mut request = [0; 15];
        stream.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"\x05\x00\x01\x01\x0aelevenchar");
        stream.write_all(b"\xfa").unwrap();
    });
    let refused = Client::connect(&daemon.address, "elevenchars").unwrap_err();
    assert_eq!(refused, REJECT_NOT_UNIQUE);
    daemon.finish();
}

#[test]
fn a_time_has_one_sign_and_less_than_a_second_of_microseconds() {
    for (sec, usec) in [(1, -1), (-1, 1), (0, 1_000_000), (0, -1_000_000), (5, i64::MAX)] {
        let time_out = sp_time { sec: sec as _, usec: usec as _ };
        let result = Client::connect_in("1@127.0.0.1", "alice", time_out);
        assert_eq!(result.unwrap_err(), ILLEGAL_TIME, "{sec} {usec}");
    }
}

#[test]
fn a_time_before_now_is_over() {
    let daemon = FakeDaemon::raw(Kind::Unix, |_| {});
    let result = Client::connect_in(&daemon.address, "alice", seconds(-1));
    assert_eq!(result.unwrap_err(), COULD_NOT_CONNECT);
    // Lets the script end.
    let _ = Client::connect(&daemon.address, "alice");
}

#[test]
fn null_results_are_refused() {
    let mut mbox = 0;
    // SAFETY: null is allowed everywhere.
    unsafe {
        let (name, group) = (std::ptr::null(), std::ptr::null_mut());
        assert_eq!(SP_connect(name, name, 0, 1, &mut mbox, group), ILLEGAL_SESSION);
        assert_eq!(SP_version(&mut mbox, &mut mbox, std::ptr::null_mut()), 0);
    }
    assert_eq!(mbox, 0);
}
