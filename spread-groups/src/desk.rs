//! Requests of a member that the group decides: jobs and votes.
//!
//! A request has a key, stays open in the replicated state, and has one end, which the state
//! remembers for a while. Several may wait for one end. The [`Desk`] of a member follows the
//! state in the thread that applies, by what each step did. If the state was replaced, it
//! compares what it waits for with what is there, and submits again what a merge took back. It
//! also keeps the deadlines that the senior member ends. What the handlers of the application
//! get is [`DeskMachine::Local`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Error;
use crate::core::requests::OperationId;
use crate::deadlines::Deadlines;
use crate::replicated::{Replicated, StateMachine, Watch};

/// A state machine with such requests.
pub(crate) trait DeskMachine: StateMachine {
    /// Names a request.
    type Key: Ord + Clone + Send + 'static;
    /// What is submitted.
    type Request: Clone + Send + 'static;
    /// How a request ended.
    type End: Clone + Send + 'static;
    /// Names a deadline.
    type Deadline: Ord + Clone + Send + 'static;
    /// The handlers of this member, and what they have been given.
    type Local: Default + Send + 'static;

    /// Returns the operation that opens a request. It has no effect on one that is open.
    fn open(key: Self::Key, request: Self::Request) -> Self::Op;

    /// Reads the answer of that operation.
    fn opened(answer: Self::Out) -> Opened<Self::End>;

    /// Returns the operation that says that a deadline has passed.
    fn expire(deadline: Self::Deadline) -> Self::Op;

    /// Returns whether the state was replaced by the last step.
    fn was_replaced(&self) -> bool;

    /// Returns the session of the senior member.
    fn senior(&self) -> Option<u32>;

    fn is_open(&self, key: &Self::Key) -> bool;

    /// Returns the end of a request that is remembered.
    fn end(&self, key: &Self::Key) -> Option<Self::End>;

    /// Returns the requests that the last step ended, of those that are awaited.
    fn ended(&self, is_awaited: impl Fn(&Self::Key) -> bool) -> Vec<(Self::Key, Self::End)>;

    /// Returns whether a deadline still has an effect.
    fn is_pending(&self, deadline: &Self::Deadline) -> bool;

    /// Gives the handlers what the last step has for them.
    fn hand_out(&self, desk: &Desk<Self>, local: &mut Self::Local) -> HandedOut<Self>;
}

/// An operation that is to be submitted, and what is told its answer.
pub(crate) type Submission<M> =
    (<M as StateMachine>::Op, Box<dyn FnOnce(Result<<M as StateMachine>::Out, Error>) + Send>);

/// What follows from a step for this member.
pub(crate) struct HandedOut<M: DeskMachine> {
    /// The deadlines that the step began, or all of them, and how far from now they are.
    pub(crate) deadlines: Vec<(M::Deadline, Duration)>,
    /// What is submitted once the desk is not locked any more: a node that has ended tells the
    /// answers in this thread.
    pub(crate) submissions: Vec<Submission<M>>,
}

/// The answer to a request.
pub(crate) enum Opened<E> {
    /// It is open.
    Taken,
    /// There is no room for it.
    Full,
    /// It has ended before.
    Ended(E),
}

/// Told the end of a request.
pub(crate) type Complete<E> = Box<dyn FnOnce(Result<E, Error>) + Send>;

pub(crate) struct Desk<M: DeskMachine> {
    machine: Replicated<M>,
    state: Arc<Mutex<State<M>>>,
}

impl<M: DeskMachine> Clone for Desk<M> {
    fn clone(&self) -> Desk<M> {
        Desk { machine: self.machine.clone(), state: self.state.clone() }
    }
}

struct State<M: DeskMachine> {
    /// Waiters so far.
    count: u64,
    waiting: BTreeMap<M::Key, Waiting<M>>,
    deadlines: Deadlines<M::Deadline>,
    local: M::Local,
    /// Whether the member has left.
    closed: bool,
}

struct Waiting<M: DeskMachine> {
    request: M::Request,
    /// Whether the request was in the state.
    taken: bool,
    /// By their numbers.
    waiters: BTreeMap<u64, Complete<M::End>>,
}

impl<M: DeskMachine> Waiting<M> {
    fn complete(self, end: &M::End) {
        self.waiters.into_values().for_each(|complete| complete(Ok(end.clone())));
    }
}

/// Ends everything when nothing comes of the group any more.
struct Closing<M: DeskMachine>(Desk<M>);

impl<M: DeskMachine> Drop for Closing<M> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.closed = true;
        let ended = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.local));
        drop(state);
        drop(ended);
    }
}

impl<M: DeskMachine> Desk<M> {
    pub(crate) fn new(machine: Replicated<M>) -> Desk<M> {
        let state = State {
            count: 0,
            waiting: BTreeMap::new(),
            deadlines: Deadlines::default(),
            local: M::Local::default(),
            closed: false,
        };
        let desk = Desk { machine: machine.clone(), state: Arc::new(Mutex::new(state)) };
        let closing = Closing(desk.clone());
        machine.watch(move |machine| {
            closing.0.update(machine);
            Watch::GoesOn
        });
        desk
    }

    pub(crate) fn machine(&self) -> &Replicated<M> {
        &self.machine
    }

    /// Changes what this member hands out. The state that it is shown is not older than what
    /// was handed out before. The desk is locked meanwhile: `act` submits nothing whose answer
    /// needs it.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the member has left.
    pub(crate) fn with_local<T>(
        &self,
        act: impl FnOnce(&mut M::Local, &M) -> T,
    ) -> Result<T, Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::Closed { may_have_executed: false });
        }
        Ok(self.machine.look(|machine| act(&mut state.local, machine)))
    }

    /// Submits a request, and calls `complete` with its end.
    pub(crate) fn submit(
        &self,
        key: M::Key,
        request: M::Request,
        complete: Complete<M::End>,
    ) -> Option<OperationId> {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            complete(Err(Error::Closed { may_have_executed: false }));
            return None;
        }
        state.count += 1;
        let number = state.count;
        // It waits before it is submitted.
        let waiting = state.waiting.entry(key.clone()).or_insert_with(|| Waiting {
            request: request.clone(),
            taken: false,
            waiters: BTreeMap::new(),
        });
        waiting.waiters.insert(number, complete);
        drop(state);
        let desk = self.clone();
        let open = M::open(key.clone(), request);
        Some(self.machine.submit_then(&open, move |answer| desk.opened(&key, &[number], answer)))
    }

    /// Takes note of the answer to a request of these waiters.
    fn opened(&self, key: &M::Key, numbers: &[u64], answer: Result<M::Out, Error>) {
        let mut state = self.lock();
        let Some(waiting) = state.waiting.get_mut(key) else {
            return;
        };
        let error = match answer.map(M::opened) {
            Ok(Opened::Taken) => {
                waiting.taken = true;
                return;
            }
            Ok(Opened::Ended(end)) => {
                let ended = state.waiting.remove(key);
                drop(state);
                return ended.into_iter().for_each(|waiting| waiting.complete(&end));
            }
            Ok(Opened::Full) => Error::NoRoom,
            Err(error) => error,
        };
        let refused = numbers.iter().filter_map(|number| waiting.waiters.remove(number));
        let refused: Vec<Complete<M::End>> = refused.collect();
        if waiting.waiters.is_empty() {
            state.waiting.remove(key);
        }
        drop(state);
        refused.into_iter().for_each(|complete| complete(Err(error.clone())));
    }

    /// Follows a change of the state.
    fn update(&self, machine: &M) {
        let mut state = self.lock();
        for (deadline, session) in state.deadlines.follow(machine.senior()) {
            self.machine.submit_as(session, &M::expire(deadline));
        }
        let mut ends = machine.ended(|key| state.waiting.contains_key(key));
        let mut submissions = Vec::new();
        if machine.was_replaced() {
            ends.extend(self.compare(&mut state, machine, &mut submissions));
        }
        let ended: Vec<(Waiting<M>, M::End)> = ends
            .into_iter()
            .filter_map(|(key, end)| Some((state.waiting.remove(&key)?, end)))
            .collect();
        state.deadlines.retain(|deadline| machine.is_pending(deadline));
        let handed_out = machine.hand_out(self, &mut state.local);
        submissions.extend(handed_out.submissions);
        for (deadline, from_now) in handed_out.deadlines {
            if state.deadlines.arm(&deadline) {
                let desk = self.clone();
                self.machine.after(from_now, move |_| desk.over(&deadline));
            }
        }
        drop(state);
        for (op, then) in submissions {
            self.machine.submit_when_room(&op, then);
        }
        ended.into_iter().for_each(|(waiting, end)| waiting.complete(&end));
    }

    /// Returns the requests of this member that have ended. Those that a merge took back, or
    /// whose end was forgotten, are to be submitted again.
    fn compare(
        &self,
        state: &mut State<M>,
        machine: &M,
        submissions: &mut Vec<Submission<M>>,
    ) -> Vec<(M::Key, M::End)> {
        let mut ended = Vec::new();
        for (key, waiting) in &mut state.waiting {
            if let Some(end) = machine.end(key) {
                ended.push((key.clone(), end));
            } else if waiting.taken && !machine.is_open(key) {
                waiting.taken = false;
                let (desk, key, request) = (self.clone(), key.clone(), waiting.request.clone());
                let numbers: Vec<u64> = waiting.waiters.keys().copied().collect();
                let open = M::open(key.clone(), request);
                let opened = move |answer| desk.opened(&key, &numbers, answer);
                submissions.push((open, Box::new(opened)));
            }
        }
        ended
    }

    /// A deadline has passed at this member.
    fn over(&self, deadline: &M::Deadline) {
        let session = self.lock().deadlines.over(deadline);
        if let Some(session) = session {
            self.machine.submit_as(session, &M::expire(deadline.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: DeskMachine> std::fmt::Debug for Desk<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("machine", &M::NAME).finish_non_exhaustive()
    }
}
