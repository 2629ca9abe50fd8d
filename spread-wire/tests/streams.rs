//! Frames off a stream that comes in pieces, or that is hostile.

#[path = "../../tests/support/transcript.rs"]
mod transcript;

use std::sync::LazyLock;

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use spread_wire::limits::{MAX_ACCEPTED, MAX_DATA_LEN, MAX_GROUPS_PER_MESSAGE, NAME_FIELD};
use spread_wire::{ByteOrder, Frame, FrameError, HEADER_LEN, Limits};
use transcript::{Side, Transcript};

const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// What one side of a recorded session sent after the handshake.
struct Recorded {
    stream: Vec<u8>,
    limits: Limits,
    /// The frames of the stream, decoded off it in one go.
    frames: Vec<Frame>,
}

static RECORDED: LazyLock<Vec<Recorded>> = LazyLock::new(|| {
    let transcripts = Transcript::all();
    let connections = transcripts.iter().flat_map(|transcript| &transcript.connections);
    let sides = [(Side::Client, Limits::FROM_CLIENT), (Side::Daemon, Limits::FROM_DAEMON)];
    let recorded: Vec<_> = connections
        .flat_map(|connection| sides.map(|(side, limits)| (connection.frames_of(side), limits)))
        .filter(|(stream, _)| !stream.is_empty())
        .map(|(stream, limits)| {
            let frames = decode_in_pieces([&stream[..]], limits);
            Recorded { stream, limits, frames }
        })
        .collect();
    assert_eq!(recorded.len(), 29, "sides that sent frames");
    assert_eq!(recorded.iter().map(|r| r.frames.len()).sum::<usize>(), 147);
    recorded
});

#[test]
fn a_stream_split_anywhere_gives_the_same_frames() {
    for Recorded { stream, limits, frames } in &*RECORDED {
        // The one long recording is the body of one message for the most part.
        let step = if stream.len() > 10_000 { 997 } else { 1 };
        for at in (0..=stream.len()).step_by(step) {
            let (head, tail) = stream.split_at(at);
            assert_eq!(decode_in_pieces([head, tail], *limits), *frames, "split at {at}");
        }
    }
}

#[test]
fn a_stream_byte_by_byte_gives_the_same_frames() {
    for Recorded { stream, limits, frames } in &*RECORDED {
        assert_eq!(decode_in_pieces(stream.chunks(1), *limits), *frames);
    }
}

proptest! {
    #[test]
    fn a_stream_in_pieces_of_any_size_gives_the_same_frames(
        sizes in prop::collection::vec(1_usize..400, 1..20),
    ) {
        for Recorded { stream, limits, frames } in &*RECORDED {
            let mut rest = &stream[..];
            let pieces: Vec<_> = sizes
                .iter()
                .cycle()
                .map_while(|&size| rest.split_off(..size.min(rest.len())).filter(|p| !p.is_empty()))
                .collect();
            prop_assert_eq!(&decode_in_pieces(pieces, *limits), frames);
        }
    }
}

#[test]
fn a_short_stream_is_left_alone() {
    for Recorded { stream, limits, frames } in &*RECORDED {
        let first = frames[0].as_bytes().len();
        for len in 0..first {
            let mut short = BytesMut::from(&stream[..len]);
            let (at, capacity) = (short.as_ptr(), short.capacity());
            assert_eq!(Frame::decode(&mut short, *limits), Ok(None));
            assert_eq!(short, stream[..len]);
            assert_eq!((short.as_ptr(), short.capacity()), (at, capacity));
        }
    }
}

#[test]
fn a_hostile_length_is_an_error_as_soon_as_the_header_is_there() {
    let groups = |count, limits: Limits| FrameError::Groups { count, max: limits.groups };
    let data = |len, limits: Limits| FrameError::Data { len, max: limits.data };
    for limits in [Limits::FROM_CLIENT, Limits::FROM_DAEMON] {
        for count in [-1, i32::MIN, i32::MAX, 1 + limits.groups as i32, 1 << 27] {
            assert_refused(count, 0, limits, groups(count, limits));
            assert_refused(count, i32::MAX, limits, groups(count, limits));
        }
        for len in [-1, i32::MIN, i32::MAX, 1 + limits.data as i32] {
            assert_refused(0, len, limits, data(len, limits));
            assert_refused(limits.groups as i32, len, limits, data(len, limits));
        }
    }
}

#[test]
fn the_sum_of_groups_and_body_is_limited_from_one_group_on() {
    let limits = Limits::FROM_CLIENT;
    for count in [0, 1, 43, MAX_GROUPS_PER_MESSAGE] {
        let room = MAX_ACCEPTED - count * NAME_FIELD;
        assert_waits_for(count as i32, room as i32, limits);
        let error = FrameError::Total { len: MAX_ACCEPTED + 1, max: MAX_ACCEPTED };
        assert_refused(count as i32, room as i32 + 1, limits, error);
    }
    let error = FrameError::Total { len: MAX_DATA_LEN, max: MAX_ACCEPTED };
    assert_refused(0, MAX_DATA_LEN as i32, limits, error);
}

#[test]
fn a_header_at_the_limits_is_waited_for() {
    let limits = Limits::FROM_DAEMON;
    assert_waits_for(limits.groups as i32, 0, limits);
    assert_waits_for(0, limits.data as i32, limits);
    assert_waits_for(limits.groups as i32, limits.data as i32, limits);
}

#[test]
fn without_limits_a_length_must_still_fit() {
    let limits = Limits { groups: usize::MAX, data: usize::MAX, total: usize::MAX };
    let max = i32::MAX as usize;
    for negative in [-1, i32::MIN] {
        let error = FrameError::Groups { count: negative, max: usize::MAX };
        assert_refused(negative, 0, limits, error);
        assert_refused(0, negative, limits, FrameError::Data { len: negative, max: usize::MAX });
    }
    assert_refused(1, i32::MAX, limits, FrameError::Total { len: max + NAME_FIELD, max });
    assert_waits_for(0, i32::MAX, limits);
    assert_waits_for(i32::MAX / 32, 0, limits);
}

#[test]
fn half_a_mark_of_the_byte_order_is_an_error() {
    for half in [[0x80, 0, 0, 0], [0, 0, 0, 0x80]] {
        assert_eq!(ByteOrder::of_word(half), None);
        let mut stream = BytesMut::from(&half[..]);
        stream.put_bytes(0, HEADER_LEN - 5);
        assert_eq!(Frame::decode(&mut stream, Limits::FROM_CLIENT), Ok(None));
        stream.put_u8(0);
        let refused = Frame::decode(&mut stream, Limits::FROM_CLIENT);
        assert_eq!(refused, Err(FrameError::ByteOrder));
    }
}

#[test]
fn the_mark_of_the_byte_order_reads_the_same_among_any_other_bits() {
    for others in [[0; 4], [0x7f, 0xff, 0xff, 0x7f], [0x10, 0, 0, 0], [0, 0, 0, 0x10]] {
        let [a, b, c, d] = others;
        assert_eq!(ByteOrder::of_word([a | 0x80, b, c, d | 0x80]), Some(ByteOrder::Little));
        assert_eq!(ByteOrder::of_word(others), Some(ByteOrder::Big));
    }
}

/// Decodes as a reader does that looks for frames after each piece it gets.
fn decode_in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Vec<Frame> {
    let mut stream = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        stream.extend_from_slice(piece);
        while let Some(frame) = Frame::decode(&mut stream, limits).expect("a frame") {
            frames.push(frame);
        }
    }
    assert!(stream.is_empty(), "{} bytes are no frame", stream.len());
    assert!(!frames.is_empty());
    frames
}

/// A header that announces groups and data, and nothing of them.
fn header(num_groups: i32, data_len: i32, order: ByteOrder) -> BytesMut {
    let mark = if order == ByteOrder::Little { 0x8000_0080 } else { 0 };
    let mut stream = BytesMut::with_capacity(HEADER_LEN);
    stream.put_slice(&order.u32_bytes(0x10 | mark));
    stream.put_bytes(0, NAME_FIELD);
    stream.put_slice(&order.i32_bytes(num_groups));
    stream.put_slice(&order.u32_bytes(mark));
    stream.put_slice(&order.i32_bytes(data_len));
    stream
}

fn assert_refused(num_groups: i32, data_len: i32, limits: Limits, error: FrameError) {
    for order in ORDERS {
        let mut stream = header(num_groups, data_len, order);
        let last = stream.split_off(HEADER_LEN - 1);
        assert_eq!(Frame::decode(&mut stream, limits), Ok(None), "a byte of the header is missing");
        stream.unsplit(last);
        let capacity = stream.capacity();
        assert_eq!(Frame::decode(&mut stream, limits), Err(error));
        assert_eq!(stream.capacity(), capacity, "memory is reserved");
    }
}

fn assert_waits_for(num_groups: i32, data_len: i32, limits: Limits) {
    for order in ORDERS {
        let mut stream = header(num_groups, data_len, order);
        let capacity = stream.capacity();
        assert_eq!(Frame::decode(&mut stream, limits), Ok(None), "{num_groups} {data_len}");
        assert_eq!((stream.len(), stream.capacity()), (HEADER_LEN, capacity));
    }
}
