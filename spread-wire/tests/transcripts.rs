//! Every byte of the recorded sessions, understood and written again.

#[path = "../../tests/support/transcript.rs"]
mod transcript;

use std::collections::VecDeque;

use bytes::BytesMut;
use spread_wire::handshake::{Client, ClientError, ClientStep, Connect, Daemon, DaemonStep};
use spread_wire::{
    ByteOrder, Delivery, ErrorCode, Frame, Limits, PrivateGroup, PrivateName, Request, ServiceType,
};
use transcript::{Connection, Outcome, Received, Side, Transcript};

/// What is recorded: a name, sessions accepted and rejected, frames from
/// clients and from daemons, results of `SP_receive`.
const RECORDED: [(&str, usize, usize, usize, usize, usize); 8] = [
    ("cluster", 4, 0, 11, 47, 47),
    ("connect_ok", 1, 0, 1, 0, 0),
    ("connect_rejects", 3, 3, 3, 0, 0),
    ("large65536", 1, 0, 3, 2, 2),
    ("membership", 3, 0, 9, 10, 10),
    ("multigroup", 2, 0, 10, 10, 9),
    ("services", 2, 0, 13, 19, 18),
    ("short_buffers", 1, 0, 5, 4, 6),
];

#[test]
fn every_handshake_is_led_by_both_state_machines_with_the_recorded_bytes() {
    for (transcript, recorded) in Transcript::all().iter().zip(RECORDED) {
        let mut connects: Vec<_> =
            transcript.calls.iter().filter(|call| call.call == "connect").collect();
        let (mut accepted, mut rejected) = (0, 0);
        for connection in &transcript.connections {
            let outcome = shake_hands(connection);
            match outcome {
                Ok(_) => accepted += 1,
                Err(_) => rejected += 1,
            }
            let Some(at) = connects.iter().position(|c| c.who.starts_with(&connection.client))
            else {
                continue;
            };
            match &connects.remove(at).outcome {
                Outcome::Connected { private_group } => {
                    assert_eq!(outcome.map(|group| group.to_string()).as_ref(), Ok(private_group));
                }
                Outcome::Code(1) => assert!(outcome.is_ok()),
                Outcome::Code(code) => assert_eq!(outcome.map_err(ErrorCode::code), Err(*code)),
                other => panic!("a connect that returned {other:?}"),
            }
        }
        assert!(connects.is_empty(), "connects without a connection: {connects:?}");
        assert_eq!((transcript.name, accepted, rejected), (recorded.0, recorded.1, recorded.2));
    }
}

#[test]
fn every_request_is_parsed_and_encodes_to_the_recorded_bytes() {
    for (transcript, recorded) in Transcript::all().iter().zip(RECORDED) {
        let mut count = 0;
        for connection in &transcript.connections {
            for frame in frames(connection, Side::Client) {
                let request = Request::parse(&frame).expect("a request");
                let mut again = BytesMut::new();
                request.encode(frame.header().name, frame.header().order, &mut again);
                assert_eq!(again, frame.as_bytes(), "{request:?}");
                count += 1;
            }
        }
        assert_eq!((transcript.name, count), (recorded.0, recorded.3));
    }
}

#[test]
fn every_delivery_is_parsed_and_encodes_to_the_recorded_bytes() {
    for (transcript, recorded) in Transcript::all().iter().zip(RECORDED) {
        let mut count = 0;
        for connection in &transcript.connections {
            for frame in frames(connection, Side::Daemon) {
                let delivery = Delivery::parse(&frame).expect("a delivery");
                let mut again = BytesMut::new();
                delivery.encode(frame.header().order, &mut again);
                assert_eq!(again, frame.as_bytes(), "{delivery:?}");
                count += 1;
            }
        }
        assert_eq!((transcript.name, count), (recorded.0, recorded.4));
    }
}

#[test]
fn a_delivery_says_what_libspread_returned() {
    for (transcript, recorded) in Transcript::all().iter().zip(RECORDED) {
        let mut count = 0;
        for connection in &transcript.connections {
            let mut frames: VecDeque<_> = frames(connection, Side::Daemon).into();
            for call in transcript.calls.iter().filter(|call| call.who == connection.client) {
                let Outcome::Received(received) = &call.outcome else {
                    continue;
                };
                let frame = frames.front().expect("a message for every receive");
                let told = as_libspread_tells(
                    &Delivery::parse(frame).expect("a delivery"),
                    &format!("#{}#", call.who),
                );
                if received.code >= 0 {
                    assert_eq!(&told, received);
                } else {
                    assert_is_too_short_for(received, &told);
                }
                // Too short a buffer leaves the message where it is, if the
                // caller did not ask to have it cut.
                if received.code >= 0 || call.call.contains("DROP_RECV") {
                    frames.pop_front();
                }
                count += 1;
            }
        }
        assert_eq!((transcript.name, count), (recorded.0, recorded.5));
    }
}

/// Leads a recorded handshake from both ends: each state machine gets what the
/// other side sent, and must say what its own side said.
fn shake_hands(connection: &Connection) -> Result<PrivateGroup, ErrorCode> {
    let mut from_client = BytesMut::from(&connection.sent_by(Side::Client)[..]);
    let from_daemon = connection.sent_by(Side::Daemon);
    let sent_by_client = from_client.clone();

    let mut daemon = Daemon::new(&["NULL"]);
    let request = match daemon.handle(&mut from_client) {
        DaemonStep::Greet(request) => request,
        DaemonStep::Reject(code) => {
            assert_eq!(from_daemon, daemon.reject(code));
            return Err(code);
        }
        step => panic!("after the request: {step:?}"),
    };
    let connect = Connect {
        version: request.version,
        private_name: request.private_name,
        membership: request.membership,
        priority: request.priority,
    };
    let mut client = Client::unauthenticated(connect);
    let mut client_sends = Vec::new();
    let mut unread = &from_daemon[..];
    let outcome = loop {
        match client.next_step() {
            ClientStep::Send(bytes) => client_sends.extend_from_slice(&bytes),
            ClientStep::Authenticate => client.authenticated(),
            ClientStep::Receive(len) => {
                let (bytes, rest) = unread.split_at(len.min(unread.len()));
                unread = rest;
                match client.handle(bytes) {
                    Ok(()) => {}
                    Err(ClientError::Rejected(code)) => break Err(code),
                    Err(error) => panic!("the recorded answer: {error}"),
                }
            }
            ClientStep::Done(accepted) => break Ok(accepted.private_group),
        }
    };
    assert!(sent_by_client.starts_with(&client_sends));

    let private_group = match outcome {
        Ok(private_group) => private_group,
        Err(code) => {
            assert_eq!(from_daemon, daemon.reject(code));
            return Err(code);
        }
    };
    let name = PrivateName::new(private_group.private_name()).expect("a private name");
    assert_eq!(request.private_name, Some(name));
    let mut daemon_sends = daemon.greet();
    let DaemonStep::Authenticate(methods) = daemon.handle(&mut from_client) else {
        panic!("no authentication");
    };
    assert_eq!(methods, ["NULL"]);
    daemon_sends.extend_from_slice(&daemon.accept(private_group));
    assert_eq!(daemon.handle(&mut from_client), DaemonStep::Done);
    assert_eq!(from_daemon, [&daemon_sends, unread].concat());

    assert_eq!(unread, connection.frames_of(Side::Daemon));
    assert_eq!(from_client, connection.frames_of(Side::Client));
    Ok(private_group)
}

fn frames(connection: &Connection, side: Side) -> Vec<Frame> {
    let limits = match side {
        Side::Client => Limits::FROM_CLIENT,
        Side::Daemon => Limits::FROM_DAEMON,
    };
    let mut stream = BytesMut::from(&connection.frames_of(side)[..]);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::decode(&mut stream, limits).expect("a frame") {
        frames.push(frame);
    }
    assert!(stream.is_empty(), "{} bytes are no frame", stream.len());
    frames
}

/// What `SP_receive` returns of a delivery, with ample buffers, to the client
/// whose private group begins with `me`.
fn as_libspread_tells(delivery: &Delivery<'_>, me: &str) -> Received {
    let mut data = BytesMut::new();
    let (service_type, sender, groups, message_type) = match delivery {
        Delivery::Regular(m) => {
            data.extend_from_slice(m.body);
            let service_type = ServiceType::regular(m.service, m.self_discard);
            (service_type, m.sender, Some(m.groups), i32::from(m.message_type))
        }
        Delivery::View { group, cause, members, body } => {
            body.encode(ByteOrder::Little, &mut data);
            let mut members_of_group = members.iter();
            let me = members_of_group.position(|member| member.to_string().starts_with(me));
            let my_index = me.expect("the receiver is a member") as i32;
            (ServiceType::REG_MEMB | cause.flag(), *group, Some(*members), my_index)
        }
        Delivery::Transitional { group, group_id } => {
            data.extend_from_slice(&group_id.encode(ByteOrder::Little));
            (ServiceType::TRANSITION, *group, None, -1)
        }
        Delivery::SelfLeave { group } => (ServiceType::CAUSED_BY_LEAVE, *group, None, -1),
        Delivery::Rejected(_) => panic!("no rejected message is recorded"),
    };
    let groups: Vec<_> =
        groups.iter().flat_map(|groups| groups.iter()).map(|name| name.to_string()).collect();
    Received {
        code: data.len() as i32,
        service_type: service_type.bits(),
        sender: sender.to_string(),
        num_groups: groups.len() as i32,
        groups,
        message_type,
        endian_mismatch: 0,
        data: data.to_vec(),
    }
}

/// The result of a receive into buffers that are too small tells the sizes
/// that are needed, negated, and of the message only what fits no buffer.
fn assert_is_too_short_for(received: &Received, told: &Received) {
    let code = ErrorCode::from_code(received.code);
    assert!(matches!(code, Some(ErrorCode::BufferTooShort | ErrorCode::GroupsTooShort)));
    assert_eq!(received.service_type, told.service_type);
    assert_eq!(received.sender, told.sender);
    assert_eq!(received.message_type, told.message_type);
    assert!([0, -told.num_groups].contains(&received.num_groups));
    assert!([0, -told.code].contains(&received.endian_mismatch));
}
