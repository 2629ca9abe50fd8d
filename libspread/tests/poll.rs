//! What a caller that polls the descriptor relies on: it is readable exactly
//! while there is something to receive, although the library reads ahead.

mod common;

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Instant;

use common::*;
use libspread::*;
use spread_wire::{ByteOrder, Delivery, GroupId, HEADER_LEN, Name};

/// Sizes of bodies, from tiny to above what is read ahead.
fn sizes() -> impl Iterator<Item = usize> {
    (0..300usize).map(|i| match i % 30 {
        0 => 20_000,
        1 => 70_000,
        n => n * 37 % 500,
    })
}

/// Whether a receive would not wait.
fn is_ready(client: &Client) -> bool {
    client.poll() != 0
}

/// Asks for a message of which only a part comes, until the descriptor is not readable.
fn take_part(client: &Client) {
    let begin = Instant::now();
    while client.is_readable() {
        assert!(!is_ready(client));
        assert!(begin.elapsed() < PATIENCE, "the part stays in the socket");
    }
}

#[test]
fn one_message_a_wake_up_is_enough() {
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |mut stream| {
            for size in sizes() {
                let message = regular(ByteOrder::NATIVE, &["g"], &vec![1; size]);
                stream.write_all(&message).unwrap();
            }
            stream.wait_for_end();
        });
        let client = daemon.client();
        for size in sizes() {
            assert!(client.becomes_readable(PATIENCE), "a message waits, and the queue is empty");
            // A part of it may have come.
            while client.poll() == 0 {
                assert!(client.becomes_readable(PATIENCE));
            }
            assert_eq!(client.receive().code, size as i32);
        }
        assert!(!client.is_readable());
        assert_eq!(client.poll(), 0);
    }
}

#[test]
fn a_message_that_was_too_long_is_still_there() {
    for kind in KINDS {
        let (written, all_written) = mpsc::channel();
        let sizes = [10, 500, 3, 9_000, 0, 30_000, 1, 2, 3, 4];
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            for size in sizes {
                let message = regular(ByteOrder::NATIVE, &["g", "h"], &vec![1; size]);
                stream.write_all(&message).unwrap();
            }
            stream.write_all(&regular(ByteOrder::NATIVE, &["g"], b"tail")[..70]).unwrap();
            written.send(()).unwrap();
            stream.wait_for_end();
        });
        let client = daemon.client();
        all_written.recv_timeout(PATIENCE).unwrap();
        for size in sizes {
            assert!(client.becomes_readable(PATIENCE));
            if size > 0 {
                let before = client.poll();
                assert_eq!(client.receive_into(0, 2, 0).code, BUFFER_TOO_SHORT);
                assert!(client.is_readable());
                assert!(client.poll() >= before);
            }
            assert_eq!(client.receive().code, size as i32);
        }
        take_part(&client);
        assert_eq!(client.poll(), 0, "a part is nothing to be received");
    }
}

#[test]
fn a_message_without_groups_that_was_too_long_is_still_there() {
    let group_id = GroupId { proc_id: 1, time: 2, index: 3 };
    for kind in KINDS {
        let group = Name::new("g").unwrap();
        let message = encode(ByteOrder::NATIVE, &Delivery::Transitional { group, group_id });
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            stream.write_all(&message).unwrap();
            stream.wait_for_end();
        });
        let client = daemon.client();
        assert!(client.becomes_readable(PATIENCE));
        assert_eq!(client.receive_into(0, 10, 11).code, BUFFER_TOO_SHORT);
        assert!(client.is_readable());
        assert_eq!(client.receive_into(0, 10, 12).code, 12);
        assert!(!client.is_readable());
    }
}

#[test]
fn it_tells_whether_a_receive_would_wait() {
    // After large messages the library does not read ahead.
    const SIZES: [usize; 7] = [1000, 20_000, 100_000, 20_000, 20_000, 1000, 0];
    for kind in KINDS {
        let (go_on, next) = mpsc::channel::<()>();
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            for size in SIZES {
                let message = regular(ByteOrder::NATIVE, &["g"], &vec![1; size]);
                let (half_header, rest) = message.split_at(HEADER_LEN / 2);
                let (first, rest) = rest.split_at(rest.len() / 2);
                for part in [half_header, first, rest] {
                    next.recv().unwrap();
                    stream.write_all(part).unwrap();
                }
            }
            stream.wait_for_end();
        });
        let client = daemon.client();
        for size in SIZES {
            assert!(!is_ready(&client));
            for _part in 0..2 {
                go_on.send(()).unwrap();
                assert!(client.becomes_readable(PATIENCE));
                take_part(&client);
            }
            go_on.send(()).unwrap();
            while !is_ready(&client) {
                assert!(client.becomes_readable(PATIENCE));
            }
            assert!(client.is_readable());
            assert_eq!(client.receive().code, size as i32);
        }
        assert!(!is_ready(&client));
    }
}

#[test]
fn a_receive_by_turns_is_never_stuck_and_never_late() {
    // The daemon sends only once the client has answered the last message, so
    // that one wake-up missed is the end.
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |mut stream| {
            let mut ack = [0; HEADER_LEN + NAME_LEN];
            for burst in [1, 2, 7, 1, 30, 1, 1, 100] {
                let message = regular(ByteOrder::NATIVE, &["g"], &[burst as u8; 100]);
                stream.write_all(&message.repeat(burst)).unwrap();
                (0..burst).for_each(|_| stream.read_exact(&mut ack).unwrap());
            }
        });
        let client = daemon.client();
        for _ in 0..[1, 2, 7, 1, 30, 1, 1, 100].iter().sum() {
            assert!(client.becomes_readable(PATIENCE));
            assert_eq!(client.receive().code, 100);
            assert_eq!(client.join("ack"), 0);
        }
        assert!(client.becomes_readable(PATIENCE), "the daemon has closed");
        assert_eq!(client.poll(), CONNECTION_CLOSED);
        assert_eq!(client.receive().code, CONNECTION_CLOSED);
    }
}

#[test]
fn what_is_delivered_no_longer_counts() {
    let message = regular(ByteOrder::NATIVE, &["g"], b"0123456789");
    let len = message.len() as i32;
    let (written, all_written) = mpsc::channel();
    let daemon = FakeDaemon::start(Kind::Tcp, move |mut stream| {
        stream.write_all(&message.repeat(3)).unwrap();
        written.send(()).unwrap();
        stream.wait_for_end();
    });
    let client = daemon.client();
    all_written.recv_timeout(PATIENCE).unwrap();
    for left in [3, 2, 1] {
        assert_eq!(client.poll(), left * len);
        client.receive();
    }
    assert_eq!(client.poll(), 0);
}

#[test]
fn a_message_of_a_header_alone_is_told_until_it_is_received() {
    for kind in KINDS {
        let group = Name::new("g").unwrap();
        let message = encode(ByteOrder::NATIVE, &Delivery::SelfLeave { group });
        assert_eq!(message.len(), HEADER_LEN);
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            stream.write_all(&message).unwrap();
            stream.end();
            stream.wait_for_end();
        });
        let client = daemon.client();
        assert!(client.becomes_readable(PATIENCE));
        for _ in 0..2 {
            assert!(is_ready(&client));
            assert_eq!(client.poll(), HEADER_LEN as i32);
        }
        let received = client.receive();
        assert_eq!((received.service, received.sender.as_str()), (CAUSED_BY_LEAVE, "g"));
        assert!(client.becomes_readable(PATIENCE), "the daemon has closed");
        assert_eq!(client.poll(), CONNECTION_CLOSED);
    }
}

#[test]
fn a_poll_does_not_wait_for_a_receiver() {
    let daemon = FakeDaemon::start(Kind::Tcp, |mut stream| stream.wait_for_end());
    let client = daemon.client();
    let mbox = client.mbox;
    let receiver = Background::start(move || receive(mbox, 0, 1, 1).code);
    assert_eq!(
        in_time(move || {
            // SAFETY: takes a number only.
            unsafe { SP_poll(mbox) }
        }),
        0
    );
    drop(client);
    assert!(matches!(receiver.finish(), CONNECTION_CLOSED | ILLEGAL_SESSION));
}

#[test]
#[cfg(target_os = "linux")]
fn an_edge_triggered_caller_that_drains_the_queue_misses_nothing() {
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            let messages: Vec<u8> = sizes()
                .flat_map(|size| regular(ByteOrder::NATIVE, &["g"], &vec![1; size]))
                .collect();
            messages.chunks(701).for_each(|chunk| stream.write_all(chunk).unwrap());
            stream.wait_for_end();
        });
        let client = daemon.client();
        // SAFETY: the events are read and written one at a time; what is
        // opened is closed below.
        let epoll = unsafe {
            let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
            let mut event = libc::epoll_event { events, u64: 0 };
            libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, client.mbox, &mut event);
            epoll
        };
        let client = in_time(move || {
            let mut expected = sizes().peekable();
            while expected.peek().is_some() {
                let mut event = libc::epoll_event { events: 0, u64: 0 };
                let patience = PATIENCE.as_millis() as i32;
                // SAFETY: there is room for the one event asked for.
                let count = unsafe { libc::epoll_wait(epoll, &mut event, 1, patience) };
                assert_eq!(count, 1, "an edge is missing");
                while is_ready(&client) {
                    // Must not block: in_time fails if it does.
                    assert_eq!(Some(client.receive().code as usize), expected.next());
                }
            }
            client
        });
        assert!(!client.is_readable());
        // SAFETY: opened above.
        unsafe { libc::close(epoll) };
        drop(client);
    }
}
