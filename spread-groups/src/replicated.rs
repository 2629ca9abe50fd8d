//! The same state at all members.
//!
//! **Promises.** At equal places of the log all members have applied the same operations in the
//! same order, each operation once, however often its submitter had to send it. The answer is
//! that of the place at which the operation was applied. A [read](Replicated::read) sees the
//! state as of one place and blocks no operation.
//!
//! **Sends** one agreed message for each operation, or one for each 128 KiB of it. Answers are
//! not sent: every member computes them.
//!
//! **A roster change** is an entry of the log, which each state machine follows
//! ([`StateMachine::follow`]). A newcomer receives the state from the senior member that has it;
//! a transfer goes on while others come and go, and begins anew if that member goes or another log
//! stands after a merge. While an exchange lasts, operations wait. A newcomer keeps up to 64 MiB of
//! operations during a transfer; if there are more, it asks for another snapshot, and the third time
//! without a join or partition in between it leaves the group with
//! [`JoinFailed::TooSlow`](crate::JoinFailed::TooSlow); a [voter](crate::voters) asks again. A node
//! that reconnects within the [session life](crate::GroupBuilder::session_life) submits its open
//! operations again. The members keep the answers that it may not have received, up to 4 MiB; an
//! operation whose answer they have dropped ends with [`Error::AnswerForgotten`].
//!
//! An [audit](crate::Group::audit) compares the [digests](StateMachine::digest) of all members; a
//! member with another digest leaves the group with [`Error::Diverged`].
//!
//! **In a partition** both sides go on. **At a merge** the state that most members have stands: that
//! of the larger side, unless members of it were still receiving the state; of equally many
//! members it is that of the member with the smallest [`Incarnation`](crate::Incarnation), a random
//! number. Operations that the others have executed since the partition are taken back, and
//! submitted again by their submitters ([`Event::Rewound`]): they are executed after all that the
//! larger side has executed. Each member remembers its last 1,024 answered operations, of 4 MiB
//! together; what it had submitted before them is lost, and [`Rewound::complete`](crate::Rewound)
//! is false. So an answer can turn out to be untrue: without
//! [voters](crate::voters) no answer is final.
//!
//! **A merge is over** for a member when an operation that it has submitted after
//! [`Event::Rewound`] is answered: its operations are executed in the order of their submission,
//! those taken back first. After as many as it can have open it ends with [`Error::Full`] at first,
//! and is submitted again. Then what that event names has been executed again, or [`Event::Lost`]
//! has named it. The roster is complete before that: [`Group::wait_for_members`] says nothing of it.
//! Each member knows this of its own operations; once all members of the smaller side have arrived
//! at a [barrier](crate::barrier) after it, it holds for all.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;

#[cfg(doc)]
use crate::Group;
use crate::audit::Digest;
use crate::codec::{self, CodecError, Message};
use crate::core::replica::{At, BadState, Encode, Machine};
use crate::core::requests::OperationId;
use crate::core::roster::Change;
use crate::core::sessions::Answer;
use crate::core::{Event, Input};
use crate::leader::Revocation;
use crate::node::{Commands, Hosted, Shared, Side};
use crate::pending::{Completion, Unsent};
use crate::{Error, Pending};

/// After which time something is submitted again, if too many operations were open.
pub(crate) const AGAIN: Duration = Duration::from_millis(20);

/// State that is the same at all members of a group.
///
/// The methods must depend on their arguments and on the state alone: not on the order of a
/// `HashMap`, on a clock, on random numbers, on floating point arithmetic that differs between
/// machines, or on another thread. They must not panic: a member whose state machine panics
/// leaves the group. They must not wait for anything, [read](Replicated::read) a machine of the
/// group, or take from a subscription: the thread that applies operations would wait for itself.
///
/// A machine is cloned when an operation is applied while a [read](Replicated::read) or a
/// [`snapshot`](StateMachine::snapshot) uses the state before it. Where the state is large, its
/// parts should be behind [`Arc`]s, so that a clone is cheap.
pub trait StateMachine: Clone + Send + Sync + 'static {
    /// The name of the machine, which is the same at all members.
    const NAME: &'static str;
    /// An operation.
    type Op: Message;
    /// The answer of an operation.
    type Out: Message;

    /// Applies an operation.
    fn apply(&mut self, at: At, op: Self::Op) -> Self::Out;

    /// Follows a change of the roster.
    fn follow(&mut self, _at: At, _change: &Change) {}

    /// Returns the whole state, for a newcomer. It runs in a thread of its own; operations are
    /// applied meanwhile.
    fn snapshot(&self) -> Vec<u8>;

    /// Returns a hash of the state, which [audits](crate::Group::audit) compare. Defaults to
    /// `None`: the machine is not audited.
    fn digest(&self) -> Option<u64> {
        None
    }

    /// Decodes a state.
    ///
    /// # Errors
    ///
    /// [`BadState`] if the bytes are not of a [`snapshot`](StateMachine::snapshot).
    fn restore(state: &[u8]) -> Result<Self, BadState>;
}

/// The state as of the last operation that was applied. Readers take the `Arc`, and so block
/// no operation.
#[derive(Debug)]
struct Published<M>(RwLock<Arc<M>>);

impl<M: Clone> Published<M> {
    fn new(machine: M) -> Published<M> {
        Published(RwLock::new(Arc::new(machine)))
    }

    fn look<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn get(&self) -> Arc<M> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes the state: a copy of it, if somebody still reads it.
    fn change<T>(&self, act: impl FnOnce(&mut M) -> T) -> T {
        act(Arc::make_mut(&mut self.0.write().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The handle of a replicated state machine, made by
/// [`GroupBuilder::replicate`](crate::GroupBuilder::replicate).
pub struct Replicated<M> {
    machine: Arc<Published<M>>,
    watchers: Arc<Mutex<Watchers<M>>>,
    commands: Commands,
    shared: Arc<Shared>,
}

impl<M> Clone for Replicated<M> {
    fn clone(&self) -> Replicated<M> {
        Replicated {
            machine: self.machine.clone(),
            watchers: self.watchers.clone(),
            commands: self.commands.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<M: StateMachine> Replicated<M> {
    /// Submits an operation, which all members execute.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Codec`], [`Error::Full`] (1,024 operations of
    /// this member are open), [`Error::TooLarge`] (more than 64 MiB) or [`Error::Observer`] if
    /// it was not sent; with [`Error::NoRoom`] or [`Error::Unreadable`] if the members have
    /// refused it; with [`Error::SessionExpired`], [`Error::JoinFailed`], [`Error::Poisoned`],
    /// [`Error::Diverged`] or [`Error::Closed`] if it is not known to have been executed; with
    /// [`Error::UndecodableAnswer`] or [`Error::AnswerForgotten`] if it was executed.
    ///
    /// In a group with [voters](crate::voters) it fails with [`Error::NoQuorum`] on a side without
    /// a majority of them, and without a connection: three seconds after there was a majority last,
    /// or at once if it is submitted later. The field says whether it may have been
    /// executed. Before the group is founded an operation waits for all voters, without a limit: use
    /// [`wait_timeout`](Pending::wait_timeout).
    pub fn submit(&self, op: &M::Op) -> Pending<M::Out> {
        let (completion, pending) = Pending::of_bytes(|answer| decode::<M>(&answer));
        let id = self.submit_encoded(codec::encode(op), completion);
        pending.of_operation(id)
    }

    /// Submits an operation, and calls `then` with its outcome in the node's thread.
    pub(crate) fn submit_then(
        &self,
        op: &M::Op,
        then: impl FnOnce(Result<M::Out, Error>) + Send + 'static,
    ) -> OperationId {
        let then = move |answer: Result<Bytes, Error>| then(answer.and_then(|a| decode::<M>(&a)));
        self.submit_encoded(codec::encode(op), Box::new(then))
    }

    /// Submits an operation; returns a pending result that `read` makes of its outcome.
    pub(crate) fn submit_and<T: Send + 'static>(
        &self,
        op: &M::Op,
        read: impl FnOnce(M::Out) -> Result<T, Error> + Send + 'static,
    ) -> Pending<T> {
        let (complete, pending) = Pending::new();
        let id = self.submit_then(op, |outcome| complete(outcome.and_then(read)));
        pending.of_operation(id)
    }

    fn submit_encoded(
        &self,
        payload: Result<Bytes, CodecError>,
        completion: Completion,
    ) -> OperationId {
        let id = self.shared.next_operation();
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => {
                completion(Err(error.into()));
                return id;
            }
        };
        let (shared, completion) = (self.shared.clone(), Unsent::new(completion));
        self.commands.push(move |runner| {
            if let Some(hosted) = runner.part(&shared) {
                hosted.wait_for(id, completion.into_inner());
                let (channel, patient) = (channel::<M>(), false);
                let submit = Input::Submit { id, channel, payload, patient };
                runner.input_to(&shared, submit);
            }
        });
        id
    }

    /// Submits an operation as soon as fewer than 1,024 operations of this member are open, and
    /// again while the members have no room for its fragments. Calls `then` with its outcome in
    /// the node's thread.
    pub(crate) fn submit_when_room(
        &self,
        op: &M::Op,
        then: impl FnOnce(Result<M::Out, Error>) + Send + 'static,
    ) {
        let then = Unsent::new(Box::new(then));
        match codec::encode(op) {
            Ok(payload) => self.wait_for_room(None, payload, then),
            Err(error) => (then.into_inner())(Err(error.into())),
        }
    }

    /// Submits an operation as [`submit_when_room`](Replicated::submit_when_room) does, if this
    /// member's session is `session`. With the senior member's session, one of those that all
    /// come to it submits it.
    pub(crate) fn submit_as(&self, session: u32, op: &M::Op) {
        if let Ok(payload) = codec::encode(op) {
            self.wait_for_room(Some(session), payload, Unsent::new(Box::new(drop)));
        }
    }

    fn wait_for_room(&self, session: Option<u32>, payload: Bytes, then: Unsent<M::Out>) {
        let (handle, shared) = (self.clone(), self.shared.clone());
        self.commands.push(move |runner| {
            let may =
                |hosted: &&mut Hosted| session.is_none() || hosted.core().session() == session;
            let Some(hosted) = runner.part(&shared).filter(may) else {
                return;
            };
            let (then, again) = (then.into_inner(), payload.clone());
            let completion = move |answer: Result<Bytes, Error>| match answer {
                Err(Error::NoRoom) => {
                    let later = handle.clone();
                    let then = Unsent::new(then);
                    handle.after(AGAIN, move |_| later.wait_for_room(session, again, then));
                }
                answer => then(answer.and_then(|answer| decode::<M>(&answer))),
            };
            hosted.submit_when_room(channel::<M>(), payload, Box::new(completion));
            runner.input_to(&shared, Input::Tick);
        });
    }

    /// Calls `then` in the node's thread with the session of this member, if it has one.
    pub(crate) fn with_session(&self, then: impl FnOnce(u32) + Send + 'static) {
        let shared = self.shared.clone();
        self.commands.push(move |runner| {
            if let Some(own) = runner.part(&shared).and_then(|hosted| hosted.core().session()) {
                then(own);
            }
        });
    }

    /// Calls `then` in the node's thread after a delay, unless the member has left the group by
    /// then. Its argument says whether the member takes part at that time, so that operations are
    /// sent.
    pub(crate) fn after(&self, delay: Duration, then: impl FnOnce(bool) + Send + 'static) {
        let shared = self.shared.clone();
        self.commands.after(delay, move |runner| {
            let hosted = runner.part(&shared).filter(|hosted| !hosted.has_ended());
            if let Some(hosted) = hosted {
                then(hosted.core().is_ready());
            }
        });
    }

    /// Leaves the group because of an error, and reports the event of it.
    pub(crate) fn leave_with(&self, error: Error, event: Event) {
        let shared = self.shared.clone();
        self.commands.push(move |runner| {
            let hosted = runner.part(&shared).filter(|hosted| !hosted.has_ended());
            if let Some(hosted) = hosted {
                hosted.fail(error, &event);
                runner.input_to(&shared, Input::Close);
            }
        });
    }

    /// Ends a guard when the connection is lost or the member leaves; returns whether there is
    /// a connection, without which it does not.
    pub(crate) fn revoke_when_lost(&self, revocation: &Arc<Revocation>) -> bool {
        self.shared.revoke_when_lost(revocation)
    }

    /// Revokes something when the member comes to a side without a majority of the voters.
    pub(crate) fn revoke_in_minority(&self, doubt: &Arc<Revocation>) {
        self.shared.revoke_in_minority(doubt);
    }

    /// Returns whether this member is on a side without a majority of the voters.
    pub(crate) fn is_in_minority(&self) -> bool {
        self.shared.side() == Some(Side::Minority)
    }

    /// Returns whether the state is still that of a member.
    ///
    /// # Errors
    ///
    /// Why the member has left the group.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.shared.check_open()
    }

    /// Shows the state to `watcher` now, and after every change until it ends. Once the state
    /// no longer changes, because the member has left the group, the watcher is dropped.
    pub(crate) fn watch(&self, mut watcher: impl FnMut(&M) -> Watch + Send + 'static) {
        // No change comes between: the watchers are shown one with this lock held.
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if self.read(&mut watcher) == Watch::GoesOn && !watchers.closed {
            watchers.open.push(Box::new(watcher));
        }
    }

    /// Looks at the state of this member, as [`read`](Replicated::read) does, without ever having
    /// it copied: operations wait for `look`, which has to be short and must not wait itself.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        self.machine.look(look)
    }

    /// Reads the state of this member, which may be behind the others. It waits for the
    /// operation that is being applied, if there is one, and `look` blocks nothing: operations
    /// that are applied meanwhile change a copy, which later reads see ([`StateMachine`] tells what
    /// that costs). Before [`Group::ready`](crate::Group::ready) it is the state that the machine
    /// was made with.
    pub fn read<T>(&self, look: impl FnOnce(&M) -> T) -> T {
        look(&self.machine.get())
    }
}

fn decode<M: StateMachine>(answer: &Bytes) -> Result<M::Out, Error> {
    codec::decode(answer).map_err(Error::UndecodableAnswer)
}

/// Whether a watcher wants to see more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    GoesOn,
    Ends,
}

/// Watches the state in the thread that applies.
type Watcher<M> = Box<dyn FnMut(&M) -> Watch + Send>;

/// The watchers that are shown the state after every change.
struct Watchers<M> {
    open: Vec<Watcher<M>>,
    /// Whether the state no longer changes, so that a watcher would never be shown anything.
    closed: bool,
}

impl<M> std::fmt::Debug for Replicated<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicated").field("group", &self.shared.group).finish_non_exhaustive()
    }
}

/// Returns the channel of a machine's operations.
pub(crate) fn channel<M: StateMachine>() -> u32 {
    codec::channel::<M::Op>("machine", M::NAME)
}

/// A state machine of the application as one of the log.
pub(crate) struct Adapter<M> {
    machine: Arc<Published<M>>,
    watchers: Arc<Mutex<Watchers<M>>>,
    /// The state in which the group begins.
    first: Vec<u8>,
}

impl<M: StateMachine> Adapter<M> {
    /// Returns what takes the digest of the machine.
    pub(crate) fn digest(&self) -> Digest {
        let machine = self.machine.clone();
        Arc::new(move || machine.get().digest())
    }

    pub(crate) fn new(
        machine: M,
        shared: &Arc<Shared>,
        commands: &Commands,
    ) -> (Adapter<M>, Replicated<M>) {
        let first = machine.snapshot();
        let machine = Arc::new(Published::new(machine));
        let (commands, shared) = (commands.clone(), shared.clone());
        let watchers = Watchers { open: Vec::new(), closed: false };
        let watchers = Arc::new(Mutex::new(watchers));
        let handle =
            Replicated { machine: machine.clone(), watchers: watchers.clone(), commands, shared };
        (Adapter { machine, watchers, first }, handle)
    }

    /// Changes the state, and shows it to the watchers.
    fn change<T>(&self, act: impl FnOnce(&mut M) -> T) -> T {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.machine.change(act);
        if !watchers.open.is_empty() {
            let machine = self.machine.get();
            watchers.open.retain_mut(|watcher| watcher(&machine) == Watch::GoesOn);
        }
        done
    }
}

impl<M> Drop for Adapter<M> {
    /// Drops the watchers, and those that come later: nothing changes any more.
    fn drop(&mut self) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.closed = true;
        let ended = std::mem::take(&mut watchers.open);
        drop(watchers);
        drop(ended);
    }
}

impl<M: StateMachine> Machine for Adapter<M> {
    fn apply(&mut self, at: At, operation: &[u8]) -> Answer {
        let Ok(op) = codec::decode::<M::Op>(operation) else {
            return Answer::Unreadable;
        };
        match codec::encode(&self.change(|machine| machine.apply(at, op))) {
            Ok(answer) => Answer::Done(answer),
            // It was executed, alike everywhere, and its answer cannot be read anywhere.
            Err(_) => Answer::Done(Bytes::new()),
        }
    }

    fn follow(&mut self, at: At, change: &Change) {
        self.change(|machine| machine.follow(at, change));
    }

    fn capture(&self) -> Encode {
        let machine = self.machine.get();
        Box::new(move || machine.snapshot().into())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), BadState> {
        let state = if state.is_empty() { &self.first } else { state };
        let restored = M::restore(state)?;
        self.change(|machine| *machine = restored);
        Ok(())
    }
}
