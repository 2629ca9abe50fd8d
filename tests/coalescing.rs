//! Receives that sleep while messages keep coming, and only then, if they are told to.

mod support;

use std::time::{Duration, Instant};

use spread::{Error, Mailbox, Service};
use support::peer::{self, Peer};
use support::{
    Expect, PATIENCE, TestDaemon, Transport, on_each_transport, over_each_transport, unique,
};

on_each_transport!(a_stream_comes_whole_and_in_order);
over_each_transport!(
    a_receive_sleeps_after_a_message,
    a_message_that_comes_alone_is_waited_for,
    messages_that_are_there_are_received_at_once,
    a_large_message_is_not_slept_after,
    the_sleep_ends_at_the_deadline,
);

fn connect(peer: &Peer, coalesce: Duration) -> Mailbox {
    Mailbox::builder(peer.address()).coalesce(coalesce).connect().unwrap()
}

/// How long a receive lasts that an interrupt ends as soon as it does not sleep.
fn until_interrupted(mailbox: &mut Mailbox) -> Duration {
    mailbox.interrupter().unwrap().interrupt();
    let begin = Instant::now();
    assert!(matches!(mailbox.receive(), Err(Error::Interrupted)));
    begin.elapsed()
}

fn a_stream_comes_whole_and_in_order(daemon: TestDaemon) {
    // A client that has more than 1000 to read is cut off.
    const COUNT: u32 = 900;
    let sender = daemon.connect("ali");
    let mut receiver =
        Mailbox::builder(daemon.address()).coalesce(Duration::from_micros(100)).connect().unwrap();
    let group = unique("g");
    receiver.join(&group).unwrap();
    receiver.view_of(&group, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                sender.multicast(Service::Fifo, &group, number.to_ne_bytes()).unwrap();
            }
        });
        for number in 0..COUNT {
            assert_eq!(receiver.next_regular().payload(), number.to_ne_bytes());
        }
    });
}

fn a_receive_sleeps_after_a_message(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(b"first")));
    let coalesce = Duration::from_millis(100);
    let mut alice = connect(&peer, coalesce);
    let before = Instant::now();
    assert_eq!(alice.next_regular().payload(), b"first");
    until_interrupted(&mut alice);
    // It need not sleep if the machine has taken so long from one to the other.
    assert!(before.elapsed() >= coalesce);
}

fn a_message_that_comes_alone_is_waited_for(transport: Transport) {
    let peer = Peer::start(transport, |client| {
        client.wait()?;
        client.send(&peer::message(b"first"))
    });
    let coalesce = Duration::from_millis(300);
    let mut alice = connect(&peer, coalesce);
    // A busy machine may delay a receive, but not each of them.
    let waits = |alice: &mut Mailbox| (0..5).any(|_| until_interrupted(alice) < coalesce);
    assert!(waits(&mut alice), "before the first message");
    peer.go_on();
    assert_eq!(alice.next_regular().payload(), b"first");
    assert_eq!(alice.receive_timeout(coalesce).unwrap(), None);
    assert!(waits(&mut alice), "long after the last one");
}

fn messages_that_are_there_are_received_at_once(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(b"one").repeat(3)));
    let mut alice = connect(&peer, PATIENCE);
    let begin = Instant::now();
    for _ in 0..3 {
        assert_eq!(alice.next_regular().payload(), b"one");
    }
    assert!(begin.elapsed() < PATIENCE);
}

fn a_large_message_is_not_slept_after(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(&[7; 8 * 1024])));
    let mut alice = connect(&peer, PATIENCE);
    assert_eq!(alice.next_regular().payload(), [7; 8 * 1024]);
    assert!(until_interrupted(&mut alice) < PATIENCE);
}

fn the_sleep_ends_at_the_deadline(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(b"first")));
    let mut alice = connect(&peer, PATIENCE);
    assert_eq!(alice.next_regular().payload(), b"first");
    let begin = Instant::now();
    assert_eq!(alice.receive_timeout(Duration::from_millis(30)).unwrap(), None);
    assert!(begin.elapsed() < PATIENCE);
}
