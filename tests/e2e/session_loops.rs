//! Sessions in event loops: one descriptor across connections, readable whenever there is
//! an event, with poll(2) and with edge-triggered epoll(7).

use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::place::{NEVER, Place, SOON, has_ended};
use crate::support::{
    PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport, poll, unique,
    wait_readable,
};
use mio::{Events, Interest, Poll, Token};
use spread::{Backoff, Error, Message, Service, SessionEvent, SessionOptions};
use spread_daemon::Daemon;

on_each_transport!(a_session_is_readable_whenever_a_message_has_come);

over_each_transport!(
    a_loop_with_poll_hears_of_losses_and_returns,
    a_loop_with_edges_hears_of_losses_and_returns,
    a_session_without_a_daemon_is_not_readable,
    a_session_that_is_asked_all_the_time_is_not_readable_in_between,
    a_shut_down_makes_a_session_readable,
);

fn a_session_is_readable_whenever_a_message_has_come(daemon: TestDaemon) {
    const COUNT: u32 = 300;
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let mut alice = builder.session(Backoff::default()).unwrap();
    assert!(!poll(&alice, libc::POLLIN, Duration::ZERO));
    let (bob, to) = (daemon.connect("bob"), alice.private_group().unwrap());
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..COUNT {
                bob.multicast(Service::Fifo, to, n.to_le_bytes()).unwrap();
            }
        });
        for n in 0..COUNT {
            // One event a wake-up leaves none behind.
            let event = loop {
                wait_readable(&alice);
                if let Some(event) = alice.try_receive().unwrap() {
                    break event;
                }
            };
            assert!(
                matches!(&event, SessionEvent::Message(Message::Regular(message)) if message.payload() == n.to_le_bytes()),
                "{event:?}"
            );
        }
    });
    assert!(!poll(&alice, libc::POLLIN, Duration::ZERO));
}

/// What a loop has heard of the connection.
#[derive(Debug, Default)]
struct Heard {
    lost: u32,
    restored: u32,
    views: u32,
}

impl Heard {
    fn note(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Message(Message::Membership(_)) => self.views += 1,
            SessionEvent::Lost { .. } => self.lost += 1,
            SessionEvent::Restored { .. } => self.restored += 1,
            SessionEvent::Retrying { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Restarts a daemon again and again, and returns it; `receive` waits for `N` sessions, and then
/// receives until there is nothing more.
fn restart<const N: usize>(
    place: &Place,
    mut daemon: Daemon,
    mut receive: impl FnMut(&mut [Heard; N]),
) -> Daemon {
    let begin = Instant::now();
    let mut heard = [(); N].map(|()| Heard::default());
    let mut until = |is_met: fn(&Heard, u32) -> bool, round| {
        while !heard.iter().all(|heard| is_met(heard, round)) {
            assert!(begin.elapsed() < PATIENCE, "round {round}: {heard:?}");
            receive(&mut heard);
        }
    };
    until(|heard, _| heard.views == 1, 0);
    for round in 1..=5 {
        daemon.stop();
        until(|heard, round| heard.lost == round, round);
        daemon = place.start_again();
        until(|heard, round| heard.restored == round && heard.views == round + 1, round);
    }
    daemon
}

fn a_loop_with_poll_hears_of_losses_and_returns(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    alice.join("g").unwrap();
    let fd = alice.as_raw_fd();
    let _daemon = restart(&place, daemon, |[heard]| {
        wait_readable(&alice);
        drain(|| alice.try_receive(), heard);
    });
    assert_eq!(alice.as_raw_fd(), fd);
    alice.disconnect().unwrap();
}

fn a_loop_with_edges_hears_of_losses_and_returns(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    // As a whole, and as a half of it.
    let mut alice = place.session("alice", SOON);
    let (sender, mut bob) = place.session("bob", SOON).split();
    alice.join("a").unwrap();
    sender.join("b").unwrap();
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    poll.registry().register(&mut alice, Token(0), Interest::READABLE).unwrap();
    poll.registry().register(&mut bob, Token(1), Interest::READABLE).unwrap();
    let _daemon = restart(&place, daemon, |[alices, bobs]| {
        poll.poll(&mut events, Some(PATIENCE)).unwrap();
        assert!(!events.is_empty(), "no edge");
        for event in &events {
            match event.token() {
                Token(0) => drain(|| alice.try_receive(), alices),
                _ => drain(|| bob.try_receive(), bobs),
            }
        }
    });
    poll.registry().deregister(&mut alice).unwrap();
    poll.registry().deregister(&mut bob).unwrap();
}

fn drain(mut try_receive: impl FnMut() -> Result<Option<SessionEvent>, Error>, heard: &mut Heard) {
    while let Some(event) = try_receive().unwrap() {
        heard.note(event);
    }
}

fn a_session_without_a_daemon_is_not_readable(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let (sender, mut alice) = place.session("alice", NEVER).split();
    // Somebody who holds on to the connection that is lost.
    let holder = sender.clone();
    daemon.stop();
    wait_readable(&alice);
    assert!(matches!(alice.try_receive(), Ok(Some(SessionEvent::Lost { .. }))));
    assert!(matches!(alice.try_receive(), Ok(None)));
    assert!(!poll(&alice, libc::POLLIN, Duration::from_millis(30)), "a busy loop");
    // An interrupt is for those who wait.
    alice.interrupter().unwrap().interrupt();
    assert!(!poll(&alice, libc::POLLIN, Duration::ZERO));
    assert!(matches!(alice.try_receive(), Ok(None)));
    drop(holder);
}

fn a_shut_down_makes_a_session_readable(transport: Transport) {
    for stops in [false, true] {
        let (place, daemon) = Place::start(transport);
        let (sender, mut alice) = place.session("alice", NEVER).split();
        if stops {
            daemon.stop();
            wait_readable(&alice);
            assert!(matches!(alice.try_receive(), Ok(Some(SessionEvent::Lost { .. }))));
        }
        thread::scope(|scope| {
            scope.spawn(|| sender.shut_down());
            wait_readable(&alice);
            assert!(has_ended(alice.try_receive()));
        });
        // So it stays.
        wait_readable(&alice);
    }
}

fn a_session_that_is_asked_all_the_time_is_not_readable_in_between(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    drop(daemon);
    let options = SessionOptions::new().backoff(SOON).retry_first(true);
    let mut alice = builder(&place.address).session(options).unwrap();
    for _ in 0..50 {
        // The loop finds what comes of an attempt before it is told of it.
        let next = loop {
            if let Some(SessionEvent::Retrying { next, .. }) = alice.try_receive().unwrap() {
                break next;
            }
        };
        if next > Instant::now() + Duration::from_millis(10) {
            let is_readable = poll(&alice, libc::POLLIN, Duration::from_millis(5));
            assert!(!is_readable || next <= Instant::now());
        }
    }
}
