//! Checks passwords in a thread of its own, one after another in the order in which
//! they came, because a check takes long and the clients are not to wait for it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::connection::ConnectionId;
use crate::session::access::panic_message;
use crate::session::authentication::PasswordCheck;
use crate::session::login::Login;

/// Passwords that may wait to be checked.
const WAITING: usize = 512;

/// A connection, the login to be checked, and how.
type Claim = (ConnectionId, Login, PasswordCheck);

/// The result of a check.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) id: ConnectionId,
    pub(crate) user: String,
    pub(crate) is_right: bool,
}

/// Is told of each check.
type Done = Arc<dyn Fn(Checked) + Send + Sync>;

/// The thread, which the first claim starts, and the claims that wait for it; dropping it
/// ends the thread after the check in work.
pub(crate) struct Verifier {
    done: Done,
    waiting: VecDeque<Claim>,
    is_busy: bool,
    /// The thread, and the way to it; it has at most one claim.
    thread: Option<(Sender<Claim>, JoinHandle<()>)>,
}

/// Too many claims wait, or there can be no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Verifier {
    /// Returns a verifier without a thread yet, which calls `done` after each check.
    pub(crate) fn new(done: impl Fn(Checked) + Send + Sync + 'static) -> Verifier {
        Verifier { done: Arc::new(done), waiting: VecDeque::new(), is_busy: false, thread: None }
    }

    /// Puts a claim behind the others.
    pub(crate) fn submit(
        &mut self,
        id: ConnectionId,
        login: Login,
        check: PasswordCheck,
    ) -> Result<(), TooMany> {
        if self.waiting.len() >= WAITING {
            return Err(TooMany);
        }
        if self.thread.is_none() {
            let thread = start(Arc::clone(&self.done));
            let thread = thread.inspect_err(|error| {
                tracing::error!(%error, "cannot start the thread that checks passwords");
            });
            self.thread = Some(thread.map_err(|_| TooMany)?);
        }
        self.waiting.push_back((id, login, check));
        self.give_next();
        Ok(())
    }

    /// Forgets the claims of connections that have been closed.
    pub(crate) fn retain(&mut self, mut is_open: impl FnMut(ConnectionId) -> bool) {
        self.waiting.retain(|(id, _, _)| is_open(*id));
    }

    /// Gives the thread the next claim after a check.
    pub(crate) fn go_on(&mut self) {
        self.is_busy = false;
        self.give_next();
    }

    fn give_next(&mut self) {
        if !self.is_busy
            && let Some(claim) = self.waiting.pop_front()
            && let Some((claims, _)) = &self.thread
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
        if let Some((claims, thread)) = self.thread.take() {
            drop(claims);
            if thread.join().is_err() {
                tracing::error!("the thread that checks passwords panicked");
            }
        }
    }
}

fn start(done: Done) -> io::Result<(Sender<Claim>, JoinHandle<()>)> {
    let (claims, waiting) = channel();
    let thread = thread::Builder::new().name("spread-password".to_owned());
    Ok((claims, thread.spawn(move || verify(&waiting, &*done))?))
}

fn verify(claims: &Receiver<Claim>, done: &dyn Fn(Checked)) {
    for (id, login, check) in claims {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&login)));
        let user = login.user;
        let is_right = match checked {
            Ok(is_right) => is_right,
            // The client waits for an answer without a time limit.
            Err(panic) => {
                let panic = panic_message(&*panic);
                tracing::error!(
                    ?user,
                    panic,
                    "the password check panicked, which refuses the password"
                );
                false
            }
        };
        done(Checked { id, user, is_right });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::sync_channel;

    use super::*;

    fn id(key: usize) -> ConnectionId {
        ConnectionId { key, serial: 0 }
    }

    fn login(number: usize) -> Login {
        Login { user: number.to_string(), password: Vec::new() }
    }

    fn submit(
        verifier: &mut Verifier,
        number: usize,
        check: impl FnOnce(&Login) -> bool + Send + 'static,
    ) -> Result<(), TooMany> {
        verifier.submit(id(number), login(number), Box::new(check))
    }

    #[test]
    fn claims_are_checked_in_their_order_and_too_many_are_refused() {
        let (go_on, may_check) = sync_channel::<()>(WAITING + 2);
        let (done, checked) = channel();
        let may_check = Arc::new(Mutex::new(may_check));
        let check = || {
            let may_check = Arc::clone(&may_check);
            move |login: &Login| {
                may_check.lock().unwrap().recv().unwrap();
                login.user != "3"
            }
        };
        let mut verifier = Verifier::new(move |c| done.send(c).unwrap());
        for number in 0..=WAITING {
            assert_eq!(submit(&mut verifier, number, check()), Ok(()), "{number}");
        }
        assert_eq!(submit(&mut verifier, 0, check()), Err(TooMany));
        // A connection that was closed frees its place.
        verifier.retain(|id| id.key != 2);
        assert_eq!(submit(&mut verifier, 2, check()), Ok(()));
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
        let check = |login: &Login| {
            assert_ne!(login.user, "1", "a user that the check cannot bear");
            true
        };
        let mut verifier = Verifier::new(move |c| done.send(c).unwrap());
        for (number, expected) in [(1, false), (2, true)] {
            assert_eq!(submit(&mut verifier, number, check), Ok(()));
            let Checked { id, is_right, .. } = checked.recv().unwrap();
            assert_eq!((id.key, is_right), (number, expected));
            verifier.go_on();
        }
    }
}
