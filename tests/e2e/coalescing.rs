//! Coalesced receives: which messages they make late, by how much, and what ends the wait.

use std::time::{Duration, Instant};

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique,
};
use spread::{Error, Mailbox, Message, Service};

on_each_transport!(a_stream_comes_whole_and_in_order);
over_each_transport!(
    a_message_that_comes_soon_after_another_is_late,
    a_message_that_is_there_is_not_late,
    a_large_message_does_not_make_the_next_one_late,
    the_time_has_an_upper_bound,
    an_interrupt_ends_the_wait,
    a_shut_down_ends_the_wait,
);

/// The longest time by which receives are coalesced.
const MOST: Duration = Duration::from_millis(10);

/// How often something is tried that a busy machine may delay now and then.
const ROUNDS: usize = 20;

fn connect(peer: &Peer, coalesce: Duration) -> Mailbox {
    builder(peer.address()).coalesce(coalesce).connect().unwrap()
}

/// A daemon that sends a message of `len` bytes, and a short one a moment after it is told
/// to; and so on.
fn pairs(transport: Transport, len: usize) -> Peer {
    Peer::start(transport, move |client| {
        for _ in 0..ROUNDS {
            client.send(&peer::message(&vec![7; len]))?;
            client.wait()?;
            std::thread::sleep(MOST / 10);
            client.send(&peer::message(b"second"))?;
        }
        Ok(())
    })
}

/// How often the second message of a pair was received too late to have been waited for.
fn late(peer: &Peer, mailbox: &mut Mailbox) -> usize {
    (0..ROUNDS)
        .filter(|_| {
            mailbox.next_regular();
            peer.go_on();
            let begin = Instant::now();
            assert_eq!(mailbox.receive().map(regular).unwrap(), b"second");
            begin.elapsed() >= MOST
        })
        .count()
}

fn regular(message: Message) -> Vec<u8> {
    match message {
        Message::Regular(message) => message.payload().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn a_stream_comes_whole_and_in_order(daemon: TestDaemon) {
    // A client that has more than 1000 to read is cut off.
    const COUNT: u32 = 900;
    let sender = daemon.connect("ali");
    let mut receiver =
        builder(daemon.address()).coalesce(Duration::from_micros(100)).connect().unwrap();
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

fn a_message_that_comes_soon_after_another_is_late(transport: Transport) {
    let peer = pairs(transport, 1);
    assert!(late(&peer, &mut connect(&peer, MOST)) > ROUNDS / 2);
    let peer = pairs(transport, 1);
    assert!(late(&peer, &mut connect(&peer, Duration::ZERO)) < ROUNDS / 2);
}

fn a_message_that_is_there_is_not_late(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(b"one").repeat(ROUNDS)));
    let mut alice = connect(&peer, MOST);
    alice.next_regular();
    let late = |_: &usize| {
        let begin = Instant::now();
        assert_eq!(alice.receive().map(regular).unwrap(), b"one");
        begin.elapsed() >= MOST
    };
    assert!((1..ROUNDS).filter(late).count() < ROUNDS / 2);
}

fn a_large_message_does_not_make_the_next_one_late(transport: Transport) {
    let peer = pairs(transport, 8 * 1024);
    assert!(late(&peer, &mut connect(&peer, MOST)) < ROUNDS / 2);
}

fn the_time_has_an_upper_bound(transport: Transport) {
    let peer = pairs(transport, 1);
    let mut alice = connect(&peer, 10 * PATIENCE);
    let begin = Instant::now();
    late(&peer, &mut alice);
    assert!(begin.elapsed() < PATIENCE);
}

fn an_interrupt_ends_the_wait(transport: Transport) {
    let peer = pairs(transport, 1);
    let mut alice = connect(&peer, MOST);
    let interrupter = alice.interrupter().unwrap();
    let at_once = (0..ROUNDS).any(|_| {
        alice.next_regular();
        interrupter.interrupt();
        let begin = Instant::now();
        assert!(matches!(alice.receive(), Err(Error::Interrupted)));
        let time = begin.elapsed();
        peer.go_on();
        alice.next_regular();
        time < MOST / 2
    });
    assert!(at_once);
}

fn a_shut_down_ends_the_wait(transport: Transport) {
    let at_once = (0..ROUNDS).any(|_| {
        let peer = pairs(transport, 1);
        let (sender, mut receiver) = connect(&peer, MOST).split();
        receiver.receive().unwrap();
        sender.shut_down();
        let begin = Instant::now();
        assert!(matches!(receiver.receive(), Err(Error::ShutDown)));
        begin.elapsed() < MOST / 2
    });
    assert!(at_once);
}
