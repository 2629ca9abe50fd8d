//! Values survive the wire in both byte orders, and bytes that are no value do
//! no harm.

use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use spread_wire::handshake::{Client, ClientStep, Connect, Daemon, DaemonStep, Version};
use spread_wire::{
    ByteOrder, Cause, Delivery, Frame, GroupId, GroupName, Groups, HEADER_LEN, Header, Hint,
    Limits, MembershipBody, MembershipError, Multicast, Name, PrivateGroup, PrivateName, Regular,
    Reject, Request, Service, ServiceType,
};

/// The bits of a header's first word that mark the byte order.
const ENDIAN_BITS: u32 = 0x8000_0080;

fn order() -> impl Strategy<Value = ByteOrder> {
    prop_oneof![Just(ByteOrder::Little), Just(ByteOrder::Big)]
}

fn service() -> impl Strategy<Value = Service> {
    prop::sample::select(&Service::ALL[..])
}

fn cause() -> impl Strategy<Value = Cause> {
    prop::sample::select(&[Cause::Join, Cause::Leave, Cause::Disconnect, Cause::Network][..])
}

/// Any type without the mark of the byte order.
fn service_type() -> impl Strategy<Value = ServiceType> {
    any::<u32>().prop_map(|bits| ServiceType::from_bits_retain(bits & !ENDIAN_BITS))
}

/// Letters that names may have.
fn text(max: usize) -> impl Strategy<Value = String> {
    vec(b'$'..=b'~', 1..=max).prop_map(|bytes| String::from_utf8(bytes).expect("ASCII"))
}

/// A name field as a peer may send it: a good name or any bytes at all.
fn name() -> impl Strategy<Value = Name> {
    prop_oneof![
        text(31).prop_map(|text| Name::new(text).expect("a name")),
        any::<[u8; 32]>().prop_map(Name::from_field),
    ]
}

fn group_id() -> impl Strategy<Value = GroupId> {
    any::<(i32, i32, i32)>().prop_map(|(proc_id, time, index)| GroupId { proc_id, time, index })
}

fn membership_body() -> impl Strategy<Value = MembershipBody> {
    let vs_sets = vec(vec(name(), 1..6), 1..5);
    (group_id(), vs_sets, any::<prop::sample::Index>()).prop_map(|(group_id, vs_sets, index)| {
        let my_vs_set = index.index(vs_sets.len());
        MembershipBody { group_id, vs_sets, my_vs_set }
    })
}

/// A stream that begins with a header of short lengths and any other bits, so
/// that what stands behind the header is looked at, too.
fn plausible_stream() -> impl Strategy<Value = Vec<u8>> {
    let bits = prop_oneof![
        any::<u32>(),
        prop::sample::select(vec![0x10, 0x1100, 0x1800, 0x2000, 0x200, 0x40_0000, 0x1_0000]),
    ];
    let body = prop_oneof![
        vec(any::<u8>(), 0..300),
        (membership_body(), order(), 0_usize..40).prop_map(|(body, order, cut)| {
            let mut bytes = BytesMut::new();
            body.encode(order, &mut bytes);
            bytes.truncate(bytes.len().saturating_sub(cut));
            bytes.to_vec()
        }),
    ];
    (bits, any::<[u8; 32]>(), 0..4_u32, any::<[u8; 4]>(), order(), body).prop_map(
        |(bits, name, groups, hint, order, body)| {
            let mark = if order == ByteOrder::Little { ENDIAN_BITS } else { 0 };
            let data_len = body.len().saturating_sub(groups as usize * 32) as u32;
            let mut stream = Vec::new();
            stream.extend_from_slice(&order.u32_bytes(bits & !ENDIAN_BITS | mark));
            stream.extend_from_slice(&name);
            stream.extend_from_slice(&order.u32_bytes(groups));
            stream.extend_from_slice(&hint);
            stream.extend_from_slice(&order.u32_bytes(data_len));
            stream.extend_from_slice(&body);
            stream
        },
    )
}

proptest! {
    #[test]
    fn a_checked_name_survives_its_field_and_its_text(
        group in text(31),
        private in text(10),
        daemon in text(19),
    ) {
        let group_name = GroupName::new(&group).unwrap();
        prop_assert_eq!(group_name.as_str(), &group);
        let field = *Name::from(group_name).as_field();
        prop_assert_eq!(GroupName::try_from(Name::from_field(field)), Ok(group_name));
        prop_assert_eq!(group_name.to_string().parse(), Ok(group_name));

        let private_name = PrivateName::new(&private).unwrap();
        let private_group = PrivateGroup::of(private_name, &daemon).unwrap();
        prop_assert_eq!(private_group.to_string(), format!("#{private}#{daemon}"));
        prop_assert_eq!((private_group.private_name(), private_group.daemon()), (&*private, &*daemon));
        prop_assert_eq!(PrivateGroup::try_from(Name::from(private_group)), Ok(private_group));
    }

    #[test]
    fn a_name_is_what_stands_before_the_first_zero_of_its_field(field: [u8; 32]) {
        let name = Name::from_field(field);
        prop_assert_eq!(name.as_field(), &field);
        let bytes = name.as_bytes();
        prop_assert!(bytes.len() < 32 && !bytes.contains(&0) && field.starts_with(bytes));
        prop_assert_eq!(name.is_empty(), bytes.is_empty());
        prop_assert_eq!(Name::new(bytes).ok(), (!bytes.is_empty()).then_some(name));
    }

    #[test]
    fn names_compare_as_their_bytes_do(a in name(), b in name()) {
        prop_assert_eq!(a == b, a.as_bytes() == b.as_bytes());
        prop_assert_eq!(a.cmp(&b), a.as_bytes().cmp(b.as_bytes()));
    }

    #[test]
    fn a_hint_survives_the_daemon_in_between(message_type: i16, sender in order(), daemon in order()) {
        let hint = Hint::new(message_type, sender);
        let header = Header {
            service_type: ServiceType::AGREED,
            name: Name::EMPTY,
            num_groups: 0,
            hint,
            data_len: 0,
            order: daemon,
        };
        let received = Header::decode(&header.encode(), Limits::FROM_DAEMON).unwrap().hint;
        prop_assert_eq!(received, hint);
        prop_assert!(received.is_well_formed());
        prop_assert_eq!((received.message_type(), received.sender_order()), (message_type, sender));
    }

    #[test]
    fn a_header_survives(
        service_type in service_type(),
        name in name(),
        num_groups in 0..=Limits::FROM_DAEMON.groups,
        data_len in 0..=Limits::FROM_DAEMON.data,
        message_type: i16,
        sender in order(),
        order in order(),
    ) {
        let hint = Hint::new(message_type, sender);
        let header = Header { service_type, name, num_groups, hint, data_len, order };
        let bytes = header.encode();
        let decoded = Header::decode(&bytes, Limits::FROM_DAEMON);
        prop_assert_eq!(&decoded, &Ok(header));
        prop_assert_eq!(decoded.unwrap().encode(), bytes);
    }

    #[test]
    fn bytes_that_decode_to_a_header_are_its_encoding(
        stream in plausible_stream(),
        noise: [u8; HEADER_LEN],
    ) {
        for bytes in [stream.first_chunk().unwrap(), &noise] {
            if let Ok(header) = Header::decode(bytes, Limits::FROM_DAEMON) {
                prop_assert_eq!(&header.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_multicast_survives(
        service in service(),
        self_discard: bool,
        message_type: i16,
        groups in vec(name(), 0..20),
        body in vec(any::<u8>(), 0..500),
        sender in name(),
        order in order(),
    ) {
        let groups = Groups::from(&groups[..]);
        let multicast = Multicast { service, self_discard, message_type, groups, body: &body };
        assert_request_survives(&Request::Multicast(multicast), sender, order);
    }

    #[test]
    fn a_join_a_leave_and_a_disconnect_survive(group in name(), sender in name(), order in order()) {
        for request in [Request::Join(group), Request::Leave(group), Request::Disconnect(group)] {
            assert_request_survives(&request, sender, order);
        }
    }

    #[test]
    fn a_regular_message_survives(
        service in service(),
        self_discard: bool,
        message_type: i16,
        sender_order in order(),
        sender in name(),
        groups in vec(name(), 0..20),
        body in vec(any::<u8>(), 0..500),
        order in order(),
    ) {
        let groups = Groups::from(&groups[..]);
        let body = &body[..];
        assert_delivery_survives(
            &Delivery::Regular(Regular {
                sender, service, self_discard, message_type, sender_order, groups, body,
            }),
            order,
        );
    }

    #[test]
    fn a_rejected_message_survives(
        old_type in service_type(),
        self_discard: bool,
        message_type: i16,
        sender_order in order(),
        sender in name(),
        groups in vec(name(), 0..20),
        body in vec(any::<u8>(), 0..500),
        order in order(),
    ) {
        let groups = Groups::from(&groups[..]);
        let body = &body[..];
        assert_delivery_survives(
            &Delivery::Rejected(Reject {
                old_type, sender, self_discard, message_type, sender_order, groups, body,
            }),
            order,
        );
    }

    #[test]
    fn a_view_survives(
        group in name(),
        cause in cause(),
        members in vec(name(), 0..20),
        body in membership_body(),
        order in order(),
    ) {
        let members = Groups::from(&members[..]);
        assert_delivery_survives(&Delivery::View { group, cause, members, body }, order);
    }

    #[test]
    fn the_end_of_a_view_survives(group in name(), group_id in group_id(), order in order()) {
        assert_delivery_survives(&Delivery::Transitional { group, group_id }, order);
        assert_delivery_survives(&Delivery::SelfLeave { group }, order);
    }

    #[test]
    fn a_membership_body_survives(body in membership_body(), order in order()) {
        let mut bytes = BytesMut::new();
        body.encode(order, &mut bytes);
        prop_assert_eq!(bytes.len(), body.encoded_len());
        prop_assert_eq!(MembershipBody::parse(&bytes, order), Ok(body));
    }

    #[test]
    fn a_membership_body_of_another_length_is_an_error(
        body in membership_body(),
        order in order(),
        cut in 1_usize..100,
    ) {
        let mut bytes = BytesMut::new();
        body.encode(order, &mut bytes);
        let len = bytes.len().saturating_sub(cut);
        let short = MembershipBody::parse(&bytes[..len], order);
        prop_assert_eq!(short, Err(MembershipError::Short { len }));
        bytes.put_bytes(0, cut);
        let long = MembershipBody::parse(&bytes, order);
        prop_assert_eq!(long, Err(MembershipError::Long { extra: cut }));
    }

    #[test]
    fn a_group_id_survives(id in group_id(), order in order()) {
        prop_assert_eq!(GroupId::decode(&id.encode(order), order), id);
    }

    #[test]
    fn a_frame_in_the_other_order_differs_in_its_integers_only(
        message_type: i16,
        groups in vec(name(), 0..5),
        body in vec(any::<u8>(), 0..50),
        sender in name(),
    ) {
        let groups = Groups::from(&groups[..]);
        let multicast = Multicast {
            service: Service::Safe,
            self_discard: true,
            message_type,
            groups,
            body: &body,
        };
        let [little, mut big] = [ByteOrder::Little, ByteOrder::Big].map(|order| {
            let mut bytes = BytesMut::new();
            Request::Multicast(multicast.clone()).encode(sender, order, &mut bytes);
            bytes
        });
        for word in [0..4, 36..40, 40..44, 44..48] {
            big[word].reverse();
        }
        // Turned round, a big-endian word lacks only the mark.
        for marked in [0, 40] {
            big[marked] |= 0x80;
            big[marked + 3] |= 0x80;
        }
        prop_assert_eq!(little, big);
    }

    #[test]
    fn any_bytes_are_a_frame_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        read_as_both_ends_do(&bytes);
    }

    #[test]
    fn a_plausible_header_before_any_bytes_is_a_frame_or_an_error(stream in plausible_stream()) {
        read_as_both_ends_do(&stream);
    }

    #[test]
    fn any_bytes_are_a_membership_body_or_an_error(
        bytes in vec(any::<u8>(), 0..200),
        counts: [u8; 3],
    ) {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            let _ = MembershipBody::parse(&bytes, order);
            // The same with counts that are near to what is there.
            let mut bytes = bytes.clone();
            for (word, count) in [12, 16, 20].into_iter().zip(counts) {
                if let Some(field) = bytes.get_mut(word..word + 4) {
                    field.copy_from_slice(&order.u32_bytes(u32::from(count) % 41));
                }
            }
            let _ = MembershipBody::parse(&bytes, order);
        }
    }

    #[test]
    fn any_bytes_take_a_daemon_to_the_end_of_a_handshake_or_leave_it_waiting(
        request in prop_oneof![
            vec(any::<u8>(), 0..30),
            (3..6_u8, 0..20_u8, 0..12_u8, vec(b'$'..=b'~', 0..20)).prop_map(
                |(major, minor, len, name)| [&[major, minor, 0, 1, len], &name[..]].concat(),
            ),
        ],
        choice in vec(any::<u8>(), 0..120),
    ) {
        let mut daemon = Daemon::new(&["NULL", "IP"]);
        let mut stream = BytesMut::from(&request[..]);
        stream.extend_from_slice(&choice);
        let group = PrivateGroup::new("#a#d").unwrap();
        loop {
            let before = stream.len();
            match daemon.handle(&mut stream) {
                DaemonStep::Greet(_) => drop(daemon.greet()),
                DaemonStep::Authenticate(_) => drop(daemon.accept(group)),
                DaemonStep::Receive => {
                    prop_assert_eq!(stream.len(), before);
                    break;
                }
                DaemonStep::Reject(_) | DaemonStep::Done => break,
            }
        }
    }

    #[test]
    fn any_bytes_take_a_client_to_the_end_of_a_handshake(
        version in prop::sample::select(&[(5, 0, 1), (3, 15, 0), (3, 1, 0)][..]),
        answer in prop_oneof![
            vec(any::<u8>(), 0..200),
            vec(any::<u8>(), 0..200).prop_map(|rest| [b"\x05NULL \x01\x05\x00", &rest[..]].concat()),
            vec(any::<u8>(), 0..200).prop_map(|rest| [b"\x01\x05\x00", &rest[..]].concat()),
        ],
    ) {
        let (major, minor, patch) = version;
        let version = Version { major, minor, patch };
        let mut client = Client::unauthenticated(Connect { version, ..Connect::new(None) });
        let mut unread = &answer[..];
        loop {
            match client.next_step() {
                ClientStep::Send(bytes) => prop_assert!(!bytes.is_empty()),
                ClientStep::Authenticate => client.authenticated(),
                ClientStep::Receive(len) => {
                    prop_assert!((1..256).contains(&len));
                    let (bytes, rest) = unread.split_at(len.min(unread.len()));
                    unread = rest;
                    if client.handle(bytes).is_err() {
                        break;
                    }
                }
                ClientStep::Done(_) => break,
            }
        }
    }
}

#[test]
fn a_daemon_delivers_the_hint_of_a_sender_of_the_other_order_as_it_was() {
    // From a big-endian client, by a little-endian Spread 5.0.1.
    let mut stream = BytesMut::new();
    stream.put_slice(b"\x90\0\0\x80#be#localhost\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    stream.put_slice(b"\x01\0\0\0\x00\x12\x34\x00\x02\0\0\0gbe");
    stream.put_bytes(0, 29);
    stream.put_slice(b"hi");
    let bytes = stream.clone();

    let frame = Frame::decode(&mut stream, Limits::FROM_DAEMON).unwrap().unwrap();
    let delivery = Delivery::parse(&frame).unwrap();
    let groups = [Name::new("gbe").unwrap()];
    let expected = Regular {
        sender: Name::new("#be#localhost").unwrap(),
        service: Service::Agreed,
        self_discard: false,
        message_type: 0x1234,
        sender_order: ByteOrder::Big,
        groups: Groups::from(&groups),
        body: b"hi",
    };
    assert_eq!(delivery, Delivery::Regular(expected));
    delivery.encode(ByteOrder::Little, &mut stream);
    assert_eq!(stream, bytes);
}

fn assert_request_survives(request: &Request<'_>, sender: Name, order: ByteOrder) {
    let mut stream = BytesMut::new();
    request.encode(sender, order, &mut stream);
    let bytes = stream.clone();
    let frame = only_frame(&mut stream, Limits::FROM_CLIENT);
    assert_eq!((frame.header().name, frame.header().order), (sender, order));
    let parsed = Request::parse(&frame).expect("a request");
    assert_eq!(&parsed, request);
    parsed.encode(frame.header().name, order, &mut stream);
    assert_eq!(stream, bytes);
}

fn assert_delivery_survives(delivery: &Delivery<'_>, order: ByteOrder) {
    let mut stream = BytesMut::new();
    delivery.encode(order, &mut stream);
    let bytes = stream.clone();
    let frame = only_frame(&mut stream, Limits::FROM_DAEMON);
    let parsed = Delivery::parse(&frame).expect("a delivery");
    assert_eq!(&parsed, delivery);
    parsed.encode(order, &mut stream);
    assert_eq!(stream, bytes);
}

/// The one frame that is in the stream, with a byte of the next behind it.
fn only_frame(stream: &mut BytesMut, limits: Limits) -> Frame {
    stream.put_u8(0x90);
    let frame = Frame::decode(stream, limits).expect("a frame").expect("a whole frame");
    assert_eq!(stream.split(), [0x90_u8][..], "the next frame is left alone");
    frame
}

/// Decodes a stream and looks at all that its frames hold.
fn read_as_both_ends_do(bytes: &[u8]) {
    for limits in [Limits::FROM_CLIENT, Limits::FROM_DAEMON] {
        let mut stream = BytesMut::from(bytes);
        while let Ok(Some(frame)) = Frame::decode(&mut stream, limits) {
            let header = frame.header();
            assert_eq!(frame.as_bytes().len(), header.frame_len());
            assert_eq!(frame.groups().len(), header.num_groups);
            assert_eq!(frame.body().len(), header.data_len);
            assert_eq!(frame.old_type().is_some(), header.service_type.is_reject());
            if let Ok(request) = Request::parse(&frame) {
                assert!(!format!("{request:?}").is_empty());
            }
            if let Ok(delivery) = Delivery::parse(&frame) {
                assert!(!format!("{delivery:?}").is_empty());
                delivery.encode(header.order, &mut BytesMut::new());
            }
        }
    }
}
