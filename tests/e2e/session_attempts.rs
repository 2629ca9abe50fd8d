//! When sessions try to connect again, and what becomes of an attempt under way.

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::place::{NEVER, News, Place, SOON};
use crate::support::{PATIENCE, Transport, builder, peer};
use bytes::BytesMut;
use spread::{Backoff, Error, Session, SessionEvent, SessionOptions};
use spread_daemon::Daemon;

#[test]
fn attempts_are_further_and_further_apart() {
    /// Half of the delays, summed up: jitter takes no more. The first connection does not
    /// last, so the first delay is doubled already.
    const AFTER: [u64; 5] = [10, 30, 70, 110, 150];
    let backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(80));
    let (place, daemon) = Place::start(Transport::Tcp);
    let mut alice = place.session("alice", backoff);
    daemon.stop();
    alice.lost();
    let begin = Instant::now();
    // Something else listens where the daemon was, and takes the times.
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let times = thread::spawn(move || {
        let streams = listener.incoming().take(AFTER.len());
        streams.map(|stream| (Instant::now(), stream.map(drop)).0).collect::<Vec<_>>()
    });
    for number in 1..=AFTER.len() {
        match alice.next_event() {
            SessionEvent::Retrying { attempt, next, .. } => {
                assert_eq!(attempt as usize, number);
                assert!(next <= Instant::now() + backoff.longest());
            }
            other => panic!("{other:?}"),
        }
    }
    // A busy machine may delay each, but it hurries none. Those before the listener are missed.
    for (time, least) in times.join().unwrap().iter().zip(AFTER.map(Duration::from_millis)) {
        assert!(*time - begin >= least, "{:?}, not {least:?}", *time - begin);
    }
}

#[test]
fn clients_do_not_come_back_in_step() {
    const CLIENTS: usize = 20;
    let backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(3600));
    let options = SessionOptions::from(backoff).retry_first(true);
    let (place, daemon) = Place::start(Transport::Tcp);
    daemon.stop();
    let waits = [(); CLIENTS].map(|()| {
        match builder(&place.address).session(options.clone()).unwrap().next_event() {
            SessionEvent::Retrying { next, .. } => next - Instant::now(),
            other => panic!("{other:?}"),
        }
    });
    // Of 20 waits in 30 minutes at random, the chance that all are within 3 is below 10^-17.
    let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
    assert!(spread > Duration::from_secs(180), "{waits:?}");
}

#[test]
fn a_daemon_that_drops_its_clients_at_once_is_not_asked_again_at_once() {
    const TIMES: usize = 4;
    let (place, daemon) = Place::start(Transport::Tcp);
    let backoff = Backoff::new(Duration::from_millis(40), Duration::from_secs(1));
    let mut alice = place.session("alice", backoff);
    daemon.stop();
    // What is there now takes clients in, and closes.
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let dropping = thread::spawn(move || {
        for stream in listener.incoming().take(TIMES) {
            peer::shake_hands(&mut stream.unwrap(), &mut BytesMut::new()).unwrap();
        }
    });
    alice.lost();
    for _ in 0..TIMES {
        let begin = Instant::now();
        assert_eq!(alice.restored().0, peer::CLIENT);
        assert!(begin.elapsed() >= backoff.first() / 2, "{:?}", begin.elapsed());
        alice.lost();
    }
    dropping.join().unwrap();
}

#[test]
fn an_interrupt_does_not_wait_for_an_attempt_to_connect() {
    let (place, daemon) = Place::start(Transport::Tcp);
    let builder = builder(&place.address).private_name("alice").timeout(None);
    let mut alice = builder.session(SOON).unwrap();
    let mut stream = attempt_under_way(&place, daemon, &mut alice);
    let interrupter = alice.interrupter().unwrap();
    for _ in 0..10 {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| alice.receive());
            interrupter.interrupt();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
        });
    }
    // The same attempt succeeds in the end.
    peer::shake_hands(&mut stream, &mut BytesMut::new()).unwrap();
    match alice.next_event() {
        SessionEvent::Restored { private_group, .. } => assert_eq!(private_group, peer::CLIENT),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_attempt_ends_with_its_session() {
    let (place, daemon) = Place::start(Transport::Tcp);
    let mut alice = builder(&place.address).private_name("alice").session(SOON).unwrap();
    alice.join("g").unwrap();
    alice.next_view();
    let mut stream = attempt_under_way(&place, daemon, &mut alice);
    drop(alice);
    peer::shake_hands(&mut stream, &mut BytesMut::new()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "it joins nothing");
}

/// Stops the daemon, and lets the session connect to what says nothing.
fn attempt_under_way(place: &Place, daemon: Daemon, session: &mut Session) -> TcpStream {
    daemon.stop();
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    listener.set_nonblocking(true).unwrap();
    session.lost();
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "no attempt");
        let event = session.receive_timeout(Duration::from_millis(5)).unwrap();
        assert!(event.is_none(), "{event:?}");
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

#[test]
fn no_backoff_is_out_of_range() {
    for (first, longest) in [
        (Duration::MAX, Duration::MAX),
        (Duration::from_millis(1), Duration::MAX),
        (Duration::MAX, Duration::ZERO),
        (Duration::ZERO, Duration::ZERO),
    ] {
        let (place, daemon) = Place::start(Transport::Tcp);
        let mut alice = place.session("alice", Backoff::new(first, longest));
        daemon.stop();
        alice.lost();
        let begin = Instant::now();
        let mut attempts = 0;
        while begin.elapsed() < Duration::from_millis(30) {
            let timeout = Duration::from_millis(30).saturating_sub(begin.elapsed());
            attempts += alice.receive_timeout(timeout).unwrap().map_or(0, |_| 1);
        }
        assert!(attempts <= 31, "{attempts} attempts in 30 ms, with 1 ms between two");
    }
}

#[test]
fn the_first_connection_is_not_tried_again() {
    let (place, daemon) = Place::start(Transport::Tcp);
    daemon.stop();
    let error = builder(&place.address).session(NEVER).unwrap_err();
    assert_eq!(error.code(), Some(-2), "{error:?}");
}
