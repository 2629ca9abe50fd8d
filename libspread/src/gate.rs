//! Who may take messages off a session.

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

/// The session is open.
const ACTIVE: u8 = 0;
/// What has been received ahead is lost, and the stream out of step.
const FAILED: u8 = 1;
/// The session has been killed, or its disconnect has begun.
const ENDED: u8 = 2;

/// Why nobody may enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    Failed,
    Ended,
}

/// The state of a session, and what one thread at a time may use while it is open.
///
/// Once [`end`](Gate::end) has returned no other thread is inside, and none enters: so what
/// comes then can be received for nothing, and is not taken for a message.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    state: AtomicU8,
    inside: Mutex<T>,
}

impl<T> Gate<T> {
    /// An open one.
    pub(crate) fn new(inside: T) -> Gate<T> {
        Gate { state: AtomicU8::new(ACTIVE), inside: Mutex::new(inside) }
    }

    /// One for the child of a fork. It has failed if a thread of the parent, which the child
    /// does not have, was inside at the fork.
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

    /// Enters, after the thread that is inside. Nobody waits inside for anything else.
    #[inline]
    pub(crate) fn enter(&self) -> Result<MutexGuard<'_, T>, Shut> {
        self.check()?;
        let inside = self.lock();
        self.check()?;
        Ok(inside)
    }

    /// Whether the session is open.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Shut> {
        match self.state.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            FAILED => Err(Shut::Failed),
            _ => Err(Shut::Ended),
        }
    }

    /// Lets nobody in any more.
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

/// All orders in which threads can go on. Run by `ci/loom.sh`.
#[cfg(all(test, loom))]
mod models {
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;

    /// A socket, which does not bear two readers at once.
    struct Socket(UnsafeCell<u32>);

    // SAFETY: that only one thread at a time is at the socket is what the models check.
    unsafe impl Sync for Socket {}

    impl Socket {
        fn take(&self) {
            // SAFETY: loom fails if another thread is at it, so nothing is read then.
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

    /// Two threads receive while a third one ends the session with `end` and drains it.
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

    /// The model finds what is wrong with an end that does not wait for who is inside.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn an_end_without_the_lock_is_wrong() {
        receivers_and_a_disconnect(|gate| gate.state.store(ENDED, Ordering::Release));
    }

    /// So is one that looks at the state only before it has the lock.
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
