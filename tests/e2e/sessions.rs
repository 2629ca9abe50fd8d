//! Sessions: what an application hears when its daemon goes away and comes back.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer;
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique,
};
use bytes::BytesMut;
use spread::{Backoff, Error, Message, Service, Session, SessionEvent, View};
use spread_daemon::Daemon;

/// For tests in which the daemon is soon back.
const SOON: Backoff =
    Backoff { first: Duration::from_millis(5), longest: Duration::from_millis(40) };

/// For tests in which nothing is to happen by itself.
const NEVER: Backoff =
    Backoff { first: Duration::from_secs(3600), longest: Duration::from_secs(3600) };

on_each_transport!(a_session_is_a_mailbox_as_long_as_nothing_happens);

over_each_transport!(
    a_session_returns_to_its_daemon_and_its_groups,
    a_session_goes_to_the_next_daemon,
    groups_joined_and_left_in_between_count,
    what_is_sent_in_between_fails,
    a_timeout_is_kept_while_there_is_no_daemon,
    an_interrupt_ends_a_receive_though_there_is_no_daemon,
    a_name_that_is_still_in_use_is_waited_for,
    a_session_can_be_ended_though_there_is_no_daemon,
    a_session_survives_one_loss_after_the_other,
);

fn a_session_is_a_mailbox_as_long_as_nothing_happens(daemon: TestDaemon) {
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let mut alice = builder.session(Backoff::default()).unwrap();
    let mut bob = daemon.connect("bob");
    let group = unique("g");
    alice.join(&group).unwrap();
    let view = next_view(&mut alice);
    assert_eq!(view.members, [alice.private_group().unwrap().as_str()]);
    assert!(alice.is_connected());

    alice.multicast(Service::Agreed, bob.private_group(), b"hello").unwrap();
    assert_eq!(bob.next_regular().payload(), b"hello");
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());

    let interrupter = alice.interrupter();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| alice.receive());
        interrupter.interrupt();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
    });
    alice.leave(&group).unwrap();
    let event = alice.receive_timeout(PATIENCE).unwrap();
    assert!(matches!(event, Some(SessionEvent::Message(Message::SelfLeave(_)))), "{event:?}");
    alice.disconnect().unwrap();
}

fn a_session_returns_to_its_daemon_and_its_groups(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    for group in ["a", "b"] {
        alice.join(group).unwrap();
        assert_eq!(next_view(&mut alice).group, group);
    }
    let before = alice.private_group().unwrap();

    daemon.stop();
    lost(&mut alice);
    assert!(!alice.is_connected() && alice.private_group().is_none());

    let _daemon = place.start_again();
    assert_eq!(restored(&mut alice), before.as_str());
    assert_eq!(alice.private_group(), Some(before));
    for group in ["a", "b"] {
        let view = next_view(&mut alice);
        assert_eq!((view.group.to_string().as_str(), view.members.len()), (group, 1));
    }
    alice.multicast(Service::Agreed, ["a", "b"], b"back").unwrap();
    assert_eq!(next_payload(&mut alice), b"back");
}

fn a_session_goes_to_the_next_daemon(transport: Transport) {
    let (first, daemon) = Place::start(transport);
    let second = Daemon::builder().name("other").start().unwrap();
    let builder = builder(&first.address).or_address(second.address());
    let mut alice = builder.private_name("alice").session(SOON).unwrap();
    alice.join("g").unwrap();
    assert_eq!(next_view(&mut alice).members, ["#alice#localhost"]);

    daemon.stop();
    lost(&mut alice);
    assert_eq!(restored(&mut alice), "#alice#other");
    assert_eq!(next_view(&mut alice).members, ["#alice#other"]);
}

fn groups_joined_and_left_in_between_count(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    for group in ["kept", "left"] {
        alice.join(group).unwrap();
        next_view(&mut alice);
    }
    daemon.stop();
    // The session need not have noticed the loss.
    alice.join("new1").unwrap();
    lost(&mut alice);
    alice.join("new2").unwrap();
    alice.leave("left").unwrap();
    assert!(matches!(alice.join("two words"), Err(Error::IllegalGroup { .. })));

    let _daemon = place.start_again();
    restored(&mut alice);
    let mut groups = [(); 3].map(|()| next_view(&mut alice).group.to_string());
    groups.sort();
    assert_eq!(groups, ["kept", "new1", "new2"]);
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
}

fn what_is_sent_in_between_fails(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    alice.join("g").unwrap();
    next_view(&mut alice);
    daemon.stop();
    lost(&mut alice);
    let error = alice.multicast(Service::Agreed, "g", b"lost").unwrap_err();
    assert!(matches!(error, Error::ConnectionClosed), "{error:?}");

    let _daemon = place.start_again();
    restored(&mut alice);
    next_view(&mut alice);
    alice.multicast(Service::Agreed, "g", b"after").unwrap();
    assert_eq!(next_payload(&mut alice), b"after", "nothing is sent later");
}

fn a_timeout_is_kept_while_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    lost(&mut alice);
    for millis in [0, 1, 30, 100] {
        let (begin, timeout) = (Instant::now(), Duration::from_millis(millis));
        assert!(alice.receive_timeout(timeout).unwrap().is_none());
        assert!(begin.elapsed() >= timeout, "{:?} of {timeout:?}", begin.elapsed());
    }
}

fn an_interrupt_ends_a_receive_though_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", NEVER);
    let interrupter = alice.interrupter();
    daemon.stop();
    lost(&mut alice);
    for _ in 0..10 {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| alice.receive());
            interrupter.interrupt();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
        });
        assert!(!alice.is_connected());
    }
    // One before a receive is for that receive.
    interrupter.interrupt();
    assert!(matches!(alice.receive(), Err(Error::Interrupted)));
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
}

fn a_name_that_is_still_in_use_is_waited_for(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    lost(&mut alice);
    let _daemon = place.start_again();
    let former = builder(&place.address).private_name("alice").connect().unwrap();
    assert!(alice.receive_timeout(Duration::from_millis(100)).unwrap().is_none());
    assert!(!alice.is_connected());
    former.disconnect().unwrap();
    assert_eq!(restored(&mut alice), "#alice#localhost");
}

fn a_session_can_be_ended_though_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    lost(&mut alice);
    alice.disconnect().unwrap();
}

fn a_session_survives_one_loss_after_the_other(transport: Transport) {
    let (place, mut daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    alice.join("g").unwrap();
    next_view(&mut alice);
    for _ in 0..5 {
        daemon.stop();
        lost(&mut alice);
        daemon = place.start_again();
        restored(&mut alice);
        assert_eq!(next_view(&mut alice).group, "g");
    }
}

#[test]
fn attempts_are_further_and_further_apart() {
    const AFTER: [u64; 6] = [0, 20, 60, 140, 220, 300];
    let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(80) };
    let (place, daemon) = Place::start(Transport::Tcp);
    let mut alice = place.session("alice", backoff);
    daemon.stop();
    lost(&mut alice);
    // Something else listens where the daemon was, and takes the times.
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let (attempt, attempts) = mpsc::channel();
    let counting = thread::spawn(move || {
        for stream in listener.incoming().take(AFTER.len()) {
            drop(stream);
            let _ = attempt.send(Instant::now());
        }
    });
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < AFTER.len() {
        assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
        times.extend(attempts.try_iter());
        assert!(begin.elapsed() < PATIENCE, "only {} attempts", times.len());
    }
    counting.join().unwrap();
    // The first comes at once. A busy machine may delay each, but it hurries none.
    for (time, least) in times.iter().zip(AFTER.map(Duration::from_millis)) {
        assert!(*time - begin >= least, "{times:?} since {begin:?}");
    }
}

#[test]
fn a_daemon_that_drops_its_clients_at_once_is_not_asked_again_at_once() {
    let (place, daemon) = Place::start(Transport::Tcp);
    let mut alice = place.session("alice", NEVER);
    daemon.stop();
    lost(&mut alice);
    // What is there now takes clients in, and closes.
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    let (count, counted) = mpsc::channel();
    let dropping = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        peer::shake_hands(&mut stream, &mut BytesMut::new()).unwrap();
        drop(stream);
        listener.set_nonblocking(true).unwrap();
        counted.recv().unwrap();
        listener.accept().map(drop).map_err(|error| error.kind())
    });
    assert_eq!(restored(&mut alice), peer::CLIENT);
    lost(&mut alice);
    assert!(alice.receive_timeout(Duration::from_millis(50)).unwrap().is_none());
    count.send(()).unwrap();
    assert_eq!(dropping.join().unwrap(), Err(ErrorKind::WouldBlock), "another attempt");
}

#[test]
fn an_interrupt_does_not_wait_for_an_attempt_to_connect() {
    let (place, daemon) = Place::start(Transport::Tcp);
    let builder = builder(&place.address).private_name("alice").timeout(None);
    let mut alice = builder.session(NEVER).unwrap();
    daemon.stop();
    lost(&mut alice);
    // Connected to, but says nothing.
    let listener = TcpListener::bind(("127.0.0.1", place.port)).unwrap();
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
    let (mut stream, _) = listener.accept().unwrap();
    let interrupter = alice.interrupter();
    for _ in 0..10 {
        thread::scope(|scope| {
            let waiting = scope.spawn(|| alice.receive());
            interrupter.interrupt();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
        });
    }
    // The same attempt succeeds in the end.
    peer::shake_hands(&mut stream, &mut BytesMut::new()).unwrap();
    assert_eq!(restored(&mut alice), peer::CLIENT);
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
        let mut alice = place.session("alice", Backoff { first, longest });
        daemon.stop();
        lost(&mut alice);
        assert!(alice.receive_timeout(Duration::from_millis(30)).unwrap().is_none());
    }
}

#[test]
fn the_first_connection_is_not_tried_again() {
    let (place, daemon) = Place::start(Transport::Tcp);
    daemon.stop();
    let error = builder(&place.address).session(NEVER).unwrap_err();
    assert!(matches!(error, Error::CouldNotConnect { .. }), "{error:?}");
}

/// Where a daemon was started and can be started again.
struct Place {
    transport: Transport,
    port: u16,
    address: String,
}

impl Place {
    fn start(transport: Transport) -> (Place, Daemon) {
        let daemon = Place::daemon(transport, 0);
        let address = match transport {
            Transport::Tcp => daemon.address(),
            Transport::Unix => daemon.unix_address().unwrap(),
        };
        (Place { transport, port: daemon.socket_addr().port(), address }, daemon)
    }

    fn start_again(&self) -> Daemon {
        Place::daemon(self.transport, self.port)
    }

    fn daemon(transport: Transport, port: u16) -> Daemon {
        let builder = Daemon::builder().port(port);
        match transport {
            Transport::Tcp => builder.start().unwrap(),
            Transport::Unix => builder.unix_dir("/tmp").remove_stale_socket(true).start().unwrap(),
        }
    }

    fn session(&self, name: &str, backoff: Backoff) -> Session {
        builder(&self.address).private_name(name).session(backoff).unwrap()
    }
}

fn next_event(session: &mut Session) -> SessionEvent {
    session.receive_timeout(PATIENCE).unwrap().expect("an event in time")
}

fn lost(session: &mut Session) {
    match next_event(session) {
        SessionEvent::Lost(error) => assert!(matches!(error, Error::ConnectionClosed), "{error:?}"),
        other => panic!("not lost: {other:?}"),
    }
}

/// The name under which the session is connected again.
fn restored(session: &mut Session) -> String {
    match next_event(session) {
        SessionEvent::Restored(private_group) => private_group.to_string(),
        other => panic!("not restored: {other:?}"),
    }
}

fn next_view(session: &mut Session) -> View {
    match next_event(session) {
        SessionEvent::Message(Message::Membership(view)) => view,
        other => panic!("not a view: {other:?}"),
    }
}

fn next_payload(session: &mut Session) -> Vec<u8> {
    match next_event(session) {
        SessionEvent::Message(Message::Regular(message)) => message.into_payload(),
        other => panic!("not a regular message: {other:?}"),
    }
}
