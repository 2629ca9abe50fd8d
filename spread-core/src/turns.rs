//! The right to send: a lock that can also be waited for until a deadline.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

use crate::sending::Sending;

/// What is being sent, and whose turn it is.
///
/// Whoever waits without a deadline waits in the mutex, as most do; so taking turns costs what
/// a mutex does, and a look whether somebody waits otherwise.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    sending: Mutex<Sending>,
    /// How many wait until a deadline.
    waiting: AtomicUsize,
    gate: Mutex<()>,
    released: Condvar,
    /// What the connection kept to be sent when the right was last released.
    kept: AtomicUsize,
}

/// The right to send, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    // Dropped before the release, which tells of it.
    sending: MutexGuard<'a, Sending>,
    release: Release<'a>,
}

#[derive(Debug)]
struct Release<'a>(&'a Turns);

impl Turns {
    pub(crate) fn new(sending: Sending) -> Turns {
        Turns { sending: Mutex::new(sending), ..Turns::default() }
    }

    #[inline]
    pub(crate) fn take(&self) -> Turn<'_> {
        self.turn(self.sending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `None` if another thread has it.
    pub(crate) fn try_take(&self) -> Option<Turn<'_>> {
        match self.sending.try_lock() {
            Ok(sending) => Some(self.turn(sending)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.turn(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// `None` if another thread has it until the deadline.
    pub(crate) fn take_by(&self, deadline: Instant) -> Option<Turn<'_>> {
        self.try_take().or_else(|| self.wait(deadline))
    }

    #[cold]
    fn wait(&self, deadline: Instant) -> Option<Turn<'_>> {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let turn = loop {
            // Either this try sees the release, or the release sees that somebody waits.
            fence(Ordering::SeqCst);
            if let Some(turn) = self.try_take() {
                break Some(turn);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            let waited = self.released.wait_timeout(gate, left);
            gate = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        turn
    }

    #[inline]
    fn turn<'a>(&'a self, sending: MutexGuard<'a, Sending>) -> Turn<'a> {
        Turn { sending, release: Release(self) }
    }

    /// The bytes that were kept to be sent when the right was last released.
    pub(crate) fn kept(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    #[cold]
    fn tell(&self) {
        // Whoever has counted itself is in the wait, or has the gate.
        drop(self.gate.lock());
        self.released.notify_all();
    }
}

impl Drop for Turn<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release.0.kept.store(self.sending.kept(), Ordering::Relaxed);
    }
}

impl Drop for Release<'_> {
    #[inline]
    fn drop(&mut self) {
        fence(Ordering::SeqCst);
        if self.0.waiting.load(Ordering::Relaxed) > 0 {
            self.0.tell();
        }
    }
}

impl Deref for Turn<'_> {
    type Target = Sending;

    #[inline]
    fn deref(&self) -> &Sending {
        &self.sending
    }
}

impl DerefMut for Turn<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Sending {
        &mut self.sending
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_is_not_waited_for_beyond_the_deadline() {
        let turns = Turns::default();
        let taken = turns.take();
        assert!(turns.try_take().is_none());
        let begin = Instant::now();
        assert!(turns.take_by(begin + Duration::from_millis(20)).is_none());
        assert!(begin.elapsed() >= Duration::from_millis(20));
        drop(taken);
        assert!(turns.take_by(begin).is_some());
    }

    #[test]
    fn no_release_is_missed() {
        let turns = Turns::default();
        let late = Instant::now() + Duration::from_secs(60);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..20_000).for_each(|_| drop(turns.take())));
                // One that missed a release would come to its deadline.
                scope.spawn(|| {
                    (0..20_000).for_each(|_| drop(turns.take_by(late).expect("a release")));
                });
            }
        });
        assert!(Instant::now() < late);
    }
}
