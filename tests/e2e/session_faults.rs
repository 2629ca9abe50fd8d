//! Sessions whose program does what it should not, or stops to look.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::support::place::{News, Place, SOON, has_ended, is_not_connected};
use crate::support::{PATIENCE, Transport, block_on, over_each_transport};
use futures_util::FutureExt;
use spread::{Error, Service, SessionOptions};

over_each_transport!(
    senders_learn_of_a_loss_though_nobody_receives,
    async_senders_learn_of_a_loss_though_nobody_receives,
    a_policy_that_panics_ends_the_session,
    a_policy_that_panics_ends_an_async_session,
);

/// The error of the first call that fails.
fn first_error(mut call: impl FnMut() -> Result<(), Error>) -> Error {
    let begin = Instant::now();
    loop {
        match call() {
            Err(error) => return error,
            Ok(()) => assert!(begin.elapsed() < PATIENCE, "no error"),
        }
    }
}

fn senders_learn_of_a_loss_though_nobody_receives(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let (alice, receiver) = place.session("alice", SOON).split();
    let (bob, other) = place.session("bob", SOON).split();
    drop((receiver, other));
    alice.join("g").unwrap();
    daemon.stop();
    let error = first_error(|| alice.multicast(Service::Fifo, "g", b"to nobody"));
    assert!(is_not_connected(Err::<(), _>(error)));
    let error = first_error(|| bob.join("g"));
    assert!(is_not_connected(Err::<(), _>(error)));
    let _daemon = place.start_again();
    for sender in [alice, bob] {
        assert!(!sender.is_connected() && sender.private_group().is_none());
        assert!(has_ended(sender.multicast(Service::Fifo, "g", b"")));
        assert!(has_ended(sender.leave("g")));
    }
}

fn async_senders_learn_of_a_loss_though_nobody_receives(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let (alice, receiver) = place.session_async("alice", SOON).await.split();
        let (bob, other) = place.session_async("bob", SOON).await.split();
        drop((receiver, other));
        daemon.stop();
        let begin = Instant::now();
        let error = loop {
            match alice.multicast(Service::Fifo, "g", b"to nobody").await {
                Err(error) => break error,
                Ok(()) => assert!(begin.elapsed() < PATIENCE, "no error"),
            }
        };
        assert!(is_not_connected(Err::<(), _>(error)));
        while bob.join("g").await.is_ok() {
            assert!(begin.elapsed() < PATIENCE, "no error");
        }
        for sender in [alice, bob] {
            assert!(!sender.is_connected() && sender.private_group().is_none());
            assert!(has_ended(sender.multicast(Service::Fifo, "g", b"").await));
            assert!(has_ended(sender.flush().await));
        }
    });
}

fn panics() -> SessionOptions {
    SessionOptions::from(SOON).retry_if(|_, _| panic!("the policy of a test"))
}

fn a_policy_that_panics_ends_the_session(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    let (sender, mut alice) = place.session("alice", panics()).split();
    daemon.stop();
    alice.lost();
    assert!(catch_unwind(AssertUnwindSafe(|| alice.receive())).is_err());
    assert!(has_ended(alice.receive_timeout(PATIENCE)));
    assert!(has_ended(alice.try_receive()));
    assert!(has_ended(sender.join("g")));
    assert!(alice.events().all(has_ended));
}

fn a_policy_that_panics_ends_an_async_session(transport: Transport) {
    let (place, daemon) = Place::start(transport);
    block_on(async {
        let (sender, mut alice) = place.session_async("alice", panics()).await.split();
        daemon.stop();
        alice.receive().await.unwrap();
        assert!(AssertUnwindSafe(alice.receive()).catch_unwind().await.is_err());
        assert!(has_ended(alice.receive().await));
        assert!(has_ended(sender.join("g").await));
    });
}
