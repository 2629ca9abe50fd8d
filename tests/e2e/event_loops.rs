//! Mailboxes in event loops: the descriptor is readable whenever there is a
//! message, with poll(2) and with edge-triggered epoll(7).

use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport,
    unique, wait_readable,
};
use mio::{Events, Interest, Poll, Token};
use spread::{AsyncMailbox, Mailbox, Message, Service};

on_each_transport!(
    one_message_a_wake_up_leaves_none_behind,
    an_edge_tells_of_messages_until_there_are_none,
    two_mailboxes_share_a_loop,
    a_mailbox_leaves_a_loop,
    a_loop_hears_of_the_end,
);

over_each_transport!(
    a_large_message_in_small_pieces_ends_a_wait,
    large_messages_in_small_pieces_come_through_edges,
    each_piece_of_a_message_is_an_edge_and_the_last_one_brings_it,
    large_messages_in_small_pieces_come_through_a_runtime,
    several_messages_in_one_piece_come_one_by_one,
);

/// Sizes below and above those from which on a library reads differently.
const SIZES: [usize; 4] = [1, 100, 8_000, 50_000];

fn one_message_a_wake_up_leaves_none_behind(daemon: TestDaemon) {
    const COUNT: usize = 500;
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let to = bob.private_group();
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..COUNT {
                alice.multicast(Service::Fifo, to, payload(n, SIZES[n % 4])).unwrap();
            }
        });
        for n in 0..COUNT {
            wait_readable(&bob);
            // Readable is also what has come in part.
            let message = loop {
                match bob.try_receive().unwrap() {
                    Some(message) => break message,
                    None => wait_readable(&bob),
                }
            };
            assert_eq!(regular(message), payload(n, SIZES[n % 4]));
        }
    });
    assert_eq!(bob.try_receive().unwrap(), None);
}

fn an_edge_tells_of_messages_until_there_are_none(daemon: TestDaemon) {
    const COUNT: usize = 500;
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let mut edges = Edges::new();
    edges.watch(&mut bob, Token(0));
    let to = bob.private_group();
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..COUNT {
                alice.multicast(Service::Fifo, to, payload(n, SIZES[n % 4])).unwrap();
            }
        });
        let mut received = 0;
        while received < COUNT {
            edges.wait();
            while let Some(message) = bob.try_receive().unwrap() {
                assert_eq!(regular(message), payload(received, SIZES[received % 4]));
                received += 1;
            }
        }
    });
}

fn two_mailboxes_share_a_loop(daemon: TestDaemon) {
    const ROUNDS: usize = 200;
    let mut pair = [daemon.connect("ali"), daemon.connect("bob")];
    let mut edges = Edges::new();
    for (mailbox, token) in pair.iter_mut().zip([Token(0), Token(1)]) {
        edges.watch(mailbox, token);
    }
    // A ball goes to and fro, and only the one who has it is told.
    pair[1].multicast(Service::Agreed, pair[0].private_group(), payload(0, 100)).unwrap();
    let mut round = 0;
    while round < ROUNDS {
        for Token(index) in edges.wait() {
            while let Some(message) = pair[index].try_receive().unwrap() {
                assert_eq!(index, round % 2);
                assert_eq!(regular(message), payload(round, 100));
                round += 1;
                let (me, other) = (&pair[index], pair[1 - index].private_group());
                me.multicast(Service::Agreed, other, payload(round, 100)).unwrap();
            }
        }
    }
}

fn a_mailbox_leaves_a_loop(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let mut edges = Edges::new();
    edges.watch(&mut alice, Token(0));
    alice.multicast(Service::Fifo, alice.private_group(), b"x").unwrap();
    edges.wait();
    alice.next_regular();

    let registry = edges.poll.registry();
    registry.reregister(&mut alice, Token(7), Interest::READABLE).unwrap();
    alice.multicast(Service::Fifo, alice.private_group(), b"x").unwrap();
    assert_eq!(edges.wait(), [Token(7)]);
    alice.next_regular();

    edges.poll.registry().deregister(&mut alice).unwrap();
    alice.multicast(Service::Fifo, alice.private_group(), b"x").unwrap();
    wait_readable(&alice);
    edges.poll.poll(&mut edges.events, Some(Duration::ZERO)).unwrap();
    assert!(edges.events.is_empty());
    assert_eq!(alice.next_regular().payload(), b"x");
}

fn a_loop_hears_of_the_end(daemon: TestDaemon) {
    let (sender, mut receiver) = daemon.connect("ali").split();
    let mut edges = Edges::new();
    edges.poll.registry().register(&mut receiver, Token(0), Interest::READABLE).unwrap();
    let group = unique("g");
    sender.join(&group).unwrap();
    edges.wait();
    assert!(receiver.receive_timeout(PATIENCE).unwrap().is_some());
    sender.shut_down();
    edges.wait();
    assert!(receiver.try_receive().unwrap_err().is_closed());
}

/// A peer that sends a message of each size, all in pieces that have nothing to do
/// with the messages.
fn in_small_pieces(transport: Transport, sizes: &'static [usize]) -> Peer {
    const PIECE: usize = 701;
    Peer::start(transport, |client| {
        let messages = sizes.iter().enumerate();
        let bytes: Vec<u8> =
            messages.flat_map(|(n, &len)| peer::message(&payload(n, len))).collect();
        bytes.chunks(PIECE).try_for_each(|piece| client.send(piece))
    })
}

/// Large ones for the most part: a socket cannot hold all of such a one when it
/// comes in small pieces.
const LARGE: [usize; 7] = [140_000, 140_000, 3, 100_000, 140_000, 9_000, 140_000];

fn a_large_message_in_small_pieces_ends_a_wait(transport: Transport) {
    let peer = in_small_pieces(transport, &LARGE);
    let mut alice = builder(peer.address()).connect().unwrap();
    for (n, len) in LARGE.into_iter().enumerate() {
        let message = alice.receive_timeout(PATIENCE).unwrap().expect("a message in time");
        assert_eq!(regular(message), payload(n, len));
    }
}

fn large_messages_in_small_pieces_come_through_edges(transport: Transport) {
    let peer = in_small_pieces(transport, &LARGE);
    let mut alice = builder(peer.address()).connect().unwrap();
    let mut edges = Edges::new();
    edges.watch(&mut alice, Token(0));
    let mut received = 0;
    while received < LARGE.len() {
        edges.wait();
        while let Some(message) = alice.try_receive().unwrap() {
            assert_eq!(regular(message), payload(received, LARGE[received]));
            received += 1;
        }
    }
}

fn each_piece_of_a_message_is_an_edge_and_the_last_one_brings_it(transport: Transport) {
    const PIECE: usize = 1009;
    let message = peer::message(&payload(0, 140_000));
    let pieces = message.len().div_ceil(PIECE);
    let peer = Peer::start(transport, move |client| {
        for piece in message.chunks(PIECE) {
            client.send(piece)?;
            client.wait()?;
        }
        Ok(())
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    let mut edges = Edges::new();
    edges.watch(&mut alice, Token(0));
    for _ in 1..pieces {
        edges.wait();
        let begin = Instant::now();
        assert_eq!(alice.try_receive().unwrap(), None);
        // The peer goes on by itself, but not so soon.
        assert!(begin.elapsed() < PATIENCE / 2, "it has waited for the rest");
        peer.go_on();
    }
    edges.wait();
    let message = alice.try_receive().unwrap().expect("all of the message");
    assert_eq!(regular(message), payload(0, 140_000));
    peer.go_on();
}

fn large_messages_in_small_pieces_come_through_a_runtime(transport: Transport) {
    let peer = in_small_pieces(transport, &LARGE);
    crate::support::block_on(async {
        let mut alice = AsyncMailbox::connect(builder(peer.address())).await.unwrap();
        for (n, len) in LARGE.into_iter().enumerate() {
            assert_eq!(regular(alice.receive().await.unwrap()), payload(n, len));
        }
    });
}

fn several_messages_in_one_piece_come_one_by_one(transport: Transport) {
    const COUNT: usize = 300;
    let peer = Peer::start(transport, |client| {
        let bytes: Vec<u8> = (0..COUNT).flat_map(|n| peer::message(&payload(n, 50))).collect();
        client.send(&bytes)
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    for n in 0..COUNT {
        wait_readable(&alice);
        assert_eq!(alice.next_regular().payload(), payload(n, 50));
    }
    assert_eq!(alice.try_receive().unwrap(), None);
}

/// mio's loop, whose epoll is edge-triggered.
struct Edges {
    poll: Poll,
    events: Events,
}

impl Edges {
    fn new() -> Edges {
        Edges { poll: Poll::new().unwrap(), events: Events::with_capacity(8) }
    }

    fn watch(&mut self, mailbox: &mut Mailbox, token: Token) {
        self.poll.registry().register(mailbox, token, Interest::READABLE).unwrap();
    }

    /// Whose edges there are, at least one.
    fn wait(&mut self) -> Vec<Token> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no event within {PATIENCE:?}");
            match self.poll.poll(&mut self.events, Some(left)) {
                Ok(()) if self.events.is_empty() => {}
                Ok(()) => return self.events.iter().map(|event| event.token()).collect(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What the message with this number says.
fn payload(n: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (n + i * 7) as u8).collect()
}

fn regular(message: Message) -> Vec<u8> {
    match message {
        Message::Regular(message) => message.payload().to_vec(),
        other => panic!("not a regular message: {other:?}"),
    }
}
