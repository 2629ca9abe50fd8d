//! Locks: advisory without voters, with fences with them.
//!
//! **Promises.** Within one side of a partition a [mutex](AdvisoryLock) has at most one holder, a
//! [read-write lock](AdvisoryRwLock) one writer or any number of readers, and a
//! [semaphore](AdvisorySemaphore) at most as many holders as it has permits. Requests are granted
//! in their order: a reader that comes after a waiting writer waits for it. A lock is *advisory*:
//! in a partition each side may have a holder, and a holder that is cut off learns of it late.
//! What two members must not both do has to be an operation of the log.
//!
//! **No lock is reentrant.** Each request is one of its own, whoever makes it: a member that
//! requests a mutex which it holds waits for itself.
//!
//! **There is no lease.** A holder keeps the lock until it drops the guard or departs from the
//! roster. A process that hangs keeps its locks while the group is idle, without a limit of time,
//! until [its daemon disconnects it or a view drops it](crate#what-a-member-knows). With voters the
//! fence protects storage from it when it goes on.
//!
//! **Sends** one operation for each request and one for each release. A grant is not sent: all
//! members compute it at its place. Dropping the [`Pending`] of a request releases it, whether or
//! not it has been granted meanwhile.
//!
//! **A roster change** in which a holder or a waiter departs ends its request, at the same place
//! for all; the next request is granted there. A node that reconnects has departed. A node that
//! loses its connection loses its guards at once.
//!
//! **In a partition** each side releases the locks of the members of the other. **At a merge** the
//! locks of the side that stands remain; guards of the other side are [lost](Guard::is_lost), and
//! its waiting requests fail with [`Error::LockLost`].
//!
//! **With [voters](crate::voters)** ([`Mutex`], [`RwLock`], [`Semaphore`]) locks are granted only
//! on the side with a majority. A guard is lost also when its member comes to a minority; the
//! request is withdrawn then. That can be after the majority has granted the lock anew: what two
//! holders must not both write goes to storage that checks the [fence](FencedGuard::fence). A
//! request that waits does so in a minority, too, and ends when its member departs on the side of
//! the majority.
//!
//! All locks of a group have at most 65,536 requests; a name has at most 255 bytes. More is
//! refused with [`Error::NoRoom`] at the same place at all members.

mod fenced;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use fenced::{FencedGuard, Mutex, RwLock, Semaphore};
pub(crate) use state::Locks;

use crate::leader::{Revocation, Revokes};
use crate::machines;
use crate::replicated::{Replicated, Watch};
use crate::{Error, Fence, Pending, error};
use state::{Key, Kind, MAX_NAME, Outcome, Standing, Step};

/// A mutex of a group, made by [`Group::advisory_lock`](crate::Group::advisory_lock). It is not
/// reentrant: a member that requests it while it holds it waits for itself.
///
/// ```
/// # let daemon = spread_daemon::Daemon::builder().start()?;
/// # let address = daemon.address();
/// use spread::Mailbox;
/// use spread_groups::Node;
///
/// let node = Node::connect(Mailbox::builder(address))?;
/// let plant = node.group("plant")?.join()?;
/// let guard = plant.advisory_lock("boiler").lock().wait()?;
/// assert!(!guard.is_lost());
/// drop(guard);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AdvisoryLock(Lock);

impl AdvisoryLock {
    pub(crate) fn new(name: &str, locks: Replicated<Locks>) -> AdvisoryLock {
        AdvisoryLock(Lock::new(Kind::Mutex, name, locks))
    }

    /// Requests the lock. Dropping the pending result withdraws the request, also after a
    /// [`wait_timeout`](Pending::wait_timeout) that ended without the lock.
    ///
    /// # Errors
    ///
    /// The pending result fails with [`Error::LockLost`] if the member departs from the roster or
    /// loses its connection, or a merge takes back the operations of its side, before the lock is
    /// granted; with [`Error::NoRoom`] if there are too many requests; with
    /// [`Error::NameTooLong`]; and with the errors of [`Replicated::submit`].
    pub fn lock(&self) -> Pending<Guard> {
        self.0.request(false, |guard, _| guard)
    }
}

/// A lock for many readers or one writer, made by
/// [`Group::advisory_rw_lock`](crate::Group::advisory_rw_lock).
#[derive(Clone, Debug)]
pub struct AdvisoryRwLock(Lock);

impl AdvisoryRwLock {
    pub(crate) fn new(name: &str, locks: Replicated<Locks>) -> AdvisoryRwLock {
        AdvisoryRwLock(Lock::new(Kind::ReadWrite, name, locks))
    }

    /// Requests the lock for a reader; it is shared with the other readers before the next
    /// writer.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`AdvisoryLock::lock`] does.
    pub fn read(&self) -> Pending<Guard> {
        self.0.request(true, |guard, _| guard)
    }

    /// Requests the lock for a writer.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`AdvisoryLock::lock`] does.
    pub fn write(&self) -> Pending<Guard> {
        self.0.request(false, |guard, _| guard)
    }
}

/// A lock with several holders, made by
/// [`Group::advisory_semaphore`](crate::Group::advisory_semaphore).
#[derive(Clone, Debug)]
pub struct AdvisorySemaphore(Lock);

impl AdvisorySemaphore {
    pub(crate) fn new(name: &str, permits: u32, locks: Replicated<Locks>) -> AdvisorySemaphore {
        AdvisorySemaphore(Lock::new(Kind::Semaphore(permits.max(1)), name, locks))
    }

    /// Requests a permit.
    ///
    /// # Errors
    ///
    /// The pending result fails as that of [`AdvisoryLock::lock`] does.
    pub fn acquire(&self) -> Pending<Guard> {
        self.0.request(false, |guard, _| guard)
    }
}

#[derive(Clone, Debug)]
struct Lock {
    key: Key,
    locks: Replicated<Locks>,
}

impl Lock {
    fn new(kind: Kind, name: &str, locks: Replicated<Locks>) -> Lock {
        Lock { key: Key { kind, name: name.to_owned() }, locks }
    }

    /// Requests the lock; `grant` makes the result of its guard and the fence.
    fn request<G: Send + 'static>(
        &self,
        reads: bool,
        grant: impl FnOnce(Guard, Fence) -> G + Send + 'static,
    ) -> Pending<G> {
        if let Err(error) = error::check_name(&self.key.name, MAX_NAME) {
            return Pending::failed(error);
        }
        let (complete, pending) = Pending::new();
        let ticket = match machines::random() {
            Ok(ticket) => ticket,
            Err(error) => return Pending::failed(error),
        };
        let Lock { key, locks } = self.clone();
        let step = Step::Request { key: key.clone(), ticket, reads };
        let revocation = Arc::new(Revocation::default());
        let near = Revokes::new(&revocation);
        // Dropping it releases the lock, granted or not. If a merge has taken the request
        // back, it is submitted again, but before the release.
        let hold = Arc::new(Hold {
            key: key.clone(),
            ticket,
            locks: locks.clone(),
            released: AtomicBool::new(false),
        });
        let (given_up, lost) = (hold.clone(), hold.clone());
        // Nobody waits for a guard that was lost, in a minority that turned out to be none.
        revocation.when_revoked(move || lost.release_what_is_held());
        let guard = Guard { hold, revocation };
        let id = locks.clone().submit_then(&step, move |requested| {
            match requested {
                Ok(Outcome::Done) => {}
                Ok(Outcome::Full) => return complete(Err(Error::NoRoom)),
                Err(error) => return complete(Err(error)),
            }
            let (mut waits, handle) = (Some((complete, guard, grant)), locks.clone());
            // What is dropped revokes the guard, if only because the member has left.
            locks.watch(move |locks| match (locks.standing(&key, ticket), waits.take()) {
                (Standing::Waits, still) => {
                    waits = still;
                    Watch::GoesOn
                }
                (Standing::Holds(fence), granted) => {
                    if let Some((complete, guard, grant)) = granted {
                        // Without a connection the member has departed, or is going to.
                        match handle.revoke_when_lost(&guard.revocation) {
                            true => complete(Ok(grant(guard, fence))),
                            false => complete(Err(Error::LockLost)),
                        }
                    }
                    if near.is_wanted() { Watch::GoesOn } else { Watch::Ends }
                }
                (Standing::Gone, refused) => {
                    if let Some((complete, ..)) = refused {
                        complete(Err(Error::LockLost));
                    }
                    Watch::Ends
                }
            });
        });
        pending.of_operation(id).or_withdraw(move || given_up.release())
    }
}

/// A request, until it is released.
#[derive(Debug)]
struct Hold {
    key: Key,
    ticket: u128,
    locks: Replicated<Locks>,
    released: AtomicBool,
}

impl Hold {
    /// Releases the lock unless it is gone from the state that this member knows.
    fn release_what_is_held(&self) {
        let standing = self.locks.look(|locks| locks.standing(&self.key, self.ticket));
        if standing != Standing::Gone {
            self.release();
        }
    }

    fn release(&self) {
        if !self.released.swap(true, Ordering::Relaxed) {
            let (key, ticket) = (self.key.clone(), self.ticket);
            // If the member departs before it is executed, the lock is released as well.
            self.locks.submit_when_room(&Step::Release { key, ticket }, drop);
        }
    }
}

/// A lock that is held until this is dropped or [lost](Guard::is_lost).
#[derive(Debug)]
#[must_use = "dropping it releases the lock"]
pub struct Guard {
    hold: Arc<Hold>,
    revocation: Arc<Revocation>,
}

impl Guard {
    /// Returns whether the lock was lost: the member departed from the roster, lost its
    /// connection, left the group or is on a side without a majority of the
    /// [voters](crate::voters), or a merge took its side's operations back. Once lost it stays so.
    /// It is a hint: a member that is cut off learns of it late.
    pub fn is_lost(&self) -> bool {
        self.revocation.is_revoked()
    }

    /// Ends when the lock is lost. It has no other outcome, unless the guard is dropped before:
    /// then it may fail with [`Error::Closed`].
    pub fn lost(&self) -> Pending<()> {
        self.revocation.revoked()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.hold.release();
    }
}
