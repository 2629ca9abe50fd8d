//! Operations that are too large for one message.
//!
//! A fragmented operation counts at its last fragment, if all of them were delivered with
//! no view between. Every view discards what is incomplete, at all members alike; the
//! sender begins again.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::proto::Fragment;

/// Bytes of payload that one message carries.
pub(crate) const FRAGMENT: usize = 128 * 1024;

/// Puts the fragments of operations together, those of each session by themselves.
///
/// It is the same at all members: nothing but ordered messages changes it.
#[derive(Clone, Debug)]
pub(crate) struct Assembler {
    partial: BTreeMap<u32, Partial>,
    /// Bytes in all of `partial`.
    bytes: usize,
    limit: usize,
}

#[derive(Clone, Debug)]
struct Partial {
    sequence: u64,
    next: u32,
    count: u32,
    /// What has come; `None` once it is refused.
    payload: Option<BytesMut>,
}

/// What a fragment makes of the operation that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assembled {
    /// More are to come, or it does not follow the one before it.
    Incomplete,
    Whole(Bytes),
    /// The last one of an operation for which there was no room.
    Refused,
}

impl Assembler {
    /// Returns one that keeps at most `limit` bytes of incomplete operations, which has to
    /// be the same at all members.
    pub(crate) fn new(limit: usize) -> Assembler {
        Assembler { partial: BTreeMap::new(), bytes: 0, limit }
    }

    /// Discards all that is incomplete.
    pub(crate) fn clear(&mut self) {
        self.partial.clear();
        self.bytes = 0;
    }

    /// Takes the next message of an operation.
    pub(crate) fn take(
        &mut self,
        session: u32,
        sequence: u64,
        fragment: Option<Fragment>,
        piece: Bytes,
    ) -> Assembled {
        let Some(Fragment { index, count }) = fragment else {
            self.discard(session);
            return Assembled::Whole(piece);
        };
        if index == 0 {
            self.discard(session);
            let payload = Some(BytesMut::new());
            self.partial.insert(session, Partial { sequence, next: 0, count, payload });
        }
        let Some(partial) = self.partial.get_mut(&session) else {
            return Assembled::Incomplete;
        };
        if (partial.sequence, partial.next, partial.count) != (sequence, index, count) {
            self.discard(session);
            return Assembled::Incomplete;
        }
        partial.next += 1;
        if self.bytes + piece.len() > self.limit {
            let refused = partial.payload.take();
            self.bytes -= refused.map_or(0, |payload| payload.len());
        } else if let Some(payload) = &mut partial.payload {
            payload.extend_from_slice(&piece);
            self.bytes += piece.len();
        }
        if partial.next < count {
            return Assembled::Incomplete;
        }
        match self.discard(session) {
            Some(payload) => Assembled::Whole(payload.freeze()),
            None => Assembled::Refused,
        }
    }

    fn discard(&mut self, session: u32) -> Option<BytesMut> {
        let payload = self.partial.remove(&session)?.payload?;
        self.bytes -= payload.len();
        Some(payload)
    }
}

/// Returns how many messages a payload takes.
pub(crate) fn count(len: usize, size: usize) -> u32 {
    u32::try_from(len.div_ceil(size).max(1)).unwrap_or(u32::MAX)
}

/// Returns the piece of a payload that a fragment carries.
pub(crate) fn piece(payload: &Bytes, index: u32, size: usize) -> Bytes {
    let start = (index as usize).saturating_mul(size).min(payload.len());
    payload.slice(start..payload.len().min(start + size))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 10;

    fn fragment(index: u32, count: u32) -> Option<Fragment> {
        Some(Fragment { index, count })
    }

    #[test]
    fn an_operation_is_whole_at_its_last_fragment() {
        let mut assembler = Assembler::new(LIMIT);
        let payload = Bytes::from_static(b"abcdefgh");
        assert_eq!(count(payload.len(), 3), 3);
        for index in 0..2 {
            let piece = piece(&payload, index, 3);
            let taken = assembler.take(1, 1, fragment(index, 3), piece);
            assert_eq!(taken, Assembled::Incomplete);
        }
        // The fragments of another session may stand between them.
        assembler.take(2, 1, fragment(0, 2), Bytes::from_static(b"z"));
        let taken = assembler.take(1, 1, fragment(2, 3), piece(&payload, 2, 3));
        assert_eq!(taken, Assembled::Whole(payload));
        assert_eq!(assembler.bytes, 1);
    }

    #[test]
    fn what_a_view_interrupts_is_not_whole_until_it_is_sent_again() {
        let mut assembler = Assembler::new(LIMIT);
        let take = |assembler: &mut Assembler, index| {
            assembler.take(1, 1, fragment(index, 2), Bytes::from_static(b"x"))
        };
        take(&mut assembler, 0);
        assembler.clear();
        assert_eq!(take(&mut assembler, 1), Assembled::Incomplete);
        take(&mut assembler, 0);
        assert_eq!(take(&mut assembler, 1), Assembled::Whole(Bytes::from_static(b"xx")));
    }

    #[test]
    fn beyond_the_limit_an_operation_is_refused_at_its_last_fragment() {
        let mut assembler = Assembler::new(LIMIT);
        let piece = || Bytes::from_static(b"123456");
        assert_eq!(assembler.take(1, 1, fragment(0, 3), piece()), Assembled::Incomplete);
        assert_eq!(assembler.take(1, 1, fragment(1, 3), piece()), Assembled::Incomplete);
        assert_eq!(assembler.bytes, 0, "what is refused is not kept");
        assert_eq!(assembler.take(1, 1, fragment(2, 3), piece()), Assembled::Refused);
    }

    #[test]
    fn fragments_of_nothing_have_no_effect() {
        let mut assembler = Assembler::new(LIMIT);
        for (index, count) in [(0, 0), (5, 3), (u32::MAX, 1), (1, 1)] {
            let taken = assembler.take(1, 1, fragment(index, count), Bytes::from_static(b"x"));
            assert_ne!(taken, Assembled::Refused);
        }
        assert!(assembler.bytes <= 1);
    }
}
