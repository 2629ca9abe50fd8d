//! Whole frames that are no request, no delivery or no view.

use bytes::{BufMut, BytesMut};
use spread_wire::{
    ByteOrder, Delivery, DeliveryError, Frame, GroupId, HEADER_LEN, Limits, MembershipBody,
    MembershipError, Name, Request, RequestError, ServiceType,
};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// A hint without type, marked as little-endian.
const HINT: [u8; 4] = [0x80, 0, 0, 0x80];

#[test]
fn a_request_has_exactly_one_service_or_action() {
    let services = [0x01, 0x02, 0x04, 0x08, 0x10, 0x20];
    let actions = [0x1_0000, 0x2_0000, 0x4_0000];
    let kinds = [&services[..], &actions[..]].concat();
    for &kind in &kinds {
        // Bits that mean nothing in a request do not matter.
        for others in [0, 0x40, 0x100, 0x1000, 0x2000, 0x0100_0000, 0x4000_0000] {
            let frame = frame(kind | others, 1, HINT, b"");
            assert!(Request::parse(&frame).is_ok(), "{kind:#x} {others:#x}");
        }
        for &other in kinds.iter().filter(|&&other| other != kind) {
            assert_is_no_request(kind | other);
        }
        // A rejected message has another shape.
        assert_is_no_request(kind | 0x40_0000);
    }
    for none in [0, 0x40, 0x100, 0x1000, 0x2000] {
        assert_is_no_request(none);
    }
}

#[test]
fn a_hint_has_no_bits_but_type_and_byte_order() {
    let legal = [[0, 0, 0, 0], [0x80, 0, 0, 0x80], [0x80, 0xff, 0xff, 0x80], [0, 0xff, 0xff, 0]];
    let half_marked = [[0x80, 0, 0, 0], [0, 0, 0, 0x80]];
    for hint in legal.into_iter().chain(half_marked) {
        assert!(Request::parse(&frame(0x10, 1, hint, b"")).is_ok(), "{hint:x?}");
    }
    for hint in [[0x81, 0, 0, 0x80], [0x80, 0, 0, 0x81], [0x40, 0, 0, 0], [0, 0, 0, 0x7f]] {
        for kind in [0x10, 0x1_0000] {
            let frame = frame(kind, 1, hint, b"");
            assert_eq!(Request::parse(&frame), Err(RequestError::Hint), "{hint:x?}");
        }
    }
}

#[test]
fn a_join_or_leave_is_of_its_first_group() {
    for count in [0, 2, 100] {
        let group = frame(0x10, count, HINT, b"").groups().get(0).unwrap_or(Name::EMPTY);
        assert_eq!(Request::parse(&frame(0x1_0000, count, HINT, b"")), Ok(Request::Join(group)));
        assert_eq!(Request::parse(&frame(0x2_0000, count, HINT, b"")), Ok(Request::Leave(group)));
    }
}

#[test]
fn a_disconnect_need_not_name_a_group() {
    let frame = frame(0x4_0000, 0, HINT, b"");
    assert_eq!(Request::parse(&frame), Ok(Request::Disconnect(frame.header().name)));
}

#[test]
fn a_delivery_is_of_a_kind_that_there_is() {
    for bits in [
        0,           // nothing
        0x03,        // two services
        0x40,        // self discard alone
        0x1000,      // a view without a cause
        0x1300,      // a view with two
        0x100,       // causes without a view; only a leave has that
        0x800,       //
        0x1_0000,    // a join, which only clients send
        0x0100_0000, // a flag that is never on the wire
    ] {
        let error = DeliveryError::ServiceType(ServiceType::from_bits_retain(bits));
        let frame = frame(bits, 0, HINT, b"");
        assert_eq!(Delivery::parse(&frame), Err(error), "{bits:#x}");
    }
}

#[test]
fn a_membership_message_has_a_body_that_fits() {
    let short = |len| Err(DeliveryError::Membership(MembershipError::Short { len }));
    for len in [0, 11, 12, 19] {
        let body = [0; 19];
        assert_eq!(Delivery::parse(&frame(0x1100, 0, HINT, &body[..len])), short(len));
    }
    assert_eq!(Delivery::parse(&frame(0x2000, 0, HINT, &[0; 11])), short(11));
}

#[test]
fn a_view_has_the_set_of_its_receiver() {
    for order in ORDERS {
        // Two sets, of one member and of two: they begin at 0 and 36.
        for (offset, my_vs_set) in [(0, 0), (36, 1)] {
            let parsed = MembershipBody::parse(&two_sets(offset, order), order);
            assert_eq!(parsed.map(|body| body.my_vs_set), Ok(my_vs_set));
        }
        for offset in [1, 4, 35, 37, 56, 104, u32::MAX] {
            let parsed = MembershipBody::parse(&two_sets(offset, order), order);
            assert_eq!(parsed, Err(MembershipError::NoOwnSet { offset }));
        }
    }
}

#[test]
fn a_view_announces_no_more_sets_or_members_than_it_has() {
    for order in ORDERS {
        for at in [12, 20, 56] {
            for count in [3, 0x0800_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                let mut body = two_sets(0, order);
                body[at..at + 4].copy_from_slice(&order.u32_bytes(count));
                let short = MembershipError::Short { len: body.len() };
                assert_eq!(MembershipBody::parse(&body, order), Err(short), "{count} at {at}");
            }
        }
    }
}

fn assert_is_no_request(bits: u32) {
    let error = RequestError::ServiceType(ServiceType::from_bits_retain(bits));
    assert_eq!(Request::parse(&frame(bits, 1, HINT, b"")), Err(error), "{bits:#x}");
}

/// A frame with any type and hint.
fn frame(bits: u32, num_groups: usize, hint: [u8; 4], body: &[u8]) -> Frame {
    let mut stream = BytesMut::with_capacity(HEADER_LEN);
    stream.put_u32_le(bits | 0x8000_0080);
    stream.put_slice(Name::new("#alice#localhost").expect("a name").as_field());
    stream.put_u32_le(num_groups as u32);
    stream.put_slice(&hint);
    stream.put_u32_le(body.len() as u32);
    if bits & 0x40_0000 != 0 {
        stream.put_u32_le(0x8000_0090);
    }
    stream.put_bytes(b'g', 32 * num_groups);
    stream.put_slice(body);
    let frame = Frame::decode(&mut stream, Limits::FROM_CLIENT);
    frame.expect("a frame").expect("a whole frame")
}

/// The body of a view with a set of one member and a set of two.
fn two_sets(offset: u32, order: ByteOrder) -> Vec<u8> {
    let id = GroupId { proc_id: 1, time: 2, index: 3 };
    let mut body = id.encode(order).to_vec();
    body.extend_from_slice(&order.u32_bytes(2));
    body.extend_from_slice(&order.u32_bytes(offset));
    for members in [1, 2] {
        body.extend_from_slice(&order.u32_bytes(members));
        body.extend(std::iter::repeat_n(b'm', 32 * members as usize));
    }
    body
}
