//! The leader of a group: advisory without voters, unique with a fence with them.
//!
//! **Promises.** The leader is the senior member of the roster that takes part in the replicated
//! state. All members at one place of the order agree on it; a joiner does not change the leader,
//! whatever its name. Leadership is *advisory*: in a partition each side has a leader, and a
//! member that is cut off takes itself for the leader until it learns of its successor. What two
//! members must not both do has to be an operation of the log.
//!
//! **The senior member leads whether or not it asks** for its [term](Leadership::term). If it never
//! does, nobody has a term, and all others wait. Members that do not vote can lead, too; observers
//! cannot. Where only some of the members are to lead, a [mutex](crate::lock) is the election: each
//! candidate requests it, and its holder leads.
//!
//! **There is no lease.** A member leads until it departs from the roster. A process that hangs
//! stays the leader while the group is idle, without a limit of time, until [its daemon disconnects
//! it or a view drops it](crate#what-a-member-knows).
//!
//! A [`Term`] stands for the leadership of one member from its beginning to its end. It is
//! [revoked](Term::is_revoked) when the member departs from the roster or loses its connection, or
//! when another member leads after a merge. A [leader's message](LeaderTopic::publish) carries its
//! term and counts only if that is the term at the place of the message: all members ignore a late
//! message of a former leader. A [question to the leader](crate::Group::to_leader) is answered by
//! the member that leads at its place, or fails as soon as that member is gone.
//!
//! **Sends** nothing for leadership itself, which follows from the roster. One operation confirms
//! a term that a member asks for; a leader's message, a question and an answer are one operation
//! each.
//!
//! **A roster change** in which the leader departs makes the next member the leader, at the same
//! place for all. Questions that the former leader has not answered fail with
//! [`Error::LeaderGone`]; it may have executed them. A node that reconnects has departed: its own
//! open questions fail with [`Error::Disconnected`].
//!
//! **In a partition** each side has a leader. **At a merge** the leader of the side that stands
//! remains; the other one is deposed. Questions of the other side since the partition are asked
//! again, of the remaining leader, also those that were answered. Messages of the deposed leader
//! are submitted again and ignored.
//!
//! **With [voters](crate::voters)** only the side with a majority has a leader
//! ([`FencedLeadership`]). A term is revoked also when its member comes to a minority. That can be
//! after the majority has a leader: what the two must not both do is an operation of the log, or
//! a write to storage that checks the term's [fence](FencedTerm::fence). A merge deposes nobody.
//! A member that leads still, once the majority has come back, asks for its term anew.
//!
//! A group has at most 4,096 open questions of 16 MiB together. More is refused with
//! [`Error::NoRoom`] at the same place at all members.

mod fenced;
mod messages;
mod state;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

pub use fenced::{FencedLeadership, FencedTerm};
pub(crate) use messages::{LeaderHandlers, ask, hand_over, serve};
pub use messages::{LeaderServing, LeaderTopic};
pub(crate) use state::Leaders;

use crate::core::roster::{Incarnation, Member};
use crate::node::Shared;
use crate::replicated::{Replicated, Watch};
use crate::{Error, Fence, Pending};
use state::{Outcome, Step, TermId};

/// The leadership of a group, returned by [`Group::leadership`](crate::Group::leadership).
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let done = plant.leadership().while_leading_blocking(|term| {
///     let mut steps = 0;
///     while steps < 3 && !term.is_revoked() {
///         steps += 1;
///     }
///     steps
/// })?;
/// assert_eq!(done, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Leadership {
    shared: Arc<Shared>,
    own: Incarnation,
    leaders: Replicated<Leaders>,
}

impl Leadership {
    pub(crate) fn new(
        shared: Arc<Shared>,
        own: Incarnation,
        leaders: Replicated<Leaders>,
    ) -> Leadership {
        Leadership { shared, own, leaders }
    }

    /// Returns the leader as this member knows it; `None` before it has a roster. Without a
    /// connection it is the leader that the member knew last; [`Term::is_revoked`] tells the loss.
    pub fn current(&self) -> Option<Member> {
        leader(&self.shared.roster())
    }

    /// Waits until the leader is another member than `former`; returns the leader.
    ///
    /// # Errors
    ///
    /// Those of [`Group::wait_for_members`](crate::Group::wait_for_members).
    pub fn wait_for_change(
        &self,
        former: Option<&Member>,
        timeout: Duration,
    ) -> Result<Option<Member>, Error> {
        let session = |member: Option<&Member>| member.map(|member| member.incarnation);
        let changed = |roster: &[Member]| session(leader(roster).as_ref()) != session(former);
        Ok(leader(&self.shared.wait_for_roster(timeout, changed)?))
    }

    /// Returns the term of this member; the pending result ends when it leads. The senior member
    /// leads whether or not it calls this; if it never does, all others wait, as
    /// [the module](crate::leader) says.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Closed`] if the member leaves the group before.
    pub fn term(&self) -> Pending<Term> {
        self.lead(|term, _| term)
    }

    /// Returns what `begin` makes of the term of this member and the fence of its confirmation.
    fn lead<T: Send + 'static>(
        &self,
        begin: impl FnOnce(Term, Fence) -> T + Send + 'static,
    ) -> Pending<T> {
        let (complete, pending) = Pending::new();
        let (is_given_up, pending) = pending.told_when_given_up();
        let complete = |term: Result<(Term, Fence), Error>| {
            complete(term.map(|(term, fence)| begin(term, fence)));
        };
        let waits: Waits = Arc::new(Mutex::new(Some(Box::new(complete))));
        let this = self.clone();
        let mut claimed = None;
        self.leaders.watch(move |leaders| {
            if is_given_up() || lock(&waits).is_none() {
                return Watch::Ends;
            }
            let own = leaders.term_of(this.own);
            if let Some(id) = own.filter(|_| claimed != own) {
                claimed = Some(id);
                this.clone().claim(id, waits.clone());
            }
            Watch::GoesOn
        });
        pending
    }

    /// Confirms a term by an operation: the state of this member may be older than the loss of its
    /// connection.
    fn claim(self, id: TermId, waits: Waits) {
        self.leaders.clone().submit_when_room(&Step::Claim(id), move |confirmed| match confirmed {
            Ok(Outcome::Leads(fence)) => self.begin(id, fence, waits),
            // Another term of this member is claimed when it begins.
            Ok(_) | Err(Error::SessionExpired) => {}
            Err(error) => {
                if let Some(complete) = lock(&waits).take() {
                    complete(Err(error));
                }
            }
        });
    }

    fn begin(self, id: TermId, fence: Fence, waits: Waits) {
        let revocation = Arc::new(Revocation::default());
        let near = Revokes::new(&revocation);
        if !self.shared.revoke_when_lost(&revocation) {
            // The term may outlive it: it is claimed again, as soon as operations are executed.
            return self.claim(id, waits);
        }
        self.leaders.watch(move |leaders| {
            let goes_on = leaders.term() == Some(id) && near.is_wanted();
            // What is dropped revokes the term, if only because the member has left.
            if goes_on { Watch::GoesOn } else { Watch::Ends }
        });
        if let Some(complete) = lock(&waits).take() {
            complete(Ok((Term { id, revocation }, fence)));
        }
    }

    /// Waits until this member leads, and then calls `work` in this thread. `work` has to check
    /// [`Term::is_revoked`] from time to time.
    ///
    /// # Errors
    ///
    /// Those of [`Pending::wait`]; [`Error::Closed`] if the member leaves the group before it
    /// leads.
    pub fn while_leading_blocking<T>(&self, work: impl FnOnce(&Term) -> T) -> Result<T, Error> {
        let term = self.term().wait()?;
        Ok(work(&term))
    }

    /// Waits until this member leads, and then polls `work`, which is dropped as soon as the term
    /// is revoked.
    ///
    /// ```no_run
    /// # async fn show(group: spread_groups::Group) -> Result<(), spread_groups::Error> {
    /// let leadership = group.leadership();
    /// loop {
    ///     let work = leadership.while_leading(async |_| { /* what a leader does */ });
    ///     match work.await {
    ///         Err(spread_groups::Error::Deposed) => continue,
    ///         ended => return ended,
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Deposed`] if the term was revoked before the work was done; [`Error::Closed`]
    /// if the member leaves the group before it leads.
    pub async fn while_leading<T>(&self, work: impl AsyncFnOnce(&Term) -> T) -> Result<T, Error> {
        let term = self.term().await?;
        until_revoked(term.revoked(), work(&term)).await
    }
}

/// Polls `work` until a term is revoked.
async fn until_revoked<T>(
    mut revoked: Pending<()>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    let mut work = pin!(work);
    poll_fn(|cx| match Pin::new(&mut revoked).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(Error::Deposed)),
        Poll::Pending => work.as_mut().poll(cx).map(Ok),
    })
    .await
}

/// The waiter for a term, until it is told.
type Waits = Arc<Mutex<Option<Box<dyn FnOnce(Result<(Term, Fence), Error>) + Send>>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn leader(roster: &[Member]) -> Option<Member> {
    roster.iter().find(|member| !member.observer).cloned()
}

/// A term of this member, from the beginning to the end of its leadership.
#[derive(Clone, Debug)]
pub struct Term {
    id: TermId,
    revocation: Arc<Revocation>,
}

impl Term {
    /// Returns whether the term has ended: the member has departed from the roster, lost its
    /// connection or left the group, another one leads after a merge, or the member is on a side
    /// without a majority of the [voters](crate::voters). Once revoked it stays so. It is a hint: a
    /// member that is cut off learns of it late.
    pub fn is_revoked(&self) -> bool {
        self.revocation.is_revoked()
    }

    /// Ends when the term has ended.
    pub fn revoked(&self) -> Pending<()> {
        self.revocation.revoked()
    }
}

/// The end of a term, or of the guard of a lock, and its waiters.
#[derive(Default)]
pub(crate) struct Revocation {
    is_revoked: AtomicBool,
    waiting: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Revocation {
    pub(crate) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    pub(crate) fn revoked(&self) -> Pending<()> {
        let (complete, pending) = Pending::new();
        self.when_revoked(|| complete(Ok(())));
        pending
    }

    /// Calls `tell` when it is revoked, or now if it is.
    pub(crate) fn when_revoked(&self, tell: impl FnOnce() + Send + 'static) {
        let mut waiting = lock(&self.waiting);
        if self.is_revoked() {
            drop(waiting);
            return tell();
        }
        waiting.push(Box::new(tell));
    }

    pub(crate) fn revoke(&self) {
        let mut waiting = lock(&self.waiting);
        self.is_revoked.store(true, Ordering::Release);
        let told = std::mem::take(&mut *waiting);
        drop(waiting);
        told.into_iter().for_each(|tell| tell());
    }
}

impl std::fmt::Debug for Revocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocation").field("is_revoked", &self.is_revoked).finish_non_exhaustive()
    }
}

/// Revokes a term or a guard when it is dropped.
pub(crate) struct Revokes(Weak<Revocation>);

impl Revokes {
    pub(crate) fn new(revocation: &Arc<Revocation>) -> Revokes {
        Revokes(Arc::downgrade(revocation))
    }

    /// Returns whether the term or the guard is still there.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl Drop for Revokes {
    fn drop(&mut self) {
        if let Some(revocation) = self.0.upgrade() {
            revocation.revoke();
        }
    }
}
