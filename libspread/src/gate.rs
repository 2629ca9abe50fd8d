//! The state of a session, and the lock that receives take.

#[cfg(loom)]
use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};
use std::sync::PoisonError;
#[cfg(not(loom))]
use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

/// Calls may use the session.
const ACTIVE: u8 = 0;
/// What was received ahead is lost, so the stream is out of step.
const FAILED: u8 = 1;
/// The session was killed, or its disconnect has begun.
const ENDED: u8 = 2;

/// The reason why a gate does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    Failed,
    Ended,
}

/// The state of a session, with a value that one thread at a time can use while the session
/// is active: the messages received ahead.
///
/// After [`end`](Gate::end) has returned, no thread is inside and none can enter. A disconnect
/// can then drain the socket without a receive taking a part of it for a message.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    state: AtomicU8,
    inside: Mutex<T>,
}

impl<T> Gate<T> {
    /// Creates a gate that is open.
    pub(crate) fn new(inside: T) -> Gate<T> {
        Gate { state: AtomicU8::new(ACTIVE), inside: Mutex::new(inside) }
    }

    /// Creates the gate for the child of a fork and moves the value into it. It has failed if a
    /// thread of the parent, which the child does not have, was inside at the fork.
    pub(crate) fn in_child(&self) -> Gate<T>
    where
        T: Default,
    {
        match self.inside.try_lock() {
            Ok(mut inside) => {
                let state = AtomicU8::new(self.state.load(Ordering::Acquire));
                Gate { state, inside: Mutex::new(std::mem::take(&mut *inside)) }
            }
            Err(_) => Gate { state: AtomicU8::new(FAILED), inside: Mutex::default() },
        }
    }

    /// Locks the value. A thread must not wait for anything while it is inside.
    #[inline]
    pub(crate) fn enter(&self) -> Result<MutexGuard<'_, T>, Shut> {
        self.check()?;
        let inside = self.lock();
        self.check()?;
        Ok(inside)
    }

    /// Checks that the session is active.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Shut> {
        match self.state.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            FAILED => Err(Shut::Failed),
            _ => Err(Shut::Ended),
        }
    }

    /// Ends the session: waits for the thread that is inside, and lets no other one enter.
    pub(crate) fn end(&self) {
        let _inside = self.lock();
        self.state.store(ENDED, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_child_of_a_fork_takes_over_what_is_inside() {
        let gate = Gate::new(vec![7]);
        let child = gate.in_child();
        assert_eq!(*child.enter().unwrap(), [7]);
        assert!(gate.enter().unwrap().is_empty());
    }

    #[test]
    fn it_has_failed_in_the_child_if_a_thread_of_the_parent_was_inside() {
        let gate = Gate::new(vec![7]);
        let inside = gate.enter().unwrap();
        assert_eq!(gate.in_child().enter().unwrap_err(), Shut::Failed);
        drop(inside);
        gate.end();
        assert_eq!(gate.in_child().enter().unwrap_err(), Shut::Ended);
    }
}

/// Model checks over all interleavings of the threads. Run by `ci/loom.sh`.
#[cfg(all(test, loom))]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A socket: loom reports two concurrent readers.
    struct Socket(UnsafeCell<u32>);

    // SAFETY: the models check that only one thread at a time accesses the socket.
    unsafe impl Sync for Socket {}

    impl Socket {
        fn take(&self) {
            // SAFETY: loom panics before the access if another thread has the cell.
            self.0.with_mut(|count| unsafe { *count += 1 });
        }
    }

    type Session = (Gate<()>, Socket);

    fn session() -> Arc<Session> {
        Arc::new((Gate::new(()), Socket(UnsafeCell::new(0))))
    }

    fn receive(session: &Session) -> bool {
        match session.0.enter() {
            Ok(_inside) => {
                session.1.take();
                true
            }
            Err(_) => false,
        }
    }

    /// Two threads receive while a third one ends the session by `end` and drains the socket.
    fn receivers_and_a_disconnect(end: fn(&Gate<()>)) {
        loom::model(move || {
            let session = session();
            let receivers = [(); 2].map(|()| {
                let session = Arc::clone(&session);
                thread::spawn(move || receive(&session))
            });
            end(&session.0);
            session.1.take();
            assert!(!receive(&session), "nobody receives after the end");
            for receiver in receivers {
                receiver.join().unwrap();
            }
        });
    }

    #[test]
    fn nobody_receives_what_a_disconnect_drains() {
        receivers_and_a_disconnect(Gate::end);
    }

    /// The model detects an end that does not wait for the thread inside.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn an_end_without_the_lock_is_wrong() {
        receivers_and_a_disconnect(|gate| gate.state.store(ENDED, Ordering::Release));
    }

    /// The model detects a receive that checks the state only before it takes the lock.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn a_receive_that_checks_too_early_is_wrong() {
        loom::model(|| {
            let session = session();
            let receiver = {
                let session = Arc::clone(&session);
                thread::spawn(move || {
                    if session.0.check().is_ok() {
                        let _inside = session.0.lock();
                        session.1.take();
                    }
                })
            };
            session.0.end();
            session.1.take();
            receiver.join().unwrap();
        });
    }
}
