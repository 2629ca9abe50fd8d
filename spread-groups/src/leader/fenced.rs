//! Leadership in a group with voters.

use std::ops::Deref;
use std::time::Duration;

use super::{Leadership, Term, leader, until_revoked};
use crate::core::roster::Member;
use crate::{Error, Fence, Pending};

/// The leadership of a group with voters, returned by
/// [`VotedGroup::leadership`](crate::VotedGroup::leadership); see [`crate::leader`].
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.voters(["ann"]).votes_as("ann").join()?;
/// let fence = plant.leadership().while_leading_blocking(|term| term.fence())?;
/// let again = plant.leadership().while_leading_blocking(|term| term.fence())?;
/// assert!(fence < again);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FencedLeadership(Leadership);

impl FencedLeadership {
    pub(crate) fn new(leadership: Leadership) -> FencedLeadership {
        FencedLeadership(leadership)
    }

    /// Returns the leader as this member knows it; `None` while no majority of the voters is known
    /// to be on its side.
    pub fn current(&self) -> Option<Member> {
        let shared = &self.0.shared;
        leader(&shared.roster()).filter(|_| shared.is_primary())
    }

    /// Waits until the leader is another member than `former`, or there is none; returns the
    /// leader.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] after the timeout, and the other errors of
    /// [`Group::wait_for_members`](crate::Group::wait_for_members).
    pub fn wait_for_change(
        &self,
        former: Option<&Member>,
        timeout: Duration,
    ) -> Result<Option<Member>, Error> {
        let former = former.map(|member| member.incarnation);
        self.0.shared.wait_until(timeout, |roster, is_primary| {
            let leader = leader(roster).filter(|_| is_primary);
            let is_other = leader.as_ref().map(|member| member.incarnation) != former;
            is_other.then_some(leader)
        })
    }

    /// Returns the term of this member; the pending result ends when it leads, which follows from
    /// [seniority](Leadership::term) and not from this call, and a majority of
    /// the voters has confirmed that. Each has a fence of its own, greater than those before: parts
    /// of a program that write to one storage share one term.
    ///
    /// It waits through a minority, as those of the election recipes of etcd and ZooKeeper do. For
    /// a deadline, call [`wait_timeout`](Pending::wait_timeout) and drop the pending result:
    /// nothing is left of it, since leadership follows from the roster.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::Closed`] if the member leaves the group before.
    pub fn term(&self) -> Pending<FencedTerm> {
        self.0.lead(|term, fence| FencedTerm { term, fence })
    }

    /// Waits until this member leads, and then calls `work` in this thread. `work` has to check
    /// [`Term::is_revoked`] from time to time, and to give the [fence](FencedTerm::fence) to what
    /// it writes to.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the member leaves the group before it leads, and
    /// [`Error::OwnThread`] in a thread of this crate.
    pub fn while_leading_blocking<T>(
        &self,
        work: impl FnOnce(&FencedTerm) -> T,
    ) -> Result<T, Error> {
        let term = self.term().wait()?;
        Ok(work(&term))
    }

    /// Waits until this member leads, and then polls `work`, which is dropped as soon as the term
    /// is revoked.
    ///
    /// # Errors
    ///
    /// [`Error::Deposed`] if the term was revoked before the work was done; [`Error::Closed`]
    /// if the member leaves the group before it leads.
    pub async fn while_leading<T>(
        &self,
        work: impl AsyncFnOnce(&FencedTerm) -> T,
    ) -> Result<T, Error> {
        let term = self.term().await?;
        until_revoked(term.revoked(), work(&term)).await
    }
}

/// A term of this member in a group with voters: a [`Term`] and its fence.
#[derive(Clone, Debug)]
pub struct FencedTerm {
    term: Term,
    fence: Fence,
}

impl FencedTerm {
    /// Returns the fence, which storage checks: it is greater than those of all terms before.
    pub fn fence(&self) -> Fence {
        self.fence
    }
}

impl Deref for FencedTerm {
    type Target = Term;

    fn deref(&self) -> &Term {
        &self.term
    }
}
