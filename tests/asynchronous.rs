//! Mailboxes in a runtime of tokio, with one thread, so that whatever blocks it
//! shows.

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt, future, stream};
use spread::{AsyncMailbox, Batch, Error, Mailbox, Message, Outgoing, PrivateGroup, Service};
use spread_wire::{Frame, Request};
use support::peer::Peer;
use support::{
    PATIENCE, TestDaemon, Transport, block_on, on_each_transport, over_each_transport,
    set_receive_buffer, unique,
};

on_each_transport!(
    a_task_joins_multicasts_receives_and_leaves,
    halves_work_in_two_tasks,
    a_batch_arrives_in_its_order,
    a_stream_ends_after_the_error,
    a_sink_takes_messages_from_a_stream,
    a_sink_refuses_what_cannot_be_sent,
    tasks_wait_side_by_side,
    a_dropped_receive_loses_nothing,
    a_disconnect_ends_the_membership,
    a_dropped_mailbox_leaves_its_groups,
);

over_each_transport!(
    a_multicast_waits_for_room_and_the_executor_goes_on,
    a_cancelled_multicast_has_sent_all_or_nothing,
    the_rest_of_a_cancelled_multicast_is_sent,
    a_runtime_does_not_wait_for_a_multicast,
    a_disconnect_sends_the_rest_of_a_message,
    a_batch_goes_as_there_is_room_and_the_executor_goes_on,
    a_sink_waits_for_room,
    dropping_a_mailbox_does_not_block_the_executor,
    shutting_down_ends_a_receive_and_a_multicast,
);

/// Larger than what sockets hold, so that a few of them fill one.
const LARGE: usize = 140_000;

fn a_task_joins_multicasts_receives_and_leaves(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect(daemon.address()).await;
        let group = unique("g");
        alice.join(&group).await.unwrap();
        assert_eq!(members(alice.receive().await), 1);
        for len in [0, 100, LARGE] {
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
        let (sender, mut receiver) = connect(daemon.address()).await.split();
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
        let (sender, mut receiver) = connect(daemon.address()).await.split();
        sender.multicast(Service::Fifo, sender.private_group(), b"x").await.unwrap();
        assert_eq!(payload(receiver.next().await.unwrap()), b"x");
        let end = async {
            tokio::task::yield_now().await;
            sender.shut_down();
        };
        let (next, ()) = future::join(receiver.next(), end).await;
        assert!(matches!(next, Some(Err(Error::ConnectionClosed))), "{next:?}");
        assert!(receiver.next().await.is_none());
        assert!(receiver.next().await.is_none());
    });
}

fn a_sink_takes_messages_from_a_stream(daemon: TestDaemon) {
    const COUNT: u32 = 300;
    block_on(async {
        let mut alice = connect(daemon.address()).await;
        let to = alice.private_group();
        let messages = (0..COUNT).map(|n| Outgoing::new(Service::Fifo, to, n.to_le_bytes()));
        alice.send_all(&mut stream::iter(messages)).await.unwrap();
        for n in 0..COUNT {
            assert_eq!(payload(alice.next().await.unwrap()), n.to_le_bytes());
        }

        let (mut sink, mut stream) = alice.split();
        sink.feed(Outgoing::new(Service::Fifo, to, b"fed").unwrap()).await.unwrap();
        sink.send(Outgoing::new(Service::Fifo, to, b"sent").unwrap()).await.unwrap();
        assert_eq!(payload(stream.next().await.unwrap()), b"fed");
        assert_eq!(payload(stream.next().await.unwrap()), b"sent");
        sink.close().await.unwrap();
    });
}

fn a_sink_refuses_what_cannot_be_sent(daemon: TestDaemon) {
    assert!(matches!(Outgoing::new(Service::Fifo, "", b"x"), Err(Error::IllegalGroup { .. })));
    let body = vec![0; spread::MAX_BODY_AND_GROUPS];
    assert!(matches!(
        Outgoing::new(Service::Fifo, "g", body),
        Err(Error::MessageTooLong { len: 143_183, max: 143_151 })
    ));
    block_on(async {
        let (mut sink, _stream) = connect(daemon.address()).await.split();
        sink.shut_down();
        let error = sink.send(Outgoing::new(Service::Fifo, "g", b"x").unwrap()).await.unwrap_err();
        assert!(error.is_closed(), "{error:?}");
    });
}

fn tasks_wait_side_by_side(daemon: TestDaemon) {
    const TASKS: usize = 20;
    block_on(async {
        let group = unique("g");
        let mut members = Vec::new();
        for _ in 0..TASKS {
            let member = connect(daemon.address()).await;
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
        let mut alice = connect(daemon.address()).await;
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
        let (mut alice, bob) = (connect(daemon.address()).await, connect(daemon.address()).await);
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
        let (mut alice, bob) = (connect(daemon.address()).await, connect(daemon.address()).await);
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

fn a_multicast_waits_for_room_and_the_executor_goes_on(transport: Transport) {
    for (buffer, len) in
        [4096, 0].into_iter().flat_map(|b| [100, 1024, 8192, LARGE].map(|l| (b, l)))
    {
        let (peer, mut received) = slow_peer(transport, buffer);
        block_on(async {
            let alice = connect(peer.address()).await;
            let mut sent = 0;
            let mut multicast = Box::pin(alice.multicast(Service::Fifo, "g", body(sent, len)));
            // Until one of them waits for good: while a timer ticks, many times.
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            let (mut ticks_in_wait, mut last_tick) = (0, Instant::now());
            while ticks_in_wait < 100 {
                tokio::select! {
                    biased;
                    result = &mut multicast => {
                        result.unwrap();
                        sent += 1;
                        ticks_in_wait = 0;
                        multicast.set(alice.multicast(Service::Fifo, "g", body(sent, len)));
                    }
                    _ = ticks.tick() => {
                        ticks_in_wait += 1;
                        // The peer goes on by itself, but not so soon.
                        assert!(last_tick.elapsed() < PATIENCE / 2, "the executor is blocked");
                        last_tick = Instant::now();
                    }
                }
            }
            peer.go_on();
            // A small buffer is slow to take all that is on its way.
            let count = if buffer > 0 { 1 } else { sent + 1 };
            if buffer == 0 {
                multicast.await.unwrap();
            }
            for n in 0..count {
                assert_eq!(received.recv().await, Some(n), "of {sent} messages of {len}");
            }
        });
    }
}

fn a_cancelled_multicast_has_sent_all_or_nothing(transport: Transport) {
    let (peer, mut received) = slow_peer(transport, 0);
    block_on(async {
        let alice = connect(peer.address()).await;
        let sent = fill(&alice).await;
        // That of the last one may be on its way, and nothing can overtake it.
        let mut through = 0;
        for _ in 0..20 {
            let multicast = alice.multicast(Service::Fifo, "g", body(777, LARGE));
            match tokio::time::timeout(Duration::from_millis(2), multicast).await {
                Err(_) => {}
                // The kernel has found more room.
                Ok(result) => {
                    result.unwrap();
                    through += 1;
                }
            }
        }
        peer.go_on();
        alice.multicast(Service::Fifo, "g", body(END, 4)).await.unwrap();
        for n in 0..sent {
            assert_eq!(received.recv().await, Some(n));
        }
        // Of those that were cancelled, each that had begun has come, too.
        let mut next = received.recv().await;
        if next == Some(sent) {
            next = received.recv().await;
        }
        let mut more = 0;
        while next == Some(777) {
            more += 1;
            next = received.recv().await;
        }
        assert_eq!(next, Some(END));
        assert!((through..=20).contains(&more), "{more}, and {through} were sent");
    });
}

fn the_rest_of_a_cancelled_multicast_is_sent(transport: Transport) {
    // The first one without room may have sent nothing, but not of any size.
    let arrived = (0..20).any(|n| {
        let (peer, mut received) = slow_peer(transport, 0);
        block_on(async {
            let alice = connect(peer.address()).await;
            let sent = fill_with(&alice, LARGE - n * 3000).await;
            peer.go_on();
            // Nobody sends or receives meanwhile.
            for n in 0..sent {
                assert_eq!(received.recv().await, Some(n));
            }
            let rest = tokio::time::timeout(Duration::from_millis(100), received.recv()).await;
            rest.inspect(|n| assert_eq!(*n, Some(sent))).is_ok()
        })
    });
    assert!(arrived);
}

fn a_runtime_does_not_wait_for_a_multicast(transport: Transport) {
    let (peer, mut received) = slow_peer(transport, 0);
    let begin = Instant::now();
    block_on(async {
        let alice = connect(peer.address()).await;
        fill(&alice).await;
    });
    // The connection has a second to end well.
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    peer.go_on();
    // The peer comes to the end of the connection.
    while received.blocking_recv().is_some() {}
}

fn a_disconnect_sends_the_rest_of_a_message(transport: Transport) {
    // A busy machine may not get all of it sent in time, but not time and again.
    let ended = (0..10).any(|n| {
        let (tell, told) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            client.wait()?;
            let _ = tell.send(client.receive_all()?.len() as u32);
            Ok(())
        });
        let (sent, ended) = block_on(async {
            let alice = connect(peer.address()).await;
            let sent = fill_with(&alice, LARGE - n * 3000).await;
            peer.go_on();
            (sent, alice.disconnect().await)
        });
        match ended {
            Ok(()) => {
                let received = told.recv_timeout(PATIENCE).expect("whole messages to the end");
                assert!((sent..=sent + 1).contains(&received), "{received} of {sent}");
                true
            }
            Err(error) => {
                assert!(matches!(error, Error::Io(_)), "{error:?}");
                false
            }
        }
    });
    assert!(ended);
}

fn a_batch_arrives_in_its_order(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect(daemon.address()).await;
        let me = alice.private_group();
        let mut batch = Batch::new();
        assert_eq!(alice.multicast_batch(&mut batch).await.unwrap(), 0);
        alice.multicast(Service::Fifo, me, body(0, 4)).await.unwrap();
        for n in 1..100 {
            batch.push(Service::Fifo, me, body(n, 4 + n as usize * 10)).unwrap();
        }
        let mut sent = 0;
        while !batch.is_empty() {
            sent += alice.multicast_batch(&mut batch).await.unwrap();
            assert_eq!(sent + batch.len(), 99);
        }
        alice.multicast(Service::Fifo, me, body(100, 4)).await.unwrap();
        for n in 0..=100 {
            let payload = payload(alice.receive().await);
            assert_eq!(payload, body(n, payload.len()));
        }
    });
}

/// A batch of messages of many sizes, the numbered ones from 0.
fn batch_of(count: u32) -> Batch {
    let mut batch = Batch::new();
    for n in 0..count {
        batch.push(Service::Fifo, "g", body(n, 4 + n as usize * 997 % 30_000)).unwrap();
    }
    batch
}

fn a_batch_goes_as_there_is_room_and_the_executor_goes_on(transport: Transport) {
    const COUNT: u32 = 2000;
    let (peer, mut received) = slow_peer(transport, 0);
    block_on(async {
        let alice = connect(peer.address()).await;
        let mut batch = batch_of(COUNT);
        let mut sent = 0;
        // Until there is no room, while a timer ticks.
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut ticks_in_wait = 0;
        while ticks_in_wait < 100 {
            let before = batch.len();
            tokio::select! {
                biased;
                result = alice.multicast_batch(&mut batch) => {
                    sent += result.unwrap();
                    ticks_in_wait = 0;
                }
                _ = ticks.tick() => {
                    // Dropped here, it has sent what is no longer in the batch.
                    ticks_in_wait += 1;
                    sent += before - batch.len();
                }
            }
            assert!(!batch.is_empty(), "the socket takes all of it");
        }
        peer.go_on();
        while !batch.is_empty() {
            sent += alice.multicast_batch(&mut batch).await.unwrap();
        }
        assert_eq!(sent, COUNT as usize);
        for n in 0..COUNT {
            assert_eq!(received.recv().await, Some(n));
        }
    });
}

/// The number of the last message.
const END: u32 = u32::MAX;

/// A peer that does not read until it is told to, and then hands over the number of
/// each message, if all that comes is whole. Its socket takes `buffer` bytes, or as
/// many as the system says if this is 0.
fn slow_peer(
    transport: Transport,
    buffer: i32,
) -> (Peer, tokio::sync::mpsc::UnboundedReceiver<u32>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let peer = Peer::start(transport, move |client| {
        if buffer > 0 {
            set_receive_buffer(client, buffer);
        }
        client.wait()?;
        set_receive_buffer(client, 1 << 20);
        loop {
            let number = number(&client.receive()?);
            tell.send(number).map_err(std::io::Error::other)?;
        }
    });
    (peer, told)
}

/// The number that a message with such a [`body`] has.
fn number(frame: &Frame) -> u32 {
    match Request::parse(frame) {
        Ok(Request::Multicast(message)) => {
            let number = u32::from_le_bytes(*message.body.first_chunk().unwrap());
            assert_eq!(message.body, body(number, message.body.len()));
            number
        }
        other => panic!("{other:?}"),
    }
}

/// A payload of `len` bytes that begins with a number.
fn body(number: u32, len: usize) -> Vec<u8> {
    let mut body = vec![number as u8; len];
    body[..4].copy_from_slice(&number.to_le_bytes());
    body
}

fn a_sink_waits_for_room(transport: Transport) {
    let peer = Peer::start(transport, |client| client.wait());
    block_on(async {
        let mut alice = connect(peer.address()).await;
        fill(&alice).await;
        let message = || Outgoing::new(Service::Fifo, "g", vec![0; LARGE]).unwrap();
        alice.feed(message()).await.unwrap();
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, alice.flush()).await.is_err());
        assert!(tokio::time::timeout(short, alice.feed(message())).await.is_err());
        peer.go_on();
        alice.send(message()).await.unwrap();
        alice.close().await.unwrap();
    });
}

fn dropping_a_mailbox_does_not_block_the_executor(transport: Transport) {
    // The peer does not end the connection, for which a mailbox waits a second. A
    // busy machine may delay a drop, but not each of them.
    let took = || {
        let peer = Peer::start(transport, |client| client.wait());
        block_on(async {
            let alice = connect(peer.address()).await;
            let begin = Instant::now();
            drop(alice);
            begin.elapsed()
        })
    };
    assert!((0..5).any(|_| took() < Duration::from_millis(500)));
}

fn shutting_down_ends_a_receive_and_a_multicast(transport: Transport) {
    let peer = Peer::start(transport, |client| client.wait());
    block_on(async {
        let alice = connect(peer.address()).await;
        fill(&alice).await;
        let (sender, mut receiver) = alice.split();
        let other = sender.clone();
        let multicast =
            tokio::spawn(async move { other.multicast(Service::Fifo, "g", vec![0; LARGE]).await });
        let receive = tokio::spawn(async move { receiver.receive().await });
        tokio::task::yield_now().await;
        sender.shut_down();
        assert!(multicast.await.unwrap().unwrap_err().is_closed());
        assert!(receive.await.unwrap().unwrap_err().is_closed());
    });
}

async fn connect(address: &str) -> AsyncMailbox {
    AsyncMailbox::connect(Mailbox::builder(address).private_name(unique("a"))).await.unwrap()
}

/// Multicasts large messages, numbered, until there is no more room; returns how many
/// have gone. One more may have begun to go.
async fn fill(mailbox: &AsyncMailbox) -> u32 {
    fill_with(mailbox, LARGE).await
}

async fn fill_with(mailbox: &AsyncMailbox, len: usize) -> u32 {
    let mut sent = 0;
    loop {
        let multicast = mailbox.multicast(Service::Fifo, "g", body(sent, len));
        match tokio::time::timeout(Duration::from_millis(100), multicast).await {
            Ok(result) => result.unwrap(),
            Err(_) => return sent,
        }
        sent += 1;
    }
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
        Ok(Message::Regular(message)) => message.into_payload(),
        other => panic!("not a regular message: {other:?}"),
    }
}
