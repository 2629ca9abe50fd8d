//! Locks in a group with voters.

use std::ops::Deref;

use super::state::Kind;
use super::{Guard, Lock, Locks};
use crate::replicated::Replicated;
use crate::{Fence, Pending};

/// A mutex of a group with voters, made by [`VotedGroup::mutex`](crate::VotedGroup::mutex); see
/// [`crate::lock`]. It is not reentrant: a member that requests it while it holds it waits for
/// itself. It has no lease: who holds it keeps it until its member departs.
///
/// Among members of which only some are to lead it is the election: the holder leads.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.voters(["ann"]).votes_as("ann").join()?;
/// let first = plant.mutex("boiler").lock().wait()?.fence();
/// let second = plant.mutex("boiler").lock().wait()?;
/// assert!(first < second.fence() && !second.is_lost());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Mutex(Lock);

impl Mutex {
    pub(crate) fn new(name: &str, locks: Replicated<Locks>) -> Mutex {
        Mutex(Lock::new(Kind::Mutex, name, locks))
    }

    /// Requests the lock. Dropping the pending result withdraws the request, also after a
    /// [`wait_timeout`](Pending::wait_timeout) that ended without the lock.
    ///
    /// A request that is in the queue waits through a minority, as those of the recipes of etcd
    /// and ZooKeeper do: it keeps its place, and is granted once a majority is back, unless that
    /// has gone on without this member ([`Error::LockLost`](crate::Error::LockLost)). For a
    /// deadline, call [`wait_timeout`](Pending::wait_timeout) and drop the pending result: a
    /// request that is dropped in a minority is withdrawn when a majority is back.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::NoQuorum`](crate::Error::NoQuorum) if it is not in
    /// the queue yet and this side has no majority, also if an exchange takes three seconds: then
    /// request it again. It fails with
    /// [`Error::LockLost`](crate::Error::LockLost) if this member departs or loses its connection
    /// before the lock is granted, or has come to a minority meanwhile; with
    /// [`Error::NoRoom`](crate::Error::NoRoom) if there are too many requests; and with the other
    /// errors of [`Replicated::submit`](crate::Replicated::submit).
    pub fn lock(&self) -> Pending<FencedGuard> {
        self.0.request(false, FencedGuard::new)
    }
}

/// A lock for many readers or one writer, in a group with voters, made by
/// [`VotedGroup::rw_lock`](crate::VotedGroup::rw_lock).
#[derive(Clone, Debug)]
pub struct RwLock(Lock);

impl RwLock {
    pub(crate) fn new(name: &str, locks: Replicated<Locks>) -> RwLock {
        RwLock(Lock::new(Kind::ReadWrite, name, locks))
    }

    /// Requests the lock for a reader; it is shared with the other readers before the next
    /// writer. It waits through a minority as [`Mutex::lock`] does. Readers that share the lock
    /// have different fences: storage keeps two, as [`Fence`] says.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`Mutex::lock`] does.
    pub fn read(&self) -> Pending<FencedGuard> {
        self.0.request(true, FencedGuard::new)
    }

    /// Requests the lock for a writer. It waits through a minority as [`Mutex::lock`] does.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`Mutex::lock`] does.
    pub fn write(&self) -> Pending<FencedGuard> {
        self.0.request(false, FencedGuard::new)
    }
}

/// A lock with several holders, in a group with voters, made by
/// [`VotedGroup::semaphore`](crate::VotedGroup::semaphore). Its guards have no fence: an order of
/// fences cannot tell which of several holders has gone.
#[derive(Clone, Debug)]
pub struct Semaphore(Lock);

impl Semaphore {
    pub(crate) fn new(name: &str, permits: u32, locks: Replicated<Locks>) -> Semaphore {
        Semaphore(Lock::new(Kind::Semaphore(permits.max(1)), name, locks))
    }

    /// Requests a permit. It waits through a minority as [`Mutex::lock`] does.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`Mutex::lock`] does.
    pub fn acquire(&self) -> Pending<Guard> {
        self.0.request(false, |guard, _| guard)
    }
}

/// A lock that is held until this is dropped or [lost](Guard::is_lost): a [`Guard`] and its fence.
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub struct FencedGuard {
    guard: Guard,
    fence: Fence,
}

impl FencedGuard {
    fn new(guard: Guard, fence: Fence) -> FencedGuard {
        FencedGuard { guard, fence }
    }

    /// Returns the fence, which storage checks: the place of the request. It is greater than those
    /// of all former holders of this lock that excluded this one.
    pub fn fence(&self) -> Fence {
        self.fence
    }
}

impl Deref for FencedGuard {
    type Target = Guard;

    fn deref(&self) -> &Guard {
        &self.guard
    }
}
