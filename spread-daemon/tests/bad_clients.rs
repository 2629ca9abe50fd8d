//! Bad clients do not disturb the others.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use spread_daemon::Daemon;
use spread_wire::handshake::{ClientError, Connect};
use spread_wire::{ByteOrder, Cause, ErrorCode, Name, Request, Service, ServiceType};
use support::client::{Client, connect_request};

const HEADER_TYPE: usize = 0;
const HEADER_NAME: usize = 4;
const HEADER_NUM_GROUPS: usize = 36;
const HEADER_HINT: usize = 40;
const HEADER_DATA_LEN: usize = 44;

/// A daemon with a group of one good client, which is to stay unharmed.
struct Town {
    daemon: Daemon,
    good: Client,
}

impl Town {
    fn new() -> Town {
        Town::of(Daemon::builder().start().unwrap())
    }

    fn impatient() -> Town {
        Town::of(Daemon::builder().handshake_timeout(Duration::from_secs(1)).start().unwrap())
    }

    fn of(daemon: Daemon) -> Town {
        let mut good = Client::connect(daemon.socket_addr(), "good");
        good.join("town");
        Town { daemon, good }
    }

    fn stranger(&self) -> Client {
        Client::bare(self.daemon.socket_addr())
    }

    /// Returns a client that joins the group, to be bad in it.
    fn neighbour(&mut self) -> Client {
        let mut neighbour = Client::connect(self.daemon.socket_addr(), "neighbour");
        neighbour.join("town");
        assert_eq!(self.good.receive_view(), ("town".to_owned(), Cause::Join));
        neighbour
    }

    /// Checks that the neighbour is gone and that all else is well.
    fn assert_well_without(mut self, mut neighbour: Client) {
        neighbour.wait_for_close();
        assert_eq!(self.good.receive_view(), ("town".to_owned(), Cause::Disconnect));
        self.assert_well();
    }

    /// Checks that the daemon serves, whatever was said in the group meanwhile.
    fn assert_unharmed(&mut self) {
        self.good.receive_until_handled();
        assert!(self.daemon.status().is_some());
    }

    fn assert_well(&mut self) {
        self.good.multicast("town", b"all is well");
        assert_eq!(self.good.receive_body(), b"all is well");
    }
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_rejected_and_another_one_only_once() {
    let town = Town::impatient();
    let rejected = || town.daemon.status().unwrap().totals.rejected;
    let mut other = town.stranger();
    other.send(b"GET / HTTP/1.1\r\n\r\n");
    let mut silent = town.stranger();
    silent.send(&connect_request("silent")[..4]);
    // The one that was rejected is closed after as long a time.
    silent.wait_for_close();
    other.receive_up_to(1);
    other.wait_for_close();
    assert_eq!(rejected(), 2);
}

#[test]
fn another_protocol_is_rejected() {
    let mut town = Town::new();
    let mut stranger = town.stranger();
    stranger.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(stranger.receive_up_to(2), [ErrorCode::RejectIllegalName.byte()]);
    town.assert_well();
}

#[test]
fn a_rejected_client_may_send_on_without_losing_the_answer() {
    let mut town = Town::new();
    let mut stranger = town.stranger();
    stranger.send(&[2, 0]);
    for _ in 0..100 {
        stranger.send(&[0; 10_000]);
    }
    assert_eq!(stranger.receive_up_to(2), [ErrorCode::RejectVersion.byte()]);
    town.assert_well();
}

#[test]
fn half_a_handshake_is_closed_after_its_time_and_a_session_is_not() {
    let mut town = Town::impatient();
    let parts = [&b""[..], b"\x05", &connect_request("slow"), &[3, 16, 0, 1, 9, b'x']];
    let late = parts.map(|part| {
        let mut stranger = town.stranger();
        stranger.send(part);
        stranger
    });
    for mut stranger in late {
        stranger.wait_for_close();
        town.assert_well();
    }
    let again = Connect::new(Some("slow".parse().unwrap()));
    assert!(Client::try_connect(town.daemon.socket_addr(), again).is_ok(), "the name is free");
}

#[test]
fn handshake_and_messages_may_come_a_byte_at_a_time() {
    let daemon = Daemon::builder().start().unwrap();
    let mut slow = Client::bare(daemon.socket_addr());
    let dribble = |client: &mut Client, bytes: &[u8]| {
        bytes.iter().for_each(|byte| client.send(&[*byte]));
    };
    dribble(&mut slow, &connect_request("slow"));
    assert_eq!(slow.receive_up_to(6), b"\x05NULL ");
    let mut choice = [0; 90];
    choice[..4].copy_from_slice(b"NULL");
    dribble(&mut slow, &choice);
    assert_eq!(slow.receive_up_to(20), b"\x01\x05\x00\x01\x0f#slow#localhost");
    slow.private_group = Name::new("#slow#localhost").unwrap();
    let join = slow.encode(&Request::Join(Name::new("town").unwrap()));
    dribble(&mut slow, &join);
    assert_eq!(slow.receive_view(), ("town".to_owned(), Cause::Join));
    let groups = [Name::new("town").unwrap()];
    let message = slow.encode(&Request::multicast(Service::Safe, &groups, b"drop by drop"));
    dribble(&mut slow, &message);
    assert_eq!(slow.receive_body(), b"drop by drop");
}

#[test]
fn garbage_in_a_session_ends_it() {
    let mut town = Town::new();
    let mut neighbour = town.neighbour();
    neighbour.send(&[0x55; 4000]);
    town.assert_well_without(neighbour);
}

#[test]
fn a_frame_that_is_cut_off_ends_the_session() {
    let mut town = Town::new();
    let mut neighbour = town.neighbour();
    let groups = [Name::new("town").unwrap()];
    let message = neighbour.encode(&Request::multicast(Service::Agreed, &groups, &[7; 1000]));
    neighbour.send(&message[..message.len() - 1]);
    neighbour.finish();
    town.assert_well_without(neighbour);
}

#[test]
fn what_came_before_the_end_is_delivered() {
    let mut town = Town::new();
    let mut neighbour = town.neighbour();
    neighbour.multicast("town", b"farewell");
    neighbour.finish();
    assert_eq!(town.good.receive_body(), b"farewell");
    town.assert_well_without(neighbour);
}

/// Sends nothing but the header of a message, with one field overwritten.
fn a_header_with(at: usize, field: &[u8]) {
    let mut town = Town::new();
    let mut neighbour = town.neighbour();
    let groups = [Name::new("town").unwrap()];
    let mut message = neighbour.encode(&Request::multicast(Service::Agreed, &groups, b"bad"));
    message[at..at + field.len()].copy_from_slice(field);
    neighbour.send(&message[..spread_wire::HEADER_LEN]);
    town.assert_well_without(neighbour);
}

#[test]
fn a_huge_or_negative_body_ends_the_session() {
    for len in [144_001, i32::MAX, -1, i32::MIN] {
        a_header_with(HEADER_DATA_LEN, &len.to_ne_bytes());
    }
}

#[test]
fn a_huge_or_negative_number_of_groups_ends_the_session() {
    for count in [101, i32::MAX, -1, i32::MIN] {
        a_header_with(HEADER_NUM_GROUPS, &count.to_ne_bytes());
    }
}

#[test]
fn the_name_of_someone_else_ends_the_session() {
    for name in ["#good#localhost", "#neighbour#elsewhere", "town", "#neighbour#localhostess"] {
        a_header_with(HEADER_NAME, Name::new(name).unwrap().as_field());
    }
}

#[test]
fn more_than_one_service_or_request_ends_the_session() {
    for service_type in [0x30, 0x1_0010, 0x3_0000, 0, 0x40, 0x40_0010_u32] {
        let marked = service_type | if cfg!(target_endian = "little") { 0x8000_0080 } else { 0 };
        a_header_with(HEADER_TYPE, &marked.to_ne_bytes());
    }
}

#[test]
fn meaningless_bits_in_the_hint_end_the_session() {
    a_header_with(HEADER_HINT, &[0x81, 0, 0, 0x81]);
}

#[test]
fn more_clients_than_sessions_are_rejected_until_one_leaves() {
    let daemon = Daemon::builder().max_sessions(2).start().unwrap();
    let mut town = Town::of(daemon);
    let mut neighbour = town.neighbour();
    for _ in 0..5 {
        let refused = Client::try_connect(town.daemon.socket_addr(), Connect::new(None));
        assert_eq!(refused.err(), Some(ClientError::Rejected(ErrorCode::RejectQuota)));
    }
    neighbour.request(&Request::Disconnect(neighbour.private_group));
    neighbour.wait_for_close();
    assert_eq!(town.good.receive_view(), ("town".to_owned(), Cause::Disconnect));
    town.neighbour();
}

#[test]
fn clients_without_a_name_get_names_of_their_own() {
    let daemon = Daemon::builder().name("host-1").start().unwrap();
    let nameless = || Client::try_connect(daemon.socket_addr(), Connect::new(None)).unwrap();
    let (one, two) = (nameless(), nameless());
    assert_ne!(one.private_group, two.private_group);
    for client in [one, two] {
        assert!(client.private_group.private_name().unwrap().starts_with('r'));
        assert_eq!(client.private_group.daemon(), Some("host-1"));
    }
}

/// What a bad client sends: frames with some bytes overwritten, and garbage.
fn bad_bytes() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec!["town", "#good#localhost", "#neighbour#localhost", "x"]);
    let frame = (0..4u8, name, vec(any::<u8>(), 0..300)).prop_map(|(kind, group, body)| {
        let groups = [Name::new(group).unwrap()];
        let request = match kind {
            0 => Request::Join(groups[0]),
            1 => Request::Leave(groups[0]),
            _ => Request::multicast(Service::Safe, &groups, &body),
        };
        let mut bytes = BytesMut::new();
        let sender = Name::new("#neighbour#localhost").unwrap();
        request.encode(sender, ByteOrder::NATIVE, &mut bytes);
        bytes.to_vec()
    });
    let damage = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    let damaged = (frame, damage).prop_map(|(mut bytes, damage)| {
        damage.iter().for_each(|(at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        });
        bytes
    });
    let part = prop_oneof![8 => damaged, 1 => vec(any::<u8>(), 0..200)];
    vec(part, 1..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(Config { cases: 150, failure_persistence: None, ..Config::default() })]

    #[test]
    fn no_bytes_of_a_session_harm_the_others(bytes in bad_bytes()) {
        let mut town = Town::new();
        let mut neighbour = Client::connect(town.daemon.socket_addr(), "neighbour");
        neighbour.send(&bytes);
        neighbour.finish();
        neighbour.wait_for_close();
        town.assert_unharmed();
    }

    #[test]
    fn no_bytes_of_a_handshake_harm_the_others(bytes in vec(any::<u8>(), 0..200)) {
        let mut town = Town::new();
        let mut stranger = town.stranger();
        stranger.send(&bytes);
        stranger.finish();
        stranger.wait_for_close();
        town.assert_unharmed();
    }
}

#[test]
fn a_join_or_leave_of_several_groups_is_of_the_first() {
    let daemon = Daemon::builder().start().unwrap();
    let mut client = Client::connect(daemon.socket_addr(), "perl");
    let ask = |client: &mut Client, kind: ServiceType, groups: &[Name]| {
        let multicast = Request::multicast(Service::Agreed, groups, b"");
        let mut header = multicast.header(client.private_group, ByteOrder::NATIVE);
        header.service_type = kind;
        let mut frame = header.encode().to_vec();
        groups.iter().for_each(|group| frame.extend_from_slice(group.as_field()));
        client.send(&frame);
    };
    let groups = ["pa", "pb"].map(|name| Name::new(name).unwrap());
    ask(&mut client, ServiceType::JOIN, &groups);
    assert_eq!(client.receive_view(), ("pa".to_owned(), Cause::Join));
    client.multicast("pa", b"to pa");
    assert_eq!(client.receive_body(), b"to pa");
    ask(&mut client, ServiceType::LEAVE, &groups);
    assert!(client.receive().unwrap().header().service_type.is_self_leave());
    // Without a group it is the group without a name.
    ask(&mut client, ServiceType::JOIN, &[]);
    assert_eq!(client.receive_view(), (String::new(), Cause::Join));
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let daemon = Daemon::builder().start().unwrap();
    // As many as there are file descriptors for, both ends of each.
    let limit = rlimit::increase_nofile_limit(4000).unwrap() as usize;
    let count = limit.saturating_sub(200).min(2400) / 2;
    let silent: Vec<Client> = (0..count).map(|_| Client::bare(daemon.socket_addr())).collect();
    let mut clients: Vec<Client> = (0..10)
        .map(|number| Client::connect(daemon.socket_addr(), &format!("c{number}")))
        .collect();
    clients.iter_mut().for_each(|client| client.join("group"));
    drop(silent);
}
