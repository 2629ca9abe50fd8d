//! How long it takes to end a connection, or a connect, whatever the daemon does.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, block_on, builder, connect_async,
    is_installed_library, on_each_transport, over_each_transport, unique, wait_queued,
};
use spread::{AsyncMailbox, Error, Message, Service, UserPassword};
use spread_daemon::{Authentication, Daemon, Method, Passwords};

/// How long a disconnect waits for the daemon.
const LINGER: Duration = Duration::from_secs(1);

/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(3);

/// How long a connect waits in vain.
const SOON: Duration = Duration::from_millis(800);

on_each_transport!(
    what_was_sent_before_a_drop_arrives_though_much_is_unread,
    the_receiver_disconnects_for_all_halves,
    a_sender_disconnects_once_nobody_can_receive,
    async_halves_disconnect_as_the_others_do,
    what_goes_over_a_connection_is_counted,
);

over_each_transport!(
    a_disconnect_ends_though_the_daemon_goes_on_sending,
    dropping_many_mailboxes_does_not_wait_for_their_daemon,
    an_async_disconnect_waits_in_any_runtime,
    the_end_of_a_program_does_not_wait_for_a_connect,
    urgent_data_is_data,
    what_had_come_is_received_after_a_send_has_failed,
);

fn a_disconnect_ends_though_the_daemon_goes_on_sending(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        let message = peer::message(&[7; 1000]).repeat(100);
        // Until the client closes.
        while client.send(&message).is_ok() {}
        Ok(())
    });
    let alice = builder(peer.address()).connect().unwrap();
    let begin = Instant::now();
    let ended = alice.disconnect();
    let time = begin.elapsed();
    assert!(matches!(ended, Err(Error::DisconnectTimeout)), "{ended:?}");
    assert!(time >= LINGER && time < LINGER + SLACK, "{time:?}");
}

fn what_had_come_is_received_after_a_send_has_failed(transport: Transport) {
    const COUNT: u32 = 200;
    let (go, goes) = mpsc::channel::<()>();
    let peer = Peer::start(transport, move |client| {
        for n in 0..COUNT {
            client.send(&peer::message(&n.to_le_bytes()))?;
        }
        let _ = goes.recv();
        // Ends the connection without reading what comes.
        Err(io::ErrorKind::ConnectionAborted.into())
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    let len = COUNT as usize * peer::message(&COUNT.to_le_bytes()).len();
    wait_queued(&alice, len);
    drop(go);
    // Short ones, so that the socket is not full before the peer has ended the connection: then
    // it would not hear of it.
    let begin = Instant::now();
    while alice.multicast(Service::Agreed, "g", b"x").is_ok() {
        assert!(begin.elapsed() < PATIENCE, "sends to a peer that has gone do not fail");
        thread::sleep(Duration::from_millis(1));
    }
    assert!(alice.join("g").unwrap_err().is_closed());
    for n in 0..COUNT {
        let received = match alice.receive() {
            // A send that fails ends a mailbox of Spread's C library.
            Err(error) if n == 0 && is_installed_library() && error.is_closed() => return,
            received => received.unwrap_or_else(|error| panic!("after {n}: {error:?}")),
        };
        let Message::Regular(message) = received else { panic!() };
        assert_eq!(message.payload(), n.to_le_bytes());
    }
    let error = alice.receive().unwrap_err();
    assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}");
}

fn dropping_many_mailboxes_does_not_wait_for_their_daemon(transport: Transport) {
    // Peers that never end their side.
    let peers: Vec<Peer> =
        (0..20).map(|_| Peer::start(transport, |client| client.wait())).collect();
    let mailboxes: Vec<_> =
        peers.iter().map(|peer| builder(peer.address()).connect().unwrap()).collect();
    let begin = Instant::now();
    drop(mailboxes);
    let time = begin.elapsed();
    assert!(time < LINGER, "{time:?}");
}

fn what_was_sent_before_a_drop_arrives_though_much_is_unread(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let group = unique("g");
    bob.join(&group).unwrap();
    bob.view_of(&group, 1);
    for round in 0..10u32 {
        let alice = daemon.connect("ali");
        alice.join(&group).unwrap();
        bob.view_of(&group, 2);
        for _ in 0..50 {
            bob.multicast(Service::Agreed, &group, [7; 1000]).unwrap();
        }
        for _ in 0..50 {
            bob.next_regular();
        }
        alice.multicast(Service::Agreed, &group, round.to_ne_bytes()).unwrap();
        drop(alice);
        assert_eq!(bob.next_regular().payload(), round.to_ne_bytes());
        bob.view_of(&group, 1);
    }
}

fn an_async_disconnect_waits_in_any_runtime(transport: Transport) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    for _ in 0..20 {
        let (tell, told) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            client.wait()?;
            let _ = tell.send(client.receive_all()?.len());
            Ok(())
        });
        let address = peer.address().to_owned();
        let ended = runtime.block_on(async {
            let alice = AsyncMailbox::connect(builder(address)).await.unwrap();
            // One of them is cut half-way, and a task sees to its rest.
            let mut sent = 0;
            let full = Duration::from_millis(10);
            let payload = vec![7; 100_000];
            while let Ok(done) =
                tokio::time::timeout(full, alice.multicast(Service::Fifo, "g", &payload)).await
            {
                done.unwrap();
                sent += 1;
            }
            peer.go_on();
            (sent, alice.disconnect().await)
        });
        let (sent, result) = ended;
        if result.is_ok() {
            // The peer has seen the end before the disconnect returned.
            let received = told.recv_timeout(PATIENCE).expect("whole messages to the end");
            assert!((sent..=sent + 1).contains(&received), "{received} of {sent}");
        } else {
            assert!(matches!(result, Err(Error::DisconnectTimeout)), "{result:?}");
        }
    }
}

fn the_end_of_a_program_does_not_wait_for_a_connect(transport: Transport) {
    let peer = Peer::rude(transport, |client| client.wait());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let begin = Instant::now();
    runtime.block_on(async {
        let connect = AsyncMailbox::connect(builder(peer.address()).timeout(PATIENCE));
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, connect).await.is_err(), "the peer says nothing");
    });
    drop(runtime);
    let time = begin.elapsed();
    assert!(time < PATIENCE / 2, "{time:?}");
}

fn urgent_data_is_data(transport: Transport) {
    if matches!(transport, Transport::Unix) {
        // There is no urgent data.
        return;
    }
    let peer = Peer::start(transport, |client| {
        client.send_urgently(&peer::message(b"first"))?;
        client.send(&peer::message(b"second"))
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    assert_eq!(alice.next_regular().payload(), b"first");
    assert_eq!(alice.next_regular().payload(), b"second");
}

#[test]
fn an_authentication_that_hangs_does_not_hold_up_other_connects() {
    let mut passwords = Passwords::default();
    passwords.set("ann", "secret").unwrap();
    let authentication = Authentication::deny_all().allow(Method::Password(passwords));
    let closed = Daemon::builder().authentication(authentication).start().unwrap();
    let open = Daemon::builder().start().unwrap();
    let user = || UserPassword::new("ann", "secret");

    let (tell, told) = mpsc::channel();
    let silent = Peer::rude(Transport::Tcp, move |client| {
        let _ = tell.send(());
        client.wait()
    });
    // Others of this process may have to wait for it.
    let hanging = builder(silent.address()).timeout(4 * SOON).authenticate(user());
    let hanging = thread::spawn(move || hanging.connect().unwrap_err());
    told.recv_timeout(PATIENCE).expect("a connect that hangs");
    let begin = Instant::now();
    let connect = |timeout| {
        [
            builder(open.address()).timeout(timeout).connect().map(drop),
            builder(closed.address()).timeout(timeout).authenticate(user()).connect().map(drop),
        ]
    };
    if crate::support::library() == spread::Library::Native {
        // To check a password takes long on a busy machine.
        let results = connect(PATIENCE);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
    } else {
        let results = connect(SOON);
        assert!(begin.elapsed() < 3 * SOON, "the wait counts against the timeout");
        // libspread has one list of methods, so its users wait, but no longer than they said.
        let late = |result: &Result<(), Error>| matches!(result, Err(Error::ConnectTimeout { .. }));
        assert!(results.iter().all(late), "{results:?}");
    }
    let error = hanging.join().unwrap();
    assert!(matches!(error, Error::ConnectTimeout { .. }), "{error:?}");
}

fn the_receiver_disconnects_for_all_halves(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let (sender, receiver) = daemon.connect("ali").split();
    let clone = sender.clone();
    sender.multicast(Service::Fifo, bob.private_group(), b"last").unwrap();
    receiver.disconnect().unwrap();
    assert_eq!(bob.next_regular().payload(), b"last");
    for sender in [sender, clone] {
        let error = sender.multicast(Service::Fifo, "g", b"late").unwrap_err();
        assert!(matches!(error, Error::ShutDown), "{error:?}");
        assert!(matches!(sender.disconnect(), Err(Error::ShutDown)));
    }
}

fn a_sender_disconnects_once_nobody_can_receive(daemon: TestDaemon) {
    let mut bob = daemon.connect("bob");
    let (sender, mut receiver) = daemon.connect("ali").split();
    let error = sender.clone().disconnect().unwrap_err();
    assert!(matches!(error, Error::ReceiverExists) && !error.is_closed(), "{error:?}");
    sender.multicast(Service::Fifo, sender.private_group(), b"on").unwrap();
    assert!(receiver.receive_timeout(PATIENCE).unwrap().is_some());
    drop(receiver);
    sender.multicast(Service::Fifo, bob.private_group(), b"last").unwrap();
    let clone = sender.clone();
    sender.disconnect().unwrap();
    assert_eq!(bob.next_regular().payload(), b"last");
    assert!(matches!(clone.join("g"), Err(Error::ShutDown)));
}

fn async_halves_disconnect_as_the_others_do(daemon: TestDaemon) {
    block_on(async {
        let (sender, receiver) = connect_async(daemon.address()).await.split();
        let error = sender.clone().disconnect().await.unwrap_err();
        assert!(matches!(error, Error::ReceiverExists), "{error:?}");
        receiver.disconnect().await.unwrap();
        assert!(matches!(sender.disconnect().await, Err(Error::ShutDown)));

        let (sender, receiver) = connect_async(daemon.address()).await.split();
        drop(receiver);
        let clone = sender.clone();
        sender.disconnect().await.unwrap();
        assert!(matches!(clone.join("g").await, Err(Error::ShutDown)));

        let mut alice = connect_async(daemon.address()).await;
        alice.shut_down();
        assert!(matches!(alice.receive().await, Err(Error::ShutDown)));
        assert!(matches!(alice.disconnect().await, Err(Error::ShutDown)));
    });
    let mut alice = daemon.connect("ali");
    alice.shut_down();
    assert!(matches!(alice.receive(), Err(Error::ShutDown)));
    assert!(matches!(alice.disconnect(), Err(Error::ShutDown)));
}

fn what_goes_over_a_connection_is_counted(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    assert_eq!(alice.stats(), spread::Stats::default());
    let me = alice.private_group();
    alice.join(unique("g")).unwrap();
    alice.next_view();
    let view = alice.stats();
    assert_eq!((view.messages_sent, view.bytes_sent, view.messages_received), (1, 80, 1));
    let mut batch = spread::Batch::new();
    for _ in 0..3 {
        batch.push(Service::Fifo, me, [7; 10]).unwrap();
    }
    alice.multicast(Service::Fifo, me, [7; 10]).unwrap();
    alice.multicast_timeout(Service::Fifo, me, [7; 10], PATIENCE).unwrap();
    alice.multicast_batch(&mut batch).unwrap();
    for _ in 0..5 {
        alice.next_regular();
    }
    let stats = alice.stats();
    assert_eq!((stats.messages_sent, stats.bytes_sent), (6, 80 + 5 * 90));
    assert_eq!(stats.messages_received, 6);
    assert_eq!(stats.bytes_received, view.bytes_received + 5 * 90);
}
