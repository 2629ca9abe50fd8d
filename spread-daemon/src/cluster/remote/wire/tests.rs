use bytes::BytesMut;
use proptest::prelude::*;
use spread_wire::{ByteOrder, Service};

use super::*;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn decode(bytes: &[u8]) -> Result<Packet, WireError> {
    Packet::decode(&Bytes::copy_from_slice(bytes))
}

fn frame(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    request.encode(name("#a#d1"), ByteOrder::NATIVE, &mut bytes);
    bytes.to_vec()
}

/// Returns a packet with an event of each kind.
fn events() -> Vec<u8> {
    let who = name("#a#d1");
    let group = name("group");
    let mut packet = no_events();
    put_event(who, &What::Join { group, session: SessionId(5), serial: 6 }, &mut packet);
    put_event(who, &What::Leave { group }, &mut packet);
    let groups = [group, name("other")];
    put_multicast(&frame(&Request::multicast(Service::Safe, &groups, b"hello")), &mut packet);
    put_event(who, &What::End, &mut packet);
    label_events(&mut packet, 7, 8);
    packet
}

fn flush() -> Flush {
    Flush {
        view: 1,
        digest: 2,
        name: name("d3"),
        daemon: DaemonId(2),
        again: true,
        alone: false,
        incarnation: 3,
        change: 4,
        former: 5,
        side: [0, 2, 127].into_iter().map(DaemonId).collect(),
        proc_id: -6,
        clock: 7,
        latest: 8,
        delivered: 9,
    }
}

/// Returns groups of which one has more members than a packet has room for.
fn groups() -> HashMap<Name, Group> {
    let member = |daemon: usize, number: usize| Member {
        daemon: DaemonId(daemon),
        name: name(&format!("#m{number:05}#d{daemon}")),
        local: None,
    };
    let id = GroupId { proc_id: 1, time: 2, index: 3 };
    let group = |members, changed| Group { id, changed, members };
    HashMap::from([
        (name("few"), group(vec![member(0, 1), member(1, 0)], false)),
        (name("many"), group((0..20_000).map(|number| member(3, number)).collect(), true)),
    ])
}

#[test]
fn events_come_as_they_were_sent() {
    let Ok(Packet::Events(Events { label: 7, position: 8, events })) = decode(&events()) else {
        panic!()
    };
    let [join, leave, message, end] = &events[..] else { panic!() };
    let group = name("group");
    assert!(events.iter().all(|(who, _)| *who == "#a#d1"));
    assert!(
        matches!(join.1, What::Join { group: g, session: SessionId(5), serial: 6 } if g == group)
    );
    assert!(matches!(leave.1, What::Leave { group: g } if g == group));
    assert!(matches!(end.1, What::End));
    let What::Multicast(message) = &message.1 else { panic!() };
    assert!(message.groups().iter().eq([group, name("other")]));
    assert_eq!((message.service, message.self_discard), (Service::Safe, false));
    assert!(message.bytes.ends_with(b"hello"));
}

#[test]
fn a_flush_comes_as_it_was_sent() {
    let Ok(Packet::Flush(came)) = decode(&flush().encode()) else { panic!() };
    assert_eq!(came, flush());
}

#[test]
fn a_state_is_told_in_as_many_parts_as_it_needs() {
    let parts = state(9, 10, &groups());
    assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= PART));
    let mut came: HashMap<Name, Vec<(DaemonId, Name)>> = HashMap::new();
    for (place, part) in parts.iter().enumerate() {
        let Ok(Packet::State(State { label: 9, log: 10, is_last, groups })) = decode(part) else {
            panic!()
        };
        assert_eq!(is_last, place == parts.len() - 1);
        for (name, group) in groups {
            assert_eq!((group.id.index, group.changed), (3, name == "many"));
            came.entry(name).or_default().extend(group.members.iter().map(Member::rank));
        }
    }
    let sent = groups().into_iter();
    let sent = sent.map(|(name, group)| (name, group.members.iter().map(Member::rank).collect()));
    assert_eq!(came, sent.collect());
}

#[test]
fn a_frame_that_is_no_message_is_an_error() {
    let join = frame(&Request::Join(name("group")));
    let groups = [name("group"); MAX_GROUPS + 1];
    let too_many = frame(&Request::multicast(Service::Agreed, &groups[..], b""));
    let mut forged = frame(&Request::multicast(Service::Agreed, &groups[..1], b""));
    let header = FrameRef::decode(&forged, Limits::FROM_CLIENT).unwrap().unwrap();
    let service_type = ServiceType::AGREED | ServiceType::REG_MEMB;
    let header = spread_wire::Header { service_type, ..*header.header() };
    forged[..spread_wire::HEADER_LEN].copy_from_slice(&header.encode());
    for frame in [join, too_many, forged] {
        let mut packet = no_events();
        put_multicast(&frame, &mut packet);
        assert!(matches!(decode(&packet), Err(WireError::Message { .. })));
    }
}

#[test]
fn members_that_are_out_of_order_or_missing_are_errors() {
    let mut groups = groups();
    groups.remove(&name("many"));
    let few = groups.get_mut(&name("few")).unwrap();
    few.members.reverse();
    assert_eq!(decode(&state(1, 2, &groups)[0]).unwrap_err(), WireError::Order);
    let few = groups.get_mut(&name("few")).unwrap();
    few.members.truncate(1);
    let mut part = state(1, 2, &groups).remove(0);
    let count = part.len() - MEMBER - 4;
    part[count..].fill(0);
    part.truncate(count + 4);
    assert_eq!(decode(&part).unwrap_err(), WireError::Empty);
    part[count..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(decode(&part).unwrap_err(), WireError::Short);
}

#[test]
fn every_packet_that_ends_early_or_late_is_an_error() {
    for len in 0..flush().encode().len() {
        assert_eq!(decode(&flush().encode()[..len]).unwrap_err(), WireError::Short);
    }
    let mut long = flush().encode();
    long.push(0);
    assert_eq!(decode(&long).unwrap_err(), WireError::Long);
    let whole = events();
    let ends: Vec<usize> = (0..=whole.len()).filter(|len| decode(&whole[..*len]).is_ok()).collect();
    // Behind the head, and behind each event.
    assert_eq!(ends.len(), 5, "{ends:?}");
}

/// Returns bytes that begin as a packet does, with some of them changed.
fn almost_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let mut few = groups();
    few.remove(&name("many"));
    let whole = prop::sample::select(vec![events(), flush().encode(), state(1, 2, &few).remove(0)]);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (whole, changes, any::<prop::sample::Index>()).prop_map(|(mut bytes, changes, len)| {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(1 + len.index(bytes.len()));
        bytes
    })
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn what_is_almost_a_packet_is_one_or_an_error(bytes in almost_a_packet()) {
        if let Ok(Packet::Events(Events { events, .. })) = decode(&bytes) {
            for (_, what) in events {
                if let What::Multicast(message) = what {
                    // The names of its groups are there.
                    message.groups().iter().for_each(drop);
                }
            }
        }
    }
}
