//! A member's own operations, from their submission to their answers.
//!
//! Under one Form they are sent in their order, each once. At every Form those without an
//! answer are sent again under the same sequence numbers, since an operation counts only
//! under the Form that it was sent under; the [sessions](super::sessions) see to it that
//! none is executed twice. In a group with voters those are not sent again that the member's own
//! log has and has not committed: they are answered where the log that has them is committed, and
//! the log does not grow with each Form. Answered operations are kept for a while, because a merge
//! may take them back.

use std::collections::VecDeque;

use bytes::Bytes;

use super::envelope::{Operation, Sent};
use super::fragments;
use super::proto::Fragment;

/// Operations without an answer that a member may have. The sessions keep answers for as
/// many.
pub(crate) const MAX_OPEN: usize = 1024;
/// Answered operations, and the bytes of their payloads, that are kept in case that a merge
/// takes them back.
const MAX_ANSWERED: usize = 1024;
const MAX_ANSWERED_BYTES: usize = 4 << 20;

/// The channel of an operation without any effect, which no machine has. It stands for one
/// that was refused, where a merge has taken the refusal back: its submitter was told that
/// it is not executed.
pub(crate) const VOID: u32 = 0;

/// Which operation of a member: the id that [`Pending::operation`](crate::Pending::operation)
/// returns. No two operations that a member has submitted since it joined have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub(crate) u64);

/// The id of what this member's core submits by itself.
const UNASKED: OperationId = OperationId(0);

#[derive(Clone, Debug)]
struct Request {
    id: OperationId,
    sequence: u64,
    channel: u32,
    payload: Bytes,
    /// The bytes of the payload that it was submitted with, which the log may have.
    len: usize,
    /// Whether somebody waits; nobody does if it was answered before and a merge took it back.
    awaited: bool,
    /// Whether it was ever sent.
    sent: bool,
    /// Whether it waits for a majority of the voters, however long there is none.
    patient: bool,
}

impl Request {
    /// Returns whether the application is told of what becomes of it.
    fn is_known(&self) -> bool {
        self.channel != VOID && self.id != UNASKED
    }
}

#[derive(Clone, Debug)]
struct Answered {
    id: OperationId,
    sequence: u64,
    channel: u32,
    payload: Bytes,
    /// Its place in the history.
    index: u64,
}

/// Answered operations that a merge took back. They are executed again before any operation that
/// this member submits after it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewound {
    /// Their ids, the oldest first. Among them are operations that this crate has submitted by
    /// itself, whose ids no [`Pending`](crate::Pending) has.
    pub operations: Vec<OperationId>,
    /// Whether these are all. A member remembers its last 1,024 answered operations, of 4 MiB
    /// together; older ones may have been taken back as well, and are not submitted again.
    pub complete: bool,
}

/// What the answer of an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Nothing: it had its answer, or this is none of the log that stands.
    Before,
    /// A request.
    For(OperationId),
    /// An operation that a merge had taken back. Nobody waits for it.
    Again,
    /// As above, but now it was refused.
    Lost(OperationId),
}

#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Submitted so far.
    count: u64,
    /// Without an answer, in their order.
    open: VecDeque<Request>,
    /// How many of `open` are sent under the present Form, or in the log that stands.
    cursor: usize,
    /// Whether it is yet to be found out how many of `open` are in the log that stands.
    unsorted: bool,
    /// The next fragment of the one at the cursor.
    fragment: u32,
    /// A fragmented operation that has been sent and has not come back. Nothing is sent
    /// behind it, because a view would discard it and not what follows.
    whole: Option<u64>,
    answered: VecDeque<Answered>,
    answered_bytes: usize,
    /// The place of the last operation that was forgotten.
    forgotten: u64,
    /// The replica applies a log that does not stand; of that only so many entries do.
    common: Option<u64>,
}

impl Requests {
    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= MAX_OPEN
    }

    /// Returns how many operations have no answer, without those that were given up.
    pub(crate) fn open(&self) -> usize {
        self.open.iter().filter(|request| request.channel != VOID).count()
    }

    /// Takes an operation on; returns its sequence number.
    pub(crate) fn submit(&mut self, id: OperationId, channel: u32, payload: Bytes) -> u64 {
        self.take_on(Some(id), channel, payload, false)
    }

    /// Takes an operation on that [`Requests::lose_patience`] does not give up.
    pub(crate) fn submit_patiently(&mut self, id: OperationId, channel: u32, payload: Bytes) {
        self.take_on(Some(id), channel, payload, true);
    }

    /// Takes an operation on that nobody waits for.
    pub(crate) fn submit_unasked(&mut self, channel: u32, payload: Bytes) {
        self.take_on(None, channel, payload, false);
    }

    fn take_on(
        &mut self,
        id: Option<OperationId>,
        channel: u32,
        payload: Bytes,
        patient: bool,
    ) -> u64 {
        self.count += 1;
        let (sequence, awaited, sent) = (self.count, id.is_some(), false);
        let (id, len) = (id.unwrap_or(UNASKED), payload.len());
        let request = Request { id, sequence, channel, payload, len, awaited, sent, patient };
        self.open.push_back(request);
        sequence
    }

    /// Returns whether an operation is open that nobody waits for.
    pub(crate) fn has_unasked(&self, channel: u32, payload: &Bytes) -> bool {
        let is_it = |request: &Request| (request.channel, &request.payload) == (channel, payload);
        self.open.iter().any(|request| request.id == UNASKED && is_it(request))
    }

    /// Returns whether something is to be sent under the present Form.
    pub(crate) fn has_next(&self) -> bool {
        self.whole.is_none() && self.cursor < self.open.len()
    }

    /// Returns how many operations without an answer were sent under the present Form or are in the
    /// log that stands, and the bytes of their payloads.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let sent = self.open.iter().take(self.cursor);
        (self.cursor, sent.map(|request| request.len).sum())
    }

    /// Returns the next message to send, in fragments of `size` bytes.
    pub(crate) fn next(&mut self, sent: Sent, sent_at: u64, size: usize) -> Option<Operation> {
        if self.whole.is_some() {
            return None;
        }
        let acknowledged = self.open.front()?.sequence;
        let request = self.open.get_mut(self.cursor)?;
        request.sent = true;
        let count = fragments::count(request.payload.len(), size);
        let index = self.fragment;
        let operation = Operation {
            sent,
            sequence: request.sequence,
            acknowledged,
            sent_at,
            channel: request.channel,
            fragment: (count > 1).then_some(Fragment { index, count }),
            payload: fragments::piece(&request.payload, index, size),
        };
        self.fragment += 1;
        if self.fragment == count {
            self.whole = (count > 1).then_some(request.sequence);
            self.cursor += 1;
            self.fragment = 0;
        }
        Some(operation)
    }

    /// Takes note that an operation has come back whole.
    pub(crate) fn came_back(&mut self, sequence: u64) {
        self.whole = self.whole.filter(|whole| *whole != sequence);
    }

    /// Begins anew: everything open is to be sent under the present Form.
    pub(crate) fn send_again(&mut self) {
        (self.cursor, self.fragment, self.whole, self.unsorted) = (0, 0, None, true);
    }

    /// Takes the numbers of the operations that this member's log has from its session and has not
    /// committed; once after [`Requests::send_again`]. The first open ones that are among them, in
    /// their order, are not sent again: each follows the one before it there, so none is skipped.
    pub(crate) fn skip_logged(&mut self, logged: impl Iterator<Item = u64>) {
        if !std::mem::take(&mut self.unsorted) {
            return;
        }
        for sequence in logged {
            if self.open.get(self.cursor).is_some_and(|next| next.sequence == sequence) {
                self.cursor += 1;
            }
        }
    }

    /// Begins the fragmented operation anew that a view has discarded, if there is one.
    pub(crate) fn send_fragments_again(&mut self) {
        self.fragment = 0;
        if let Some(whole) = self.whole.take() {
            let at = self.open.iter().position(|request| request.sequence == whole);
            self.cursor = at.unwrap_or(self.cursor);
        }
    }

    /// Takes note that the replica applies the log that stands.
    pub(crate) fn follow(&mut self) {
        self.common = None;
    }

    /// Takes note of the answer of an operation at its place.
    pub(crate) fn answer(&mut self, sequence: u64, index: u64, executed: bool) -> Ended {
        if self.common.is_some_and(|common| index > common) {
            return Ended::Before;
        }
        let at = self.open.iter().position(|request| request.sequence == sequence);
        let Some((at, request)) = at.and_then(|at| Some((at, self.open.remove(at)?))) else {
            return Ended::Before;
        };
        if at < self.cursor {
            self.cursor -= 1;
        } else if at == self.cursor {
            self.fragment = 0;
        }
        self.whole = self.whole.filter(|whole| *whole != sequence);
        let ended = match request.awaited {
            true => Ended::For(request.id),
            false if executed || !request.is_known() => Ended::Again,
            false => Ended::Lost(request.id),
        };
        self.keep(request, index, executed);
        ended
    }

    fn keep(&mut self, request: Request, index: u64, executed: bool) {
        let Request { id, sequence, channel, payload, .. } = request;
        let (channel, payload) = if executed { (channel, payload) } else { (VOID, Bytes::new()) };
        self.answered_bytes += payload.len();
        self.answered.push_back(Answered { id, sequence, channel, payload, index });
        while self.answered.len() > MAX_ANSWERED || self.answered_bytes > MAX_ANSWERED_BYTES {
            let Some(oldest) = self.answered.pop_front() else {
                break;
            };
            self.answered_bytes -= oldest.payload.len();
            self.forgotten = self.forgotten.max(oldest.index);
        }
    }

    /// Opens the answered operations again that are not in a history which has the first
    /// `common` entries of the former one. [`Requests::send_again`] has to follow. They wait for a
    /// majority, as they had their answers.
    pub(crate) fn rewind(&mut self, common: u64) -> Rewound {
        self.common = Some(self.common.map_or(common, |known| known.min(common)));
        let complete = self.forgotten <= common;
        let mut operations = Vec::new();
        let stays = self.answered.partition_point(|answered| answered.index <= common);
        for Answered { id, sequence, channel, payload, .. } in self.answered.drain(stays..).rev() {
            self.answered_bytes -= payload.len();
            operations.extend((channel != VOID).then_some(id));
            let (awaited, sent, patient) = (false, true, true);
            let len = payload.len();
            let request = Request { id, sequence, channel, payload, len, awaited, sent, patient };
            self.open.push_front(request);
        }
        if !complete {
            // What is left is older than what was forgotten, and in doubt as well.
            self.forgotten = common;
        }
        operations.reverse();
        Rewound { operations, complete }
    }

    /// Gives up all that may have been executed under a session that has expired, as this
    /// member learns at place `index`; returns those that somebody waits for, and those that nobody
    /// waits for.
    ///
    /// A merge can lead to a history in which the session has not expired. What was answered
    /// before is submitted again there; what is given up here is not.
    pub(crate) fn expire(&mut self, index: u64) -> (Vec<OperationId>, Vec<OperationId>) {
        let sent = self.open.iter().take_while(|request| request.sent).count();
        let given_up: Vec<Request> = self.open.drain(..sent).collect();
        self.send_again();
        let waiting = given_up.iter().filter(|request| request.awaited);
        let waiting = waiting.map(|request| request.id).collect();
        let silent = given_up.iter().filter(|request| !request.awaited && request.is_known());
        let silent = silent.map(|request| request.id).collect();
        given_up.into_iter().for_each(|request| self.keep(request, index, false));
        (waiting, silent)
    }

    /// Gives up what does not wait for a majority of the voters; returns who waits, and whether
    /// it may have been executed. Its numbers stay as those of operations without effect, since
    /// the sequence must have no gap: not behind what is patient, nor behind what was answered and
    /// is [opened again](Requests::rewind) by a forced Form.
    pub(crate) fn lose_patience(&mut self) -> Vec<(OperationId, bool)> {
        self.send_again();
        let given_up = self.open.iter_mut().filter(|request| !request.patient);
        let given_up = given_up.filter_map(|request| {
            (request.channel, request.payload) = (VOID, Bytes::new());
            let awaited = std::mem::take(&mut request.awaited);
            awaited.then_some((request.id, request.sent))
        });
        let given_up = given_up.collect();
        // Nobody has seen the numbers of the last ones, which are free again.
        while self.open.back().is_some_and(|last| last.channel == VOID && !last.sent) {
            self.open.pop_back();
            self.count -= 1;
        }
        given_up
    }

    /// Gives up all that is open; returns who waits, and whether it may have been executed.
    /// Later operations tell the others that these are not waited for.
    pub(crate) fn give_up(&mut self) -> Vec<(OperationId, bool)> {
        self.send_again();
        let open = self.open.drain(..);
        open.filter(|request| request.awaited).map(|request| (request.id, request.sent)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: u32 = 7;
    const SENT: Sent = Sent { session: 1, epoch: 1 };

    fn submitted(payloads: &[&'static [u8]]) -> Requests {
        let mut requests = Requests::default();
        for (id, payload) in (1..).zip(payloads) {
            requests.submit(OperationId(id), CHANNEL, Bytes::from_static(payload));
        }
        requests
    }

    fn sent(requests: &mut Requests) -> Vec<(u64, u32)> {
        let next = || {
            let operation = requests.next(SENT, 0, 2)?;
            Some((operation.sequence, operation.fragment.map_or(0, |fragment| fragment.index)))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn each_is_sent_once_and_again_after_a_form_until_it_is_answered() {
        let mut requests = submitted(&[b"a", b"b", b"c"]);
        assert_eq!(sent(&mut requests), [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(sent(&mut requests), []);
        assert_eq!(requests.answer(1, 10, true), Ended::For(OperationId(1)));
        requests.send_again();
        let again = requests.next(SENT, 0, 2).unwrap();
        assert_eq!((again.sequence, again.acknowledged), (2, 2));
    }

    #[test]
    fn what_the_log_has_in_its_order_is_not_sent_again() {
        let mut requests = submitted(&[b"a", b"b", b"c", b"d"]);
        sent(&mut requests);
        requests.send_again();
        requests.skip_logged([1, 2, 1, 2].into_iter());
        assert_eq!(requests.under_way(), (2, 2));
        assert_eq!(sent(&mut requests), [(3, 0), (4, 0)]);
        requests.skip_logged([1, 2, 3, 4].into_iter());
        requests.send_again();
        requests.skip_logged([2, 3, 1].into_iter());
        assert_eq!(sent(&mut requests), [(2, 0), (3, 0), (4, 0)], "they are behind the first");
        requests.send_again();
        requests.skip_logged([1, 2, 3, 4].into_iter());
        requests.answer(1, 10, true);
        requests.lose_patience();
        requests.skip_logged([2, 3].into_iter());
        assert_eq!(requests.under_way(), (2, 2), "the log has what was given up");
        assert_eq!(sent(&mut requests), [(4, 0)]);
    }

    #[test]
    fn nothing_is_sent_behind_a_fragmented_operation_until_it_is_back() {
        let mut requests = submitted(&[b"abc", b"d"]);
        assert_eq!(sent(&mut requests), [(1, 0), (1, 1)]);
        requests.send_fragments_again();
        assert_eq!(sent(&mut requests), [(1, 0), (1, 1)]);
        requests.came_back(1);
        requests.send_fragments_again();
        assert_eq!(sent(&mut requests), [(2, 0)]);
    }

    #[test]
    fn a_merge_opens_what_was_answered_behind_the_common_place() {
        let mut requests = submitted(&[b"a", b"b", b"c"]);
        sent(&mut requests);
        requests.answer(1, 10, true);
        requests.answer(2, 11, true);
        let rewound = Rewound { operations: vec![OperationId(2)], complete: true };
        assert_eq!(requests.rewind(10), rewound);
        assert_eq!(requests.answer(2, 11, true), Ended::Before, "of the log that does not stand");
        assert_eq!(requests.lose_patience(), [(OperationId(3), true)]);
        requests.follow();
        requests.send_again();
        let again: Vec<_> = std::iter::from_fn(|| requests.next(SENT, 0, 2)).collect();
        let again: Vec<_> = again.iter().map(|op| (op.sequence, op.channel)).collect();
        assert_eq!(again, [(2, CHANNEL), (3, VOID)], "what is taken back waits for a majority");
        assert_eq!(requests.answer(2, 12, true), Ended::Again, "nobody waits for it any more");
        assert_eq!(requests.answer(2, 12, true), Ended::Before);
    }

    #[test]
    fn what_was_refused_is_not_executed_after_a_merge() {
        let mut requests = submitted(&[b"a", b"b", b"c"]);
        sent(&mut requests);
        requests.answer(1, 10, true);
        requests.answer(2, 11, false);
        assert_eq!(requests.rewind(0).operations, [OperationId(1)], "a refusal is not taken back");
        requests.follow();
        requests.send_again();
        let again: Vec<_> = std::iter::from_fn(|| requests.next(SENT, 0, 2)).collect();
        let again: Vec<_> = again.iter().map(|op| (op.sequence, op.channel)).collect();
        assert_eq!(again, [(1, CHANNEL), (2, VOID), (3, CHANNEL)], "the sequence has no gap");
        assert_eq!(requests.answer(1, 12, false), Ended::Lost(OperationId(1)));
        assert_eq!(requests.answer(2, 13, false), Ended::Again);
    }

    #[test]
    fn what_is_forgotten_is_not_told_but_that_something_is() {
        let mut requests = Requests::default();
        for index in 1..=MAX_ANSWERED as u64 + 5 {
            let sequence = requests.submit(OperationId(index), CHANNEL, Bytes::new());
            requests.next(SENT, 0, 2);
            requests.answer(sequence, index, true);
        }
        let rewound = requests.rewind(0);
        assert_eq!(rewound.operations.first(), Some(&OperationId(6)));
        assert!(!rewound.complete);
    }

    #[test]
    fn what_is_patient_stays_without_a_gap_before_it() {
        let mut requests = submitted(&[b"a"]);
        sent(&mut requests);
        requests.submit_patiently(OperationId(7), CHANNEL, Bytes::new());
        requests.submit(OperationId(8), CHANNEL, Bytes::new());
        assert_eq!(requests.lose_patience(), [(OperationId(1), true), (OperationId(8), false)]);
        assert_eq!(sent(&mut requests), [(1, 0), (2, 0)]);
        assert_eq!(requests.answer(1, 1, false), Ended::Again);
        assert_eq!(requests.answer(2, 2, true), Ended::For(OperationId(7)));
        assert_eq!(requests.lose_patience(), []);
        assert_eq!(sent(&mut requests), []);
    }

    #[test]
    fn what_was_given_up_before_it_was_sent_takes_no_room() {
        let mut requests = submitted(&[b"a"]);
        sent(&mut requests);
        (2..=MAX_OPEN as u64).for_each(|id| {
            requests.submit(OperationId(id), CHANNEL, Bytes::new());
        });
        assert!(requests.is_full());
        assert_eq!(requests.lose_patience().len(), MAX_OPEN);
        assert_eq!(requests.submit(OperationId(9), CHANNEL, Bytes::new()), 2);
        assert_eq!(sent(&mut requests), [(1, 0), (2, 0)]);
    }

    #[test]
    fn what_is_given_up_leaves_no_gap_behind_what_is_taken_back() {
        let mut requests = submitted(&[b"a", b"b"]);
        sent(&mut requests);
        requests.answer(1, 10, true);
        assert_eq!(requests.lose_patience(), [(OperationId(2), true)]);
        requests.submit(OperationId(3), CHANNEL, Bytes::new());
        assert_eq!(requests.rewind(0).operations, [OperationId(1)]);
        requests.send_again();
        let again: Vec<_> = std::iter::from_fn(|| requests.next(SENT, 0, 2)).collect();
        let again: Vec<_> = again.iter().map(|op| (op.sequence, op.channel)).collect();
        assert_eq!(again, [(1, CHANNEL), (2, VOID), (3, CHANNEL)]);
    }

    #[test]
    fn what_nobody_asked_for_is_not_told_as_lost() {
        let mut requests = Requests::default();
        (0..2).for_each(|_| requests.submit_unasked(CHANNEL, Bytes::new()));
        sent(&mut requests);
        assert_eq!(requests.answer(1, 3, false), Ended::Again);
        assert_eq!(requests.expire(5), (vec![], vec![]));
    }

    #[test]
    fn an_expired_session_gives_up_what_was_sent() {
        let mut requests = submitted(&[b"a"]);
        sent(&mut requests);
        requests.submit(OperationId(7), CHANNEL, Bytes::new());
        assert_eq!(requests.expire(5), (vec![OperationId(1)], vec![]));
        assert_eq!(sent(&mut requests), [(2, 0)]);
        assert!(requests.rewind(4).operations.is_empty(), "it is not submitted again");
        requests.send_again();
        assert_eq!(sent(&mut requests), [(1, 0), (2, 0)], "but its number has no gap");
        assert_eq!(requests.give_up(), [(OperationId(7), true)]);
    }
}
