//! Mailboxes in a runtime of tokio, with one thread, so that whatever blocks it
//! shows.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::support::{TestDaemon, block_on, connect_async, on_each_transport, unique};
use futures_util::{SinkExt, StreamExt, future, stream};
use spread::{Error, Mailbox, Message, Outgoing, PrivateGroup, Service};

on_each_transport!(
    a_task_joins_multicasts_receives_and_leaves,
    halves_work_in_two_tasks,
    a_stream_ends_after_the_error,
    a_sink_takes_messages_from_a_stream,
    a_sink_refuses_what_cannot_be_sent,
    tasks_wait_side_by_side,
    a_dropped_receive_loses_nothing,
    a_disconnect_ends_the_membership,
    a_dropped_mailbox_leaves_its_groups,
);

fn a_task_joins_multicasts_receives_and_leaves(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let group = unique("g");
        alice.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 1);
        for len in [0, 100, 140_000] {
            alice.multicast(Service::Agreed, &group, vec![7; len]).await.unwrap();
            assert_eq!(payload(alice.receive().await), vec![7; len]);
        }
        alice.leave(&group).await.unwrap();
        assert!(matches!(alice.receive().await, Ok(Message::SelfLeave(_))));
        assert!(matches!(alice.join("two words").await, Err(Error::IllegalGroup { .. })));
        let too_long = vec![0; spread::MAX_BODY_AND_GROUPS];
        let error = alice.multicast(Service::Agreed, &group, too_long).await.unwrap_err();
        assert!(matches!(error, Error::MessageTooLong { .. }), "{error:?}");
        alice.disconnect().await.unwrap();
    });
}

fn halves_work_in_two_tasks(daemon: TestDaemon) {
    const COUNT: u32 = 2000;
    block_on(async {
        let (sender, mut receiver) = connect_async(daemon.address()).await.split();
        let to = receiver.private_group();
        // The daemon keeps only so many for one that is slow to read.
        let (window, mut received) = tokio::sync::mpsc::channel(100);
        let sending = tokio::spawn(async move {
            for n in 0..COUNT {
                window.send(()).await.unwrap();
                sender.multicast(Service::Fifo, to, n.to_le_bytes()).await.unwrap();
            }
        });
        for n in 0..COUNT {
            assert_eq!(payload(receiver.receive().await), n.to_le_bytes());
            received.recv().await.unwrap();
        }
        sending.await.unwrap();
    });
}

fn a_stream_ends_after_the_error(daemon: TestDaemon) {
    block_on(async {
        let (sender, mut receiver) = connect_async(daemon.address()).await.split();
        sender.multicast(Service::Fifo, sender.private_group(), b"x").await.unwrap();
        assert_eq!(payload(receiver.next().await.unwrap()), b"x");
        let end = async {
            tokio::task::yield_now().await;
            sender.shut_down();
        };
        let (next, ()) = future::join(receiver.next(), end).await;
        assert!(matches!(next, Some(Err(Error::ShutDown))), "{next:?}");
        assert!(receiver.next().await.is_none());
        assert!(receiver.next().await.is_none());
    });
}

fn a_sink_takes_messages_from_a_stream(daemon: TestDaemon) {
    const COUNT: u32 = 300;
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let to = alice.private_group();
        let messages =
            (0..COUNT).map(|n| Outgoing::new(Service::Fifo, to, n.to_le_bytes().to_vec()));
        alice.send_all(&mut stream::iter(messages)).await.unwrap();
        for n in 0..COUNT {
            assert_eq!(payload(alice.next().await.unwrap()), n.to_le_bytes());
        }

        let (mut sink, mut stream) = alice.split();
        sink.feed(Outgoing::new(Service::Fifo, to, "fed").unwrap()).await.unwrap();
        sink.send(Outgoing::new(Service::Fifo, to, "sent").unwrap()).await.unwrap();
        assert_eq!(payload(stream.next().await.unwrap()), b"fed");
        assert_eq!(payload(stream.next().await.unwrap()), b"sent");
        sink.close().await.unwrap();
    });
}

fn a_sink_refuses_what_cannot_be_sent(daemon: TestDaemon) {
    assert!(matches!(Outgoing::new(Service::Fifo, "", "x"), Err(Error::IllegalGroup { .. })));
    let body = vec![0; spread::MAX_BODY_AND_GROUPS];
    assert!(matches!(
        Outgoing::new(Service::Fifo, "g", body),
        Err(Error::MessageTooLong { len: 143_183, max: 143_151 })
    ));
    block_on(async {
        let (mut sink, _stream) = connect_async(daemon.address()).await.split();
        sink.shut_down();
        let error = sink.send(Outgoing::new(Service::Fifo, "g", "x").unwrap()).await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

fn tasks_wait_side_by_side(daemon: TestDaemon) {
    const TASKS: usize = 20;
    block_on(async {
        let group = unique("g");
        let mut members = Vec::new();
        for _ in 0..TASKS {
            let member = connect_async(daemon.address()).await;
            member.join(&group).await.unwrap();
            members.push(member);
        }
        let greeted = members.into_iter().map(|mut member| {
            let group = &group;
            async move {
                // A view of all, and then a word from each.
                while !matches!(member.receive().await, Ok(Message::Membership(v)) if v.members.len() == TASKS)
                {}
                member.multicast(Service::Agreed, group, b"hello").await.unwrap();
                for _ in 0..TASKS {
                    assert_eq!(payload(member.receive().await), b"hello");
                }
                // For the others, who may not have all the words yet.
                member
            }
        });
        future::join_all(greeted).await;
    });
}

fn a_dropped_receive_loses_nothing(daemon: TestDaemon) {
    const DROPS: usize = 10_000;
    let mut random = Random(0x5bd1_e995_9e37_79b9);
    let (window, received) = mpsc::sync_channel(50);
    let (stop, stopped) = mpsc::channel::<()>();
    let bob = daemon.connect("bob");
    // Both channels end with the future, so that a failure ends the thread.
    block_on(async move {
        let mut alice = connect_async(daemon.address()).await;
        let to = alice.private_group();
        let sending = thread::spawn(move || send_until(&stopped, &window, &bob, to));

        let (mut next, mut drops, mut stop) = (0u32, 0, Some(stop));
        let count = loop {
            let message = {
                let mut receiving = pin!(alice.receive());
                let mut polls = random.below(4);
                loop {
                    if polls == 0 {
                        break None;
                    }
                    polls -= 1;
                    if let Poll::Ready(message) = poll_once(receiving.as_mut()) {
                        break Some(message);
                    }
                    pause(&mut random).await;
                }
            };
            match message {
                None => drops += 1,
                Some(message) => match payload(message).as_slice() {
                    b"end" => break sending.join().unwrap(),
                    number => {
                        assert_eq!(number, next.to_le_bytes());
                        next += 1;
                        received.recv().unwrap();
                    }
                },
            }
            if drops >= DROPS {
                stop = None;
            }
        };
        assert!(stop.is_none());
        assert_eq!(next, count, "every message once, after {drops} drops");
        assert!(next > 1000, "only {next} messages for {drops} drops");
    });
}

/// Sends numbers, with a few on their way at most, and then a word that it is the
/// end; returns how many.
fn send_until(
    stopped: &mpsc::Receiver<()>,
    window: &mpsc::SyncSender<()>,
    mailbox: &Mailbox,
    to: PrivateGroup,
) -> u32 {
    let mut count = 0u32;
    while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) && window.send(()).is_ok() {
        mailbox.multicast(Service::Fifo, to, count.to_le_bytes()).unwrap();
        count += 1;
    }
    mailbox.multicast(Service::Fifo, to, b"end").unwrap();
    count
}

/// Polls with a waker that does nothing: the next poll comes anyway.
fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets the runtime look for events, now and then after a while.
async fn pause(random: &mut Random) {
    match random.below(100) {
        0 => tokio::time::sleep(Duration::from_millis(1)).await,
        _ => tokio::task::yield_now().await,
    }
}

/// Marsaglia's xorshift, the same on each run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn a_disconnect_ends_the_membership(daemon: TestDaemon) {
    block_on(async {
        let (mut alice, bob) =
            (connect_async(daemon.address()).await, connect_async(daemon.address()).await);
        let group = unique("g");
        alice.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 1);
        bob.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 2);
        bob.disconnect().await.unwrap();
        assert_eq!(members(alice.receive().await), 1);
    });
}

fn a_dropped_mailbox_leaves_its_groups(daemon: TestDaemon) {
    block_on(async {
        let (mut alice, bob) =
            (connect_async(daemon.address()).await, connect_async(daemon.address()).await);
        let group = unique("g");
        alice.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 1);
        bob.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 2);
        let (sender, receiver) = bob.split();
        drop(receiver);
        sender.multicast(Service::Agreed, &group, b"still here").await.unwrap();
        drop(sender);
        assert_eq!(payload(alice.receive().await), b"still here");
        assert_eq!(members(alice.receive().await), 1);
    });
}

/// How many members a view has.
fn members(message: Result<Message, Error>) -> usize {
    match message {
        Ok(Message::Membership(view)) => view.members.len(),
        other => panic!("not a view: {other:?}"),
    }
}

/// What a regular message says.
fn payload(message: Result<Message, Error>) -> Vec<u8> {
    match message {
        Ok(Message::Regular(message)) => message.payload().to_vec(),
        other => panic!("not a regular message: {other:?}"),
    }
}
