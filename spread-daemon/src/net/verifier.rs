//! Checks passwords in a thread of its own, one after another in the order in which
//! they came, because a check takes long and the clients are not to wait for it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::connection::ConnectionId;
use crate::session::access::panic_message;
use crate::session::authentication::PasswordCheck;
use crate::session::login::Login;

/// Passwords that may wait to be checked.
const WAITING: usize = 512;

/// A connection and the login to be checked.
type Claim = (ConnectionId, Login);

/// The result of a check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) id: ConnectionId,
    pub(crate) user: String,
    pub(crate) is_right: bool,
}

/// The thread, and the claims that wait for it; dropping it ends the thread after the
/// check in work.
pub(crate) struct Verifier {
    waiting: VecDeque<Claim>,
    is_busy: bool,
    /// To the thread, which has at most one claim.
    claims: Option<Sender<Claim>>,
    thread: Option<JoinHandle<()>>,
}

/// Too many claims wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Verifier {
    /// Starts the thread, which calls `done` after each check.
    pub(crate) fn start(
        check: PasswordCheck,
        done: impl Fn(Checked) + Send + 'static,
    ) -> io::Result<Verifier> {
        let (claims, waiting) = channel();
        let thread = thread::Builder::new()
            .name("spread-password".to_owned())
            .spawn(move || verify(&check, &waiting, &done))?;
        Ok(Verifier {
            waiting: VecDeque::new(),
            is_busy: false,
            claims: Some(claims),
            thread: Some(thread),
        })
    }

    /// Puts a claim behind the others.
    pub(crate) fn submit(&mut self, id: ConnectionId, login: Login) -> Result<(), TooMany> {
        if self.waiting.len() >= WAITING {
            return Err(TooMany);
        }
        self.waiting.push_back((id, login));
        self.give_next();
        Ok(())
    }

    /// Forgets the claims of connections that have been closed.
    pub(crate) fn retain(&mut self, mut is_open: impl FnMut(ConnectionId) -> bool) {
        self.waiting.retain(|(id, _)| is_open(*id));
    }

    /// Gives the thread the next claim after a check.
    pub(crate) fn go_on(&mut self) {
        self.is_busy = false;
        self.give_next();
    }

    fn give_next(&mut self) {
        if !self.is_busy
            && let Some(claim) = self.waiting.pop_front()
            && let Some(claims) = &self.claims
        {
            self.is_busy = claims.send(claim).is_ok();
        }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        self.claims = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that checks passwords panicked");
        }
    }
}

fn verify(check: &PasswordCheck, claims: &Receiver<Claim>, done: &impl Fn(Checked)) {
    for (id, login) in claims {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&login)));
        let user = login.user;
        let is_right = match checked {
            Ok(is_right) => {
                if !is_right {
                    tracing::warn!(?user, "rejected a client: unknown user or wrong password");
                }
                is_right
            }
            // The client waits for an answer without a time limit.
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(?user, panic, "rejected a client: the password check panicked");
                false
            }
        };
        done(Checked { id, user, is_right });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn id(key: usize) -> ConnectionId {
        ConnectionId { key, serial: 0 }
    }

    fn login(number: usize) -> Login {
        Login { user: number.to_string(), password: Vec::new() }
    }

    #[test]
    fn claims_are_checked_in_their_order_and_too_many_are_refused() {
        let (go_on, may_check) = sync_channel::<()>(WAITING + 2);
        let (done, checked) = channel();
        let check = Box::new(move |login: &Login| {
            may_check.recv().unwrap();
            login.user != "3"
        });
        let mut verifier = Verifier::start(check, move |c| done.send(c).unwrap()).unwrap();
        for number in 0..=WAITING {
            assert_eq!(verifier.submit(id(number), login(number)), Ok(()), "{number}");
        }
        assert_eq!(verifier.submit(id(0), login(0)), Err(TooMany));
        // A connection that was closed frees its place.
        verifier.retain(|id| id.key != 2);
        assert_eq!(verifier.submit(id(2), login(2)), Ok(()));
        let order = [0, 1].into_iter().chain(3..=WAITING).chain([2]);
        for number in order {
            go_on.send(()).unwrap();
            let Checked { id, user, is_right } = checked.recv().unwrap();
            assert_eq!((id.key, user, is_right), (number, number.to_string(), number != 3));
            verifier.go_on();
        }
    }

    #[test]
    fn a_check_that_panics_is_a_refusal_and_the_next_claim_is_checked() {
        let (done, checked) = channel();
        let check = Box::new(|login: &Login| {
            assert_ne!(login.user, "1", "a user that the check cannot bear");
            true
        });
        let mut verifier = Verifier::start(check, move |c| done.send(c).unwrap()).unwrap();
        for (number, expected) in [(1, false), (2, true)] {
            assert_eq!(verifier.submit(id(number), login(number)), Ok(()));
            let Checked { id, is_right, .. } = checked.recv().unwrap();
            assert_eq!((id.key, is_right), (number, expected));
            verifier.go_on();
        }
    }
}
