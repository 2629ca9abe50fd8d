//! Requests that stay in the replicated state until something ends them.
//!
//! The state does not keep their ends: the machine shows them after the step that ends them, and
//! the waiter looks after every step. A member whose state was replaced has missed steps: it
//! submits a question after its request, whose place is certain, since the operations of a session
//! are executed in their order.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Error;
use crate::core::requests::OperationId;
use crate::replicated::{Replicated, StateMachine, Watch};

/// A state machine with such requests.
pub(crate) trait Tickets: StateMachine {
    /// The end of a request.
    type End: Send + 'static;

    /// Returns the end of a request, if the last step ended it.
    fn ended(&self, ticket: u128) -> Option<Result<Self::End, Error>>;

    /// Returns whether a request is open.
    fn is_open(&self, ticket: u128) -> bool;

    /// Returns an operation without any effect.
    fn question() -> Self::Op;

    /// Returns the error of a request that is gone because the member departed meanwhile.
    fn gone() -> Error;
}

/// The waiter for the end of a request, until it is told.
type Waiter<M> = Arc<Mutex<Option<Complete<<M as Tickets>::End>>>>;

type Complete<E> = Box<dyn FnOnce(Result<E, Error>) + Send>;

/// Submits a request, and calls `then` with what ends it. Returns the id of
/// its operation. `refused` reads the answer of the
/// request itself.
pub(crate) fn request<M: Tickets>(
    machine: &Replicated<M>,
    ticket: u128,
    request: &M::Op,
    refused: impl FnOnce(M::Out) -> Result<(), Error> + Send + 'static,
    then: impl FnOnce(Result<M::End, Error>) + Send + 'static,
) -> OperationId {
    let waiter: Waiter<M> = Arc::new(Mutex::new(Some(Box::new(then))));
    let (watched, handle) = (waiter.clone(), machine.clone());
    let mut was_open = false;
    // Before it is submitted, so that no step is missed.
    machine.watch(move |machine| {
        if let Some(end) = machine.ended(ticket) {
            complete::<M>(&watched, end);
        }
        let is_open = machine.is_open(ticket);
        if was_open && !is_open && waits::<M>(&watched) {
            ask(handle.clone(), ticket, watched.clone());
        }
        was_open = is_open;
        if waits::<M>(&watched) { Watch::GoesOn } else { Watch::Ends }
    });
    let handle = machine.clone();
    machine.submit_then(request, move |answer| match answer.and_then(refused) {
        Err(error) => complete::<M>(&waiter, Err(error)),
        Ok(()) => judge(&handle, ticket, waiter),
    })
}

/// Judges a request once everything before is executed, if a merge has taken it back also
/// itself.
fn ask<M: Tickets>(machine: Replicated<M>, ticket: u128, waiter: Waiter<M>) {
    let handle = machine.clone();
    machine.submit_when_room(&M::question(), move |answer| match answer {
        Ok(_) => judge(&handle, ticket, waiter),
        Err(error) => complete::<M>(&waiter, Err(error)),
    });
}

/// Ends a request that was executed and is not open, and whose end was shown to nobody here.
fn judge<M: Tickets>(machine: &Replicated<M>, ticket: u128, waiter: Waiter<M>) {
    // The waiters have seen every step before.
    machine.watch(move |machine| {
        if !machine.is_open(ticket) {
            complete::<M>(&waiter, Err(M::gone()));
        }
        Watch::Ends
    });
}

fn waits<M: Tickets>(waiter: &Waiter<M>) -> bool {
    waiter.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

fn complete<M: Tickets>(waiter: &Waiter<M>, end: Result<M::End, Error>) {
    let complete = waiter.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(complete) = complete {
        complete(end);
    }
}
