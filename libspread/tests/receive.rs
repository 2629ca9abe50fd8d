//! Receiving, against a daemon that sends what a test wants.

mod common;

use std::io::{Read, Write};
use std::path::Path;
use std::ptr::{null, null_mut};

use common::*;
use libspread::*;
use spread_wire::{
    ByteOrder, Cause, Delivery, GroupId, Groups, MembershipBody, Name, Reject, ServiceType,
};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

fn transcript(name: &str) -> serde_json::Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts").join(name);
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// All that the daemon sent to a client of a transcript, the handshake too.
fn sent_to(connection: &serde_json::Value) -> Vec<Vec<u8>> {
    let bytes = connection["bytes"].as_array().unwrap().iter();
    bytes
        .filter(|entry| entry["from"] == "daemon" && entry["hex"].is_string())
        .map(|entry| unhex(entry["hex"].as_str().unwrap()))
        .collect()
}

fn number_after(text: &str, word: &str) -> Option<i32> {
    text.split_once(word)?.1.split(' ').next()?.parse().ok()
}

/// Plays a client's part of a transcript, and compares all that it receives.
fn replay(kind: Kind, name: &str) {
    let transcript = transcript(name);
    for connection in transcript["connections"].as_array().unwrap() {
        let who = connection["client"].as_str().unwrap().to_owned();
        let mut sent = sent_to(connection).into_iter();
        let daemon = FakeDaemon::raw(kind, move |mut stream| {
            let mut bytes = [0; 90];
            stream.read_exact(&mut bytes[..5]).unwrap();
            let len = usize::from(bytes[4]);
            stream.read_exact(&mut bytes[..len]).unwrap();
            stream.write_all(&sent.next().unwrap()).unwrap();
            stream.read_exact(&mut bytes).unwrap();
            // Not every recorded message is received: the client may be gone.
            let _ = sent.try_for_each(|bytes| stream.write_all(&bytes));
            stream.wait_for_end();
        });
        let client = Client::connect(&daemon.address, &who).unwrap();
        for call in transcript["calls"].as_array().unwrap() {
            let (text, expected) = (call["call"].as_str().unwrap(), &call["result"]);
            if call["who"] != who.as_str() || !text.starts_with("receive") || expected.is_null() {
                continue;
            }
            let flags = if text.contains("DROP_RECV") { DROP_RECV } else { 0 };
            let groups = number_after(text, "max_groups=").unwrap_or(100);
            let len = number_after(text, "max_len=").unwrap_or(200_000);
            let received = client.receive_into(flags, groups, len);
            let context = format!("{name}: {who}: {text}: {received:?}");
            assert_eq!(received.code, expected["rc"], "{context}");
            assert_eq!(received.service, expected["service"], "{context}");
            assert_eq!(received.sender, expected["sender"].as_str().unwrap(), "{context}");
            assert_eq!(received.num_groups, expected["num_groups"], "{context}");
            assert_eq!(received.mess_type, expected["mess_type"], "{context}");
            assert_eq!(received.endian_mismatch, expected["endian_mismatch"], "{context}");
            if received.code >= 0 {
                assert_eq!(serde_json::json!(received.groups), expected["groups"], "{context}");
                let data = unhex(expected["data"].as_str().unwrap());
                assert_eq!(received.body, data, "{context}");
            }
        }
    }
}

#[test]
fn short_buffers_are_told_as_recorded() {
    for kind in KINDS {
        replay(kind, "short_buffers.json");
    }
}

#[test]
fn other_recorded_sessions_are_received_as_recorded() {
    for name in ["services.json", "membership.json", "multigroup.json"] {
        for kind in KINDS {
            replay(kind, name);
        }
    }
}

/// A client of a daemon that sends these bytes, and then waits for its end.
fn client_of(kind: Kind, bytes: Vec<u8>) -> (FakeDaemon, Client) {
    let daemon = FakeDaemon::start(kind, move |mut stream| {
        let _ = stream.write_all(&bytes);
        stream.wait_for_end();
    });
    let client = daemon.client();
    (daemon, client)
}

fn view(order: ByteOrder) -> Vec<u8> {
    let members = ["#abe#fake", "#alice#fake", "#zed#fake"].map(|n| Name::new(n).unwrap());
    let (a, b) = members.split_at(1);
    encode(
        order,
        &Delivery::View {
            group: Name::new("g1").unwrap(),
            cause: Cause::Network,
            members: Groups::from(&members),
            body: MembershipBody {
                group_id: GroupId { proc_id: 1, time: 2, index: 3 },
                vs_sets: vec![a.to_vec(), b.to_vec()],
                my_vs_set: 1,
            },
        },
    )
}

#[test]
fn frames_may_come_byte_by_byte() {
    for kind in KINDS {
        let messages = ORDERS.map(|order| regular(order, &["g1", "g2"], b"slowly"));
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            messages.concat().chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
            view(ByteOrder::Big).chunks(1).for_each(|byte| stream.write_all(byte).unwrap());
            stream.wait_for_end();
        });
        let client = daemon.client();
        for _ in ORDERS {
            let received = client.receive();
            assert_eq!(received.groups, ["g1", "g2"]);
            assert_eq!((received.body, received.mess_type), (b"slowly".to_vec(), 7));
        }
        assert_eq!(client.receive().mess_type, 1);
    }
}

#[test]
fn half_a_header_is_waited_for_and_the_message_left_to_a_larger_receive() {
    for kind in KINDS {
        let message = regular(ByteOrder::NATIVE, &["g"], b"x");
        let len = message.len() as i32;
        let (go_on, wait) = std::sync::mpsc::channel();
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            for part in [&message[..20], &message[20..40], &message[40..]] {
                wait.recv().unwrap();
                stream.write_all(part).unwrap();
            }
            stream.wait_for_end();
        });
        let client = daemon.client();
        let mbox = client.mbox;
        let receiver = Background::start(move || receive(mbox, 0, 0, 0));
        (0..3).for_each(|_| go_on.send(()).unwrap());
        let received = receiver.finish();
        assert_eq!((received.code, received.num_groups), (GROUPS_TOO_SHORT, -1));
        assert!(client.becomes_readable(PATIENCE));
        assert_eq!(client.receive_into(0, 0, 0), received);
        while client.poll() < len {
            std::thread::yield_now();
        }
        assert_eq!((client.poll(), client.receive().body), (len, b"x".to_vec()));
        assert_eq!(client.poll(), 0);
    }
}

#[test]
fn half_a_header_does_not_keep_the_rest_out_of_the_socket() {
    const MESSAGES: usize = 2000;
    let message = regular(ByteOrder::NATIVE, &["g"], &[b'x'; 16_000]);
    let len = message.len();
    let daemon = FakeDaemon::start(Kind::Tcp, move |mut stream| {
        // Each part ends within the header of the next message.
        let bytes = message.repeat(MESSAGES);
        let (first, rest) = bytes.split_at(len + 20);
        stream.write_all(first).unwrap();
        rest.chunks(len).for_each(|part| stream.write_all(part).unwrap());
        stream.wait_for_end();
    });
    let client = daemon.client();
    // Room for what TCP sends at once, but not twice.
    set_receive_buffer(client.mbox, 64 * 1024);
    in_time(move || (0..MESSAGES).for_each(|_| assert_eq!(client.receive().code, 16_000)));
}

#[test]
fn integers_of_another_byte_order_are_turned_around() {
    let bodies = ORDERS.map(|order| {
        let (_daemon, client) = client_of(Kind::Tcp, view(order));
        let received = client.receive();
        assert_eq!(received.service, REG_MEMB_MESS | CAUSED_BY_NETWORK);
        assert_eq!((received.mess_type, received.endian_mismatch), (1, 0));
        assert_eq!(received.groups, ["#abe#fake", "#alice#fake", "#zed#fake"]);
        received.body
    });
    assert_eq!(bodies[0], bodies[1]);

    let ids = ORDERS.map(|order| {
        let group_id = GroupId { proc_id: 1, time: 2, index: 3 };
        let transitional = Delivery::Transitional { group: Name::new("g").unwrap(), group_id };
        let (_daemon, client) = client_of(Kind::Tcp, encode(order, &transitional));
        let received = client.receive();
        assert_eq!((received.service, received.mess_type), (TRANSITION_MESS, -1));
        received.body
    });
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_sender_of_another_byte_order_is_told() {
    for order in ORDERS {
        let (_daemon, client) = client_of(Kind::Tcp, regular(order, &["g"], b"1234"));
        let received = client.receive();
        assert_eq!(received.endian_mismatch, i32::from(order != ByteOrder::NATIVE));
        assert_eq!((received.code, received.mess_type), (4, 7));
    }
}

#[test]
fn a_rejected_message_has_its_old_type() {
    let groups = [Name::new("g").unwrap()];
    let rejected = encode(
        ByteOrder::Big,
        &Delivery::Rejected(Reject {
            old_type: ServiceType::AGREED,
            sender: Name::new("#alice#fake").unwrap(),
            self_discard: false,
            message_type: 9,
            sender_order: ByteOrder::NATIVE,
            groups: Groups::from(&groups),
            body: b"back",
        }),
    );
    let (_daemon, client) = client_of(Kind::Tcp, rejected);
    let short = client.receive_into(0, 1, 3);
    assert_eq!((short.code, short.service), (BUFFER_TOO_SHORT, AGREED_MESS | REJECT_MESS));
    let received = client.receive();
    assert_eq!(received.service, AGREED_MESS | REJECT_MESS);
    assert_eq!((received.mess_type, received.body), (9, b"back".to_vec()));
    assert_eq!(received.groups, ["g"]);
}

#[test]
fn a_message_can_be_cut_after_it_was_too_long() {
    for kind in KINDS {
        for len in [100, 20_000] {
            let body: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let messages =
                [&body, b"after".as_slice()].map(|b| regular(ByteOrder::NATIVE, &["g", "h"], b));
            let (_daemon, client) = client_of(kind, messages.concat());
            let short = client.receive_into(0, 2, 50);
            assert_eq!((short.code, short.endian_mismatch), (BUFFER_TOO_SHORT, -len));
            let cut = client.receive_into(DROP_RECV, 1, 50);
            assert_eq!((cut.code, cut.num_groups), (BUFFER_TOO_SHORT, -2));
            assert_eq!(cut.groups[0], "g");
            assert_eq!(cut.body, body[..50]);
            assert_eq!(client.receive().body, b"after");
        }
    }
}

#[test]
fn a_message_with_its_groups_cut_is_received() {
    // The last is longer than what is read ahead.
    for len in [3, 50_000, 140_000] {
        let body = vec![b'x'; len];
        let messages = [&body, b"after".as_slice()]
            .map(|body| regular(ByteOrder::NATIVE, &["g", "h", "i"], body));
        let (_daemon, client) = client_of(Kind::Tcp, messages.concat());
        let received = client.receive_into(DROP_RECV, 1, len as i32);
        assert_eq!((received.code, received.num_groups), (len as i32, -3));
        assert_eq!(received.body, body);
        assert_eq!(client.receive().body, b"after");
    }
}

#[test]
fn each_message_of_a_burst_can_be_cut() {
    for kind in KINDS {
        let body: Vec<u8> = (0..200).collect();
        let message = regular(ByteOrder::NATIVE, &["g", "h", "i"], &body);
        let (_daemon, client) = client_of(kind, message.repeat(5));
        for (groups, len) in [(1, 50), (3, 200), (1, 200), (3, 50), (1, 50)] {
            let cut = client.receive_into(DROP_RECV, groups, len);
            assert_eq!(cut.groups[..groups as usize], ["g", "h", "i"][..groups as usize]);
            assert_eq!(cut.body, body[..len as usize]);
        }
        assert_eq!(client.poll(), 0);
    }
}

#[test]
fn members_that_were_cut_have_no_index() {
    let (_daemon, client) = client_of(Kind::Tcp, view(ByteOrder::NATIVE));
    let short = client.receive_into(0, 1, 1000);
    assert_eq!((short.code, short.num_groups, short.mess_type), (GROUPS_TOO_SHORT, -3, 0));
    assert_eq!(client.receive_into(DROP_RECV, 1, 1000).mess_type, -1);
}

#[test]
fn messages_of_all_sizes_come_whole_and_in_order() {
    for kind in KINDS {
        let sizes: Vec<usize> =
            (0..200).map(|i| ((i * i * i * 7919) % 143_000) >> (i % 17)).collect();
        let message =
            |(i, &size): (usize, &usize)| regular(ByteOrder::NATIVE, &["g"], &vec![i as u8; size]);
        let bytes: Vec<Vec<u8>> = sizes.iter().enumerate().map(message).collect();
        let (_daemon, client) = client_of(kind, bytes.concat());
        for (i, &size) in sizes.iter().enumerate() {
            let received = client.receive();
            assert_eq!(received.code, size as i32);
            assert!(received.body.iter().all(|&b| b == i as u8));
        }
        assert_eq!(client.poll(), 0);
    }
}

#[test]
fn a_descriptor_that_does_not_block_is_waited_for_all_the_same() {
    for kind in KINDS {
        let (go_on, wait) = std::sync::mpsc::channel();
        let daemon = FakeDaemon::start(kind, move |mut stream| {
            let message = regular(ByteOrder::NATIVE, &["g"], &[b'x'; 1000]);
            for part in message.chunks(300) {
                wait.recv().unwrap();
                stream.write_all(part).unwrap();
            }
            stream.wait_for_end();
        });
        let client = daemon.client();
        // SAFETY: takes numbers only; the descriptor is the client's.
        unsafe { libc::fcntl(client.mbox, libc::F_SETFL, libc::O_NONBLOCK) };
        let mbox = client.mbox;
        let receiver = Background::start(move || receive(mbox, 0, 10, 2000));
        (0..4).for_each(|_| go_on.send(()).unwrap());
        assert_eq!(receiver.finish().code, 1000);
    }
}

#[test]
fn whole_messages_before_the_end_are_delivered() {
    for kind in KINDS {
        let messages = [b"one", b"two"].map(|b| regular(ByteOrder::NATIVE, &["g"], b)).concat();
        for cut in [0, 1, 47, 48, 60] {
            let bytes = [&messages, &messages[..cut]].concat();
            let daemon = FakeDaemon::start(kind, move |mut stream| {
                stream.write_all(&bytes).unwrap();
                stream.end();
                stream.wait_for_end();
            });
            let client = daemon.client();
            assert_eq!(client.receive().body, b"one");
            assert_eq!(client.receive().body, b"two");
            assert_eq!(client.receive().code, CONNECTION_CLOSED);
            assert_eq!(client.receive().code, NET_ERROR_ON_SESSION);
            assert_eq!(client.join("g"), NET_ERROR_ON_SESSION);
            assert_eq!(client.poll(), NET_ERROR_ON_SESSION);
        }
    }
}

#[test]
fn a_header_that_is_none_ends_the_session() {
    let good = regular(ByteOrder::NATIVE, &["g"], b"x");
    let negative = (-1i32).to_ne_bytes();
    let mut no_order = good.clone();
    no_order[0] ^= 0x80;
    let mut groups = good.clone();
    groups[36..40].copy_from_slice(&negative);
    let mut data = good.clone();
    data[44..48].copy_from_slice(&negative);
    let mut huge = good.clone();
    huge[44..48].copy_from_slice(&i32::MAX.to_ne_bytes());
    for bad in [no_order, groups, data, huge] {
        let (_daemon, client) = client_of(Kind::Tcp, [good.clone(), bad].concat());
        assert_eq!(client.receive().body, b"x");
        assert_eq!(client.receive().code, ILLEGAL_MESSAGE);
        assert_eq!(client.receive().code, NET_ERROR_ON_SESSION);
    }
}

#[test]
fn names_without_an_end_are_ended() {
    for len in [1, 30_000] {
        let mut message = regular(ByteOrder::NATIVE, &["g"], &vec![b'x'; len]);
        message[4..36].fill(b's');
        message[48..80].fill(b'g');
        let (_daemon, client) = client_of(Kind::Tcp, message);
        let received = client.receive();
        assert_eq!(received.sender, "s".repeat(31));
        assert_eq!(received.groups, ["g".repeat(31)]);
    }
}

#[test]
fn null_results_are_refused_and_nothing_is_lost() {
    let (_daemon, client) = client_of(Kind::Tcp, regular(ByteOrder::NATIVE, &["g"], b"x"));
    let (mut service, mut count, mut mess_type, mut mismatch) = (0, 0, 0, 0);
    let mut sender = [0; NAME_LEN];
    // SAFETY: what is not null can be written.
    unsafe {
        let code = SP_receive(
            client.mbox,
            &mut service,
            sender.as_mut_ptr(),
            10,
            null_mut(),
            null_mut(),
            &mut mess_type,
            &mut mismatch,
            10,
            null_mut(),
        );
        assert_eq!(code, ILLEGAL_MESSAGE);
        // An array that is null has no room.
        let code = SP_receive(
            client.mbox,
            &mut service,
            sender.as_mut_ptr(),
            10,
            &mut count,
            null_mut(),
            &mut mess_type,
            &mut mismatch,
            10,
            null_mut(),
        );
        assert_eq!((code, count, mismatch), (GROUPS_TOO_SHORT, -1, -1));
        assert_eq!(SP_multicast(client.mbox, SAFE_MESS, null(), 0, 0, null()), ILLEGAL_GROUP);
        let group = c"g".as_ptr();
        assert_eq!(SP_multicast(client.mbox, SAFE_MESS, group, 0, 1, null()), ILLEGAL_MESSAGE);
    }
    assert_eq!(client.receive().body, b"x");
}
