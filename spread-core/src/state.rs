//! Whether a connection may still be used: a value that threads share.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::Error;

const ACTIVE: u8 = 0;
const FAILED: u8 = 1;
const SHUT_DOWN: u8 = 2;
/// A send has failed: what had come before can still be received.
const CUT: u8 = 3;
/// As the two, because a send ended in the middle of a message, which later calls tell.
const CUT_SHORT: u8 = 4;
const FAILED_SHORT: u8 = 5;

#[derive(Debug, Default)]
pub(crate) struct State(AtomicU8);

/// How a connection ends unless this side shuts it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing can be sent or received.
    Failed,
    /// Nothing can be sent.
    Cut,
    /// Nothing can be sent behind half a message.
    CutShort,
}

impl State {
    /// Whether something may still be sent.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            ACTIVE => Ok(()),
            ended => Err(error_of(ended)),
        }
    }

    /// Whether something may still be received.
    #[inline]
    pub(crate) fn check_receive(&self) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            ACTIVE | CUT | CUT_SHORT => Ok(()),
            ended => Err(error_of(ended)),
        }
    }

    /// Notes that this side has ended the connection, unless it has failed before.
    pub(crate) fn shut_down(&self) {
        let end = |state| match state {
            ACTIVE => Some(SHUT_DOWN),
            // What it failed of comes first.
            CUT => Some(FAILED),
            CUT_SHORT => Some(FAILED_SHORT),
            _ => None,
        };
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, end);
    }

    /// Notes that the connection has ended; the error says how it had ended before.
    pub(crate) fn end_as(&self, end: End) -> Result<(), Error> {
        let next = |before| match (before, end) {
            (ACTIVE, End::Cut) => Some(CUT),
            (ACTIVE, End::CutShort) => Some(CUT_SHORT),
            (ACTIVE | CUT, End::Failed) => Some(FAILED),
            (CUT_SHORT, End::Failed) => Some(FAILED_SHORT),
            _ => None,
        };
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => Ok(()),
            Err(before) => Err(error_of(before)),
        }
    }
}

/// What later calls return once the connection has ended so.
#[cold]
fn error_of(ended: u8) -> Error {
    match ended {
        SHUT_DOWN => Error::ShutDown,
        CUT_SHORT | FAILED_SHORT => Error::CutShort,
        _ => Error::Failed,
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
        assert!(state.end_as(End::CutShort).is_ok());
        assert!(matches!(state.check(), Err(Error::CutShort)) && state.check_receive().is_ok());
        assert!(state.end_as(End::Failed).is_ok());
        assert!(matches!(state.check_receive(), Err(Error::CutShort)));
        assert!(matches!(state.end_as(End::Cut), Err(Error::CutShort)));
        let state = State::default();
        assert!(state.end_as(End::CutShort).is_ok());
        state.shut_down();
        assert!(matches!(state.check_receive(), Err(Error::CutShort)), "it comes first");

        let state = State::default();
        state.shut_down();
        for end in [End::Cut, End::Failed] {
            assert!(matches!(state.end_as(end), Err(Error::ShutDown)));
        }
        assert!(matches!(state.clone().check_receive(), Err(Error::ShutDown)));
    }
}
