//! Sends that do not wait for ever, and what they leave behind.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::Peer;
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    wait_full,
};
use spread::{Error, Mailbox, Sender, Service};

/// How long a send waits in vain.
const SOON: Duration = Duration::from_millis(50);

on_each_transport!(a_send_with_a_deadline_arrives);
over_each_transport!(
    a_send_that_has_not_begun_leaves_the_connection_as_it_was,
    a_send_that_has_begun_ends_the_connection,
    a_send_does_not_wait_for_another_thread_beyond_its_deadline,
);

fn a_send_with_a_deadline_arrives(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = crate::support::unique("g");
    alice.join_timeout(&group, PATIENCE).unwrap();
    alice.view_of(&group, 1);
    let large = vec![7; 100_000];
    alice.multicast_timeout(Service::Agreed, &group, &large, PATIENCE).unwrap();
    assert_eq!(alice.next_regular().payload(), large);
    // A deadline that has passed is no wait, and one that is out of reach is none.
    alice.multicast_deadline(Service::Agreed, &group, b"now", Instant::now()).unwrap();
    alice.multicast_timeout(Service::Agreed, &group, b"ever", Duration::MAX).unwrap();
    assert_eq!(alice.next_regular().payload(), b"now");
    assert_eq!(alice.next_regular().payload(), b"ever");
    alice.leave_timeout(&group, PATIENCE).unwrap();
    assert!(matches!(alice.next(), spread::Message::SelfLeave(_)));
    let error = alice.join_timeout("two words", PATIENCE).unwrap_err();
    assert!(matches!(error, Error::IllegalGroup { .. }), "{error:?}");
}

/// A peer that reads only after it has been told to, and reports each body.
fn silent(transport: Transport) -> (Peer, std::sync::mpsc::Receiver<Vec<u8>>) {
    let (report, reported) = std::sync::mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.wait()?;
        while let Ok(frame) = client.receive() {
            let _ = report.send(frame.body().to_vec());
        }
        Ok(())
    });
    (peer, reported)
}

/// Sends until a send fails; returns how many have gone, and the error.
fn fill(mailbox: &Mailbox, len: usize) -> (u32, Error) {
    let mut sent = 0u32;
    loop {
        let mut body = vec![7; len];
        body[..4].copy_from_slice(&sent.to_ne_bytes());
        match mailbox.multicast_timeout(Service::Fifo, "g", &body, SOON) {
            Ok(()) => sent += 1,
            Err(error) => return (sent, error),
        }
    }
}

fn a_send_that_has_not_begun_leaves_the_connection_as_it_was(transport: Transport) {
    // Where the last message that fits ends at the end of the room, nothing of the next one is
    // sent. So it is with messages of one segment of a unix socket; TCP may take a part.
    for _ in 0..20 {
        let (peer, reported) = silent(transport);
        let alice = builder(peer.address()).connect().unwrap();
        let begin = Instant::now();
        let (sent, error) = fill(&alice, 1000);
        assert!(begin.elapsed() >= SOON);
        if matches!(error, Error::PartlySent) {
            assert!(matches!(transport, Transport::Tcp));
            continue;
        }
        assert!(matches!(error, Error::TimedOut), "{error:?}");
        assert!(!error.is_closed() && error.is_retryable());
        let error = alice.leave_timeout("g", SOON).unwrap_err();
        assert!(matches!(error, Error::TimedOut | Error::PartlySent), "{error:?}");
        if matches!(error, Error::PartlySent) {
            continue;
        }
        peer.go_on();
        let last = [sent.to_ne_bytes(); 250].concat();
        alice.multicast_timeout(Service::Fifo, "g", &last, PATIENCE).unwrap();
        for number in 0..=sent {
            let body = reported.recv_timeout(PATIENCE).unwrap();
            assert_eq!((body.len(), &body[..4]), (1000, &number.to_ne_bytes()[..]));
        }
        return;
    }
    assert!(matches!(transport, Transport::Tcp), "none was timed out before it had begun");
}

fn a_send_that_has_begun_ends_the_connection(transport: Transport) {
    let (peer, reported) = silent(transport);
    let mut alice = builder(peer.address()).connect().unwrap();
    let (sent, error) = fill(&alice, 140_000);
    if matches!(error, Error::TimedOut) {
        // There was no room for the beginning; it is the rarer case.
        assert!(alice.receive_timeout(Duration::ZERO).unwrap().is_none());
        return;
    }
    assert!(matches!(error, Error::PartlySent), "{error:?}");
    assert!(error.is_closed());
    let is_explained = |error: Error| match error {
        Error::ConnectionClosed { source: Some(cause) } => cause.to_string().contains("middle"),
        other => panic!("{other:?}"),
    };
    assert!(is_explained(alice.join("g").unwrap_err()));
    assert!(alice.receive().unwrap_err().is_closed());
    assert!(is_explained(alice.disconnect().unwrap_err()), "also after the end was received");
    peer.go_on();
    for _ in 0..sent {
        assert_eq!(reported.recv_timeout(PATIENCE).unwrap().len(), 140_000);
    }
    assert!(reported.recv_timeout(PATIENCE).is_err(), "half a message is none");
}

fn a_send_does_not_wait_for_another_thread_beyond_its_deadline(transport: Transport) {
    let (peer, reported) = silent(transport);
    let alice = builder(peer.address()).connect().unwrap();
    let (sender, receiver) = alice.split();
    let waits = |sender: Sender| {
        thread::spawn(move || {
            (0..1000)
                .try_for_each(|_| sender.multicast(Service::Fifo, "g", vec![7; 100_000]))
                .unwrap_err()
        })
    };
    let waiting = waits(sender.clone());
    wait_full(&receiver);
    // It may come in between before that thread waits for good.
    let (time, error) = (0..)
        .find_map(|_| {
            let begin = Instant::now();
            let sent = sender.multicast_timeout(Service::Fifo, "g", b"x", SOON);
            sent.err().map(|error| (begin.elapsed(), error))
        })
        .expect("a thread that waits");
    if matches!(error, Error::PartlySent) {
        // There was room for the beginning, before that thread waited; it is the rarer case.
        assert!(waiting.join().unwrap().is_closed());
        return;
    }
    assert!(matches!(error, Error::TimedOut), "{error:?}");
    assert!((SOON..PATIENCE / 2).contains(&time), "{time:?}");
    let mut batch = spread::Batch::new();
    batch.push(Service::Fifo, "g", b"x").unwrap();
    assert_eq!(sender.try_multicast_batch(&mut batch).unwrap(), 0);
    // A disconnect does not wait for it either.
    let begin = Instant::now();
    let error = receiver.disconnect().unwrap_err();
    assert!(matches!(error, Error::DisconnectTimeout), "{error:?}");
    assert!(begin.elapsed() < PATIENCE / 2);
    assert!(matches!(waiting.join().unwrap(), Error::ShutDown));
    drop((peer, reported));
}
