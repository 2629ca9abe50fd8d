//! Every way to receive, and every way to end one.

use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::peer::{self, Peer};
use crate::support::{
    Expect, PATIENCE, TestDaemon, Transport, builder, on_each_transport, over_each_transport, poll,
    set_receive_buffer, unique, wait_full, wait_readable,
};
use spread::{Error, Mailbox, Message, MessageBuffer, MessageRef, Service};
use spread_wire::{
    ByteOrder, Cause, Delivery, GroupId, Groups, MembershipBody, Name, Regular, Reject, ServiceType,
};

on_each_transport!(
    a_receive_gives_up_at_its_deadline,
    a_deadline_that_has_passed_receives_what_is_there,
    messages_come_out_of_an_iterator,
    an_iterator_ends_after_the_error,
    a_buffer_is_used_for_all_sizes_and_kinds,
    an_interrupt_ends_a_receive,
    an_interrupt_before_a_receive_ends_the_first_one,
    many_interrupts_end_one_receive,
    interrupts_lose_no_message,
    shutting_down_ends_a_receive,
);

over_each_transport!(
    buffers_grow_for_groups_and_a_body_at_once,
    an_interrupt_leaves_a_message_that_is_there_alone,
    a_part_of_a_message_is_not_received,
    the_rest_of_a_message_is_never_waited_for,
    a_message_that_has_begun_is_received_in_any_way,
    messages_of_all_kinds_come_in_parts,
    a_message_comes_through_a_small_window,
    what_is_wrong_shows_though_it_comes_in_parts,
    a_daemon_that_stops_in_the_middle_of_a_message_is_gone,
    a_part_of_a_message_is_not_waited_for_beyond_the_deadline,
    an_interrupt_ends_a_receive_in_the_middle_of_a_message,
    shutting_down_ends_a_receive_in_the_middle_of_a_message,
    shutting_down_ends_a_send,
);

fn a_receive_gives_up_at_its_deadline(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let deadline = Instant::now() + Duration::from_millis(30);
    assert_eq!(alice.receive_deadline(deadline).unwrap(), None);
    assert!(Instant::now() >= deadline);

    alice.multicast(Service::Fifo, alice.private_group(), b"in time").unwrap();
    let message = alice.receive_deadline(Instant::now() + PATIENCE).unwrap();
    let Some(Message::Regular(message)) = message else { panic!("{message:?}") };
    assert_eq!(message.payload(), b"in time");
}

fn a_deadline_that_has_passed_receives_what_is_there(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let past = Instant::now();
    assert_eq!(alice.receive_deadline(past).unwrap(), None);
    assert_eq!(alice.receive_timeout(Duration::ZERO).unwrap(), None);
    for _ in 0..2 {
        alice.multicast(Service::Fifo, alice.private_group(), b"x").unwrap();
        // Readable is also what has come in part.
        wait_readable(&alice);
        while alice.receive_deadline(past).unwrap().is_none() {
            wait_readable(&alice);
        }
    }
}

fn messages_come_out_of_an_iterator(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    for n in 0..100u8 {
        alice.multicast(Service::Fifo, alice.private_group(), [n]).unwrap();
    }
    let received = alice.messages().take(100).map(|message| match message {
        Ok(Message::Regular(message)) => message.payload()[0],
        other => panic!("{other:?}"),
    });
    assert!(received.eq(0..100));
}

fn an_iterator_ends_after_the_error(daemon: TestDaemon) {
    let (sender, mut receiver) = daemon.connect("ali").split();
    sender.shut_down();
    let mut messages = receiver.messages();
    assert!(matches!(messages.next(), Some(Err(Error::ShutDown))));
    assert!(messages.next().is_none());
    drop(messages);
    assert!(receiver.messages().next().is_none());
}

fn a_buffer_is_used_for_all_sizes_and_kinds(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let (group, me) = (unique("g"), alice.me());
    let mut buffer = MessageBuffer::new();
    alice.join(&group).unwrap();
    match alice.receive_into(&mut buffer).unwrap() {
        MessageRef::Other(Message::Membership(view)) => assert_eq!(view.members, [me]),
        other => panic!("{other:?}"),
    }
    for len in [0, 1, 8 * 1024, 8 * 1024 + 1, 140_000, 3] {
        let body: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
        alice.multicast(Service::Agreed, &group, &body).unwrap();
        let MessageRef::Regular(message) = alice.receive_into(&mut buffer).unwrap() else {
            panic!("not a regular message");
        };
        assert_eq!(message.payload(), body, "{len} bytes");
        assert_eq!(message.sender(), me);
        assert_eq!(message.service(), Service::Agreed);
        assert!(message.groups().eq([group.as_str()]));
    }
    assert!(alice.try_receive_into(&mut buffer).unwrap().is_none());
    alice.multicast(Service::Fifo, &group, b"x").unwrap();
    let payload = loop {
        wait_readable(&alice);
        match alice.try_receive_into(&mut buffer).unwrap() {
            Some(MessageRef::Regular(message)) => break message.payload().to_vec(),
            Some(other) => panic!("{other:?}"),
            // Readable is also what has come in part.
            None => {}
        }
    };
    assert_eq!(payload, b"x");
}

fn an_interrupt_ends_a_receive(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let interrupter = alice.interrupter().unwrap();
    type Receive = fn(&mut Mailbox) -> Option<Error>;
    let receives: [Receive; 3] = [
        |mailbox| mailbox.receive().err(),
        |mailbox| mailbox.receive_timeout(PATIENCE).err(),
        |mailbox| mailbox.receive_into(&mut MessageBuffer::new()).err(),
    ];
    for receive in receives {
        for _ in 0..20 {
            thread::scope(|scope| {
                let waiting = scope.spawn(|| receive(&mut alice));
                interrupter.interrupt();
                let error = waiting.join().unwrap();
                assert!(matches!(error, Some(Error::Interrupted)), "{error:?}");
            });
        }
    }
    assert!(!Error::Interrupted.is_closed());
    alice.multicast(Service::Fifo, alice.private_group(), b"on").unwrap();
    assert_eq!(alice.next_regular().payload(), b"on");
}

fn an_interrupt_before_a_receive_ends_the_first_one(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    alice.interrupter().unwrap().interrupt();
    assert_eq!(alice.try_receive().unwrap(), None, "it does not wait, so nothing ends it");
    assert!(matches!(alice.receive(), Err(Error::Interrupted)));
    assert_eq!(alice.receive_timeout(Duration::from_millis(10)).unwrap(), None);
}

fn many_interrupts_end_one_receive(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    thread::scope(|scope| {
        for _ in 0..4 {
            let interrupter = alice.interrupter().unwrap();
            scope.spawn(move || (0..10_000).for_each(|_| interrupter.interrupt()));
        }
    });
    assert!(matches!(alice.receive(), Err(Error::Interrupted)));
    assert_eq!(alice.receive_timeout(Duration::from_millis(10)).unwrap(), None);
}

fn interrupts_lose_no_message(daemon: TestDaemon) {
    const COUNT: u32 = 2000;
    let (alice, mut bob) = (daemon.connect("ali"), daemon.connect("bob"));
    let (to, interrupter) = (bob.private_group(), bob.interrupter().unwrap());
    // The daemon keeps only so many for one that is slow to read.
    let (window, received) = mpsc::sync_channel(100);
    let (end, ended) = mpsc::channel::<()>();
    // Both channels end with this closure, so that a failure ends the threads.
    thread::scope(move |scope| {
        let _end = end;
        scope.spawn(move || {
            let mut numbers = (0..COUNT).take_while(|_| window.send(()).is_ok());
            numbers.try_for_each(|n| alice.multicast(Service::Fifo, to, n.to_le_bytes()))
        });
        scope.spawn(move || {
            while ended.try_recv() == Err(TryRecvError::Empty) {
                interrupter.interrupt();
                thread::yield_now();
            }
        });
        let (mut next, mut interrupts) = (0u32, 0);
        // When all have come, only an interrupt ends the receive.
        while next < COUNT || interrupts == 0 {
            match bob.receive_timeout(PATIENCE) {
                Ok(Some(Message::Regular(message))) => {
                    assert_eq!(message.payload(), next.to_le_bytes());
                    received.recv().unwrap();
                    next += 1;
                }
                Err(Error::Interrupted) => interrupts += 1,
                other => panic!("{other:?}"),
            }
        }
    });
}

fn shutting_down_ends_a_receive(daemon: TestDaemon) {
    for round in 0..20 {
        let (sender, mut receiver) = daemon.connect("ali").split();
        let waiting = thread::spawn(move || match round % 2 {
            0 => receiver.receive().map(Some),
            _ => receiver.receive_timeout(PATIENCE),
        });
        sender.shut_down();
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::ShutDown), "{error:?}");
        let error = sender.multicast(Service::Fifo, "g", b"x").unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    }
}

fn buffers_grow_for_groups_and_a_body_at_once(transport: Transport) {
    let groups: Vec<Name> = (0..100).map(|n| Name::new(format!("group{n}")).unwrap()).collect();
    let sent = groups.clone();
    let peer = Peer::start(transport, move |client| {
        let body = &[7; 50_000];
        client.send(&peer::message_to(&sent, body))?;
        client.send(&peer::message(b"after"))
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    let message = alice.next_regular();
    assert_eq!((message.groups(), message.payload()), (&groups[..], &[7; 50_000][..]));
    assert_eq!(alice.next_regular().payload(), b"after");
}

fn an_interrupt_leaves_a_message_that_is_there_alone(transport: Transport) {
    let peer = Peer::start(transport, |client| client.send(&peer::message(b"first")));
    let mut alice = builder(peer.address()).connect().unwrap();
    let interrupter = alice.interrupter().unwrap();
    wait_readable(&alice);
    interrupter.interrupt();
    assert_eq!(alice.next_regular().payload(), b"first");
    assert!(matches!(alice.receive(), Err(Error::Interrupted)));
}

/// A peer that sends messages in two parts. Each is given by the length of its
/// payload and by how many bytes of it, header included, come before the test
/// goes on.
fn in_two_parts(transport: Transport, messages: Vec<(usize, usize)>) -> Peer {
    Peer::start(transport, move |client| {
        for (len, first) in messages {
            let message = peer::message(&vec![7; len]);
            client.send(&message[..first])?;
            client.wait()?;
            client.send(&message[first..])?;
        }
        Ok(())
    })
}

/// A part of the header comes first, or of the payload, or all but one byte.
fn parts() -> Vec<(usize, usize)> {
    vec![(100, 1), (100, 47), (100, 179), (140_000, 20), (140_000, 70_000), (140_000, 140_079)]
}

fn a_part_of_a_message_is_not_received(transport: Transport) {
    let peer = in_two_parts(transport, parts());
    let mut alice = builder(peer.address()).connect().unwrap();
    for (len, _) in parts() {
        wait_readable(&alice);
        for _ in 0..100 {
            assert_eq!(alice.try_receive().unwrap(), None);
        }
        peer.go_on();
        assert_eq!(alice.next_regular().payload(), vec![7; len]);
    }
}

fn the_rest_of_a_message_is_never_waited_for(transport: Transport) {
    const PIECE: usize = 1009;
    let message = peer::message(&[7; 140_000]);
    let pieces = message.len().div_ceil(PIECE);
    let peer = Peer::start(transport, move |client| {
        for piece in message.chunks(PIECE) {
            client.send(piece)?;
            client.wait()?;
        }
        Ok(())
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    for _ in 1..pieces {
        wait_readable(&alice);
        let begin = Instant::now();
        assert_eq!(alice.try_receive().unwrap(), None);
        // The peer goes on by itself, but not so soon.
        assert!(begin.elapsed() < PATIENCE / 2, "it has waited for the rest");
        assert!(!poll(&alice, libc::POLLIN, Duration::ZERO), "readable with nothing to receive");
        peer.go_on();
    }
    wait_readable(&alice);
    let message = alice.try_receive().unwrap().expect("all of the message");
    assert!(matches!(message, Message::Regular(m) if m.payload() == [7; 140_000]));
    peer.go_on();
}

fn a_message_that_has_begun_is_received_in_any_way(transport: Transport) {
    type Receive = fn(&mut Mailbox) -> Message;
    let receives: [Receive; 4] = [
        |mailbox| mailbox.receive().unwrap(),
        |mailbox| mailbox.receive_timeout(PATIENCE).unwrap().expect("a message in time"),
        |mailbox| mailbox.messages().next().unwrap().unwrap(),
        |mailbox| loop {
            wait_readable(mailbox);
            if let Some(message) = mailbox.try_receive().unwrap() {
                break message;
            }
        },
    ];
    for receive in receives {
        let peer = in_two_parts(transport, parts());
        let mut alice = builder(peer.address()).connect().unwrap();
        for (len, _) in parts() {
            wait_readable(&alice);
            assert_eq!(alice.try_receive().unwrap(), None);
            peer.go_on();
            let Message::Regular(message) = receive(&mut alice) else { panic!() };
            assert_eq!(message.payload(), vec![7; len]);
        }
    }
}

/// What a message says is the same, whether it comes in one piece, and goes through
/// the library, or in two.
fn messages_of_all_kinds_come_in_parts(transport: Transport) {
    let groups = [name("g"), name(peer::CLIENT)];
    for order in [ByteOrder::Little, ByteOrder::Big] {
        // The C library does not turn all of a foreign daemon's messages round.
        let frames: Vec<_> = deliveries(&groups)
            .iter()
            .map(|delivery| (peer::frame(delivery), peer::frame_of(delivery, order)))
            .collect();
        let count = frames.len();
        let peer = Peer::start(transport, move |client| {
            for (whole, parted) in frames {
                client.send(&whole)?;
                let (first, rest) = parted.split_at(parted.len() - 1);
                client.send(first)?;
                client.wait()?;
                client.send(rest)?;
            }
            Ok(())
        });
        let mut alice = builder(peer.address()).connect().unwrap();
        for _ in 0..count {
            let whole = alice.next();
            wait_readable(&alice);
            assert_eq!(alice.try_receive().unwrap(), None);
            peer.go_on();
            assert_eq!(alice.next(), whole, "from a {order:?} endian daemon");
        }
    }
}

/// One of each kind.
fn deliveries(groups: &[Name; 2]) -> Vec<Delivery<'_>> {
    const GROUP_ID: GroupId = GroupId { proc_id: 1, time: 2, index: 3 };
    let regular = Regular {
        sender: name("#bob#peer"),
        service: Service::Safe,
        self_discard: true,
        message_type: -2,
        sender_order: ByteOrder::NATIVE.opposite(),
        groups: Groups::from(groups),
        body: b"says",
    };
    let body =
        MembershipBody { group_id: GROUP_ID, vs_sets: vec![vec![name("#bob#peer")]], my_vs_set: 0 };
    vec![
        Delivery::Regular(regular.clone()),
        Delivery::View { group: name("g"), cause: Cause::Join, members: regular.groups, body },
        Delivery::Transitional { group: name("g"), group_id: GROUP_ID },
        Delivery::SelfLeave { group: name("g") },
        Delivery::Rejected(Reject {
            old_type: ServiceType::AGREED,
            sender: name(peer::CLIENT),
            self_discard: false,
            message_type: 5,
            sender_order: ByteOrder::NATIVE,
            groups: regular.groups,
            body: b"refused",
        }),
    ]
}

/// Far smaller than the messages, and than what a part of them takes in memory.
fn a_message_comes_through_a_small_window(transport: Transport) {
    // Each waits for the kernel, which makes room late.
    thread::scope(|scope| {
        for piece in [701, 8_000, usize::MAX] {
            scope.spawn(move || messages_come_through_a_small_window(transport, piece));
        }
    });
}

fn messages_come_through_a_small_window(transport: Transport, piece: usize) {
    const SIZES: [usize; 4] = [20_000, 140_000, 10, 30_000];
    let peer = Peer::start(transport, move |client| {
        for len in SIZES {
            peer::message(&vec![7; len]).chunks(piece).try_for_each(|p| client.send(p))?;
        }
        Ok(())
    });
    let mut alice = builder(peer.address()).connect().unwrap();
    set_receive_buffer(&alice, 4096);
    for len in SIZES {
        let message = loop {
            wait_readable(&alice);
            if let Some(message) = alice.try_receive().unwrap() {
                break message;
            }
        };
        let Message::Regular(message) = message else { panic!("{message:?}") };
        assert_eq!(message.payload(), vec![7; len], "in pieces of {piece}");
    }
}

fn what_is_wrong_shows_though_it_comes_in_parts(transport: Transport) {
    // An illegal byte order, and lengths that no daemon sends.
    for (at, bytes) in [(0, [0x80, 0, 0, 0]), (44, [0x7f; 4]), (36, [0x7f; 4]), (44, [0xff; 4])] {
        let mut message = peer::message(b"x");
        message[at..at + 4].copy_from_slice(&bytes);
        let peer = Peer::start(transport, move |client| {
            client.send(&message[..40])?;
            client.wait()?;
            client.send(&message[40..])
        });
        let mut alice = builder(peer.address()).connect().unwrap();
        wait_readable(&alice);
        assert_eq!(alice.try_receive().unwrap(), None);
        peer.go_on();
        let error = alice.receive().unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error:?}");
        assert!(alice.try_receive().unwrap_err().is_closed());
    }
}

fn a_daemon_that_stops_in_the_middle_of_a_message_is_gone(transport: Transport) {
    for len in [1, 60, 140_079] {
        let message = peer::message(&[7; 140_000]);
        let peer = Peer::start(transport, move |client| {
            client.send(&message[..len])?;
            client.wait()?;
            client.end()
        });
        let mut alice = builder(peer.address()).connect().unwrap();
        wait_readable(&alice);
        assert_eq!(alice.try_receive().unwrap(), None);
        peer.go_on();
        let error = loop {
            wait_readable(&alice);
            match alice.try_receive() {
                Ok(message) => assert_eq!(message, None),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::ConnectionClosed { .. }), "{error:?}");
    }
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn a_part_of_a_message_is_not_waited_for_beyond_the_deadline(transport: Transport) {
    let peer = in_two_parts(transport, parts());
    let mut alice = builder(peer.address()).connect().unwrap();
    for (len, _) in parts() {
        wait_readable(&alice);
        let timeout = Duration::from_millis(20);
        assert_eq!(alice.receive_timeout(timeout).unwrap(), None);
        peer.go_on();
        assert_eq!(alice.next_regular().payload(), vec![7; len]);
    }
}

fn an_interrupt_ends_a_receive_in_the_middle_of_a_message(transport: Transport) {
    let peer = in_two_parts(transport, parts());
    let mut alice = builder(peer.address()).connect().unwrap();
    let interrupter = alice.interrupter().unwrap();
    for (len, _) in parts() {
        wait_readable(&alice);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| alice.receive());
            interrupter.interrupt();
            assert!(matches!(waiting.join().unwrap(), Err(Error::Interrupted)));
        });
        peer.go_on();
        assert_eq!(alice.next_regular().payload(), vec![7; len]);
    }
}

fn shutting_down_ends_a_receive_in_the_middle_of_a_message(transport: Transport) {
    for part in parts() {
        let peer = in_two_parts(transport, vec![part]);
        let (sender, mut receiver) = builder(peer.address()).connect().unwrap().split();
        wait_readable(&receiver);
        let waiting = thread::spawn(move || receiver.receive());
        sender.shut_down();
        let error = waiting.join().unwrap().unwrap_err();
        assert!(matches!(error, Error::ShutDown), "{error:?}");
    }
}

fn shutting_down_ends_a_send(transport: Transport) {
    for len in [100, 140_000] {
        let peer = Peer::start(transport, |client| client.wait());
        let (sender, receiver) = builder(peer.address()).connect().unwrap().split();
        // One waits for room, and one for its turn.
        let senders = [sender.clone(), sender].map(|sender| {
            thread::spawn(move || {
                let body = vec![0; len];
                loop {
                    if let Err(error) = sender.multicast(Service::Fifo, "g", &body) {
                        break error;
                    }
                }
            })
        });
        wait_full(&receiver);
        receiver.shut_down();
        for sender in senders {
            let error = sender.join().unwrap();
            assert!(matches!(error, Error::ShutDown), "{error:?}");
        }
    }
}
