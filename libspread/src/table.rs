//! Which mailbox number is which session.
//!
//! The number of a mailbox is that of its descriptor, so the table is an array by
//! descriptor. There is no lock over all of it: each number has its own, held only to take
//! a handle on the session, and pages of numbers come into being when their first
//! descriptor does, and stay.
//!
//! The child of a fork has locks of its own, since a thread of the parent may have held one
//! at the fork, and takes over each session when it first uses it.

use std::array;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use spread_os::PerProcess;
use spread_wire::ErrorCode;

use crate::session::Session;
use crate::types::mailbox;

const PAGE: usize = 256;
const PAGES: usize = 4096;

struct Page {
    /// A session here is one handle on it, from `Arc::into_raw`. Changed with the lock only.
    sessions: [AtomicPtr<Session>; PAGE],
    locks: PerProcess<[Mutex<()>; PAGE]>,
}

/// The pages, each null until it is needed.
static TABLE: [AtomicPtr<Page>; PAGES] = [const { AtomicPtr::new(ptr::null_mut()) }; PAGES];

/// An entry of the table, locked.
struct Slot {
    session: &'static AtomicPtr<Session>,
    _lock: MutexGuard<'static, ()>,
}

impl Slot {
    /// Locks the entry of a number; `None` if its page does not exist.
    #[inline]
    fn of(mbox: mailbox) -> Option<Slot> {
        let number = usize::try_from(mbox).ok()?;
        let page = TABLE.get(number / PAGE)?.load(Ordering::Acquire);
        // SAFETY: it is null or was leaked by `page`.
        unsafe { page.as_ref() }.map(|page| Slot::lock(page, number))
    }

    #[inline]
    fn lock(page: &'static Page, number: usize) -> Slot {
        let locks = page.locks.get(|| array::from_fn(|_| Mutex::default()));
        let number = number % PAGE;
        let lock = locks[number].lock().unwrap_or_else(PoisonError::into_inner);
        Slot { session: &page.sessions[number], _lock: lock }
    }

    /// Returns the session. In the child of a fork, takes it over from the parent first.
    #[inline]
    fn session(&self) -> Option<&Session> {
        let session = self.session.load(Ordering::Acquire);
        // SAFETY: it is null, or the table has a handle on it, and keeps that for as long as
        // this slot is locked.
        let session = unsafe { session.as_ref() }?;
        if session.is_of_parent() {
            // The handle on the parent's session is not dropped.
            self.put(Arc::new(session.in_child()));
            return self.session();
        }
        Some(session)
    }

    fn put(&self, session: Arc<Session>) {
        self.session.store(Arc::into_raw(session).cast_mut(), Ordering::Release);
    }

    /// Removes the session and returns the table's handle on it.
    fn take(self) -> Option<Arc<Session>> {
        self.session()?;
        let session = self.session.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: it is not null, so it is a handle of the table, which does not have it any
        // more.
        Some(unsafe { Arc::from_raw(session) })
    }
}

/// Enters a session.
///
/// # Errors
///
/// `RejectQuota` if its descriptor is beyond the table, which has room for a
/// million: as many as Linux opens.
pub(crate) fn insert(session: Session) -> Result<mailbox, ErrorCode> {
    let mbox = session.mailbox();
    let number = usize::try_from(mbox).map_err(|_| ErrorCode::Bug)?;
    let page = page(TABLE.get(number / PAGE).ok_or(ErrorCode::RejectQuota)?);
    let slot = Slot::lock(page, number);
    // Someone has closed the descriptor of the former session, and its number
    // now is that of the new one: dropping the former would close the new one.
    let former = slot.session.load(Ordering::Acquire);
    // SAFETY: it is null, or the table has a handle on it, which is never dropped.
    if let Some(former) = unsafe { former.as_ref() }
        && !former.is_of_parent()
    {
        former.abandon();
    }
    slot.put(Arc::new(session));
    Ok(mbox)
}

/// The session of a mailbox.
///
/// # Errors
///
/// `IllegalSession` for any other number.
#[inline]
pub(crate) fn get(mbox: mailbox) -> Result<Arc<Session>, ErrorCode> {
    let slot = Slot::of(mbox).ok_or(ErrorCode::IllegalSession)?;
    let session = ptr::from_ref(slot.session().ok_or(ErrorCode::IllegalSession)?);
    // SAFETY: the table has a handle on it, and keeps that until the slot is unlocked; this
    // makes another one.
    unsafe {
        Arc::increment_strong_count(session);
        Ok(Arc::from_raw(session))
    }
}

/// Takes the session of a mailbox out of the table: no call gets a handle on it any more.
///
/// # Errors
///
/// `IllegalSession` if there is none.
pub(crate) fn remove(mbox: mailbox) -> Result<Arc<Session>, ErrorCode> {
    Slot::of(mbox).and_then(Slot::take).ok_or(ErrorCode::IllegalSession)
}

/// Ends a session and takes it out of the table, unless another thread has.
pub(crate) fn discard(session: &Session) {
    let slot = Slot::of(session.mailbox());
    let is_there = |slot: &Slot| ptr::eq(slot.session.load(Ordering::Acquire), session);
    if let Some(session) = slot.filter(is_there).and_then(Slot::take) {
        session.kill();
    }
}

fn page(page: &'static AtomicPtr<Page>) -> &'static Page {
    let found = page.load(Ordering::Acquire);
    // SAFETY: it is null or was leaked below.
    if let Some(found) = unsafe { found.as_ref() } {
        return found;
    }
    let sessions = array::from_fn(|_| AtomicPtr::new(ptr::null_mut()));
    let new = Box::into_raw(Box::new(Page { sessions, locks: PerProcess::new() }));
    match page.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: it comes from a box, and is never freed from here on.
        Ok(_) => unsafe { &*new },
        Err(other) => {
            // SAFETY: it was not published, so this is its only pointer.
            drop(unsafe { Box::from_raw(new) });
            // SAFETY: another thread has leaked it.
            unsafe { &*other }
        }
    }
}
