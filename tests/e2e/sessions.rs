//! Sessions: what an application hears when its daemon goes away and comes back.

use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer;
use crate::support::place::{NEVER, News, Place, SOON, has_ended, is_not_connected};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique,
};
use spread::{
    Backoff, Batch, Error, Message, Service, SessionEvent, SessionOptions, SessionSender,
};
use spread_daemon::{Authentication, Daemon};

on_each_transport!(
    a_session_is_a_mailbox_as_long_as_nothing_happens,
    a_session_sends_pieces_and_batches,
    a_session_that_is_shut_down_ends_for_all_halves,
);

over_each_transport!(
    a_session_returns_to_its_daemon_and_its_groups,
    a_session_goes_to_the_next_daemon,
    groups_joined_and_left_in_between_count,
    what_is_sent_in_between_fails,
    what_fails_on_a_connection_is_counted,
    a_multicast_that_a_loss_interrupts_does_not_say_that_the_session_has_ended,
    a_timeout_is_kept_while_there_is_no_daemon,
    an_interrupt_ends_a_receive_though_there_is_no_daemon,
    interrupts_do_not_keep_a_session_from_reconnecting,
    a_name_that_is_still_in_use_is_waited_for,
    an_authentication_that_fails_ends_the_session,
    the_caller_says_what_is_tried_again,
    the_first_connection_is_tried_again_if_asked_for,
    a_session_can_be_ended_though_there_is_no_daemon,
    a_shut_down_ends_a_receive_though_there_is_no_daemon,
    a_session_without_its_receiver_does_not_reconnect,
    halves_in_threads_survive_one_loss_after_the_other,
);

fn a_session_is_a_mailbox_as_long_as_nothing_happens(daemon: TestDaemon) {
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let mut alice = builder.session(Backoff::default()).unwrap();
    let mut bob = daemon.connect("bob");
    let group = unique("g");
    alice.join(&group).unwrap();
    let view = alice.next_view();
    assert_eq!(view.members, [alice.private_group().unwrap().as_str()]);
    assert!(alice.is_connected());

    alice.multicast(Service::Agreed, bob.private_group(), b"hello").unwrap();
    assert_eq!(bob.next_regular().payload(), b"hello");
    let (to_bob, soon) = (bob.private_group(), Instant::now() + PATIENCE);
    alice.multicast_timeout(Service::Agreed, to_bob, b"in time", PATIENCE).unwrap();
    alice.multicast_deadline(Service::Agreed, to_bob, b"by then", soon).unwrap();
    assert_eq!(bob.next_regular().payload(), b"in time");
    assert_eq!(bob.next_regular().payload(), b"by then");
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());

    let interrupter = alice.interrupter().unwrap();
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

fn a_session_sends_pieces_and_batches(daemon: TestDaemon) {
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let mut alice = builder.session(Backoff::default()).unwrap();
    let me = alice.private_group().unwrap();
    let pieces = [IoSlice::new(b"in "), IoSlice::new(b"pieces")];
    alice.multicast_vectored(Service::Fifo, me, &pieces).unwrap();
    assert_eq!(alice.next_payload(), b"in pieces");

    let batch = || {
        let mut batch = Batch::new();
        (0..100u8).for_each(|n| batch.push(Service::Fifo, me, [n]).unwrap());
        batch
    };
    let mut all = batch();
    alice.multicast_batch(&mut all).unwrap();
    assert!(all.is_empty());
    let mut some = batch();
    let mut count = 0;
    while !some.is_empty() {
        count += alice.try_multicast_batch(&mut some).unwrap();
    }
    assert_eq!(count, 100);
    for n in (0..100u8).chain(0..100) {
        assert_eq!(alice.next_payload(), [n]);
    }
    alice.disconnect().unwrap();
}

fn a_session_that_is_shut_down_ends_for_all_halves(daemon: TestDaemon) {
    let builder = builder(daemon.address()).private_name(unique("ali"));
    let (sender, mut receiver) = builder.session(Backoff::default()).unwrap().split();
    let other = sender.clone();
    let waiting = thread::spawn(move || receiver.events().last().unwrap());
    sender.shut_down();
    assert!(has_ended(waiting.join().unwrap()));
    assert!(has_ended(other.multicast(Service::Fifo, "g", b"")));
    assert!(has_ended(other.leave("g")));
}

fn a_session_returns_to_its_daemon_and_its_groups(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    for group in ["a", "b"] {
        alice.join(group).unwrap();
        assert_eq!(alice.next_view().group, group);
    }
    let before = alice.private_group().unwrap();

    daemon.stop();
    alice.lost();
    assert!(!alice.is_connected() && alice.private_group().is_none());

    let _daemon = place.start_again();
    assert_eq!(alice.restored().0, before.as_str());
    assert_eq!(alice.private_group(), Some(before));
    for group in ["a", "b"] {
        let view = alice.next_view();
        assert_eq!((view.group.to_string().as_str(), view.members.len()), (group, 1));
    }
    alice.multicast(Service::Agreed, ["a", "b"], b"back").unwrap();
    assert_eq!(alice.next_payload(), b"back");
}

fn a_session_goes_to_the_next_daemon(transport: Transport) {
    let (first, daemon) = Place::start(transport);
    let second = Daemon::builder().name("other").start().unwrap();
    let builder = builder(&first.address).or_address(second.address());
    let mut alice = builder.private_name("alice").session(SOON).unwrap();
    alice.join("g").unwrap();
    assert_eq!(alice.next_view().members, ["#alice#localhost"]);

    daemon.stop();
    alice.lost();
    assert_eq!(alice.restored().0, "#alice#other");
    assert_eq!(alice.next_view().members, ["#alice#other"]);
}

fn groups_joined_and_left_in_between_count(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    for group in ["kept", "left"] {
        alice.join(group).unwrap();
        alice.next_view();
    }
    daemon.stop();
    // The session need not have noticed the loss.
    alice.join("new1").unwrap();
    alice.lost();
    alice.join("new2").unwrap();
    alice.leave("left").unwrap();
    assert!(matches!(alice.join("two words"), Err(Error::IllegalGroup { .. })));

    let _daemon = place.start_again();
    alice.restored();
    let mut groups = [(); 3].map(|()| alice.next_view().group.to_string());
    groups.sort();
    assert_eq!(groups, ["kept", "new1", "new2"]);
    assert!(alice.receive_timeout(Duration::from_millis(10)).unwrap().is_none());
}

fn what_is_sent_in_between_fails(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    alice.join("g").unwrap();
    alice.next_view();
    daemon.stop();
    alice.lost();
    assert!(is_not_connected(alice.multicast(Service::Agreed, "g", b"lost")));
    let mut batch = Batch::new();
    batch.push(Service::Agreed, "g", "lost, too").unwrap();
    assert!(is_not_connected(alice.multicast_batch(&mut batch)));
    assert!(is_not_connected(alice.try_multicast_batch(&mut batch)));
    assert_eq!(batch.len(), 1);

    let _daemon = place.start_again();
    alice.restored();
    alice.next_view();
    alice.multicast(Service::Agreed, "g", b"after").unwrap();
    assert_eq!(alice.next_payload(), b"after", "nothing is sent later");
}

fn what_fails_on_a_connection_is_counted(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    // The first may go to a socket that nobody reads any more.
    let begin = Instant::now();
    while alice.multicast(Service::Agreed, "g", b"lost").is_ok() {
        assert!(begin.elapsed() < PATIENCE, "still sent");
    }
    for _ in 0..2 {
        alice.multicast(Service::Agreed, "g", b"lost").unwrap_err();
    }
    assert!(alice.multicast(Service::Agreed, "no group", b"").is_err());
    assert_eq!(alice.lost(), 3);
    alice.multicast(Service::Agreed, "g", b"lost").unwrap_err();
    assert_eq!(alice.stats().unsent, 4);
    let _daemon = place.start_again();
    alice.restored();
    assert_eq!(alice.stats().reconnects, 1);
}

fn a_timeout_is_kept_while_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", NEVER);
    daemon.stop();
    alice.lost();
    for millis in [0, 1, 30, 100] {
        let (begin, timeout) = (Instant::now(), Duration::from_millis(millis));
        assert!(alice.receive_timeout(timeout).unwrap().is_none());
        assert!(begin.elapsed() >= timeout, "{:?} of {timeout:?}", begin.elapsed());
        assert!(alice.receive_deadline(begin).unwrap().is_none());
    }
}

fn an_interrupt_ends_a_receive_though_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", NEVER);
    let interrupter = alice.interrupter().unwrap();
    daemon.stop();
    alice.lost();
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

fn interrupts_do_not_keep_a_session_from_reconnecting(transport: Transport) {
    let (place, mut daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    let interrupter = alice.interrupter().unwrap();
    let (is_over, begin) = (AtomicBool::new(false), Instant::now());
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) && begin.elapsed() < 2 * PATIENCE {
                interrupter.interrupt();
                thread::yield_now();
            }
        });
        let mut interrupts = 0;
        for _ in 0..5 {
            daemon.stop();
            for event in alice.events() {
                assert!(begin.elapsed() < PATIENCE, "{event:?}");
                match event {
                    Ok(SessionEvent::Lost { .. }) => break,
                    Err(Error::Interrupted) => interrupts += 1,
                    other => panic!("{other:?}"),
                }
            }
            daemon = place.start_again();
            for event in alice.events() {
                assert!(begin.elapsed() < PATIENCE, "{event:?}");
                match event {
                    Ok(SessionEvent::Restored { .. }) => break,
                    Ok(SessionEvent::Retrying { .. }) => {}
                    Err(Error::Interrupted) => interrupts += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        is_over.store(true, Ordering::Relaxed);
        assert!(interrupts > 0);
    });
}

fn a_name_that_is_still_in_use_is_waited_for(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    alice.lost();
    let _daemon = place.start_again();
    let former = builder(&place.address).private_name("alice").connect().unwrap();
    loop {
        match alice.next_event() {
            SessionEvent::Retrying { error: Error::NameInUse { .. }, .. } => break,
            SessionEvent::Retrying { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!alice.is_connected());
    former.disconnect().unwrap();
    loop {
        match alice.next_event() {
            SessionEvent::Restored { private_group, .. } => {
                break assert_eq!(private_group, "#alice#localhost");
            }
            SessionEvent::Retrying { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn an_authentication_that_fails_ends_the_session(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let (sender, mut alice) = place.session("alice", SOON).split();
    daemon.stop();
    alice.lost();
    let builder = Daemon::builder().authentication(Authentication::deny_all());
    let _daemon = place.start_other(builder);
    let errors: Vec<_> = alice.events().filter_map(Result::err).collect();
    let codes: Vec<_> = errors.iter().map(Error::code).collect();
    assert_eq!(codes, [Some(-9)], "{errors:?}");
    assert!(has_ended(alice.receive()));
    assert!(has_ended(sender.join("g")));
}

fn the_caller_says_what_is_tried_again(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let options = SessionOptions::from(SOON).retry_if(|error, attempt| {
        assert!(SessionOptions::retries_by_default(error));
        attempt < 3
    });
    let mut alice = place.session("alice", options);
    daemon.stop();
    alice.lost();
    for number in 1..3 {
        let event = alice.next_event();
        assert!(
            matches!(&event, SessionEvent::Retrying { attempt, .. } if *attempt == number),
            "{event:?}"
        );
    }
    let error = alice.receive().unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(has_ended(alice.receive()), "it has ended");
    assert_eq!(alice.stats().attempts, 4);
}

fn the_first_connection_is_tried_again_if_asked_for(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    daemon.stop();
    let mut alice = place.session("alice", SessionOptions::from(SOON).retry_first(true));
    assert!(!alice.is_connected());
    alice.join("g").unwrap();
    assert!(matches!(alice.next_event(), SessionEvent::Retrying { attempt: 1, .. }));
    let _daemon = place.start_again();
    loop {
        match alice.next_event() {
            SessionEvent::Retrying { .. } => {}
            SessionEvent::Restored { attempts, .. } => break assert!(attempts > 1),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(alice.next_view().group, "g");
    assert_eq!(alice.stats().reconnects, 0, "none was lost");
}

fn a_session_can_be_ended_though_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    daemon.stop();
    alice.lost();
    assert!(is_not_connected(alice.disconnect()));
}

fn a_shut_down_ends_a_receive_though_there_is_no_daemon(transport: Transport) {
    for backoff in [NEVER, SOON] {
        let (place, daemon) = Place::start(transport);
        let (sender, mut receiver) = place.session("alice", backoff).split();
        daemon.stop();
        receiver.lost();
        let waiting = thread::spawn(move || receiver.events().last().unwrap());
        sender.shut_down();
        assert!(has_ended(waiting.join().unwrap()));
        assert!(has_ended(sender.join("g")));
    }
}

fn a_session_without_its_receiver_does_not_reconnect(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut bob = builder(&place.address).connect().unwrap();
    let to = bob.private_group();
    let (alice, receiver) = place.session("alice", SOON).split();
    drop(receiver);
    alice.multicast(Service::Fifo, to, b"still here").unwrap();
    assert_eq!(bob.next_regular().payload(), b"still here");

    let (carol, mut receiver) = place.session("carol", SOON).split();
    daemon.stop();
    receiver.lost();
    drop(receiver);
    assert!(has_ended(carol.join("g")));
    assert!(has_ended(carol.multicast(Service::Fifo, to, b"")));
}

fn halves_in_threads_survive_one_loss_after_the_other(transport: Transport) {
    const SENDERS: usize = 4;
    let (place, mut daemon) = Place::start(transport);
    let (sender, mut receiver) = place.session("alice", SOON).split();
    sender.join("g").unwrap();
    receiver.next_view();
    thread::scope(|scope| {
        let send =
            |sender: SessionSender| while sender.multicast(Service::Agreed, "g", "x").is_ok() {};
        for round in 0..5 {
            let senders = [(); SENDERS].map(|()| {
                let sender = sender.clone();
                scope.spawn(move || send(sender))
            });
            assert_eq!(receiver.next_payload(), b"x");
            // The daemon is stopped from elsewhere, since this thread has to receive.
            let former = scope.spawn(move || daemon.stop());
            let unsent = loop {
                match receiver.next_event() {
                    SessionEvent::Message(_) => {}
                    SessionEvent::Lost { unsent, .. } => break unsent,
                    other => panic!("{other:?}"),
                }
            };
            assert!(unsent <= SENDERS as u64);
            former.join().unwrap();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            daemon = place.start_again();
            receiver.restored();
            assert_eq!(receiver.next_view().group, "g", "round {round}");
        }
    });
    assert_eq!(sender.stats().reconnects, 5);
}

fn a_multicast_that_a_loss_interrupts_does_not_say_that_the_session_has_ended(
    transport: Transport,
) {
    let peer = peer::Peer::start(transport, |client| {
        client.wait()?;
        client.end()?;
        client.wait()
    });
    let (sender, mut receiver) = builder(peer.address()).session(NEVER).unwrap().split();
    let mut batch = Batch::new();
    // The peer reads nothing, so that there is no room in the end.
    loop {
        if batch.is_empty() {
            batch.push(Service::Fifo, "g", [0; 100_000]).unwrap();
        } else if sender.try_multicast_batch(&mut batch).unwrap() == 0 {
            break;
        }
    }
    let (begin, begun) = mpsc::channel();
    let sending = thread::spawn(move || {
        begin.send(()).unwrap();
        // The system may find room for one more after all.
        loop {
            if let Err(error) = sender.multicast(Service::Fifo, "g", [0; 100_000]) {
                break error;
            }
        }
    });
    begun.recv().unwrap();
    peer.go_on();
    receiver.lost();
    let error = sending.join().unwrap();
    assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}");
}
