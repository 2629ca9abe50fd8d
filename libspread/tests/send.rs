//! Sending, to a daemon that looks at the bytes.

mod common;

use std::sync::mpsc;

use bytes::BytesMut;
use common::*;
use libspread::*;
use spread_wire::limits::MAX_BODY_AND_GROUPS;
use spread_wire::{Name, Request, ServiceType};

/// A daemon that hands on what its client asks for.
fn listening_daemon(kind: Kind) -> (FakeDaemon, Client, mpsc::Receiver<Sent>) {
    let (sender, requests) = mpsc::channel();
    let daemon = FakeDaemon::start(kind, move |mut stream| {
        let mut input = BytesMut::new();
        while let Some(frame) = stream.frame(&mut input) {
            assert_eq!(frame.header().name, "#alice#fake");
            let sent = Sent {
                service_type: frame.header().service_type,
                message_type: frame.header().hint.message_type(),
                groups: frame.groups().iter().collect(),
                body: frame.body().to_vec(),
            };
            Request::parse(&frame).expect("a request that real Spread serves");
            let _ = sender.send(sent);
        }
    });
    let client = daemon.client();
    (daemon, client, requests)
}

#[derive(Debug)]
struct Sent {
    service_type: ServiceType,
    message_type: i16,
    groups: Vec<Name>,
    body: Vec<u8>,
}

#[test]
fn requests_go_out_as_the_protocol_has_them() {
    for kind in KINDS {
        let (_daemon, client, requests) = listening_daemon(kind);
        let next = || requests.recv_timeout(PATIENCE).unwrap();
        assert_eq!(client.join("g1"), 0);
        let sent = next();
        assert_eq!(sent.service_type, ServiceType::JOIN);
        assert_eq!((&sent.groups[..], sent.body.len()), (&[Name::new("g1").unwrap()][..], 0));

        assert_eq!(client.leave("g1"), 0);
        assert_eq!(next().service_type, ServiceType::LEAVE);

        let groups = ["g1", "#bob#fake"];
        let service = AGREED_MESS | SELF_DISCARD;
        assert_eq!(client.multicast(service, &groups, -7, b"hello"), 5);
        let sent = next();
        assert_eq!(sent.service_type, ServiceType::AGREED | ServiceType::SELF_DISCARD);
        assert_eq!((sent.message_type, &sent.body[..]), (-7, b"hello".as_slice()));
        assert_eq!(sent.groups, groups.map(|g| Name::new(g).unwrap()));

        assert_eq!(client.disconnect(), 0);
        let sent = next();
        assert_eq!(sent.service_type, ServiceType::KILL);
        assert_eq!(sent.groups, [Name::new("#alice#fake").unwrap()]);
    }
}

#[test]
fn what_real_spread_cannot_bear_is_not_sent() {
    let (_daemon, client, requests) = listening_daemon(Kind::Tcp);
    for service in [0, AGREED_MESS | SAFE_MESS, SELF_DISCARD, AGREED_MESS | DROP_RECV, 0x10000] {
        assert_eq!(client.multicast(service, &["g"], 0, b""), ILLEGAL_SERVICE, "{service:#x}");
    }
    let too_long = "g".repeat(32);
    for group in ["", "#g", "a b", "#a#b#c", "##", &too_long] {
        assert_eq!(client.multicast(SAFE_MESS, &["g", group], 0, b""), ILLEGAL_GROUP, "{group}");
        assert_eq!(client.join(group), ILLEGAL_GROUP, "{group}");
        assert_eq!(client.leave(group), ILLEGAL_GROUP, "{group}");
    }
    assert_eq!(client.join("#bob#fake"), ILLEGAL_GROUP);
    assert_eq!(client.multicast(SAFE_MESS, &[], 0, b""), ILLEGAL_GROUP);
    assert_eq!(client.multicast(SAFE_MESS, &["g"; 44], 0, b""), MESSAGE_TOO_LONG);
    let longest = MAX_BODY_AND_GROUPS - 2 * NAME_LEN;
    let body = vec![0; longest + 1];
    assert_eq!(client.multicast(SAFE_MESS, &["g"; 2], 0, &body), MESSAGE_TOO_LONG);
    // SAFETY: the name ends in a zero, the body is never read.
    let code =
        unsafe { SP_multicast(client.mbox, SAFE_MESS, c"g".as_ptr(), 0, -1, std::ptr::null()) };
    assert_eq!(code, ILLEGAL_MESSAGE);
    // SAFETY: null is no groups.
    let code = unsafe {
        SP_multigroup_multicast(client.mbox, SAFE_MESS, 1, std::ptr::null(), 0, 0, std::ptr::null())
    };
    assert_eq!(code, ILLEGAL_GROUP);

    // All that went out is what is within the limits.
    assert_eq!(client.multicast(SAFE_MESS, &["g"; 2], 0, &body[1..]), longest as i32);
    assert_eq!(client.multicast(SAFE_MESS, &["g"; 43], 0, b""), 0);
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap().body.len(), longest);
    assert_eq!(requests.recv_timeout(PATIENCE).unwrap().groups.len(), 43);
}

#[test]
fn ten_threads_send_without_mixing_their_messages() {
    const THREADS: usize = 10;
    const MESSAGES: usize = 100;
    for kind in KINDS {
        let (_daemon, client, requests) = listening_daemon(kind);
        let mbox = client.mbox;
        let senders: Vec<_> = (0..THREADS)
            .map(|thread| {
                Background::start(move || {
                    for i in 0..MESSAGES {
                        let body = vec![thread as u8; i * 131 % 20_000];
                        let sent = multicast(mbox, FIFO_MESS, &["g"], i as i16, &body);
                        assert_eq!(sent, body.len() as i32);
                    }
                })
            })
            .collect();
        let mut next = [0; THREADS];
        for _ in 0..THREADS * MESSAGES {
            let sent = requests.recv_timeout(PATIENCE).unwrap();
            let i = sent.message_type as usize;
            assert_eq!(sent.body.len(), i * 131 % 20_000);
            if let Some(&thread) = sent.body.first() {
                assert!(sent.body.iter().all(|&b| b == thread));
                assert!(i >= next[usize::from(thread)], "a thread's messages stay in order");
                next[usize::from(thread)] = i + 1;
            }
        }
        senders.into_iter().for_each(Background::finish);
    }
}

#[test]
fn a_descriptor_that_does_not_block_sends_all_the_same() {
    for kind in KINDS {
        let (go_on, wait) = mpsc::channel::<()>();
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            // Reads only once the sender has filled the kernel's buffers.
            wait.recv().unwrap();
            let mut input = BytesMut::new();
            for i in 0..40 {
                let frame = stream.frame(&mut input).unwrap();
                assert_eq!(frame.header().hint.message_type(), i);
                assert!(frame.body().iter().all(|&b| b == i as u8));
            }
        });
        let client = daemon.client();
        // SAFETY: takes numbers only; the descriptor is the client's.
        unsafe { libc::fcntl(client.mbox, libc::F_SETFL, libc::O_NONBLOCK) };
        let mbox = client.mbox;
        let (filled, is_filled) = mpsc::channel();
        let sender = Background::start(move || {
            for i in 0..40 {
                let _ = filled.send(i);
                assert_eq!(multicast(mbox, FIFO_MESS, &["g"], i, &[i as u8; 140_000]), 140_000);
            }
        });
        while is_filled.recv_timeout(PATIENCE).unwrap() < 2 {}
        go_on.send(()).unwrap();
        sender.finish();
        daemon.finish();
    }
}

#[test]
fn a_daemon_that_is_gone_is_told_without_a_signal() {
    for kind in KINDS {
        let daemon = FakeDaemon::start(kind, |_| {});
        let client = daemon.client();
        daemon.finish();
        let code = loop {
            // The first may go out before the kernel hears that no one reads.
            match client.multicast(FIFO_MESS, &["g"], 0, b"x") {
                1 => {}
                code => break code,
            }
        };
        assert_eq!(code, CONNECTION_CLOSED);
        assert_eq!(client.multicast(FIFO_MESS, &["g"], 0, b"x"), NET_ERROR_ON_SESSION);
        // What had come could still be received; then comes the end.
        assert_eq!(client.receive().code, CONNECTION_CLOSED);
        assert_eq!(client.receive().code, NET_ERROR_ON_SESSION);
    }
}
