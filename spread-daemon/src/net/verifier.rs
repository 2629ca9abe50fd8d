//! Checks passwords in a thread of its own, one after another, because a check takes long and the
//! clients are not to wait for it. The addresses of the clients take turns.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use super::connection::ConnectionId;
use super::turns::{Turns, source};
use crate::session::access::panic_message;
use crate::session::authentication::PasswordCheck;
use crate::session::login::Login;

/// Passwords that may wait to be checked.
const WAITING: usize = 512;

/// As many that wait are told in the log; they take a second or more.
const MANY: usize = 32;

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
    waiting: Turns<Claim>,
    /// The log has told that many wait, and some still do.
    has_told: bool,
    is_busy: bool,
    /// The thread, and the way to it; it has at most one claim.
    thread: Option<(Sender<Claim>, JoinHandle<()>)>,
}

impl Verifier {
    /// Returns a verifier without a thread yet, which calls `done` after each check.
    pub(crate) fn new(done: impl Fn(Checked) + Send + Sync + 'static) -> Verifier {
        Verifier {
            done: Arc::new(done),
            waiting: Turns::new(WAITING),
            has_told: false,
            is_busy: false,
            thread: None,
        }
    }

    /// Puts a claim behind the others of clients at its address. Returns the connection whose
    /// claim is not going to be checked, this one or another, if too many wait or there can be no
    /// thread.
    pub(crate) fn submit(
        &mut self,
        id: ConnectionId,
        address: Option<IpAddr>,
        login: Login,
        check: PasswordCheck,
    ) -> Option<ConnectionId> {
        if self.thread.is_none() {
            match start(Arc::clone(&self.done)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => {
                    tracing::error!(%error, "cannot start the thread that checks passwords");
                    return Some(id);
                }
            }
        }
        let lost = self.waiting.push(source(address), (id, login, check));
        self.give_next();
        self.tell();
        lost.map(|(id, _, _)| id)
    }

    /// Forgets the claims of connections that have been closed.
    pub(crate) fn retain(&mut self, mut is_open: impl FnMut(ConnectionId) -> bool) {
        self.waiting.retain(|(id, _, _)| is_open(*id));
    }

    /// Gives the thread the next claim after a check.
    pub(crate) fn go_on(&mut self) {
        self.is_busy = false;
        self.give_next();
        self.has_told &= self.waiting.len() > 0;
    }

    fn give_next(&mut self) {
        if !self.is_busy
            && let Some(claim) = self.waiting.pop()
            && let Some((claims, _)) = &self.thread
        {
            self.is_busy = claims.send(claim).is_ok();
        }
    }

    /// Logs once that many claims wait, until none does.
    fn tell(&mut self) {
        let waiting = self.waiting.len();
        if waiting >= MANY
            && !self.has_told
            && let Some((source, most)) = self.waiting.longest()
        {
            self.has_told = true;
            let address = source.map_or_else(|| "unix".to_owned(), |ip| ip.to_string());
            tracing::warn!(%address, "{waiting} passwords wait to be checked, {most} of them from this address");
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
    ) -> Option<usize> {
        let lost = verifier.submit(id(number), None, login(number), Box::new(check));
        lost.map(|id| id.key)
    }

    #[test]
    fn claims_of_one_address_are_checked_in_their_order_and_too_many_are_refused() {
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
            assert_eq!(submit(&mut verifier, number, check()), None, "{number}");
        }
        let refused = WAITING + 1;
        assert_eq!(submit(&mut verifier, refused, check()), Some(refused));
        // A connection that was closed frees its place.
        verifier.retain(|id| id.key != 2);
        assert_eq!(submit(&mut verifier, 2, check()), None);
        let order = [0, 1].into_iter().chain(3..=WAITING).chain([2]);
        for number in order {
            go_on.send(()).unwrap();
            let Checked { id, user, is_right } = checked.recv().unwrap();
            assert_eq!((id.key, user, is_right), (number, number.to_string(), number != 3));
            verifier.go_on();
        }
    }

    #[test]
    fn a_claim_from_another_address_is_checked_next_and_takes_a_place_of_the_many() {
        let (go_on, may_check) = sync_channel::<()>(WAITING + 2);
        let (done, checked) = channel();
        let may_check = Arc::new(Mutex::new(may_check));
        let check = || {
            let may_check = Arc::clone(&may_check);
            move |_: &Login| may_check.lock().unwrap().recv().is_ok()
        };
        let mut verifier = Verifier::new(move |c| done.send(c).unwrap());
        for number in 0..=WAITING {
            assert_eq!(submit(&mut verifier, number, check()), None, "{number}");
        }
        assert!(verifier.has_told);
        let other = WAITING + 1;
        let address = Some([192, 0, 2, 1].into());
        let lost = verifier.submit(id(other), address, login(other), Box::new(check()));
        assert_eq!(lost.map(|id| id.key), Some(WAITING));
        for number in [0, 1, other, 2] {
            go_on.send(()).unwrap();
            assert_eq!(checked.recv().unwrap().id.key, number);
            verifier.go_on();
        }
        verifier.retain(|_| false);
        // One is in work, and ends with its sender.
        drop(go_on);
        checked.recv().unwrap();
        verifier.go_on();
        assert!(!verifier.has_told);
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
            assert_eq!(submit(&mut verifier, number, check), None);
            let Checked { id, is_right, .. } = checked.recv().unwrap();
            assert_eq!((id.key, is_right), (number, expected));
            verifier.go_on();
        }
    }
}
