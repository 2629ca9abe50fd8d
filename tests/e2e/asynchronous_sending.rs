//! Futures that send to a daemon that takes no more, and what becomes of them when they
//! are dropped; in a runtime with one thread, so that whatever blocks it shows.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::peer::Peer;
use crate::support::{
    PATIENCE, TestDaemon, Transport, block_on, connect_async, on_each_transport,
    over_each_transport, set_receive_buffer,
};
use futures_util::SinkExt;
use spread::{AsyncMailbox, Batch, Error, Message, Outgoing, Service};
use spread_wire::{Frame, Request};

on_each_transport!(a_batch_arrives_in_its_order, a_disconnect_sends_what_the_sink_has_taken);

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
pub(super) const LARGE: usize = 140_000;

fn a_multicast_waits_for_room_and_the_executor_goes_on(transport: Transport) {
    for (buffer, len) in
        [4096, 0].into_iter().flat_map(|b| [100, 1024, 8192, LARGE].map(|l| (b, l)))
    {
        let (peer, mut received) = slow_peer(transport, buffer);
        block_on(async {
            let alice = connect_async(peer.address()).await;
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
        let alice = connect_async(peer.address()).await;
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
            let alice = connect_async(peer.address()).await;
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
        let alice = connect_async(peer.address()).await;
        fill(&alice).await;
    });
    // The connection has a second to end well.
    assert!(begin.elapsed() < PATIENCE / 2, "{:?}", begin.elapsed());
    peer.go_on();
    // The peer comes to the end of the connection.
    while received.blocking_recv().is_some() {}
}

fn a_disconnect_sends_the_rest_of_a_message(transport: Transport) {
    const ROUNDS: usize = 10;
    let ended = (0..ROUNDS).filter(|n| {
        let (tell, told) = mpsc::channel();
        let peer = Peer::start(transport, move |client| {
            client.wait()?;
            let _ = tell.send(client.receive_all()?.len() as u32);
            Ok(())
        });
        let (sent, ended) = block_on(async {
            let alice = connect_async(peer.address()).await;
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
                assert!(matches!(error, Error::DisconnectTimeout), "{error:?}");
                false
            }
        }
    });
    // A busy machine may not get all of it sent in time, now and then.
    let ended = ended.count();
    assert!(ended > ROUNDS / 2, "{ended} of {ROUNDS}");
}

fn a_disconnect_sends_what_the_sink_has_taken(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        for n in 0..10 {
            let mut bob = connect_async(daemon.address()).await;
            let message = Outgoing::new(Service::Fifo, alice.private_group(), body(n, 4)).unwrap();
            bob.feed(message).await.unwrap();
            bob.disconnect().await.unwrap();
            let Message::Regular(message) = alice.receive().await.unwrap() else {
                panic!("not a regular message");
            };
            assert_eq!(message.payload(), body(n, 4));
        }
    });
}

fn a_batch_arrives_in_its_order(daemon: TestDaemon) {
    block_on(async {
        let mut alice = connect_async(daemon.address()).await;
        let me = alice.private_group();
        let mut batch = Batch::new();
        alice.multicast_batch(&mut batch).await.unwrap();
        assert_eq!(alice.try_multicast_batch(&mut batch).unwrap(), 0);
        alice.multicast(Service::Fifo, me, body(0, 4)).await.unwrap();
        for n in 1..100 {
            batch.push(Service::Fifo, me, body(n, 4 + n as usize * 10)).unwrap();
        }
        alice.multicast_batch(&mut batch).await.unwrap();
        assert!(batch.is_empty());
        alice.multicast(Service::Fifo, me, body(100, 4)).await.unwrap();
        for n in 0..=100 {
            let Message::Regular(message) = alice.receive().await.unwrap() else {
                panic!("not a regular message");
            };
            assert_eq!(message.payload(), body(n, message.payload().len()));
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
        let alice = connect_async(peer.address()).await;
        let mut batch = batch_of(COUNT);
        // Until there is no room, while a timer ticks.
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        let mut ticks_in_wait = 0;
        while ticks_in_wait < 100 {
            let before = batch.len();
            tokio::select! {
                biased;
                _ = alice.multicast_batch(&mut batch) => panic!("the socket takes all of it"),
                // Dropped here, it has sent what is no longer in the batch.
                _ = ticks.tick() => ticks_in_wait += 1,
            }
            if batch.len() < before {
                ticks_in_wait = 0;
            }
        }
        // One that does not wait sends at most what a TCP socket takes before it counts as
        // writable again.
        let left = batch.len();
        let sent = alice.try_multicast_batch(&mut batch).unwrap();
        assert_eq!(batch.len(), left - sent);
        assert!(!batch.is_empty());
        peer.go_on();
        // Whether it waits or not, it goes on where it stopped.
        while batch.len() > left / 2 {
            if alice.try_multicast_batch(&mut batch).unwrap() == 0 {
                tokio::task::yield_now().await;
            }
        }
        alice.multicast_batch(&mut batch).await.unwrap();
        assert!(batch.is_empty());
        for n in 0..COUNT {
            assert_eq!(received.recv().await, Some(n));
        }
    });
}

/// The number of the last message.
pub(super) const END: u32 = u32::MAX;

/// A peer that does not read until it is told to, and then hands over the number of
/// each message, if all that comes is whole. Its socket takes `buffer` bytes, or as
/// many as the system says if this is 0.
pub(super) fn slow_peer(
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
pub(super) fn number(frame: &Frame) -> u32 {
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
pub(super) fn body(number: u32, len: usize) -> Vec<u8> {
    let mut body = vec![number as u8; len];
    body[..4].copy_from_slice(&number.to_le_bytes());
    body
}

fn a_sink_waits_for_room(transport: Transport) {
    let peer = Peer::start(transport, |client| client.wait());
    block_on(async {
        let mut alice = connect_async(peer.address()).await;
        fill(&alice).await;
        let message = || Outgoing::new(Service::Fifo, "g", vec![0; LARGE]).unwrap();
        alice.feed(message()).await.unwrap();
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, SinkExt::flush(&mut alice)).await.is_err());
        // The buffer has room for two of them at most.
        let mut fed = 1;
        while tokio::time::timeout(short, alice.feed(message())).await.is_ok() {
            fed += 1;
            assert!(fed <= 2, "the sink takes more than there is room for");
        }
        // A sink that waits keeps no other sender from sending.
        let (sender, _receiver) = alice.split();
        let mut sink = sender.clone();
        assert!(tokio::time::timeout(short, sink.feed(message())).await.is_err());
        peer.go_on();
        tokio::time::timeout(PATIENCE, sender.join("g")).await.unwrap().unwrap();
        sender.flush().await.unwrap();
        tokio::time::timeout(PATIENCE, sink.send(message())).await.unwrap().unwrap();
        sink.close().await.unwrap();
    });
}

fn dropping_a_mailbox_does_not_block_the_executor(transport: Transport) {
    // The peer does not end the connection, for which a mailbox waits a second. A
    // busy machine may delay a drop, but not each of them.
    let took = || {
        let peer = Peer::start(transport, |client| client.wait());
        block_on(async {
            let alice = connect_async(peer.address()).await;
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
        let alice = connect_async(peer.address()).await;
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
