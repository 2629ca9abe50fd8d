//! Sends that are buffered: what was taken arrives once and in order, what was not does not;
//! in a runtime with one thread, so that whatever blocks it shows.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::asynchronous_sending::{LARGE, body, slow_peer};
use crate::support::peer::Peer;
use crate::support::{
    PATIENCE, TestDaemon, Transport, block_on, builder, connect_async, on_each_transport,
    over_each_transport, unique,
};
use futures_util::{FutureExt, SinkExt};
use spread::{AsyncMailbox, AsyncSender, Batch, Error, Message, Outgoing, Service};
use spread_wire::Request;
use tokio::task::unconstrained;

on_each_transport!(
    what_is_buffered_arrives_though_nobody_flushes,
    a_receive_flushes_before_it_waits,
    two_clones_share_a_buffer,
    a_disconnect_sends_what_is_buffered,
    a_drop_sends_what_is_buffered,
);

over_each_transport!(
    a_message_is_taken_whole_or_not_at_all_when_its_future_is_dropped,
    the_order_is_kept_across_all_ways_to_send,
    a_flush_waits_for_the_kernel_and_for_nothing_behind_it,
    a_daemon_that_dies_fails_what_is_buffered,
    a_multicast_that_has_gone_before_the_end_has_not_failed,
    a_message_that_has_begun_before_the_runtime_is_sent,
);

fn what_is_buffered_arrives_though_nobody_flushes(daemon: TestDaemon) {
    block_on(async {
        let (alice, mut bob) =
            (connect_async(daemon.address()).await, connect_async(daemon.address()).await);
        for round in 0..3 {
            for n in 0..200 {
                let body = body(round * 200 + n, 100);
                alice.multicast_buffered(Service::Fifo, bob.private_group(), body).await.unwrap();
            }
            for n in 0..200 {
                assert_eq!(next(&mut bob).await, body(round * 200 + n, 100));
            }
        }
    });
}

#[test]
fn a_flush_of_nothing_does_not_wait_for_room() {
    // Of small messages, a unix socket takes all of one or nothing.
    let peer = Peer::start(Transport::Unix, |client| client.wait());
    block_on(async {
        let alice = AsyncMailbox::connect(builder(peer.address())).await.unwrap();
        let multicast = || unconstrained(alice.multicast(Service::Fifo, "g", [0; 100]));
        while multicast().now_or_never().is_some() {}
        // Of what waits for room, nothing has been taken.
        assert!(matches!(unconstrained(alice.flush()).now_or_never(), Some(Ok(()))));
    });
}

fn a_receive_flushes_before_it_waits(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let me = alice.private_group();
        for n in 0..500 {
            alice.multicast_buffered(Service::Fifo, me, body(n, 64)).await.unwrap();
            let mut receive = pin!(alice.receive());
            let message = loop {
                if let Poll::Ready(message) = poll_once(receive.as_mut()) {
                    break message;
                }
                tokio::task::yield_now().await;
            };
            assert_eq!(payload(message), body(n, 64));
        }
    });
}

fn two_clones_share_a_buffer(daemon: TestDaemon) {
    const COUNT: u32 = 2000;
    block_on(async {
        let mut bob = connect_async(daemon.address()).await;
        let to = bob.private_group();
        let (sender, _receiver) = connect_async(daemon.address()).await.split();
        // The daemon keeps only so many for one that is slow to read.
        let window = std::sync::Arc::new(tokio::sync::Semaphore::new(400));
        let tasks = [0, 1].map(|clone| {
            let (sender, window) = (sender.clone(), window.clone());
            tokio::spawn(async move {
                for n in 0..COUNT {
                    window.acquire().await.unwrap().forget();
                    let body = body(2 * n + clone, 4 + n as usize % 300);
                    sender.multicast_buffered(Service::Fifo, to, body).await.unwrap();
                }
            })
        });
        let mut expected = [0, 1];
        for _ in 0..2 * COUNT {
            let number = u32::from_le_bytes(*next(&mut bob).await.first_chunk().unwrap());
            assert_eq!(number, expected[number as usize % 2], "in the order of its clone");
            expected[number as usize % 2] += 2;
            window.add_permits(1);
        }
        for task in tasks {
            task.await.unwrap();
        }
        sender.flush().await.unwrap();
    });
}

fn a_disconnect_sends_what_is_buffered(daemon: TestDaemon) {
    ends_after_what_is_buffered(&daemon, async |bob| bob.disconnect().await.unwrap());
}

fn a_drop_sends_what_is_buffered(daemon: TestDaemon) {
    ends_after_what_is_buffered(&daemon, async |bob| drop(bob));
}

fn ends_after_what_is_buffered(daemon: &TestDaemon, end: impl AsyncFn(AsyncMailbox)) {
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let me = alice.private_group();
        for round in 0..5 {
            let bob = connect_async(daemon.address()).await;
            for n in 0..100 {
                bob.multicast_buffered(Service::Fifo, me, body(round + n, 900)).await.unwrap();
            }
            end(bob).await;
            for n in 0..100 {
                assert_eq!(next(&mut alice).await, body(round + n, 900));
            }
        }
    });
}

fn a_message_is_taken_whole_or_not_at_all_when_its_future_is_dropped(transport: Transport) {
    const DROPS: usize = 300;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (peer, mut received) = slow_peer(transport, 0);
    block_on(async {
        let alice = connect_async(peer.address()).await;
        let (mut taken, mut drops, mut number) = (Vec::new(), 0, 0);
        let mut is_reading = false;
        while drops < DROPS || taken.len() < 2000 {
            let len = 4 + random.below(20_000) as usize;
            let was_taken = {
                let mut send =
                    pin!(alice.multicast_buffered(Service::Fifo, "g", body(number, len)));
                let mut polls = random.below(4);
                loop {
                    if let Poll::Ready(sent) = poll_once(send.as_mut()) {
                        sent.unwrap();
                        break true;
                    }
                    if polls == 0 {
                        break false;
                    }
                    polls -= 1;
                    tokio::task::yield_now().await;
                }
            };
            match was_taken {
                true => taken.push(number),
                false => drops += 1,
            }
            number += 1;
            // Half of them find nothing but a full buffer, the others a peer that reads.
            if !is_reading && drops >= DROPS / 2 {
                peer.go_on();
                is_reading = true;
            }
            if random.below(20) == 0 {
                drop(tokio::time::timeout(Duration::from_micros(200), alice.flush()).await);
            }
        }
        assert!(is_reading);
        alice.flush().await.unwrap();
        for number in taken {
            assert_eq!(received.recv().await, Some(number));
        }
        alice.split().0.shut_down();
        assert_eq!(received.recv().await, None, "what was dropped has not been sent");
    });
}

fn the_order_is_kept_across_all_ways_to_send(transport: Transport) {
    let mut random = Random(0x5bd1_e995_9e37_79b9);
    for _ in 0..20 {
        let (tell, told) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            for frame in client.receive_all()? {
                let said = match Request::parse(&frame).map_err(io::Error::other)? {
                    Request::Join(group) => format!("join {group}"),
                    Request::Leave(group) => format!("leave {group}"),
                    Request::Multicast(message) => String::from_utf8_lossy(message.body).into(),
                    _ => "another request".to_owned(),
                };
                tell.send(said).map_err(io::Error::other)?;
            }
            Ok(())
        });
        let expected = block_on(async {
            let mut alice = connect_async(peer.address()).await;
            let mut expected = Vec::new();
            for n in 0..200 {
                expected.extend(send_somehow(&mut alice, n, random.below(7)).await);
            }
            alice.disconnect().await.unwrap();
            expected
        });
        let received: Vec<String> = told.iter().collect();
        assert_eq!(received, expected);
    }
}

/// Sends something; returns what the daemon is to see.
async fn send_somehow(alice: &mut AsyncMailbox, n: u32, way: u64) -> Vec<String> {
    let text = |kind: &str| format!("{kind} {n}");
    match way {
        0 => {
            alice.join(format!("g{n}")).await.unwrap();
            vec![format!("join g{n}")]
        }
        1 => {
            alice.leave(format!("g{n}")).await.unwrap();
            vec![format!("leave g{n}")]
        }
        2 => {
            alice.multicast(Service::Fifo, "g", text("plain")).await.unwrap();
            vec![text("plain")]
        }
        3 => {
            let mut batch = Batch::new();
            for kind in ["first", "second"] {
                batch.push(Service::Fifo, "g", text(kind)).unwrap();
            }
            while !batch.is_empty() {
                alice.multicast_batch(&mut batch).await.unwrap();
            }
            vec![text("first"), text("second")]
        }
        4 => {
            alice.feed(Outgoing::new(Service::Fifo, "g", text("fed")).unwrap()).await.unwrap();
            vec![text("fed")]
        }
        _ => {
            alice.multicast_buffered(Service::Fifo, "g", text("buffered")).await.unwrap();
            vec![text("buffered")]
        }
    }
}

fn a_flush_waits_for_the_kernel_and_for_nothing_behind_it(transport: Transport) {
    let (peer, mut received) = slow_peer(transport, 0);
    block_on(async {
        let (alice, _receiver) = connect_async(peer.address()).await.split();
        let taken = fill(&alice).await;
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, alice.flush()).await.is_err(), "a full kernel");
        // It waits on while another task never stops to send.
        let other = alice.clone();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            while other
                .multicast_buffered(Service::Fifo, "g", body(taken + sent, 5000))
                .await
                .is_ok()
            {
                sent += 1;
            }
        });
        peer.go_on();
        alice.flush().await.unwrap();
        assert!(!sending.is_finished());
        for n in 0..taken {
            assert_eq!(received.recv().await, Some(n));
        }
        alice.shut_down();
        sending.await.unwrap();
    });
}

fn a_daemon_that_dies_fails_what_is_buffered(transport: Transport) {
    let peer = Peer::start(transport, |client| client.wait());
    block_on(async {
        let (alice, mut receiver) = connect_async(peer.address()).await.split();
        fill(&alice).await;
        let large = vec![0; LARGE];
        // The kernel may find more room, but not for ever.
        let (waiting, flushing) = (alice.clone(), alice.clone());
        let waiting = tokio::spawn(async move {
            loop {
                if let Err(error) = waiting.multicast_buffered(Service::Fifo, "g", &large).await {
                    return error;
                }
            }
        });
        let flushing = tokio::spawn(async move {
            loop {
                if let Err(error) = flushing.flush().await {
                    return error;
                }
            }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && !flushing.is_finished());
        drop(peer);
        assert!(waiting.await.unwrap().is_closed());
        assert!(flushing.await.unwrap().is_closed());
        let next = alice.multicast_buffered(Service::Fifo, "g", b"x").await;
        assert!(matches!(next, Err(Error::ConnectionClosed { .. })), "{next:?}");
        assert!(matches!(alice.flush().await, Err(Error::ConnectionClosed { .. })));
        assert!(matches!(alice.join(unique("g")).await, Err(Error::ConnectionClosed { .. })));
        assert!(receiver.receive().await.unwrap_err().is_closed());
    });
}

/// Buffers large messages, numbered, until there is no more room; returns how many were
/// taken.
async fn fill(sender: &AsyncSender) -> u32 {
    let mut taken = 0;
    loop {
        let send = sender.multicast_buffered(Service::Fifo, "g", body(taken, LARGE));
        match tokio::time::timeout(Duration::from_millis(100), send).await {
            Ok(sent) => sent.unwrap(),
            Err(_) => return taken,
        }
        taken += 1;
    }
}

/// What the next message says.
async fn next(mailbox: &mut AsyncMailbox) -> Vec<u8> {
    let receive = tokio::time::timeout(PATIENCE, mailbox.receive());
    payload(receive.await.expect("a message"))
}

fn payload(message: Result<Message, Error>) -> Vec<u8> {
    match message {
        Ok(Message::Regular(message)) => message.payload().to_vec(),
        other => panic!("not a regular message: {other:?}"),
    }
}

/// Polls with a waker that does nothing: the next poll comes anyway.
fn poll_once<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
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

fn a_multicast_that_has_gone_before_the_end_has_not_failed(transport: Transport) {
    // The first one without room may have sent nothing, but not of any size.
    let arrived = (0..20).any(|n| {
        let (peer, mut received) = slow_peer(transport, 0);
        block_on(async {
            let alice = connect_async(peer.address()).await;
            // From here on the runtime knows of the room.
            alice.multicast(Service::Fifo, "g", body(0, 100)).await.unwrap();
            let (sender, mut receiver) = alice.split();
            let mut sent = 1;
            let mut multicast = loop {
                let body = body(sent, LARGE - n * 3000);
                let mut multicast = Box::pin(sender.multicast(Service::Fifo, "g", body));
                if poll_once(multicast.as_mut()).is_pending() {
                    break multicast;
                }
                sent += 1;
            };
            peer.go_on();
            for n in 0..sent {
                assert_eq!(received.recv().await, Some(n));
            }
            // The runtime sends the rest, if it has begun; then the daemon goes.
            let rest = tokio::time::timeout(Duration::from_millis(100), received.recv()).await;
            let has_arrived = rest.is_ok();
            drop(peer);
            assert!(receiver.receive().await.unwrap_err().is_closed());
            assert_eq!(multicast.as_mut().await.is_ok(), has_arrived);
            has_arrived
        })
    });
    assert!(arrived);
}

fn a_message_that_has_begun_before_the_runtime_is_sent(transport: Transport) {
    let (peer, mut received) = slow_peer(transport, 0);
    let alice = builder(peer.address()).connect().unwrap();
    let mut sent = 0;
    loop {
        let mut batch = Batch::new();
        batch.push(Service::Fifo, "g", body(sent, 10_000)).unwrap();
        match alice.try_multicast_batch(&mut batch).unwrap() {
            0 => break,
            count => sent += count as u32,
        }
    }
    block_on(async {
        let alice = AsyncMailbox::new(alice).unwrap();
        alice.multicast_buffered(Service::Fifo, "g", body(sent, 10_000)).await.unwrap();
        peer.go_on();
        for n in 0..=sent {
            assert_eq!(received.recv().await, Some(n));
        }
    });
}
