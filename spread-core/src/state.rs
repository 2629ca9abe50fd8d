//! Whether a connection may still be used: a value that threads share.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::Error;

const ACTIVE: u8 = 0;
const FAILED: u8 = 1;
const SHUT_DOWN: u8 = 2;
/// A send has failed: what had come before can still be received.
const CUT: u8 = 3;

#[derive(Debug, Default)]
pub(crate) struct State(AtomicU8);

/// How a connection ends unless this side shuts it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing can be sent or received.
    Failed,
    /// Nothing can be sent.
    Cut,
}

impl State {
    /// Whether something may still be sent.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            SHUT_DOWN => Err(Error::ShutDown),
            _ => Err(Error::Failed),
        }
    }

    /// Whether something may still be received.
    #[inline]
    pub(crate) fn check_receive(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            ACTIVE | CUT => Ok(()),
            SHUT_DOWN => Err(Error::ShutDown),
            _ => Err(Error::Failed),
        }
    }

    /// Notes that this side has ended the connection, unless it has failed before.
    pub(crate) fn shut_down(&self) {
        let end = |state| match state {
            ACTIVE => Some(SHUT_DOWN),
            // What it failed of comes first.
            CUT => Some(FAILED),
            _ => None,
        };
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
    }

    /// Notes that the connection has ended; the error says how it had ended before.
    pub(crate) fn end_as(&self, end: End) -> Result<(), Error> {
        let next = |before| match (before, end) {
            (ACTIVE, End::Cut) => Some(CUT),
            (ACTIVE | CUT, End::Failed) => Some(FAILED),
            _ => None,
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => Ok(()),
            Err(SHUT_DOWN) => Err(Error::ShutDown),
            Err(_) => Err(Error::Failed),
        }
    }
}

impl Clone for State {
    fn clone(&self) -> State {
        State(AtomicU8::new(self.0.load(Ordering::Acquire)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_first_is_told_and_a_cut_can_still_fail() {
        let state = State::default();
        assert!(state.check().is_ok() && state.check_receive().is_ok());
        assert!(state.end_as(End::Cut).is_ok());
        assert!(matches!(state.check(), Err(Error::Failed)));
        assert!(state.check_receive().is_ok(), "what had come is received");
        assert!(matches!(state.end_as(End::Cut), Err(Error::Failed)));
        state.shut_down();
        assert!(matches!(state.check_receive(), Err(Error::Failed)));

        let state = State::default();
        state.shut_down();
        for end in [End::Cut, End::Failed] {
            assert!(matches!(state.end_as(end), Err(Error::ShutDown)));
        }
        assert!(matches!(state.clone().check_receive(), Err(Error::ShutDown)));
    }
}
