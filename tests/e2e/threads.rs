//! Mailboxes in several threads: which types may go where, and halves at work.

use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::thread;

use crate::support::{Expect, PATIENCE, TestDaemon, on_each_transport, unique};
use spread::{
    AsyncMailbox, AsyncReceiver, AsyncSender, AsyncSession, AsyncSessionReceiver,
    AsyncSessionSender, Builder, Cause, Error, Interrupter, Mailbox, Message, MessageBuffer,
    Outgoing, Receiver, SendOptions, Sender, Service, Session, SessionEvent, SessionOptions,
    SessionReceiver, SessionSender, View, Views,
};

on_each_transport!(
    one_receives_while_ten_send,
    each_sender_keeps_its_order_for_every_member,
    a_sender_joins_and_leaves_while_the_receiver_waits,
    a_connection_lasts_as_long_as_a_half_of_it,
    halves_go_to_threads_that_outlive_their_maker,
    a_failed_connection_fails_for_all_halves,
    halves_that_were_shut_down_leave_the_next_connection_alone,
    connections_come_and_go_in_threads,
);

const fn send<T: Send>() {}
const fn send_and_sync<T: Send + Sync>() {}
const fn clone<T: Clone>() {}

/// What does not compile if a type ceases to be fit for threads.
const _: () = {
    send_and_sync::<Mailbox>();
    send_and_sync::<Sender>();
    clone::<Sender>();
    send::<Receiver>();
    send_and_sync::<AsyncMailbox>();
    send_and_sync::<AsyncSender>();
    clone::<AsyncSender>();
    send::<AsyncReceiver>();
    send_and_sync::<Session>();
    send_and_sync::<SessionSender>();
    clone::<SessionSender>();
    send_and_sync::<SessionReceiver>();
    send_and_sync::<AsyncSession>();
    send_and_sync::<AsyncSessionSender>();
    clone::<AsyncSessionSender>();
    send_and_sync::<AsyncSessionReceiver>();
    send_and_sync::<SessionOptions>();
    send_and_sync::<SessionEvent>();
    send_and_sync::<Interrupter>();
    clone::<Interrupter>();
    send_and_sync::<Builder>();
    send_and_sync::<Message>();
    send_and_sync::<View>();
    send_and_sync::<Views>();
    send_and_sync::<Outgoing>();
    send_and_sync::<SendOptions>();
    send::<MessageBuffer>();
    send::<spread::flush::Mailbox>();
    send_and_sync::<spread::flush::Event>();
    send_and_sync::<spread::flush::Error>();
    send_and_sync::<Error>();
};

const SENDERS: usize = 10;
const EACH: u32 = 200;

/// The number of a sender, and that of one of its messages.
fn body(sender: usize, n: u32) -> Vec<u8> {
    // Some are large enough for their parts to be seen, if they came apart.
    let len = if n.is_multiple_of(20) { 30_000 } else { 5 };
    let mut body = vec![sender as u8; len];
    body[1..5].copy_from_slice(&n.to_le_bytes());
    body
}

/// Takes note of a message, which is whole and the next one of its sender.
fn check(next: &mut [u32; SENDERS], received: &[u8]) {
    let sender = usize::from(received[0]);
    assert_eq!(received, body(sender, next[sender]), "a message of sender {sender}");
    next[sender] += 1;
}

fn one_receives_while_ten_send(daemon: TestDaemon) {
    let (sender, mut receiver) = daemon.connect("ali").split();
    let group = unique("g");
    sender.join(&group).unwrap();
    // The daemon keeps only so many for one that is slow to read.
    let (window, received) = mpsc::sync_channel(100);
    // The channel ends with this closure, so that a failure ends the threads.
    thread::scope(move |scope| {
        for number in 0..SENDERS {
            let (window, sender, group) = (window.clone(), sender.clone(), group.clone());
            scope.spawn(move || {
                for n in (0..EACH).take_while(|_| window.send(()).is_ok()) {
                    sender.multicast(Service::Fifo, &group, body(number, n)).unwrap();
                }
            });
        }
        let mut next = [0; SENDERS];
        while next != [EACH; SENDERS] {
            match receiver.receive_timeout(PATIENCE).unwrap() {
                Some(Message::Regular(message)) => {
                    check(&mut next, message.payload());
                    received.recv().unwrap();
                }
                Some(Message::Membership(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

fn each_sender_keeps_its_order_for_every_member(daemon: TestDaemon) {
    const COUNT: u32 = EACH / 10;
    let group = unique("g");
    let mut members = ["ali", "bob"].map(|name| daemon.connect(name));
    for member in &mut members {
        member.join(&group).unwrap();
    }
    for member in &mut members {
        member.view_of(&group, 2);
    }
    let crowd: Vec<Mailbox> = (0..SENDERS).map(|_| daemon.connect("s")).collect();
    thread::scope(|scope| {
        for (number, sender) in crowd.iter().enumerate() {
            let group = &group;
            scope.spawn(move || {
                for n in 0..COUNT {
                    sender.multicast(Service::Agreed, group, body(number, n)).unwrap();
                }
            });
        }
    });
    let orders = members.each_mut().map(|member| {
        let mut next = [0; SENDERS];
        let mut order = Vec::new();
        while next != [COUNT; SENDERS] {
            let message = member.next_regular();
            check(&mut next, message.payload());
            order.push(message.sender());
        }
        order
    });
    assert_eq!(orders[0], orders[1], "agreed is one order for all");
}

fn a_sender_joins_and_leaves_while_the_receiver_waits(daemon: TestDaemon) {
    let (sender, mut receiver) = daemon.connect("ali").split();
    let me = sender.private_group();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let first = receiver.receive_timeout(PATIENCE).unwrap();
            let second = receiver.receive_timeout(PATIENCE).unwrap();
            (first, second)
        });
        let group = unique("g");
        sender.join(&group).unwrap();
        sender.leave(&group).unwrap();
        let (first, second) = waiting.join().unwrap();
        assert!(
            matches!(first, Some(Message::Membership(v)) if v.cause == Cause::Joined(me.into()))
        );
        assert!(matches!(second, Some(Message::SelfLeave(left)) if left.group == *group));
    });
}

fn a_connection_lasts_as_long_as_a_half_of_it(daemon: TestDaemon) {
    let mut alice = daemon.connect("ali");
    let group = unique("g");
    alice.join(&group).unwrap();
    alice.view_of(&group, 1);
    for sender_first in [true, false] {
        let bob = daemon.connect("bob");
        bob.join(&group).unwrap();
        alice.view_of(&group, 2);
        let (sender, mut receiver) = bob.split();
        if sender_first {
            let clone = sender.clone();
            drop((sender, clone));
            alice.multicast(Service::Agreed, receiver.private_group(), b"there?").unwrap();
            loop {
                match receiver.receive_timeout(PATIENCE).unwrap() {
                    Some(Message::Regular(message)) => {
                        break assert_eq!(message.payload(), b"there?");
                    }
                    Some(_) => {}
                    None => panic!("nothing received"),
                }
            }
            drop(receiver);
        } else {
            drop(receiver);
            sender.multicast(Service::Agreed, &group, b"here").unwrap();
            assert_eq!(alice.next_regular().payload(), b"here");
            drop(sender);
        }
        assert!(matches!(alice.view_of(&group, 1).cause, Cause::Disconnected(_)));
    }
}

fn halves_go_to_threads_that_outlive_their_maker(daemon: TestDaemon) {
    let (sending, receiving) = {
        let (sender, mut receiver) = daemon.connect("ali").split();
        let to = receiver.private_group();
        (
            thread::spawn(move || sender.multicast(Service::Fifo, to, b"on its way")),
            thread::spawn(move || receiver.receive_timeout(PATIENCE)),
        )
    };
    sending.join().unwrap().unwrap();
    let received = receiving.join().unwrap().unwrap();
    assert!(matches!(received, Some(Message::Regular(m)) if m.payload() == b"on its way"));
}

fn a_failed_connection_fails_for_all_halves(daemon: TestDaemon) {
    let (sender, mut receiver) = daemon.connect("ali").split();
    let clone = sender.clone();
    clone.shut_down();
    let errors = [
        receiver.receive().unwrap_err(),
        receiver.receive_timeout(PATIENCE).unwrap_err(),
        receiver.try_receive().unwrap_err(),
        sender.join("g").unwrap_err(),
        sender.leave("g").unwrap_err(),
        clone.multicast(Service::Fifo, "g", b"x").unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::ShutDown), "{error:?}");
    }
    // To do it twice does nothing.
    receiver.shut_down();
}

fn halves_that_were_shut_down_leave_the_next_connection_alone(daemon: TestDaemon) {
    for _ in 0..10 {
        let (sender, receiver) = daemon.connect("ali").split();
        sender.shut_down();
        // It would have the number of the first, if that were free.
        let mut bob = daemon.connect("bob");
        assert_ne!(bob.as_raw_fd(), receiver.as_raw_fd());
        let error = sender.multicast(Service::Fifo, bob.private_group(), b"no").unwrap_err();
        assert!(matches!(error, Error::ShutDown), "{error:?}");
        drop((sender, receiver));
        bob.multicast(Service::Fifo, bob.private_group(), b"yes").unwrap();
        assert_eq!(bob.next_regular().payload(), b"yes");
    }
}

fn connections_come_and_go_in_threads(daemon: TestDaemon) {
    // A number that is free is taken at once by a connection of another thread.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for round in 0..50 {
                    let mut alice = daemon.connect("ali");
                    alice.multicast(Service::Fifo, alice.private_group(), b"mine").unwrap();
                    assert_eq!(alice.next_regular().payload(), b"mine");
                    match round % 3 {
                        0 => alice.kill(),
                        1 => drop(alice),
                        _ => drop(alice.split()),
                    }
                }
            });
        }
    });
}
