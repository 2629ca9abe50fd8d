//! Calls that are under way at a caller, without I/O and without a clock.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use spread::Name;

use crate::Error;
use crate::call::{Until, Verdict};
use crate::core::envelope::{Reply, ReplyOutcome};
use crate::core::roster::{Change, Departure, Incarnation, Member};
use crate::node::ConnectionId;

/// Calls that a member may have under way in a group.
const MAX_CALLS: usize = 1024;

/// The outcome of a call at one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(Bytes),
    Failed(String),
    Busy,
    NotServed,
    Departed(Departure),
    Pending,
}

/// Told when a call has ended.
pub(crate) type Done = Box<dyn FnOnce(Vec<(Incarnation, Outcome)>, Verdict) + Send>;

struct Server {
    session: u32,
    incarnation: Incarnation,
    name: Name,
    outcome: Outcome,
}

struct Call {
    servers: Vec<Server>,
    until: Until,
    deadline: Option<Duration>,
    done: Done,
}

/// A call that has ended, of which its caller is still to be told.
pub(crate) struct Ended {
    done: Done,
    outcomes: Vec<(Incarnation, Outcome)>,
    verdict: Verdict,
}

impl Ended {
    pub(crate) fn tell(self) {
        (self.done)(self.outcomes, self.verdict);
    }
}

/// A call that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    pub(crate) number: u64,
    /// Where it is sent; without a connection it had nobody to go to, and has ended.
    pub(crate) connection: Option<ConnectionId>,
    /// Whether [`Calls::deadline`] is earlier than it was.
    pub(crate) is_due_first: bool,
}

pub(crate) struct Calls {
    /// The number of the last one. They begin at random, so that a late answer to a call of a
    /// former part in the group ends none of this one.
    last: u64,
    open: BTreeMap<u64, Call>,
    ended: Vec<Ended>,
    connection: Option<ConnectionId>,
    /// The roster, and its last changes.
    members: Arc<[Member]>,
    changes: Vec<Change>,
    /// No later than the first deadline of an open call.
    deadline: Option<Duration>,
    is_closed: bool,
}

impl Default for Calls {
    fn default() -> Calls {
        Calls {
            // Keyed by random numbers.
            last: RandomState::new().build_hasher().finish(),
            open: BTreeMap::new(),
            ended: Vec::new(),
            connection: None,
            members: Arc::default(),
            changes: Vec::new(),
            deadline: None,
            is_closed: false,
        }
    }
}

impl Calls {
    pub(crate) fn connected(&mut self, connection: ConnectionId) {
        self.connection = Some(connection);
    }

    /// Returns whether a call to some members can begin.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if there are no more, [`Error::Full`] if 1,024 are under way,
    /// [`Error::NotConnected`] if there is somebody to call, and no connection.
    pub(crate) fn admit(&self, servers: &[Member]) -> Result<(), Error> {
        let is_connected = self.connection.is_some() || servers.is_empty();
        match () {
            () if self.is_closed => Err(Error::Closed { may_have_executed: false }),
            () if !is_connected => Err(Error::NotConnected),
            () if self.open.len() >= MAX_CALLS => Err(Error::Full),
            () => Ok(()),
        }
    }

    /// Begins a call to some members, once it was admitted. Without any it ends at once.
    pub(crate) fn begin(
        &mut self,
        servers: &[Member],
        until: Until,
        deadline: Option<Duration>,
        done: Done,
    ) -> Begun {
        self.last = self.last.wrapping_add(1);
        let (number, connection) = (self.last, self.connection);
        let of = |member: &Member| Server {
            session: member.session,
            incarnation: member.incarnation,
            name: member.name,
            outcome: Outcome::Pending,
        };
        let servers = servers.iter().map(of).collect();
        let mut call = Call { servers, until, deadline, done };
        // They were chosen a while ago.
        call.look_for_servers(&self.members, &self.changes);
        self.open.insert(number, call);
        self.judge(number);
        let is_first = |due| self.deadline.is_none_or(|first| due < first);
        let due = self.open.get(&number).and_then(|call| call.deadline);
        let is_due_first = due.is_some_and(is_first);
        if is_due_first {
            self.deadline = due;
        }
        Begun { number, connection, is_due_first }
    }

    /// Takes an answer; a late one is dropped.
    pub(crate) fn reply(&mut self, from: Name, reply: Reply) {
        let Some(call) = self.open.get_mut(&reply.number) else {
            return;
        };
        let outcome = match reply.outcome {
            ReplyOutcome::Answered => Outcome::Answered(reply.payload),
            ReplyOutcome::Failed => {
                Outcome::Failed(String::from_utf8_lossy(&reply.payload).into_owned())
            }
            ReplyOutcome::Busy => Outcome::Busy,
            ReplyOutcome::NotServed => Outcome::NotServed,
        };
        let waits = |server: &&mut Server| server.name == from && server.is_pending();
        if let Some(server) = call.servers.iter_mut().find(waits) {
            server.outcome = outcome;
        }
        self.judge(reply.number);
    }

    /// Takes a roster: a server that is not in it, or has another name, answers no more.
    pub(crate) fn roster(&mut self, members: Arc<[Member]>, changes: &[Change]) {
        self.members = members;
        self.changes = changes.to_vec();
        for call in self.open.values_mut() {
            call.look_for_servers(&self.members, &self.changes);
        }
        let numbers: Vec<u64> = self.open.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.judge(number));
    }

    /// Ends the calls whose time is over.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let due = |call: &Call| call.deadline.is_some_and(|deadline| deadline <= now);
        let due = self.open.iter().filter(|(_, call)| due(call));
        let due: Vec<u64> = due.map(|(number, _)| *number).collect();
        due.into_iter().for_each(|number| self.end(number, Verdict::TimedOut));
        self.deadline = self.open.values().filter_map(|call| call.deadline).min();
    }

    /// Returns when [`Calls::tick`] is due.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Ends all calls: answers to them would go to a private group that is no more.
    pub(crate) fn lost(&mut self) {
        self.connection = None;
        let open: Vec<u64> = self.open.keys().copied().collect();
        open.into_iter().for_each(|number| self.end(number, Verdict::Disconnected));
    }

    /// Ends all calls; there are no more.
    pub(crate) fn close(&mut self) {
        self.lost();
        self.is_closed = true;
    }

    /// Takes the calls that have ended since.
    pub(crate) fn take_ended(&mut self) -> Vec<Ended> {
        std::mem::take(&mut self.ended)
    }

    /// Ends a call as soon as its end is certain.
    fn judge(&mut self, number: u64) {
        let Some(call) = self.open.get(&number) else {
            return;
        };
        let servers = call.servers.len();
        let count = |is: fn(&Server) -> bool| call.servers.iter().filter(|s| is(s)).count();
        let answered = count(|server| matches!(server.outcome, Outcome::Answered(_)));
        let pending = count(Server::is_pending);
        let needed = match call.until {
            Until::First => 1,
            Until::Count(count) => count,
            Until::Majority => servers / 2 + 1,
            Until::All => servers,
        };
        let verdict = match () {
            () if servers == 0 => Verdict::NoResponders,
            // Of all, every answer is wanted.
            () if call.until == Until::All && pending > 0 => return,
            () if answered >= needed => Verdict::Satisfied,
            () if answered + pending < needed => Verdict::OutOfReach,
            () => return,
        };
        self.end(number, verdict);
    }

    fn end(&mut self, number: u64, verdict: Verdict) {
        if let Some(call) = self.open.remove(&number) {
            let outcomes = call.servers.into_iter();
            let outcomes = outcomes.map(|server| (server.incarnation, server.outcome)).collect();
            self.ended.push(Ended { done: call.done, outcomes, verdict });
        }
    }
}

impl Call {
    /// Ends the parts of those who have gone.
    fn look_for_servers(&mut self, members: &[Member], changes: &[Change]) {
        let is_there = |server: &Server| {
            members.iter().any(|m| m.incarnation == server.incarnation && m.name == server.name)
        };
        let cause = |of: u32| {
            changes.iter().find_map(|change| match change {
                Change::Departed { session, cause } if *session == of => Some(*cause),
                _ => None,
            })
        };
        for server in &mut self.servers {
            if server.is_pending() && !is_there(server) {
                let cause = cause(server.session).unwrap_or(Departure::Parted);
                server.outcome = Outcome::Departed(cause);
            }
        }
    }
}

impl Server {
    fn is_pending(&self) -> bool {
        self.outcome == Outcome::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    type Told = (Vec<Outcome>, Verdict);

    /// Calls of a member with a connection.
    fn calls(members: &[Member]) -> Calls {
        let mut calls = Calls::default();
        calls.connected(ConnectionId::default());
        calls.roster(members.into(), &[]);
        calls
    }

    fn tell(calls: &mut Calls) {
        calls.take_ended().into_iter().for_each(Ended::tell);
    }

    fn members(count: u8) -> Vec<Member> {
        let member = |number: u8| Member {
            voter: None,
            session: number.into(),
            incarnation: Incarnation([number; 16]),
            name: Name::new(format!("#c{number}#d")).unwrap(),
            metadata: Bytes::new(),
            observer: false,
            protocol: 1,
            holds: true,
            attempts: 0,
        };
        (0..count).map(member).collect()
    }

    fn begin(calls: &mut Calls, members: &[Member], until: Until) -> (u64, Receiver<Told>) {
        let (done, ended) = channel();
        let done = Box::new(move |outcomes: Vec<(Incarnation, Outcome)>, verdict| {
            let outcomes = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
            done.send((outcomes, verdict)).unwrap();
        });
        let begun = calls.begin(members, until, Some(Duration::from_secs(1)), done);
        tell(calls);
        (begun.number, ended)
    }

    fn answer(calls: &mut Calls, member: &Member, number: u64) {
        let (group, outcome) = (member.name, ReplyOutcome::Answered);
        let payload = Bytes::from_static(b"x");
        calls.reply(member.name, Reply { group, number, outcome, payload });
        tell(calls);
    }

    fn answered() -> Outcome {
        Outcome::Answered(Bytes::from_static(b"x"))
    }

    #[test]
    fn of_all_the_answers_are_told_with_those_who_have_gone() {
        let members = members(3);
        let mut calls = calls(&members);
        let (number, ended) = begin(&mut calls, &members, Until::All);
        answer(&mut calls, &members[0], number);
        let change = Change::Departed { session: 2, cause: Departure::Crashed };
        calls.roster(members[..2].into(), &[change]);
        tell(&mut calls);
        assert!(ended.try_recv().is_err(), "one is still to answer");
        answer(&mut calls, &members[1], number);
        let outcomes = vec![answered(), answered(), Outcome::Departed(Departure::Crashed)];
        assert_eq!(ended.recv().unwrap(), (outcomes, Verdict::OutOfReach));
    }

    #[test]
    fn a_majority_ends_a_call_when_it_is_there_and_when_it_is_out_of_reach() {
        let members = members(3);
        let mut calls = calls(&members);
        let (first, satisfied) = begin(&mut calls, &members, Until::Majority);
        let (second, out_of_reach) = begin(&mut calls, &members, Until::Majority);
        answer(&mut calls, &members[0], first);
        answer(&mut calls, &members[0], first);
        assert!(satisfied.try_recv().is_err(), "one answer counts once");
        answer(&mut calls, &members[1], first);
        assert_eq!(satisfied.recv().unwrap().1, Verdict::Satisfied);
        answer(&mut calls, &members[0], second);
        calls.roster(members[..1].into(), &[]);
        tell(&mut calls);
        let (outcomes, verdict) = out_of_reach.recv().unwrap();
        assert_eq!(verdict, Verdict::OutOfReach);
        assert_eq!(outcomes[1], Outcome::Departed(Departure::Parted));
    }

    #[test]
    fn a_server_that_has_gone_since_it_was_chosen_is_not_waited_for() {
        let members = members(2);
        let mut calls = calls(&members);
        let change = Change::Departed { session: 1, cause: Departure::Left };
        calls.roster(members[..1].into(), &[change]);
        let (_, ended) = begin(&mut calls, &members[1..], Until::First);
        let outcomes = vec![Outcome::Departed(Departure::Left)];
        assert_eq!(ended.recv().unwrap(), (outcomes, Verdict::OutOfReach));
    }

    #[test]
    fn a_late_answer_of_a_former_part_in_the_group_ends_no_call() {
        let members = members(1);
        let (mut former, mut calls) = (calls(&members), calls(&members));
        let (late, _) = begin(&mut former, &members, Until::First);
        let (number, ended) = begin(&mut calls, &members, Until::First);
        answer(&mut calls, &members[0], late);
        assert!(ended.try_recv().is_err());
        answer(&mut calls, &members[0], number);
        assert_eq!(ended.recv().unwrap().1, Verdict::Satisfied);
    }

    #[test]
    fn a_call_ends_without_servers_with_its_time_and_with_the_connection() {
        let members = members(1);
        let mut calls = calls(&members);
        let (_, nobody) = begin(&mut calls, &[], Until::First);
        assert_eq!(nobody.recv().unwrap().1, Verdict::NoResponders);
        let (_, late) = begin(&mut calls, &members, Until::First);
        assert_eq!(calls.deadline(), Some(Duration::from_secs(1)));
        calls.tick(Duration::from_secs(1));
        tell(&mut calls);
        assert_eq!(late.recv().unwrap(), (vec![Outcome::Pending], Verdict::TimedOut));
        assert_eq!(calls.deadline(), None);
        let (number, cut) = begin(&mut calls, &members, Until::First);
        calls.lost();
        tell(&mut calls);
        assert_eq!(cut.recv().unwrap().1, Verdict::Disconnected);
        answer(&mut calls, &members[0], number);
        let unsent = calls.admit(&members).unwrap_err();
        assert!(matches!(unsent, Error::NotConnected) && !unsent.may_have_executed());
        assert!(calls.admit(&[]).is_ok(), "there is nobody to call");
        assert!(calls.open.is_empty());
        calls.close();
        assert!(matches!(calls.admit(&members), Err(Error::Closed { .. })));
    }

    #[test]
    fn a_deadline_is_told_when_it_is_the_first() {
        let members = members(1);
        let mut calls = calls(&members);
        let mut begin = |secs| {
            let deadline = Some(Duration::from_secs(secs));
            calls.begin(&members, Until::First, deadline, Box::new(|_, _| {})).is_due_first
        };
        assert_eq!([2, 3, 1].map(&mut begin), [true, false, true]);
        calls.tick(Duration::from_secs(1));
        assert_eq!(calls.deadline(), Some(Duration::from_secs(2)));
    }
}
