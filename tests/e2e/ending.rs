//! How long it takes to end a connection, or a connect, whatever the daemon does.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique,
};
use spread::{AsyncMailbox, Error, Service, UserPassword};
use spread_daemon::{Authentication, Daemon, Method, Passwords};

/// How long a disconnect waits for the daemon.
const LINGER: Duration = Duration::from_secs(1);

/// What a busy machine may add to it.
const SLACK: Duration = Duration::from_secs(3);

/// How long a connect waits in vain.
const SOON: Duration = Duration::from_millis(800);

on_each_transport!(what_was_sent_before_a_drop_arrives_though_much_is_unread);

over_each_transport!(
    a_disconnect_ends_though_the_daemon_goes_on_sending,
    dropping_many_mailboxes_does_not_wait_for_their_daemon,
    an_async_disconnect_waits_in_any_runtime,
    the_end_of_a_program_does_not_wait_for_a_connect,
    urgent_data_is_data,
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
    assert!(matches!(ended, Err(Error::Io(_))), "{ended:?}");
    assert!(time >= LINGER && time < LINGER + SLACK, "{time:?}");
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
            assert!(matches!(result, Err(Error::Io(_))), "{result:?}");
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
    let authentication = Authentication::none().allow(Method::Password(passwords));
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
