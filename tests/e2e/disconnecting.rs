//! What a disconnect says, which is the same in every form of a connection.

use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::support::peer::{self, Peer};
use crate::support::place::{NEVER, News, Place, has_ended, is_not_connected};
use crate::support::{PATIENCE, Transport, block_on, builder, over_each_transport};
use spread::{AsyncMailbox, AsyncSession, Error, Service, SessionEvent};
use spread_daemon::Daemon;

over_each_transport!(
    a_daemon_that_has_gone_unnoticed_is_told_by_every_disconnect,
    a_disconnect_at_a_daemon_that_is_there_succeeds_in_every_form,
    a_second_disconnect_and_one_after_a_shut_down_say_so_in_every_form,
    a_disconnect_that_is_shut_down_meanwhile_says_so,
    a_session_that_is_shut_down_while_it_disconnects_says_so,
    a_session_without_a_connection_says_so,
    what_came_before_a_loss_is_received_before_it,
);

/// Disconnects one connection of each form, after `meanwhile`.
fn disconnect_each(
    place: &Place,
    meanwhile: impl FnOnce(),
) -> Vec<(&'static str, Result<(), Error>)> {
    let mailbox = || builder(&place.address).connect().unwrap();
    let session = || builder(&place.address).session(NEVER).unwrap();
    block_on(async {
        let mailbox_async = async || AsyncMailbox::connect(builder(&place.address)).await.unwrap();
        let session_async =
            async || AsyncSession::connect(builder(&place.address), NEVER).await.unwrap();
        let (whole, whole_session) = (mailbox(), session());
        let (whole_async, whole_session_async) = (mailbox_async().await, session_async().await);
        let (_sender, receiver) = mailbox().split();
        let (_session_sender, session_receiver) = session().split();
        let (_async_sender, async_receiver) = mailbox_async().await.split();
        let (_async_session_sender, async_session_receiver) = session_async().await.split();
        let (sender, _) = mailbox().split();
        let (session_sender, _) = session().split();
        let (async_sender, _) = mailbox_async().await.split();
        let (async_session_sender, _) = session_async().await.split();
        whole.multicast(Service::Fifo, "g", b"x").unwrap();
        whole_async.multicast(Service::Fifo, "g", b"x").await.unwrap();
        meanwhile();
        vec![
            ("Mailbox", whole.disconnect()),
            ("Receiver", receiver.disconnect()),
            ("Sender", sender.disconnect()),
            ("AsyncMailbox", whole_async.disconnect().await),
            ("AsyncReceiver", async_receiver.disconnect().await),
            ("AsyncSender", async_sender.disconnect().await),
            ("Session", whole_session.disconnect()),
            ("SessionReceiver", session_receiver.disconnect()),
            ("SessionSender", session_sender.disconnect()),
            ("AsyncSession", whole_session_async.disconnect().await),
            ("AsyncSessionReceiver", async_session_receiver.disconnect().await),
            ("AsyncSessionSender", async_session_sender.disconnect().await),
        ]
    })
}

/// Stops the daemon, and waits until its clients could know.
fn stop(place: &Place, daemon: Daemon) {
    let mut last = builder(&place.address).connect().unwrap();
    daemon.stop();
    assert!(last.receive().unwrap_err().is_closed());
}

fn a_daemon_that_has_gone_unnoticed_is_told_by_every_disconnect(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    for (form, ended) in disconnect_each(&place, || stop(&place, daemon)) {
        assert!(matches!(ended, Err(Error::ConnectionClosed { .. })), "{form}: {ended:?}");
    }
}

fn a_disconnect_at_a_daemon_that_is_there_succeeds_in_every_form(transport: Transport) {
    let (place, _daemon) = Place::start(transport);
    for (form, ended) in disconnect_each(&place, || {}) {
        assert!(ended.is_ok(), "{form}: {ended:?}");
    }
}

/// A daemon that says when its client has disconnected, and leaves the connection as it is.
fn deaf(transport: Transport) -> (Peer, Receiver<()>) {
    let (report, reported) = mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.receive_all()?;
        report.send(()).unwrap();
        client.wait()
    });
    (peer, reported)
}

fn a_disconnect_that_is_shut_down_meanwhile_says_so(transport: Transport) {
    let (peer, disconnects) = deaf(transport);
    let (sender, receiver) = builder(peer.address()).connect().unwrap().split();
    sender.multicast(Service::Fifo, "g", b"x").unwrap();
    let disconnect = thread::spawn(move || receiver.disconnect());
    disconnects.recv_timeout(PATIENCE).unwrap();
    sender.shut_down();
    let ended = disconnect.join().unwrap();
    assert!(matches!(ended, Err(Error::ShutDown)), "{ended:?}");
}

fn a_session_that_is_shut_down_while_it_disconnects_says_so(transport: Transport) {
    let (peer, disconnects) = deaf(transport);
    let (sender, receiver) = builder(peer.address()).session(NEVER).unwrap().split();
    let disconnect = thread::spawn(move || receiver.disconnect());
    disconnects.recv_timeout(PATIENCE).unwrap();
    sender.shut_down();
    assert!(has_ended(disconnect.join().unwrap()));

    let (peer, disconnects) = deaf(transport);
    let (sender, receiver) = builder(peer.address()).session(NEVER).unwrap().split();
    drop(receiver);
    let other = sender.clone();
    let disconnect = thread::spawn(move || other.disconnect());
    disconnects.recv_timeout(PATIENCE).unwrap();
    sender.shut_down();
    assert!(has_ended(disconnect.join().unwrap()));

    for drops_receiver in [false, true] {
        let (peer, disconnects) = deaf(transport);
        let ended = block_on(async {
            let session = AsyncSession::connect(builder(peer.address()), NEVER).await.unwrap();
            let (sender, receiver) = session.split();
            let other = sender.clone();
            let disconnect = tokio::spawn(async move {
                match drops_receiver {
                    false => receiver.disconnect().await,
                    true => {
                        drop(receiver);
                        other.disconnect().await
                    }
                }
            });
            let told = tokio::task::spawn_blocking(move || disconnects.recv_timeout(PATIENCE));
            told.await.unwrap().unwrap();
            sender.shut_down();
            disconnect.await.unwrap()
        });
        assert!(has_ended(ended), "dropped: {drops_receiver}");
    }
}

fn a_second_disconnect_and_one_after_a_shut_down_say_so_in_every_form(transport: Transport) {
    let (place, _daemon) = Place::start(transport);
    let mailbox = || builder(&place.address).connect().unwrap();
    let session = || builder(&place.address).session(NEVER).unwrap();
    let shut_down = mailbox();
    shut_down.shut_down();
    assert!(has_ended(shut_down.disconnect()));
    let (sender, receiver) = mailbox().split();
    receiver.disconnect().unwrap();
    assert!(has_ended(sender.disconnect()));
    let shut_down = session();
    shut_down.shut_down();
    assert!(has_ended(shut_down.disconnect()));
    let (sender, receiver) = session().split();
    receiver.disconnect().unwrap();
    assert!(has_ended(sender.disconnect()));
    let given_up = session();
    given_up.reconnect();
    assert!(has_ended(given_up.disconnect()), "this program has ended the connection");
    block_on(async {
        let shut_down = AsyncMailbox::connect(builder(&place.address)).await.unwrap();
        shut_down.shut_down();
        assert!(has_ended(shut_down.disconnect().await));
        let session = async || AsyncSession::connect(builder(&place.address), NEVER).await.unwrap();
        let shut_down = session().await;
        shut_down.shut_down();
        assert!(has_ended(shut_down.disconnect().await));
        let (sender, receiver) = session().await.split();
        receiver.disconnect().await.unwrap();
        assert!(has_ended(sender.disconnect().await));
    });
}

fn a_session_without_a_connection_says_so(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let mut alice = place.session("alice", NEVER);
    let mut bob = block_on(place.session_async("bob", NEVER));
    daemon.stop();
    alice.lost();
    assert!(is_not_connected(alice.disconnect()));
    block_on(async {
        assert!(matches!(bob.receive().await, Ok(SessionEvent::Lost { .. })));
        assert!(is_not_connected(bob.disconnect().await));
    });
}

fn what_came_before_a_loss_is_received_before_it(transport: Transport) {
    const COUNT: u32 = 500;
    let peer = || {
        Peer::start(transport, |client| {
            for n in 0..COUNT {
                client.send(&peer::message(&n.to_le_bytes()))?;
            }
            client.end()
        })
    };
    let first = peer();
    let mut alice = builder(first.address()).session(NEVER).unwrap();
    for n in 0..COUNT {
        assert_eq!(alice.next_payload(), n.to_le_bytes());
    }
    alice.lost();
    let second = peer();
    block_on(async {
        let mut bob = AsyncSession::connect(builder(second.address()), NEVER).await.unwrap();
        for n in 0..COUNT {
            let event = bob.receive().await.unwrap();
            let SessionEvent::Message(spread::Message::Regular(message)) = event else {
                panic!("{event:?}")
            };
            assert_eq!(message.payload(), n.to_le_bytes());
        }
        assert!(matches!(bob.receive().await, Ok(SessionEvent::Lost { .. })));
    });
}
