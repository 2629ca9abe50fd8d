//! Once: no operation is executed twice, whatever its sender had to send again.
//!
//! A session is opened by the Hello of an incarnation and survives its connections. It
//! remembers the last operation that was executed, and the answers that its client may not
//! have had. It is part of the replicated state, and ends by an ordered operation.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::proto;
use super::requests::MAX_OPEN;

/// What an operation comes to, at all members alike.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Answer {
    /// It was executed.
    Done(Bytes),
    /// It was not: there is no room for it.
    Full,
    /// It was not: nobody knows its channel or can read it.
    Unreadable,
    /// It was executed, and its answer is not kept any more.
    Forgotten,
}

impl Answer {
    fn len(&self) -> usize {
        match self {
            Answer::Done(bytes) => bytes.len(),
            Answer::Full | Answer::Unreadable | Answer::Forgotten => 0,
        }
    }
}

/// What is to be done with an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Execute,
    /// It was executed before, with this answer.
    Repeat(Answer),
    /// It was executed before, and its client has had the answer.
    Old,
    /// There is no such session, or an operation before this one is missing.
    Skip,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<u32, Session>,
}

/// Bytes of the answers that are kept for a session. A larger answer is not kept at all.
pub(crate) const MAX_ANSWER_BYTES: usize = 4 << 20;

#[derive(Clone, Debug)]
struct Session {
    /// The operation that is to be executed next.
    next: u64,
    /// The answers of the last operations before it.
    answers: VecDeque<Answer>,
    /// Their bytes.
    bytes: usize,
}

impl Session {
    fn new(next: u64) -> Session {
        Session { next, answers: VecDeque::new(), bytes: 0 }
    }

    /// Appends an answer, and forgets the oldest ones that there is no room for.
    fn keep(&mut self, answer: Answer) {
        self.bytes += answer.len();
        self.answers.push_back(answer);
        for answer in &mut self.answers {
            if self.bytes <= MAX_ANSWER_BYTES {
                break;
            }
            if answer.len() > 0 {
                self.bytes -= answer.len();
                *answer = Answer::Forgotten;
            }
        }
    }

    /// Removes the answers of all operations below `acknowledged`.
    fn acknowledge(&mut self, acknowledged: u64) {
        while self.first() < acknowledged
            && let Some(answer) = self.answers.pop_front()
        {
            self.bytes -= answer.len();
        }
    }

    /// Returns the sequence number of the first answer.
    fn first(&self) -> u64 {
        self.next - self.answers.len() as u64
    }
}

impl Sessions {
    pub(crate) fn open(&mut self, session: u32) {
        self.sessions.entry(session).or_insert_with(|| Session::new(1));
    }

    pub(crate) fn expire(&mut self, session: u32) {
        self.sessions.remove(&session);
    }

    /// Judges an operation whose sender has had the answers of all below `acknowledged`.
    pub(crate) fn judge(&mut self, session: u32, sequence: u64, acknowledged: u64) -> Verdict {
        let Some(session) = self.sessions.get_mut(&session) else {
            return Verdict::Skip;
        };
        if acknowledged > session.next {
            // The sender has answers from a history that a merge took back, and does not
            // ask for these operations again.
            *session = Session::new(acknowledged);
        }
        session.acknowledge(acknowledged);
        if sequence < session.next {
            let at = sequence.checked_sub(session.first());
            let answer = at.and_then(|at| session.answers.get(usize::try_from(at).ok()?));
            return answer.map_or(Verdict::Old, |answer| Verdict::Repeat(answer.clone()));
        }
        if sequence > session.next || session.answers.len() >= MAX_OPEN {
            return Verdict::Skip;
        }
        Verdict::Execute
    }

    /// Keeps the answer of an operation that was executed, the next one of its session.
    pub(crate) fn keep(&mut self, session: u32, answer: Answer) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.next = session.next.saturating_add(1);
            session.keep(answer);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    #[cfg(test)]
    pub(crate) fn digest(&self) -> u64 {
        use super::history::{mix, mix_bytes};
        self.sessions.iter().fold(0, |digest, (number, session)| {
            let digest = mix(mix(digest, (*number).into()), session.next);
            session.answers.iter().fold(digest, |digest, answer| match answer {
                Answer::Done(bytes) => mix_bytes(mix(digest, 1), bytes),
                Answer::Full => mix(digest, 2),
                Answer::Unreadable => mix(digest, 3),
                Answer::Forgotten => mix(digest, 4),
            })
        })
    }

    pub(crate) fn to_proto(&self) -> Vec<proto::Session> {
        let answer = |answer: &Answer| {
            let (outcome, bytes) = match answer {
                Answer::Done(bytes) => (proto::Outcome::Done, bytes.clone()),
                Answer::Full => (proto::Outcome::Full, Bytes::new()),
                Answer::Unreadable => (proto::Outcome::Unreadable, Bytes::new()),
                Answer::Forgotten => (proto::Outcome::Forgotten, Bytes::new()),
            };
            proto::Answer { outcome: outcome.into(), bytes }
        };
        let session = |(number, session): (&u32, &Session)| proto::Session {
            number: *number,
            next: session.next,
            answers: session.answers.iter().map(answer).collect(),
        };
        self.sessions.iter().map(session).collect()
    }

    pub(crate) fn from_proto(sessions: Vec<proto::Session>) -> Sessions {
        let answer = |answer: proto::Answer| match answer.outcome() {
            proto::Outcome::Done => Answer::Done(answer.bytes),
            proto::Outcome::Full => Answer::Full,
            proto::Outcome::Unreadable => Answer::Unreadable,
            proto::Outcome::Forgotten => Answer::Forgotten,
        };
        let session = |session: proto::Session| {
            // No more answers than operations.
            let next = session.next.max(1);
            let count = usize::try_from(next - 1).unwrap_or(usize::MAX);
            let mut kept = Session::new(next);
            session.answers.into_iter().map(answer).take(count).for_each(|a| kept.keep(a));
            (session.number, kept)
        };
        Sessions { sessions: sessions.into_iter().map(session).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &'static str) -> Answer {
        Answer::Done(Bytes::from_static(text.as_bytes()))
    }

    fn execute(sessions: &mut Sessions, sequence: u64, acknowledged: u64, text: &'static str) {
        assert_eq!(sessions.judge(1, sequence, acknowledged), Verdict::Execute);
        sessions.keep(1, done(text));
    }

    #[test]
    fn an_operation_that_comes_again_gets_the_answer_that_it_had() {
        let mut sessions = Sessions::default();
        sessions.open(1);
        execute(&mut sessions, 1, 1, "a");
        execute(&mut sessions, 2, 1, "b");
        assert_eq!(sessions.judge(1, 1, 1), Verdict::Repeat(done("a")));
        assert_eq!(sessions.judge(1, 2, 2), Verdict::Repeat(done("b")));
        assert_eq!(sessions.judge(1, 1, 1), Verdict::Old, "its answer has been had");
        assert_eq!(sessions.judge(1, 4, 2), Verdict::Skip, "3 is missing");
        assert_eq!(sessions.judge(1, 3, 3), Verdict::Execute);
    }

    #[test]
    fn a_session_that_is_not_there_executes_nothing() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.judge(1, 1, 1), Verdict::Skip);
        sessions.open(1);
        execute(&mut sessions, 1, 1, "a");
        sessions.expire(1);
        assert_eq!(sessions.judge(1, 1, 1), Verdict::Skip);
    }

    #[test]
    fn answers_of_a_history_that_was_taken_back_are_not_waited_for() {
        let mut sessions = Sessions::default();
        sessions.open(1);
        execute(&mut sessions, 1, 1, "a");
        execute(&mut sessions, 7, 7, "g");
        assert_eq!(sessions.judge(1, 3, 3), Verdict::Old);
    }

    #[test]
    fn a_copy_judges_alike_and_has_the_same_digest() {
        let mut sessions = Sessions::default();
        sessions.open(1);
        execute(&mut sessions, 1, 1, "a");
        sessions.keep(1, Answer::Full);
        sessions.keep(1, Answer::Unreadable);
        let mut copy = Sessions::from_proto(sessions.to_proto());
        assert_eq!(copy.digest(), sessions.digest());
        assert_eq!(copy.judge(1, 2, 1), Verdict::Repeat(Answer::Full));
        assert_ne!(copy.judge(1, 4, 4), Verdict::Skip);
    }

    #[test]
    fn the_oldest_answers_are_forgotten_when_they_have_too_many_bytes() {
        let mut sessions = Sessions::default();
        sessions.open(1);
        let large = Answer::Done(Bytes::from(vec![0; MAX_ANSWER_BYTES / 2]));
        for answer in [large.clone(), Answer::Full, large.clone(), done("a")] {
            sessions.keep(1, answer);
        }
        let mut copy = Sessions::from_proto(sessions.to_proto());
        assert_eq!(copy.digest(), sessions.digest());
        for sessions in [&mut sessions, &mut copy] {
            assert_eq!(sessions.judge(1, 1, 1), Verdict::Repeat(Answer::Forgotten));
            assert_eq!(sessions.judge(1, 2, 1), Verdict::Repeat(Answer::Full));
            assert_eq!(sessions.judge(1, 3, 1), Verdict::Repeat(large.clone()));
            // Room comes back with what is acknowledged.
            assert_eq!(sessions.judge(1, 4, 4), Verdict::Repeat(done("a")));
            sessions.keep(1, large.clone());
            assert_eq!(sessions.judge(1, 5, 4), Verdict::Repeat(large.clone()));
            sessions.keep(1, Answer::Done(Bytes::from(vec![0; MAX_ANSWER_BYTES + 1])));
            assert_eq!(sessions.judge(1, 6, 4), Verdict::Repeat(Answer::Forgotten));
        }
    }

    #[test]
    fn any_table_can_be_read() {
        let session =
            proto::Session { number: 1, next: 2, answers: vec![proto::Answer::default(); 3] };
        let mut sessions = Sessions::from_proto(vec![session]);
        assert_eq!(sessions.judge(1, 0, 0), Verdict::Old);
        let highest = proto::Session { number: 1, next: u64::MAX, answers: Vec::new() };
        let mut sessions = Sessions::from_proto(vec![highest]);
        assert_eq!(sessions.judge(1, 5, 5), Verdict::Old);
    }
}
