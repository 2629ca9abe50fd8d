//! Batches: many messages with one call, none of them lost or doubled.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::peer::Peer;
use crate::support::place::NEVER;
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, block_on, builder, on_each_transport,
    over_each_transport, poll, unique, wait_full, wait_readable, wait_writable,
};
use spread::{AsyncMailbox, AsyncSession, Batch, Error, SendOptions, Service};
use tokio::time::timeout;

on_each_transport!(
    a_batch_arrives_in_its_order,
    each_message_of_a_batch_has_its_own_groups_and_options,
    a_batch_that_is_too_large_goes_bit_by_bit,
);
over_each_transport!(
    a_full_socket_takes_whole_messages,
    a_batch_ends_with_its_connection,
    a_flush_waits_until_the_rest_of_a_batch_has_gone,
    an_async_flush_waits_until_the_rest_of_a_batch_has_gone,
    a_flush_that_waits_ends_with_its_connection,
);

/// Messages of many sizes, whose first bytes count them.
fn payload(number: u32) -> Vec<u8> {
    let len = 4 + number as usize * 97 % 3000;
    let mut payload = vec![number as u8; len];
    payload[..4].copy_from_slice(&number.to_ne_bytes());
    payload
}

fn a_batch_arrives_in_its_order(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let mut bob = daemon.connect("bob");
    let group = unique("g");
    bob.join(&group).unwrap();
    bob.view_of(&group, 1);
    let mut batch = Batch::new();
    // A message before and one after keep their places.
    alice.multicast(Service::Agreed, &group, payload(0)).unwrap();
    for number in 1..50 {
        batch.push(Service::Agreed, &group, payload(number)).unwrap();
    }
    assert_eq!(batch.len(), 49);
    alice.multicast_batch(&mut batch).unwrap();
    assert!(batch.is_empty());
    alice.multicast(Service::Agreed, &group, payload(50)).unwrap();
    for number in 0..=50 {
        let message = bob.next_regular();
        assert_eq!(message.payload(), payload(number));
        assert_eq!(message.sender(), alice.me());
    }
    alice.multicast_batch(&mut batch).unwrap();
    assert_eq!(alice.try_multicast_batch(&mut batch).unwrap(), 0);
    assert_eq!(alice.try_receive().unwrap(), None);
}

fn each_message_of_a_batch_has_its_own_groups_and_options(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let [first, second] = ["f", "s"].map(unique);
    for group in [&first, &second] {
        alice.join(group).unwrap();
        alice.view_of(group, 1);
    }
    let mut batch = Batch::new();
    let discarded = SendOptions::new(Service::Fifo).self_discard(true);
    batch.push(discarded, &first, "not to me").unwrap();
    batch.push(SendOptions::new(Service::Safe).message_type(-7), [&first, &second], "a").unwrap();
    // What cannot be sent leaves the batch as it is.
    let error = batch.push(Service::Agreed, "two words", "b").unwrap_err();
    assert!(matches!(error, Error::IllegalGroup { .. }), "{error:?}");
    let error = batch.push(Service::Agreed, &first, vec![0; 143_120]).unwrap_err();
    assert!(matches!(error, Error::MessageTooLong { len: 143_152, .. }), "{error:?}");
    assert_eq!(batch.len(), 2);
    // Only safe and agreed messages keep their order behind a safe one.
    batch.push(Service::Agreed, alice.private_group(), "").unwrap();
    alice.multicast_batch(&mut batch).unwrap();
    let message = alice.next_regular();
    assert_eq!((message.service(), message.message_type()), (Service::Safe, -7));
    assert_eq!(message.groups(), [first.as_str(), second.as_str()]);
    assert_eq!(message.payload(), b"a");
    let message = alice.next_regular();
    assert_eq!((message.service(), message.payload()), (Service::Agreed, &b""[..]));
}

fn a_batch_that_is_too_large_goes_bit_by_bit(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let mut batch = Batch::new();
    let body = |number: u32| [&number.to_ne_bytes()[..], &[7; 30_000]].concat();
    for number in 0..60 {
        batch.push(Service::Fifo, alice.private_group(), body(number)).unwrap();
    }
    let mut received = 0;
    while received < 60 {
        alice.try_multicast_batch(&mut batch).unwrap();
        while !alice.try_flush().unwrap() {
            wait_writable(&alice);
        }
        // All that has gone comes back before the next is sent: real Spread
        // takes no more from a client that has much to read.
        while received < 60 - batch.len() as u32 {
            assert_eq!(alice.next_regular().payload(), body(received));
            received += 1;
        }
    }
}

/// Fills the socket of a peer that does not read; the messages that were taken
/// arrive whole, and nothing else does.
fn a_full_socket_takes_whole_messages(transport: Transport) {
    let (report, reported) = mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.wait()?;
        while let Ok(frame) = client.receive() {
            assert_eq!(frame.header().name, "#me#peer");
            let _ = report.send(frame.body().to_vec());
        }
        Ok(())
    });
    let mailbox = builder(peer.address()).connect().unwrap();
    let mut batch = Batch::new();
    const COUNT: u32 = 20_000;
    for number in 0..COUNT {
        batch.push(Service::Fifo, "g", payload(number)).unwrap();
    }
    // Without waiting, as many as there is room for.
    let mut taken = 0;
    loop {
        let count = mailbox.try_multicast_batch(&mut batch).unwrap();
        taken += count;
        assert_eq!(taken + batch.len(), COUNT as usize);
        if count == 0 {
            break;
        }
    }
    assert!(taken > 0 && !batch.is_empty());
    thread::scope(|scope| {
        // The others are waited for.
        let sending = scope.spawn(|| mailbox.multicast_batch(&mut batch).unwrap());
        wait_full(&mailbox);
        assert!(!sending.is_finished());
        peer.go_on();
    });
    assert!(batch.is_empty());
    for number in 0..COUNT {
        assert_eq!(reported.recv_timeout(PATIENCE).unwrap(), payload(number));
    }
}

/// A peer that reports the messages of a client, which it does not read before it is told to.
fn reporting_peer(transport: Transport) -> (Peer, mpsc::Receiver<usize>) {
    let (report, reported) = mpsc::channel();
    let peer = Peer::start(transport, move |client| {
        client.wait()?;
        while let Ok(frame) = client.receive() {
            let _ = report.send(frame.body().len());
        }
        Ok(())
    });
    (peer, reported)
}

const LARGE: usize = 100_003;

/// Sends messages of [`LARGE`] bytes until the socket takes no more, in the middle of one of them;
/// returns their number.
fn leave_a_rest(mut send: impl FnMut(&mut Batch) -> usize, rest: impl Fn() -> u64) -> usize {
    let mut batch = Batch::new();
    let mut count = 0;
    loop {
        // Several at once, so that the pieces that the kernel takes are no messages.
        while batch.len() < 8 {
            batch.push(Service::Fifo, "g", [7; LARGE]).unwrap();
        }
        match send(&mut batch) {
            0 => break,
            sent => count += sent,
        }
    }
    assert!(rest() > 0, "a socket that is full between two messages");
    count
}

fn all_arrive(reported: &mpsc::Receiver<usize>, count: usize) {
    for _ in 0..count {
        assert_eq!(reported.recv_timeout(PATIENCE).unwrap(), LARGE);
    }
}

fn a_flush_waits_until_the_rest_of_a_batch_has_gone(transport: Transport) {
    let (peer, reported) = reporting_peer(transport);
    let mailbox = builder(peer.address()).connect().unwrap();
    mailbox.flush().unwrap();
    let rest = || mailbox.stats().bytes_queued;
    let count = leave_a_rest(|batch| mailbox.try_multicast_batch(batch).unwrap(), rest);
    thread::scope(|scope| {
        let flushing = scope.spawn(|| mailbox.flush());
        wait_full(&mailbox);
        assert!(!flushing.is_finished() && rest() > 0);
        peer.go_on();
        flushing.join().unwrap().unwrap();
    });
    assert_eq!(rest(), 0);
    all_arrive(&reported, count);

    let (peer, reported) = reporting_peer(transport);
    let session = builder(peer.address()).session(NEVER).unwrap();
    session.flush().unwrap();
    let rest = || session.stats().traffic.bytes_queued;
    let count = leave_a_rest(|batch| session.try_multicast_batch(batch).unwrap(), rest);
    thread::scope(|scope| {
        let flushing = scope.spawn(|| session.flush());
        peer.go_on();
        flushing.join().unwrap().unwrap();
    });
    assert_eq!(rest(), 0);
    all_arrive(&reported, count);
}

fn an_async_flush_waits_until_the_rest_of_a_batch_has_gone(transport: Transport) {
    let short = Duration::from_millis(10);
    block_on(async {
        let (peer, reported) = reporting_peer(transport);
        let mailbox = AsyncMailbox::connect(builder(peer.address())).await.unwrap();
        let rest = || mailbox.stats().bytes_queued;
        let count = leave_a_rest(|batch| mailbox.try_multicast_batch(batch).unwrap(), rest);
        assert!(timeout(short, mailbox.flush()).await.is_err());
        peer.go_on();
        mailbox.flush().await.unwrap();
        assert_eq!(rest(), 0);
        all_arrive(&reported, count);

        let (peer, reported) = reporting_peer(transport);
        let session = AsyncSession::connect(builder(peer.address()), NEVER).await.unwrap();
        let rest = || session.stats().traffic.bytes_queued;
        let count = leave_a_rest(|batch| session.try_multicast_batch(batch).unwrap(), rest);
        assert!(timeout(short, session.flush()).await.is_err());
        peer.go_on();
        session.flush().await.unwrap();
        assert_eq!(rest(), 0);
        all_arrive(&reported, count);
    });
}

fn a_flush_that_waits_ends_with_its_connection(transport: Transport) {
    for by_peer in [true, false] {
        let (peer, _reported) = reporting_peer(transport);
        let mailbox = builder(peer.address()).connect().unwrap();
        let rest = || mailbox.stats().bytes_queued;
        leave_a_rest(|batch| mailbox.try_multicast_batch(batch).unwrap(), rest);
        let error = thread::scope(|scope| {
            let flushing = scope.spawn(|| mailbox.flush());
            if by_peer {
                drop(peer);
            } else {
                mailbox.shut_down();
            }
            flushing.join().unwrap().unwrap_err()
        });
        match by_peer {
            true => assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}"),
            false => assert!(matches!(error, Error::ShutDown), "{error:?}"),
        }
    }
}

fn a_batch_ends_with_its_connection(transport: Transport) {
    let daemon = TestDaemon::embedded(transport);
    let mailbox = daemon.connect("ali");
    let mut batch = Batch::new();
    batch.push(Service::Fifo, "g", "x").unwrap();
    drop(daemon);
    wait_readable(&mailbox);
    assert!(poll(&mailbox, libc::POLLRDHUP, PATIENCE));
    // The first call may go to a socket whose peer is gone.
    let error = std::iter::from_fn(|| {
        batch.push(Service::Fifo, "g", "x").unwrap();
        Some(mailbox.multicast_batch(&mut batch))
    })
    .take(1000)
    .find_map(Result::err);
    assert!(matches!(error, Some(Error::ConnectionClosed { .. })), "{error:?}");
}
