//! What sessions and their halves have in common with mailboxes: ends, sinks, pieces, counters.

use std::io::IoSlice;
use std::thread;

use crate::support::place::{NEVER, News, Place, SOON, has_ended, is_not_connected};
use crate::support::{
    Expect, TestDaemon, Transport, block_on, builder, on_each_transport, over_each_transport,
    unique,
};
use futures_util::{SinkExt, StreamExt};
use spread::{
    AsyncMailbox, AsyncSession, Backoff, Batch, Error, Mailbox, Message, Outgoing, Service,
    SessionEvent, SessionOptions,
};

on_each_transport!(
    either_half_disconnects_a_session,
    either_half_disconnects_an_async_session,
    a_session_that_is_killed_or_shut_down_has_left,
    pieces_are_sent_by_all_forms,
    a_session_gives_up_a_connection_and_makes_another,
    a_disconnect_beside_the_drop_of_the_receiver_ends_the_session_or_leaves_it,
);

over_each_transport!(
    the_traffic_of_a_session_is_that_of_all_its_connections,
    the_sink_of_a_session_goes_on_with_the_next_connection,
    a_batch_without_a_connection_is_not_counted,
    what_a_sink_has_lost_is_told_once_though_the_session_is_connected_again,
);

fn either_half_disconnects_a_session(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let to = bob.private_group();
    for by_receiver in [true, false] {
        let session = || builder(daemon.address()).private_name(unique("al")).session(NEVER);
        let (sender, receiver) = session().unwrap().split();
        let other = sender.clone();
        sender.multicast(Service::Fifo, to, b"before").unwrap();
        if by_receiver {
            receiver.disconnect().unwrap();
        } else {
            assert!(matches!(sender.clone().disconnect(), Err(Error::ReceiverExists)));
            sender.multicast(Service::Fifo, to, b"still here").unwrap();
            drop(receiver);
            sender.disconnect().unwrap();
        }
        assert!(has_ended(other.multicast(Service::Fifo, to, b"after")));
        assert!(has_ended(other.disconnect()));
        assert_eq!(bob.next_regular().payload(), b"before");
        if !by_receiver {
            assert_eq!(bob.next_regular().payload(), b"still here");
        }
    }
    assert!(bob.try_receive().unwrap().is_none());
}

fn either_half_disconnects_an_async_session(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let to = bob.private_group();
    block_on(async {
        for by_receiver in [true, false] {
            let builder = builder(daemon.address()).private_name(unique("al"));
            let session = AsyncSession::connect(builder, NEVER).await.unwrap();
            let (sender, receiver) = session.split();
            let other = sender.clone();
            sender.multicast_buffered(Service::Fifo, to, b"before").await.unwrap();
            if by_receiver {
                receiver.disconnect().await.unwrap();
            } else {
                let refused = sender.clone().disconnect().await;
                assert!(matches!(refused, Err(Error::ReceiverExists)));
                assert!(sender.is_connected());
                drop(receiver);
                sender.disconnect().await.unwrap();
            }
            assert!(has_ended(other.multicast(Service::Fifo, to, b"after").await));
            assert_eq!(bob.next_regular().payload(), b"before");
        }
    });
}

fn a_session_that_is_killed_or_shut_down_has_left(daemon: TestDaemon) {
    let group = unique("g");
    let mut bob = daemon.connect("bob");
    bob.join(&group).unwrap();
    bob.view_of(&group, 1);
    let session = || {
        let session = builder(daemon.address()).session(NEVER).unwrap();
        session.join(&group).unwrap();
        session
    };
    let killed = session();
    bob.view_of(&group, 2);
    killed.kill();
    bob.view_of(&group, 1);
    let mut shut_down = session();
    bob.view_of(&group, 2);
    shut_down.shut_down();
    assert!(has_ended(shut_down.receive()));
    bob.view_of(&group, 1);
    block_on(async {
        let session = async || {
            let session = AsyncSession::connect(builder(daemon.address()), NEVER).await.unwrap();
            session.join(&group).await.unwrap();
            session
        };
        let killed = session().await;
        bob.view_of(&group, 2);
        killed.kill();
        bob.view_of(&group, 1);
        let mut shut_down = session().await;
        bob.view_of(&group, 2);
        shut_down.shut_down();
        assert!(has_ended(shut_down.receive().await));
        bob.view_of(&group, 1);
        let mailbox = AsyncMailbox::connect(builder(daemon.address())).await.unwrap();
        mailbox.join(&group).await.unwrap();
        bob.view_of(&group, 2);
        mailbox.kill();
        bob.view_of(&group, 1);
    });
}

fn pieces_are_sent_by_all_forms(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let to = bob.private_group();
    let large = vec![b'x'; 100_000];
    let pieces = [IoSlice::new(b"in "), IoSlice::new(b""), IoSlice::new(&large)];
    let too_long = [IoSlice::new(&large); 2];
    block_on(async {
        let alice = AsyncMailbox::connect(builder(daemon.address())).await.unwrap();
        alice.multicast_vectored(Service::Fifo, to, &pieces).await.unwrap();
        let error = alice.multicast_vectored(Service::Fifo, to, &too_long).await.unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { .. }), "{error:?}");
        let alice = AsyncSession::connect(builder(daemon.address()), NEVER).await.unwrap();
        alice.multicast_vectored(Service::Fifo, to, &pieces).await.unwrap();
        for _ in 0..2 {
            let message = bob.next_regular();
            assert!(message.payload().len() == 100_003 && message.payload().starts_with(b"in xx"));
        }
    });
}

fn the_traffic_of_a_session_is_that_of_all_its_connections(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    alice.join("g").unwrap();
    alice.next_view();
    alice.multicast(Service::Agreed, "g", b"first").unwrap();
    assert_eq!(alice.next_payload(), b"first");
    let before = alice.stats().traffic;
    assert_eq!((before.messages_sent, before.messages_received), (2, 2));
    assert_eq!(before.bytes_sent, 2 * (48 + 32) + 5);
    daemon.stop();
    alice.lost();
    assert_eq!(alice.stats().traffic, before);
    let _daemon = place.start_again();
    alice.restored();
    alice.next_view();
    alice.multicast(Service::Agreed, "g", b"second").unwrap();
    assert_eq!(alice.next_payload(), b"second");
    let after = alice.stats().traffic;
    assert_eq!((after.messages_sent, after.messages_received), (4, 4));
    assert_eq!(after.bytes_sent, 4 * (48 + 32) + 11);
    assert_eq!(after.bytes_queued, 0);
    let (sender, receiver) = alice.split();
    receiver.disconnect().unwrap();
    assert_eq!(sender.stats().traffic, after);
}

fn the_sink_of_a_session_goes_on_with_the_next_connection(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        let message = |text: &'static str| Outgoing::new(Service::Agreed, "g", text).unwrap();
        alice.join("g").await.unwrap();
        alice.send(message("sent")).await.unwrap();
        alice.feed(message("fed")).await.unwrap();
        alice.feed(message("fed, too")).await.unwrap();
        let queued = alice.stats().traffic.bytes_queued;
        assert_eq!(queued, (2 * (48 + 32) + "fed".len() + "fed, too".len()) as u64);
        SinkExt::<Outgoing>::flush(&mut alice).await.unwrap();
        assert_eq!(alice.stats().traffic.bytes_queued, 0);
        let mut payloads = Vec::new();
        while payloads.len() < 3 {
            if let SessionEvent::Message(Message::Regular(message)) = next(&mut alice).await {
                payloads.push(message.into_payload());
            }
        }
        assert_eq!(payloads, ["sent", "fed", "fed, too"]);

        alice.feed(message("lost")).await.unwrap();
        daemon.stop();
        while !matches!(next(&mut alice).await, SessionEvent::Lost { .. }) {}
        assert!(is_not_connected(SinkExt::<Outgoing>::flush(&mut alice).await));
        assert!(is_not_connected(alice.send(message("not taken")).await));
        let _daemon = place.start_again();
        while !matches!(next(&mut alice).await, SessionEvent::Restored { .. }) {}
        alice.send(message("back")).await.unwrap();
        loop {
            if let SessionEvent::Message(Message::Regular(message)) = next(&mut alice).await {
                break assert_eq!(message.payload(), b"back");
            }
        }
    });
}

fn a_disconnect_beside_the_drop_of_the_receiver_ends_the_session_or_leaves_it(daemon: TestDaemon) {
    for _ in 0..100 {
        let (sender, receiver) = builder(daemon.address()).session(NEVER).unwrap().split();
        let dropping = thread::spawn(move || drop(receiver));
        while let Err(error) = sender.clone().disconnect() {
            assert!(matches!(error, Error::ReceiverExists), "{error:?}");
            assert!(sender.is_connected());
        }
        dropping.join().unwrap();
    }
    block_on(async {
        for _ in 0..100 {
            let session = AsyncSession::connect(builder(daemon.address()), NEVER).await.unwrap();
            let (sender, receiver) = session.split();
            let dropping = thread::spawn(move || drop(receiver));
            while let Err(error) = sender.clone().disconnect().await {
                assert!(matches!(error, Error::ReceiverExists), "{error:?}");
                assert!(sender.is_connected());
            }
            dropping.join().unwrap();
        }
    });
}

fn a_batch_without_a_connection_is_not_counted(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", SOON);
    let mut batch = Batch::new();
    batch.push(Service::Agreed, "g", b"x").unwrap();
    block_on(async {
        let mut bob = place.session_async("bob", SOON).await;
        daemon.stop();
        alice.lost();
        while !matches!(next(&mut bob).await, SessionEvent::Lost { .. }) {}
        assert!(is_not_connected(alice.multicast_batch(&mut batch)));
        assert!(is_not_connected(alice.try_multicast_batch(&mut batch)));
        assert!(is_not_connected(bob.multicast_batch(&mut batch).await));
        assert!(is_not_connected(bob.try_multicast_batch(&mut batch)));
        assert_eq!((alice.stats().unsent, bob.stats().unsent, batch.len()), (0, 0, 1));
        alice.multicast(Service::Agreed, "g", b"x").unwrap_err();
        bob.multicast(Service::Agreed, "g", b"x").await.unwrap_err();
        assert_eq!((alice.stats().unsent, bob.stats().unsent), (1, 1));
    });
}

fn what_a_sink_has_lost_is_told_once_though_the_session_is_connected_again(transport: Transport) {
    let (place, mut daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        let message = || Outgoing::new(Service::Agreed, "g", "x").unwrap();
        // A flush in between means that nothing is lost.
        for is_flushed in [false, true] {
            alice.feed(message()).await.unwrap();
            if is_flushed {
                SinkExt::<Outgoing>::flush(&mut alice).await.unwrap();
            }
            daemon.stop();
            while !matches!(next(&mut alice).await, SessionEvent::Lost { .. }) {}
            daemon = place.start_again();
            while !matches!(next(&mut alice).await, SessionEvent::Restored { .. }) {}
            let fed = alice.feed(message()).await;
            assert!(if is_flushed { fed.is_ok() } else { is_not_connected(fed) });
            alice.feed(message()).await.unwrap();
            SinkExt::<Outgoing>::flush(&mut alice).await.unwrap();
        }
        assert_eq!(alice.stats().unsent, 0);
    });
}

async fn next(session: &mut AsyncSession) -> SessionEvent {
    session.next().await.expect("an event").unwrap()
}

#[test]
fn of_several_daemons_each_has_its_error() {
    let (first, daemon) = Place::start(Transport::Tcp);
    daemon.stop();
    let (second, daemon) = Place::start(Transport::Unix);
    daemon.stop();
    let builder = builder(&first.address).or_address(&second.address);
    let check = |error: Error| {
        let Error::NoDaemon(failures) = &error else { panic!("{error:?}") };
        let addresses: Vec<_> = failures.iter().map(|(address, _)| address).collect();
        assert_eq!(addresses, [&first.address, &second.address]);
        assert!(failures.iter().all(|(_, error)| error.code() == Some(-2)), "{error:?}");
        assert!(error.is_retryable() && error.code() == Some(-2));
    };
    check(builder.connect().unwrap_err());
    check(block_on(AsyncMailbox::connect(builder)).unwrap_err());
}

#[test]
fn a_mistake_shows_at_once_though_the_first_connection_is_retried() {
    let options = SessionOptions::from(NEVER).retry_first(true);
    let builder = Mailbox::builder("1@localhost").private_name("much too long");
    let error = builder.session(options).unwrap_err();
    assert!(matches!(error, Error::IllegalPrivateName { .. }), "{error:?}");
}

/// Whether the event is the loss of a connection that was shut down here.
fn is_given_up(event: &SessionEvent) -> bool {
    matches!(event, SessionEvent::Lost { error: Error::ShutDown, .. })
}

fn a_session_gives_up_a_connection_and_makes_another(daemon: TestDaemon) {
    let mut session = builder(daemon.address()).session(Backoff::default()).unwrap();
    session.reconnect();
    let event = session.receive().unwrap();
    assert!(is_given_up(&event), "{event:?}");
    let event = session.receive().unwrap();
    assert!(matches!(event, SessionEvent::Restored { .. }), "{event:?}");
    session.multicast(Service::Fifo, session.private_group().unwrap(), b"back").unwrap();
    let event = session.receive().unwrap();
    assert!(matches!(event, SessionEvent::Message(Message::Regular(_))), "{event:?}");
    block_on(async {
        let session = AsyncSession::connect(builder(daemon.address()), Backoff::default()).await;
        let mut session = session.unwrap();
        session.reconnect();
        let event = session.receive().await.unwrap();
        assert!(is_given_up(&event), "{event:?}");
        let event = session.receive().await.unwrap();
        assert!(matches!(event, SessionEvent::Restored { .. }), "{event:?}");
    });
}
