//! The replicated state of leadership: the term, and the questions that the leader has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::codec::{Message, Postcard};
use crate::core::replica::{At, BadState};
use crate::core::roster::{Change, Incarnation};
use crate::replicated::StateMachine;
use crate::ticket::Tickets;
use crate::{Error, Fence};

/// Questions without an answer that a group has at most.
const MAX_OPEN: usize = 4_096;
/// Their bytes.
const MAX_BYTES: usize = 16 << 20;

/// Who leads, from which place on. No two terms are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct TermId {
    pub(super) session: u32,
    /// The branch and the index at which it began.
    began: (u64, u64),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaders {
    /// Sessions and incarnations of the members that can lead, by seniority.
    members: Vec<(u32, [u8; 16])>,
    term: Option<TermId>,
    /// By their tickets.
    open: BTreeMap<u128, Question>,
    bytes: usize,
    /// What the last step told; `None` if the state was replaced.
    #[serde(skip)]
    recent: Option<Recent>,
}

/// What was asked of a leader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Question {
    asker: u32,
    /// Who led at its place.
    leader: u32,
    pub(super) channel: u32,
    pub(super) payload: Vec<u8>,
}

/// What a step told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Recent {
    pub(super) order: Option<Order>,
    pub(super) asked: Option<u128>,
    ended: Vec<(u128, End)>,
}

/// A message of the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) channel: u32,
    pub(super) from: String,
    pub(super) sent_at: u64,
    pub(super) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Of a leader to all.
    Order {
        term: TermId,
        channel: u32,
        from: String,
        payload: Vec<u8>,
    },
    Ask {
        ticket: u128,
        channel: u32,
        payload: Vec<u8>,
    },
    Answer {
        ticket: u128,
        answer: Answer,
    },
    /// Of a leader that asks whether it leads.
    Claim(TermId),
    Nothing,
}

/// What a leader answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done(Vec<u8>),
    Failed(String),
    NotServed,
    Busy,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Answered(Answer),
    Gone,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    Full,
    Deposed,
    /// The term is that of the claim, whose place is its fence.
    Leads(Fence),
}

impl Message for Step {
    const NAME: &'static str = "spread.groups.LeaderStep";
    type Codec = Postcard;
}

impl Message for Outcome {
    const NAME: &'static str = "spread.groups.LeaderOutcome";
    type Codec = Postcard;
}

impl Leaders {
    pub(super) fn term(&self) -> Option<TermId> {
        self.term
    }

    /// Returns the term, if this member leads.
    pub(super) fn term_of(&self, member: Incarnation) -> Option<TermId> {
        self.term.filter(|term| self.session(member) == Some(term.session))
    }

    /// Returns the questions that this member has to answer.
    pub(super) fn asked(&self, member: Incarnation) -> impl Iterator<Item = (u128, &Question)> {
        let session = self.session(member);
        let own = self.open.iter().filter(move |(_, asked)| Some(asked.leader) == session);
        own.map(|(ticket, asked)| (*ticket, asked))
    }

    pub(super) fn recent(&self) -> Option<&Recent> {
        self.recent.as_ref()
    }

    fn session(&self, member: Incarnation) -> Option<u32> {
        let known = self.members.iter().find(|(_, incarnation)| *incarnation == member.0);
        known.map(|(session, _)| *session)
    }

    fn ask(&mut self, at: At, ticket: u128, channel: u32, payload: Vec<u8>) -> Outcome {
        let bytes = self.bytes + payload.len();
        let Some(TermId { session: leader, .. }) = self.term else {
            return Outcome::Deposed;
        };
        if self.open.len() >= MAX_OPEN || bytes > MAX_BYTES || self.open.contains_key(&ticket) {
            return Outcome::Full;
        }
        self.bytes = bytes;
        self.open.insert(ticket, Question { asker: at.session, leader, channel, payload });
        self.told().asked = Some(ticket);
        Outcome::Done
    }

    /// Returns whether this is the term, and the operation its leader's.
    fn is_of(&self, term: TermId, at: At) -> bool {
        self.term == Some(term) && term.session == at.session
    }

    fn told(&mut self) -> &mut Recent {
        self.recent.get_or_insert_default()
    }

    fn end(&mut self, ticket: u128, end: Option<End>) {
        if let Some(question) = self.open.remove(&ticket) {
            self.bytes -= question.payload.len();
            self.told().ended.extend(end.map(|end| (ticket, end)));
        }
    }

    fn depart(&mut self, at: At, session: u32) {
        self.members.retain(|(member, _)| *member != session);
        let concerned = self.open.iter().filter(|(_, q)| q.leader == session || q.asker == session);
        let concerned: Vec<(u128, bool)> =
            concerned.map(|(ticket, question)| (*ticket, question.asker == session)).collect();
        for (ticket, nobody_asks) in concerned {
            self.end(ticket, (!nobody_asks).then_some(End::Gone));
        }
        if self.term.is_some_and(|term| term.session == session) {
            self.begin(at);
        }
    }

    /// Begins the term of the senior member.
    fn begin(&mut self, at: At) {
        let began = (at.place.branch, at.place.index);
        self.term = self.members.first().map(|(session, _)| TermId { session: *session, began });
    }
}

impl StateMachine for Leaders {
    const NAME: &'static str = "spread.groups.Leaders";
    type Op = Step;
    type Out = Outcome;

    fn apply(&mut self, at: At, step: Step) -> Outcome {
        self.recent = Some(Recent::default());
        match step {
            Step::Order { term, channel, from, payload } => {
                if !self.is_of(term, at) || spread::Name::new(&from).is_err() {
                    return Outcome::Deposed;
                }
                self.told().order = Some(Order { channel, from, sent_at: at.time, payload });
            }
            Step::Ask { ticket, channel, payload } => {
                return self.ask(at, ticket, channel, payload);
            }
            Step::Answer { ticket, answer } => {
                if self.open.get(&ticket).is_some_and(|asked| asked.leader == at.session) {
                    self.end(ticket, Some(End::Answered(answer)));
                }
            }
            Step::Claim(term) if !self.is_of(term, at) => return Outcome::Deposed,
            Step::Claim(_) => return Outcome::Leads(at.fence()),
            Step::Nothing => {}
        }
        Outcome::Done
    }

    fn follow(&mut self, at: At, change: &Change) {
        self.recent = Some(Recent::default());
        match change {
            Change::Joined { session, incarnation, observer: false, .. } => {
                self.members.push((*session, incarnation.0));
                if self.term.is_none() {
                    self.begin(at);
                }
            }
            Change::Departed { session, .. } => self.depart(at, *session),
            Change::Joined { .. } | Change::Expired { .. } => {}
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and texts can be encoded")
    }

    fn restore(state: &[u8]) -> Result<Leaders, BadState> {
        postcard::from_bytes(state).map_err(|_| BadState)
    }
}

impl Tickets for Leaders {
    type End = Vec<u8>;

    fn ended(&self, ticket: u128) -> Option<Result<Vec<u8>, Error>> {
        let ended = self.recent.iter().flat_map(|recent| &recent.ended);
        let (_, end) = ended.clone().find(|(of, _)| *of == ticket)?;
        Some(match end {
            End::Answered(Answer::Done(bytes)) => Ok(bytes.clone()),
            End::Answered(Answer::Failed(why)) => Err(Error::Failed(why.clone())),
            End::Answered(Answer::NotServed) => {
                Err(Error::NoResponders { what: String::from("the leader does not serve it") })
            }
            End::Answered(Answer::Busy) => Err(Error::Busy),
            End::Gone => Err(Error::LeaderGone),
        })
    }

    fn is_open(&self, ticket: u128) -> bool {
        self.open.contains_key(&ticket)
    }

    fn question() -> Step {
        Step::Nothing
    }

    fn gone() -> Error {
        Error::Disconnected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::history::Place;
    use crate::core::roster::Departure;

    fn at(index: u64, session: u32) -> At {
        At { place: Place { branch: 1, index }, epoch: 1, time: 0, session }
    }

    fn join(leaders: &mut Leaders, index: u64, session: u32, observer: bool) {
        let incarnation = Incarnation([session as u8; 16]);
        let resumed = false;
        leaders.follow(at(index, 0), &Change::Joined { session, incarnation, resumed, observer });
    }

    fn depart(leaders: &mut Leaders, index: u64, session: u32) {
        let cause = Departure::Crashed;
        leaders.follow(at(index, 0), &Change::Departed { session, cause });
    }

    fn order(leaders: &mut Leaders, session: u32, term: TermId) -> Outcome {
        let (from, payload) = ("#a#d".into(), vec![1]);
        let outcome =
            leaders.apply(at(9, session), Step::Order { term, channel: 7, from, payload });
        let told = leaders.recent().unwrap().order.is_some();
        assert_eq!(told, outcome == Outcome::Done);
        outcome
    }

    fn ask(leaders: &mut Leaders, session: u32, ticket: u128, len: usize) -> Outcome {
        let payload = vec![0; len];
        leaders.apply(at(9, session), Step::Ask { ticket, channel: 7, payload })
    }

    fn of(members: u32) -> Leaders {
        let mut leaders = Leaders::default();
        (1..=members).for_each(|session| join(&mut leaders, session.into(), session, false));
        leaders
    }

    #[test]
    fn the_senior_member_leads_and_a_member_that_comes_back_has_another_term() {
        let mut leaders = Leaders::default();
        join(&mut leaders, 1, 5, true);
        assert_eq!(leaders.term(), None, "an observer does not lead");
        join(&mut leaders, 2, 9, false);
        join(&mut leaders, 3, 1, false);
        let first = leaders.term_of(Incarnation([9; 16])).unwrap();
        assert_eq!(leaders.term_of(Incarnation([1; 16])), None);
        depart(&mut leaders, 4, 9);
        join(&mut leaders, 5, 9, false);
        assert!(leaders.term_of(Incarnation([1; 16])).is_some());
        depart(&mut leaders, 6, 1);
        let second = leaders.term_of(Incarnation([9; 16])).unwrap();
        assert_ne!(first, second);
        assert_eq!(order(&mut leaders, 9, first), Outcome::Deposed);
        assert_eq!(order(&mut leaders, 9, second), Outcome::Done);
        assert_eq!(order(&mut leaders, 1, second), Outcome::Deposed, "not its term");
        let claims = [first, second].map(|term| leaders.apply(at(9, 9), Step::Claim(term)));
        assert_eq!(claims, [Outcome::Deposed, Outcome::Leads(Fence { epoch: 1, index: 9 })]);
    }

    #[test]
    fn a_question_is_answered_by_who_led_at_its_place_or_the_leader_is_gone() {
        let mut leaders = of(3);
        let answer = |ticket| Step::Answer { ticket, answer: Answer::Done(vec![4]) };
        assert_eq!(ask(&mut leaders, 2, 21, 1), Outcome::Done);
        assert_eq!(leaders.recent().unwrap().asked, Some(21));
        let asked: Vec<u128> =
            leaders.asked(Incarnation([1; 16])).map(|(ticket, _)| ticket).collect();
        assert_eq!(asked, [21]);
        leaders.apply(at(9, 3), answer(21));
        assert!(leaders.is_open(21), "that was not the leader");
        leaders.apply(at(9, 1), answer(21));
        assert!(matches!(leaders.ended(21), Some(Ok(bytes)) if bytes == [4]));
        ask(&mut leaders, 2, 22, 1);
        ask(&mut leaders, 3, 31, 1);
        depart(&mut leaders, 9, 3);
        assert!(!leaders.is_open(31) && leaders.ended(31).is_none(), "nobody waits for it");
        depart(&mut leaders, 9, 1);
        assert!(matches!(leaders.ended(22), Some(Err(Error::LeaderGone))));
        assert_eq!(leaders.bytes, 0);
        ask(&mut leaders, 2, 23, 1);
        assert!(leaders.asked(Incarnation([2; 16])).next().is_some());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut leaders = of(2);
        assert_eq!(ask(&mut leaders, 1, 1, MAX_BYTES), Outcome::Done);
        assert_eq!(ask(&mut leaders, 1, 2, 1), Outcome::Full);
        assert_eq!(ask(&mut leaders, 1, 1, 0), Outcome::Full, "that ticket is there");
        for ticket in 2..=MAX_OPEN as u128 {
            assert_eq!(ask(&mut leaders, 1, ticket, 0), Outcome::Done);
        }
        assert_eq!(ask(&mut leaders, 1, 0, 0), Outcome::Full);
        let mut copy = Leaders::restore(&leaders.snapshot()).unwrap();
        assert_eq!(ask(&mut copy, 1, 0, 0), Outcome::Full);
        assert_eq!(copy.term(), leaders.term());
    }
}
