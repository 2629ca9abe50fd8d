//! The handlers of a member for the votes of its group: its voters, those that are told
//! results, and those that do accepted actions at their times.
//!
//! Nothing of the application runs in the thread that applies: handlers have threads of their
//! own, behind bounded queues.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::agenda::Agenda;
use super::ballots::{Answer, Decided, Motion, Step, VoteOutcome, Votes};
use crate::desk::{Desk, DeskMachine, HandedOut, Opened};
use crate::node::unix_time;
use crate::{Error, Pending};

/// What may wait for a handler. What is more is dropped and counted.
const QUEUE: usize = 1024;

#[derive(Default)]
pub(crate) struct Handlers {
    count: u64,
    handlers: BTreeMap<u64, Handler>,
    agenda: Agenda,
}

struct Handler {
    channel: u32,
    role: Role,
}

enum Role {
    /// Votes. It was asked about these open proposals.
    Voter(Queue<Question>, BTreeSet<u128>),
    /// Is told results.
    Listener(Queue<Decided>),
    /// Does actions.
    Actor(Queue<Order>),
}

/// The way to the thread of a handler.
struct Queue<E> {
    events: SyncSender<E>,
    /// What did not fit.
    dropped: Arc<AtomicU64>,
}

/// A handler that was added.
pub(super) struct Added<E> {
    pub(super) number: u64,
    /// What the handler is called with.
    pub(super) events: Receiver<E>,
    pub(super) dropped: Arc<AtomicU64>,
}

impl<E> Queue<E> {
    fn new() -> (Queue<E>, Added<E>) {
        let ((events, receiver), dropped) = (sync_channel(QUEUE), Arc::<AtomicU64>::default());
        let added = Added { number: 0, events: receiver, dropped: dropped.clone() };
        (Queue { events, dropped }, added)
    }

    /// Appends an event, or counts it if there is no room.
    fn push(&self, event: E) {
        if let Err(TrySendError::Full(_)) = self.events.try_send(event) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<E> Clone for Queue<E> {
    fn clone(&self) -> Queue<E> {
        Queue { events: self.events.clone(), dropped: self.dropped.clone() }
    }
}

/// A voter is asked about a proposal.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) ticket: u128,
    pub(super) motion: Motion,
    pub(super) proposer: u32,
    pub(super) electorate: usize,
}

/// An action that is to be done, or was missed by all.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) motion: Motion,
    pub(super) missed: bool,
}

impl DeskMachine for Votes {
    type Key = u128;
    type Request = Motion;
    /// And whether the time of an accepted action was past.
    type End = (VoteOutcome, bool);
    type Deadline = u128;
    type Local = Handlers;

    fn open(ticket: u128, motion: Motion) -> Step {
        Step::Propose(ticket, motion)
    }

    fn opened(answer: Answer) -> Opened<(VoteOutcome, bool)> {
        match answer {
            Answer::Taken => Opened::Taken,
            Answer::Full => Opened::Full,
            Answer::Decided(outcome, missed) => Opened::Ended((outcome, missed)),
        }
    }

    fn expire(ticket: u128) -> Step {
        Step::Expire(ticket)
    }

    fn was_replaced(&self) -> bool {
        self.replaced
    }

    fn senior(&self) -> Option<u32> {
        self.present.senior()
    }

    fn is_open(&self, ticket: &u128) -> bool {
        self.proposals().contains_key(ticket)
    }

    fn end(&self, ticket: &u128) -> Option<(VoteOutcome, bool)> {
        self.decided(*ticket).map(|decided| (decided.outcome.clone(), decided.missed))
    }

    fn ended(&self, is_awaited: impl Fn(&u128) -> bool) -> Vec<(u128, (VoteOutcome, bool))> {
        let awaited = self.news.iter().filter(|decided| is_awaited(&decided.ticket));
        let end = |decided: &Decided| (decided.outcome.clone(), decided.missed);
        awaited.map(|decided| (decided.ticket, end(decided))).collect()
    }

    fn is_pending(&self, ticket: &u128) -> bool {
        self.is_open(ticket)
    }

    fn hand_out(&self, desk: &Desk<Votes>, handlers: &mut Handlers) -> HandedOut<Votes> {
        self.news.iter().for_each(|decided| handlers.tell(decided));
        for (ticket, wait) in handlers.agenda.follow(self, unix_time()) {
            let near = desk.clone();
            desk.machine().after(wait, move |_| act(&near, ticket));
        }
        handlers.ask(desk, self);
        let within = self.proposals().iter().map(|(ticket, open)| (*ticket, open.motion.within));
        let within = within.map(|(ticket, within)| (ticket, Duration::from_millis(within)));
        HandedOut { deadlines: within.collect(), submissions: Vec::new() }
    }
}

/// Does an action whose time has come. One that a merge took back is not there any more.
fn act(desk: &Desk<Votes>, ticket: u128) {
    // A member that has left does nothing.
    let _ = desk.with_local(|handlers, _| {
        if let Some(motion) = handlers.agenda.due(ticket) {
            handlers.order(&Order { motion, missed: false });
        }
    });
}

pub(super) fn add_voter(desk: &Desk<Votes>, channel: u32) -> Result<Added<Question>, Error> {
    let (questions, added) = Queue::new();
    let number = desk.with_local(|handlers, votes| {
        let number = handlers.add(channel, Role::Voter(questions, BTreeSet::new()));
        // What is open now is asked at once.
        handlers.ask(desk, votes);
        number
    })?;
    Ok(Added { number, ..added })
}

pub(super) fn add_listener(desk: &Desk<Votes>, channel: u32) -> Result<Added<Decided>, Error> {
    let (results, added) = Queue::new();
    let add = |handlers: &mut Handlers, _: &_| handlers.add(channel, Role::Listener(results));
    Ok(Added { number: desk.with_local(add)?, ..added })
}

pub(super) fn add_actor(desk: &Desk<Votes>, channel: u32) -> Result<Added<Order>, Error> {
    let (orders, added) = Queue::new();
    let add = |handlers: &mut Handlers, _: &_| handlers.add(channel, Role::Actor(orders));
    Ok(Added { number: desk.with_local(add)?, ..added })
}

pub(super) fn remove(desk: &Desk<Votes>, number: u64) {
    // After the lock is released, since its queue may hold values of the application.
    drop(desk.with_local(|handlers, _| handlers.handlers.remove(&number)));
}

/// Gives the ballot of this member, and waits until it is in the log; in the thread of a voter.
pub(super) fn ballot(desk: &Desk<Votes>, ticket: u128, yes: bool) {
    let (complete, given) = Pending::new();
    desk.machine().submit_when_room(&Step::Ballot(ticket, yes), complete);
    // A ballot that was not executed is one of a member that is gone.
    drop(given.wait());
}

impl Handlers {
    fn add(&mut self, channel: u32, role: Role) -> u64 {
        self.count += 1;
        self.handlers.insert(self.count, Handler { channel, role });
        self.count
    }

    /// Asks the voters about what is open, each once.
    fn ask(&mut self, desk: &Desk<Votes>, votes: &Votes) {
        for handler in self.handlers.values_mut() {
            let Role::Voter(questions, asked) = &mut handler.role else {
                continue;
            };
            asked.retain(|ticket| votes.is_open(ticket));
            for (ticket, proposal) in votes.proposals() {
                if proposal.motion.channel != handler.channel || !asked.insert(*ticket) {
                    continue;
                }
                let question = Question {
                    ticket: *ticket,
                    motion: proposal.motion.clone(),
                    proposer: proposal.proposer,
                    electorate: proposal.ballots.len(),
                };
                let sessions: Vec<u32> = proposal.ballots.keys().copied().collect();
                let questions = questions.clone();
                desk.machine().with_session(move |own| {
                    if sessions.contains(&own) {
                        // One that is too far behind gives no ballot.
                        questions.push(question);
                    }
                });
            }
        }
    }

    /// Tells a result to the listeners.
    fn tell(&mut self, decided: &Decided) {
        for handler in self.handlers.values() {
            if let Role::Listener(results) = &handler.role
                && handler.channel == decided.motion.channel
            {
                results.push(decided.clone());
            }
        }
        // After a merge one that was done may be voted on again, and missed then.
        if decided.missed && !self.agenda.is_done(decided.ticket) {
            self.order(&Order { motion: decided.motion.clone(), missed: true });
        }
    }

    fn order(&self, order: &Order) {
        for handler in self.handlers.values() {
            if let Role::Actor(orders) = &handler.role
                && handler.channel == order.motion.channel
            {
                orders.push(order.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_before_a_handler_is_counted() {
        let (queue, added) = Queue::new();
        (0..QUEUE + 3).for_each(|event| queue.push(event));
        assert_eq!(added.dropped.load(Ordering::Relaxed), 3);
        assert_eq!(added.events.try_iter().count(), QUEUE);
        queue.push(1);
        assert_eq!(added.dropped.load(Ordering::Relaxed), 3);
        drop(added.events);
        queue.push(1);
        assert_eq!(added.dropped.load(Ordering::Relaxed), 3, "the handler has ended");
    }
}
