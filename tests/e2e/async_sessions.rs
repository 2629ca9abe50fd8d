//! Sessions in a runtime of tokio, with one thread, so that whatever blocks it shows.

use std::time::{Duration, Instant};

use crate::support::place::{NEVER, Place, SOON, has_ended, is_not_connected};
use crate::support::{
    PATIENCE, TestDaemon, Transport, block_on, builder, on_each_transport, over_each_transport,
    unique,
};
use futures_util::StreamExt;
use spread::{
    AsyncSession, AsyncSessionReceiver, Backoff, Batch, Error, Message, Service, SessionEvent,
    SessionOptions, View,
};
use spread_daemon::{Authentication, Daemon};
use tokio::time::timeout;

on_each_transport!(
    a_session_is_a_mailbox_as_long_as_nothing_happens,
    a_stream_of_events_ends_after_a_shut_down,
);

over_each_transport!(
    a_session_returns_to_its_daemon_and_its_groups,
    a_receive_that_is_dropped_again_and_again_loses_nothing,
    groups_joined_and_left_in_between_count,
    what_fails_on_a_connection_is_counted,
    an_authentication_that_fails_ends_the_session,
    the_first_connection_is_tried_again_if_asked_for,
    a_shut_down_wakes_a_receive_though_there_is_no_daemon,
    a_session_without_its_receiver_does_not_reconnect,
    halves_in_tasks_survive_one_loss_after_the_other,
    a_session_can_be_ended_though_there_is_no_daemon,
);

fn a_session_is_a_mailbox_as_long_as_nothing_happens(daemon: TestDaemon) {
    block_on(async {
        let builder = builder(daemon.address()).private_name(unique("ali"));
        let mut alice = AsyncSession::connect(builder, Backoff::default()).await.unwrap();
        let group = unique("g");
        alice.join(&group).await.unwrap();
        assert_eq!(view(next(&mut alice).await).members.len(), 1);
        assert_eq!(alice.groups(), [group.as_str()]);
        alice.multicast(Service::Agreed, &group, vec![7; 100_000]).await.unwrap();
        assert_eq!(payload(next(&mut alice).await).len(), 100_000);

        let mut batch = Batch::new();
        (0..100u8).for_each(|n| batch.push(Service::Agreed, &group, [n]).unwrap());
        alice.try_multicast_batch(&mut batch).unwrap();
        alice.multicast_batch(&mut batch).await.unwrap();
        for n in 0..100u8 {
            assert_eq!(payload(next(&mut alice).await), [n]);
        }
        for n in 0..100u8 {
            alice.multicast_buffered(Service::Agreed, &group, [n]).await.unwrap();
        }
        alice.flush().await.unwrap();
        for n in 0..100u8 {
            assert_eq!(payload(next_by_trying(&mut alice).await), [n]);
        }
        assert!(alice.try_receive().unwrap().is_none());
        alice.leave(&group).await.unwrap();
        let event = next(&mut alice).await;
        assert!(matches!(event, SessionEvent::Message(Message::SelfLeave(_))), "{event:?}");
        alice.disconnect().await.unwrap();
    });
}

async fn next_by_trying(session: &mut AsyncSession) -> SessionEvent {
    loop {
        match session.try_receive().unwrap() {
            Some(event) => return event,
            None => tokio::task::yield_now().await,
        }
    }
}

fn a_stream_of_events_ends_after_a_shut_down(daemon: TestDaemon) {
    block_on(async {
        let builder = builder(daemon.address()).private_name(unique("ali"));
        let session = AsyncSession::connect(builder, Backoff::default()).await.unwrap();
        let (sender, receiver) = session.split();
        let waiting = tokio::spawn(receiver.collect::<Vec<_>>());
        tokio::task::yield_now().await;
        sender.shut_down();
        let mut events = waiting.await.unwrap();
        assert!(events.pop().is_some_and(has_ended) && events.is_empty(), "{events:?}");
        assert!(has_ended(sender.join("g").await));
    });
}

fn a_session_returns_to_its_daemon_and_its_groups(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        for group in ["a", "b"] {
            alice.join(group).await.unwrap();
            assert_eq!(view(next(&mut alice).await).group, group);
        }
        let before = alice.private_group().unwrap();
        daemon.stop();
        lost(&mut alice).await;
        assert!(!alice.is_connected() && alice.private_group().is_none());
        assert!(is_not_connected(alice.multicast(Service::Agreed, "a", b"lost").await));

        let _daemon = place.start_again();
        assert_eq!(restored(&mut alice).await, before.as_str());
        for group in ["a", "b"] {
            assert_eq!(view(next(&mut alice).await).group, group);
        }
        alice.multicast(Service::Agreed, ["a", "b"], b"back").await.unwrap();
        assert_eq!(payload(next(&mut alice).await), b"back");
        assert_eq!(alice.stats().reconnects, 1);
        alice.disconnect().await.unwrap();
    });
}

fn a_receive_that_is_dropped_again_and_again_loses_nothing(transport: Transport) {
    const MESSAGES: u32 = 50;
    let (place, mut daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        alice.join("g").await.unwrap();
        for _ in 0..5 {
            assert_eq!(view(impatient(&mut alice).await).group, "g");
            for n in 0..MESSAGES {
                alice.multicast(Service::Agreed, "g", n.to_le_bytes()).await.unwrap();
            }
            for n in 0..MESSAGES {
                assert_eq!(payload(impatient(&mut alice).await), n.to_le_bytes());
            }
            daemon.stop();
            assert!(matches!(impatient(&mut alice).await, SessionEvent::Lost { .. }));
            daemon = place.start_again();
            // An attempt is one attempt, in however many receives it is made.
            let begin = alice.stats().attempts;
            loop {
                match impatient(&mut alice).await {
                    SessionEvent::Restored { attempts, .. } => {
                        break assert_eq!(alice.stats().attempts - begin, u64::from(attempts));
                    }
                    SessionEvent::Retrying { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

fn groups_joined_and_left_in_between_count(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        for group in ["kept", "left"] {
            alice.join(group).await.unwrap();
            next(&mut alice).await;
        }
        daemon.stop();
        // The session need not have noticed the loss.
        alice.join("new1").await.unwrap();
        lost(&mut alice).await;
        alice.join("new2").await.unwrap();
        alice.leave("left").await.unwrap();
        assert!(matches!(alice.join("two words").await, Err(Error::IllegalGroup { .. })));
        let _daemon = place.start_again();
        restored(&mut alice).await;
        let mut groups = Vec::new();
        for _ in 0..3 {
            groups.push(view(next(&mut alice).await).group.to_string());
        }
        groups.sort();
        assert_eq!(groups, ["kept", "new1", "new2"]);
        assert!(timeout(Duration::from_millis(10), alice.receive()).await.is_err());
    });
}

fn what_fails_on_a_connection_is_counted(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        daemon.stop();
        let begin = Instant::now();
        while alice.multicast(Service::Agreed, "g", b"lost").await.is_ok() {
            assert!(begin.elapsed() < PATIENCE, "still sent");
        }
        alice.multicast(Service::Agreed, "g", b"lost").await.unwrap_err();
        assert_eq!(lost(&mut alice).await, 2);
        alice.multicast(Service::Agreed, "g", b"lost").await.unwrap_err();
        assert_eq!(alice.stats().unsent, 3);
    });
}

fn an_authentication_that_fails_ends_the_session(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        daemon.stop();
        lost(&mut alice).await;
        let builder = Daemon::builder().authentication(Authentication::deny_all());
        let _daemon = place.start_other(builder);
        let errors: Vec<_> = alice.by_ref().filter_map(async |event| event.err()).collect().await;
        let codes: Vec<_> = errors.iter().map(Error::code).collect();
        assert_eq!(codes, [Some(-9)], "{errors:?}");
        assert!(has_ended(alice.receive().await));
    });
}

fn the_first_connection_is_tried_again_if_asked_for(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    daemon.stop();
    block_on(async {
        let builder = builder(&place.address);
        let error = AsyncSession::connect(builder, SOON).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");

        let options = SessionOptions::from(SOON).retry_first(true);
        let mut alice = place.session_async("alice", options).await;
        alice.join("g").await.unwrap();
        assert!(matches!(next(&mut alice).await, SessionEvent::Retrying { attempt: 1, .. }));
        let _daemon = place.start_again();
        restored(&mut alice).await;
        assert_eq!(view(next(&mut alice).await).group, "g");
    });
}

fn a_shut_down_wakes_a_receive_though_there_is_no_daemon(transport: Transport) {
    for backoff in [NEVER, SOON] {
        let (place, daemon) = Place::start(transport);
        block_on(async {
            let (sender, mut receiver) = place.session_async("alice", backoff).await.split();
            daemon.stop();
            let event = receiver.receive().await.unwrap();
            assert!(matches!(event, SessionEvent::Lost { .. }), "{event:?}");
            let waiting = tokio::spawn(last(receiver));
            tokio::task::yield_now().await;
            sender.shut_down();
            assert!(has_ended(waiting.await.unwrap()));
        });
    }
}

fn a_session_without_its_receiver_does_not_reconnect(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let (sender, mut receiver) = place.session_async("alice", SOON).await.split();
        daemon.stop();
        let event = receiver.receive().await.unwrap();
        assert!(matches!(event, SessionEvent::Lost { .. }), "{event:?}");
        drop(receiver);
        assert!(has_ended(sender.join("g").await));
    });
}

fn halves_in_tasks_survive_one_loss_after_the_other(transport: Transport) {
    let (place, mut daemon) = Place::start(transport);
    block_on(async {
        let (sender, mut receiver) = place.session_async("alice", SOON).await.split();
        sender.join("g").await.unwrap();
        for round in 0..5 {
            assert_eq!(view(next_of(&mut receiver).await).group, "g", "round {round}");
            let senders = [(); 4].map(|()| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    while sender.multicast(Service::Agreed, "g", "x").await.is_ok() {}
                })
            });
            assert_eq!(payload(next_of(&mut receiver).await), b"x");
            let former = tokio::task::spawn_blocking(move || daemon.stop());
            loop {
                match next_of(&mut receiver).await {
                    SessionEvent::Message(_) => {}
                    SessionEvent::Lost { unsent, .. } => break assert!(unsent <= 4),
                    other => panic!("{other:?}"),
                }
            }
            former.await.unwrap();
            for sender in senders {
                sender.await.unwrap();
            }
            daemon = place.start_again();
            while !matches!(next_of(&mut receiver).await, SessionEvent::Restored { .. }) {}
        }
        assert_eq!(receiver.stats().reconnects, 5);
    });
}

fn a_session_can_be_ended_though_there_is_no_daemon(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let mut alice = place.session_async("alice", SOON).await;
        daemon.stop();
        lost(&mut alice).await;
        assert!(is_not_connected(alice.disconnect().await));
    });
}

async fn last(mut receiver: AsyncSessionReceiver) -> Result<SessionEvent, Error> {
    let mut last = None;
    while let Some(event) = receiver.next().await {
        last = Some(event);
    }
    last.expect("an event")
}

async fn next(session: &mut AsyncSession) -> SessionEvent {
    session.receive().await.unwrap()
}

async fn next_of(session: &mut AsyncSessionReceiver) -> SessionEvent {
    session.receive().await.unwrap()
}

/// Receives by one future after the other, most of which are dropped early.
async fn impatient(session: &mut AsyncSession) -> SessionEvent {
    for micros in (0..).step_by(50) {
        if let Ok(event) = timeout(Duration::from_micros(micros), session.receive()).await {
            return event.unwrap();
        }
    }
    unreachable!("there is no end to the numbers")
}

/// The messages that were not sent on the connection that is lost.
async fn lost(session: &mut AsyncSession) -> u64 {
    match next(session).await {
        SessionEvent::Lost { error, unsent, .. } if error.is_closed() => unsent,
        other => panic!("not lost: {other:?}"),
    }
}

async fn restored(session: &mut AsyncSession) -> String {
    loop {
        match next(session).await {
            SessionEvent::Retrying { .. } => {}
            SessionEvent::Restored { private_group, .. } => return private_group.to_string(),
            other => panic!("not restored: {other:?}"),
        }
    }
}

fn view(event: SessionEvent) -> View {
    match event {
        SessionEvent::Message(Message::Membership(view)) => view,
        other => panic!("not a view: {other:?}"),
    }
}

fn payload(event: SessionEvent) -> Vec<u8> {
    match event {
        SessionEvent::Message(Message::Regular(message)) => message.payload().to_vec(),
        other => panic!("not a regular message: {other:?}"),
    }
}
