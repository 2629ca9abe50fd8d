//! Batches: many messages with one call, none of them lost or doubled.

use crate::support::peer::Peer;
use crate::support::{
    Expect, TestDaemon, Transport, builder, on_each_transport, over_each_transport, poll, unique,
    wait_readable,
};
use spread::{Batch, Error, SendOptions, Service};

on_each_transport!(
    a_batch_arrives_in_its_order,
    each_message_of_a_batch_has_its_own_groups_and_options,
    a_batch_that_is_too_large_goes_bit_by_bit,
);
over_each_transport!(a_full_socket_takes_whole_messages, a_batch_ends_with_its_connection);

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
    let mut sent = 0;
    while !batch.is_empty() {
        sent += alice.multicast_batch(&mut batch).unwrap();
        assert_eq!(sent + batch.len(), 49);
    }
    alice.multicast(Service::Agreed, &group, payload(50)).unwrap();
    for number in 0..=50 {
        let message = bob.next_regular();
        assert_eq!(message.payload(), payload(number));
        assert_eq!(message.sender(), alice.me());
    }
    assert_eq!(alice.multicast_batch(&mut batch).unwrap(), 0);
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
    while !batch.is_empty() {
        alice.multicast_batch(&mut batch).unwrap();
    }
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
        if !batch.is_empty() {
            alice.multicast_batch(&mut batch).unwrap();
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
    let (report, reported) = std::sync::mpsc::channel();
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
    let mut taken = 0;
    std::thread::scope(|scope| {
        // The last call may wait for the rest of its last message.
        let sending = scope.spawn(|| {
            while taken < COUNT as usize {
                taken += mailbox.multicast_batch(&mut batch).unwrap();
                assert_eq!(taken + batch.len(), COUNT as usize);
            }
        });
        crate::support::wait_full(&mailbox);
        assert!(!sending.is_finished());
        peer.go_on();
    });
    for number in 0..COUNT {
        assert_eq!(reported.recv_timeout(crate::support::PATIENCE).unwrap(), payload(number));
    }
}

fn a_batch_ends_with_its_connection(transport: Transport) {
    let daemon = TestDaemon::embedded(transport);
    let mailbox = daemon.connect("ali");
    let mut batch = Batch::new();
    batch.push(Service::Fifo, "g", "x").unwrap();
    drop(daemon);
    wait_readable(&mailbox);
    assert!(poll(&mailbox, libc::POLLRDHUP, crate::support::PATIENCE));
    // The first call may go to a socket whose peer is gone.
    let error = std::iter::from_fn(|| {
        batch.push(Service::Fifo, "g", "x").unwrap();
        Some(mailbox.multicast_batch(&mut batch))
    })
    .take(1000)
    .find_map(Result::err);
    assert!(matches!(error, Some(Error::ConnectionClosed)), "{error:?}");
}
