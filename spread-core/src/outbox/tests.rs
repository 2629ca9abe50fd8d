//! Random schedules of messages and of a kernel that takes what it likes, beside a model.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;
use spread_wire::ServiceType;

use super::*;
use crate::frames::header;

#[derive(Clone, Debug)]
enum Step {
    /// A message with so many bytes is to be buffered.
    Buffer(usize),
    /// The rest of a message that has begun is kept.
    Keep(usize),
    /// The kernel takes up to so many bytes.
    Send(usize),
    /// Somebody asks for a flush.
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = prop_oneof![0..200usize, 0..40_000usize, Just(MAX_BODY_AND_GROUPS - 32)];
    let step = prop_oneof![
        4 => len.clone().prop_map(Step::Buffer),
        1 => (1..5000usize).prop_map(Step::Keep),
        4 => prop_oneof![0..300usize, 0..300_000usize].prop_map(Step::Send),
        1 => Just(Step::Flush),
    ];
    vec(step, 0..200)
}

/// Every byte that was taken, and how many of them have gone.
#[derive(Default)]
struct Model {
    taken: Vec<u8>,
    gone: usize,
    /// Positions that flushes wait for.
    flushes: VecDeque<usize>,
}

proptest! {
    #[test]
    fn what_was_taken_is_sent_once_and_in_order(steps in steps()) {
        let (mut outbox, mut model) = (Outbox::default(), Model::default());
        let (sender, groups) = (Name::new("#me#host").unwrap(), [Name::new("g").unwrap()]);
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Buffer(len) => {
                    let body = vec![number as u8; len];
                    let header = header(sender, ServiceType::FIFO, 1, 0, len);
                    let unsent = model.taken.len() - model.gone;
                    let expected = match unsent {
                        0 => Buffered::First,
                        _ if unsent + header.frame_len() <= BUFFER => Buffered::Behind,
                        _ => Buffered::Full,
                    };
                    prop_assert_eq!(outbox.buffer(&header, &groups, &body), expected);
                    if expected != Buffered::Full {
                        encode_head(&header, &groups, &mut model.taken);
                        model.taken.extend(body);
                    }
                }
                Step::Keep(len) => {
                    // A message begins only when nothing is before it.
                    if outbox.is_empty() {
                        let rest = vec![number as u8; len];
                        outbox.keep(&rest);
                        model.taken.extend(rest);
                    }
                }
                Step::Send(most) => {
                    let count = most.min(outbox.unsent().len());
                    prop_assert_eq!(
                        &outbox.unsent()[..count],
                        &model.taken[model.gone..][..count]
                    );
                    outbox.advance(count);
                    model.gone += count;
                }
                Step::Flush => {
                    prop_assert_eq!(outbox.taken(), model.taken.len() as u64);
                    model.flushes.push_back(model.taken.len());
                }
            }
            prop_assert_eq!(outbox.unsent(), &model.taken[model.gone..]);
            prop_assert_eq!(outbox.is_empty(), model.gone == model.taken.len());
            prop_assert!(outbox.unsent().len() <= BUFFER);
            prop_assert!(outbox.bytes.len() <= 2 * BUFFER);
            for &position in &model.flushes {
                prop_assert_eq!(outbox.has_sent(position as u64), model.gone >= position);
            }
        }
    }
}
