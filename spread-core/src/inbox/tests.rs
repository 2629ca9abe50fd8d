//! An inbox on a socket pair, fed in pieces of any size.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use proptest::collection::vec;
use proptest::prelude::*;
use spread_wire::{ByteOrder, Hint, Name, PrivateGroup};

use super::*;
use crate::poll::{Ready, wait};

fn connection() -> (UnixStream, Connection) {
    let (daemon, client) = UnixStream::pair().unwrap();
    let stream = Stream::new(OwnedFd::from(client), true);
    (daemon, Connection::new(stream, PrivateGroup::new("#me#host").unwrap()))
}

/// A message as a daemon sends it.
fn frame(groups: usize, body: &[u8], rejected: bool) -> Vec<u8> {
    let order = ByteOrder::NATIVE;
    let service_type = if rejected { ServiceType::REJECT } else { ServiceType::AGREED };
    let header = Header {
        service_type,
        name: Name::new("#you#host").unwrap(),
        num_groups: groups,
        hint: Hint::new(7, order),
        data_len: body.len(),
        order,
    };
    let mut bytes = header.encode().to_vec();
    if rejected {
        bytes.extend(order.u32_bytes(ServiceType::SAFE.bits()));
    }
    for group in 0..groups {
        bytes.extend(Name::new(format!("g{group}")).unwrap().as_field());
    }
    bytes.extend(body);
    bytes
}

/// Lengths around those at which the inbox does something else.
fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => Just(0),
        4 => 0..200usize,
        2 => LARGE - 200..LARGE + 200,
        1 => READ_AHEAD - 200..READ_AHEAD + 200,
        1 => 100_000..140_000usize,
    ]
}

fn messages() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let message =
        (0..4usize, lengths(), prop::bool::weighted(0.1)).prop_map(|(groups, len, rejected)| {
            let body: Vec<u8> = (0..len).map(|i| (i * 31 + len) as u8).collect();
            frame(groups, &body, rejected)
        });
    vec(message, 1..12)
}

/// How a receiver asks for the next message.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Try,
    Header,
    IsReady,
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![Just(Ask::Try), Just(Ask::Header), Just(Ask::IsReady)]
}

fn bytes_of(message: Incoming<'_>, apart: &mut Vec<u8>) -> Vec<u8> {
    let mut bytes = message.header().encode().to_vec();
    let head = message.head.to_vec();
    message.take_body(apart);
    bytes.extend(head);
    bytes.extend_from_slice(apart);
    bytes
}

fn is_readable(connection: &Connection) -> bool {
    wait(connection.as_fd(), Ready::ToRead, Some(Instant::now())).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// However a stream is cut, and however it is asked for, every message comes once, whole
    /// and in order; and while one is undelivered the descriptor is readable.
    #[test]
    fn a_stream_in_pieces_becomes_its_messages(
        messages in messages(),
        cuts in vec(1..60_000usize, 1..40),
        asks in vec(asks(), 0..40),
    ) {
        let (mut daemon, connection) = connection();
        let (mut inbox, mut apart) = (Inbox::default(), Vec::new());
        let stream = messages.concat();
        let (mut sent, mut received) = (0, Vec::new());
        let mut received_len = 0;
        let asks = [asks, vec![Ask::Try]].concat();
        let (mut cuts, mut asks) = (cuts.iter().cycle(), asks.iter().cycle());
        while received.len() < messages.len() {
            if sent < stream.len() {
                // The kernel has room for this much.
                let most = 64 * 1024 - (sent - received_len - inbox.held()).min(64 * 1024);
                let end = (sent + (*cuts.next().unwrap()).min(most)).min(stream.len());
                daemon.write_all(&stream[sent..end]).unwrap();
                sent = end;
            }
            loop {
                let whole = received_len + messages.get(received.len()).map_or(1, Vec::len) <= sent;
                match asks.next().unwrap() {
                    Ask::Try => match inbox.try_message(&connection).unwrap() {
                        Some(message) => {
                            prop_assert!(whole);
                            received.push(bytes_of(message, &mut apart));
                            received_len += received.last().unwrap().len();
                            inbox.consume();
                            continue;
                        }
                        None => {
                            prop_assert!(!whole);
                            break;
                        }
                    },
                    Ask::Header => {
                        let readable = is_readable(&connection);
                        let header = inbox.try_header(&connection).unwrap();
                        // It remains to be polled for.
                        prop_assert!(!whole || (header.is_some() && readable));
                        prop_assert!(!whole || is_readable(&connection));
                    }
                    Ask::IsReady => {
                        prop_assert_eq!(inbox.is_ready(&connection).unwrap(), whole);
                        prop_assert_eq!(is_readable(&connection), whole);
                        let waiting = inbox.waiting(&connection).unwrap();
                        prop_assert_eq!(waiting > Some(0), whole);
                    }
                }
            }
            prop_assert!(!is_readable(&connection) || received.len() == messages.len());
        }
        prop_assert_eq!(received, messages);
        prop_assert_eq!(inbox.held(), 0);
    }

    #[test]
    fn a_receiver_that_waits_gets_the_same(messages in messages()) {
        let (mut daemon, connection) = connection();
        let stream = messages.concat();
        let sending = std::thread::spawn(move || daemon.write_all(&stream).map(|()| daemon));
        let (mut inbox, mut apart) = (Inbox::default(), Vec::new());
        for message in &messages {
            let received = bytes_of(inbox.wait_message(&connection).unwrap(), &mut apart);
            prop_assert_eq!(&received, message);
            inbox.consume();
        }
        drop(sending.join().unwrap().unwrap());
        prop_assert!(matches!(inbox.wait_message(&connection), Err(Error::Closed(None))));
        prop_assert!(matches!(inbox.wait_message(&connection), Err(Error::Failed)));
    }
}

#[test]
fn a_message_stays_the_next_one_until_it_is_consumed() {
    let (mut daemon, connection) = connection();
    daemon.write_all(&frame(1, b"one", false)).unwrap();
    let mut inbox = Inbox::default();
    for _ in 0..2 {
        assert_eq!(inbox.wait_message(&connection).unwrap().body(), b"one");
    }
    inbox.consume();
    assert!(inbox.try_message(&connection).unwrap().is_none());
}

#[test]
fn the_old_type_of_a_rejected_message_is_told() {
    let (mut daemon, connection) = connection();
    daemon.write_all(&frame(2, b"no", true)).unwrap();
    let mut inbox = Inbox::default();
    let message = inbox.wait_message(&connection).unwrap();
    assert_eq!(message.service_type(), ServiceType::SAFE | ServiceType::REJECT);
    assert_eq!((message.groups().len(), message.body()), (2, &b"no"[..]));
}

#[test]
fn a_wrong_header_ends_the_connection() {
    let (mut daemon, connection) = connection();
    daemon.write_all(&[0xff; 48]).unwrap();
    let mut inbox = Inbox::default();
    assert!(inbox.is_ready(&connection).unwrap(), "it is for the receive to tell");
    assert!(matches!(inbox.try_message(&connection), Err(Error::Protocol(_))));
    assert!(matches!(inbox.try_message(&connection), Err(Error::Failed)));
}

#[test]
fn a_connection_that_was_shut_down_says_so() {
    let (_daemon, connection) = connection();
    connection.shut_down();
    assert!(matches!(Inbox::default().wait_message(&connection), Err(Error::ShutDown)));
}

#[test]
fn a_want_of_memory_leaves_the_connection_as_it_was() {
    let (mut daemon, connection) = connection();
    for errno in [rustix::io::Errno::NOBUFS, rustix::io::Errno::NOMEM] {
        let error = Failure::Io(errno.into()).ends(&connection);
        assert!(matches!(error, Error::Resource(_)), "{error:?}");
    }
    daemon.write_all(&frame(1, b"one", false)).unwrap();
    assert_eq!(Inbox::default().wait_message(&connection).unwrap().body(), b"one");
    let reset = Failure::Io(rustix::io::Errno::CONNRESET.into()).ends(&connection);
    assert!(matches!(reset, Error::Closed(Some(_))), "{reset:?}");
    assert!(matches!(connection.check(), Err(Error::Failed)));
}
