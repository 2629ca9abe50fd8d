use proptest::prelude::*;
use spread::GroupId;

use super::*;
use crate::core::history::History;
use crate::core::roster::{Departure, Incarnation, Roster};
use crate::core::voting::voters::{self, Chain};

/// What a message costs that is sent in a group that has been in use for a while.
#[test]
fn a_small_message_costs_at_most_32_bytes() {
    let operation = Operation {
        sent: Sent { session: 16_000, epoch: 16_000 },
        sequence: 1_000_000,
        acknowledged: 999_900,
        sent_at: 4_000_000_000_000,
        channel: u32::MAX,
        fragment: None,
        payload: Bytes::from_static(b"payload"),
    };
    let len = Frame::Operation(operation).encode().len() - b"payload".len();
    assert!(len <= 32, "{len} bytes");
    let topic = Topic {
        message: u64::MAX,
        sent_at: 4_000_000_000_000,
        channel: u32::MAX,
        hops: 0,
        publisher: None,
        payload: Bytes::from_static(b"payload"),
    };
    let len = Frame::Topic(topic).encode().len() - b"payload".len();
    assert!(len <= 32, "{len} bytes");
}

#[test]
fn frames_read_as_they_were_written() {
    let sent = Sent { session: 3, epoch: 4 };
    let name = Name::new("#a#d").unwrap();
    let exchange = ExchangeId { view: GroupId { proc_id: -1, time: 2, index: 3 }, attempt: 1 };
    let mut history = History::default();
    history.begin(77, 2);
    history.count(1);
    let hello = Hello {
        exchange,
        incarnation: Incarnation([7; 16]),
        history,
        holding: Holding::Current,
        seniority: 2,
        returning: true,
        observer: false,
        protocol: 1,
        metadata: Bytes::from_static(b"meta"),
        candidate: Some(Candidate {
            configured: 5,
            voter: String::from("ann"),
            accepted: 6,
            votes: true,
        }),
    };
    let mut base = Roster::default();
    base.admit(&hello.applicant(name), &Chain::default(), &mut Vec::new()).unwrap();
    base.depart(1, Departure::Left, &mut Vec::new());
    base.admit(&hello.applicant(name), &Chain::default(), &mut Vec::new()).unwrap();
    let departed = vec![(1, Departure::Crashed), (2, Departure::Left)];
    let by_name =
        [(String::from("ann"), voters::Voter { incarnation: Incarnation([7; 16]), weight: 2 })];
    let voters = Chain::new(voters::Voters::new(by_name.into(), 1));
    let base = Some(base);
    let form = Form { exchange, epoch: 3, base, said: vec![name], departed, voters, forced: true };
    let operation = Operation {
        sent,
        sequence: 9,
        acknowledged: 7,
        sent_at: 1,
        channel: 2,
        fragment: Some(Fragment { index: 1, count: 2 }),
        payload: Bytes::from_static(b"x"),
    };
    let chunk = Chunk {
        group: name,
        epoch: 1,
        cut: 2,
        offset: 3,
        total: 4,
        bytes: Bytes::from_static(b"y"),
    };
    for frame in [
        Frame::Hello(hello),
        Frame::Form(form),
        Frame::Operation(operation),
        Frame::Topic(Topic {
            message: 1,
            sent_at: 2,
            channel: 3,
            hops: 4,
            publisher: Some(name),
            payload: Bytes::from_static(b"z"),
        }),
        Frame::Marker(sent, vec![1, 2]),
        Frame::Want(sent),
        Frame::Synced(sent),
        Frame::Expire(sent, 8),
        Frame::Chunk(chunk),
        Frame::ChunkTaken(ChunkTaken { group: name, epoch: 1, cut: 2, received: 3 }),
        Frame::Call(Call { group: name, channel: 1, number: 2, payload: Bytes::new() }),
        Frame::Reply(Reply {
            group: name,
            number: 2,
            outcome: ReplyOutcome::Busy,
            payload: Bytes::from_static(b"r"),
        }),
        Frame::Accept(Accept { exchange, number: 4 }),
        Frame::Acknowledge(sent, 5),
    ] {
        assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
    }
}

#[test]
fn versions_and_kinds_of_the_future_are_told_from_what_is_malformed() {
    let newer = Envelope { version: VERSION + 1, ..of(Kind::Want) };
    assert_eq!(Frame::decode(&newer.encode_to_vec().into()), Err(Skip::Unknown));
    let unknown = Envelope { kind: 99, ..Envelope::default() };
    assert_eq!(Frame::decode(&unknown.encode_to_vec().into()), Err(Skip::Unknown));
    assert_eq!(Frame::decode(&Bytes::from_static(b"\xff")), Err(Skip::Malformed));
}

proptest! {
    #[test]
    fn any_bytes_are_a_frame_or_skipped(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = Frame::decode(&bytes.into());
    }

    #[test]
    fn any_payload_of_any_kind_is_a_frame_or_skipped(
        kind in 0..16i32,
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let envelope = Envelope { kind, payload: payload.into(), ..Envelope::default() };
        let _ = Frame::decode(&envelope.encode_to_vec().into());
    }
}
