//! Which mailbox number is which session.
//!
//! The number of a mailbox is that of its descriptor, so the table is an array
//! by descriptor. There is no lock over all of it: a slot has its own, held
//! only to take a handle on the session, and pages of slots come into being
//! when their first descriptor does, and stay.

use std::array;
use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use spread_wire::ErrorCode;

use crate::fork;
use crate::session::Session;
use crate::types::mailbox;

const PAGE: usize = 256;
const PAGES: usize = 4096;

type Slot = Mutex<Option<Arc<Session>>>;

static TABLE: [OnceLock<Box<[Slot; PAGE]>>; PAGES] = [const { OnceLock::new() }; PAGES];

/// Enters a session.
///
/// # Errors
///
/// `RejectQuota` if its descriptor is beyond the table, which has room for a
/// million: as many as Linux opens.
pub(crate) fn insert(session: Arc<Session>) -> Result<mailbox, ErrorCode> {
    let mbox = session.mailbox();
    let number = usize::try_from(mbox).map_err(|_| ErrorCode::Bug)?;
    let page = TABLE.get(number / PAGE).ok_or(ErrorCode::RejectQuota)?;
    let page = page.get_or_init(|| Box::new(array::from_fn(|_| Slot::default())));
    let slot = &page[number % PAGE];
    let former = slot.lock().unwrap_or_else(PoisonError::into_inner).replace(session);
    // Someone has closed the descriptor of the former session, and its number
    // now is that of the new one: dropping the former would close the new one.
    mem::forget(former);
    Ok(mbox)
}

/// The session of a mailbox of this process.
///
/// # Errors
///
/// `IllegalSession` for any other number.
#[inline]
pub(crate) fn get(mbox: mailbox) -> Result<Arc<Session>, ErrorCode> {
    let slot = slot(mbox)?.lock().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().filter(|session| is_ours(session)).cloned().ok_or(ErrorCode::IllegalSession)
}

/// Takes the session of a mailbox out of the table.
///
/// # Errors
///
/// `IllegalSession` if there is none.
pub(crate) fn remove(mbox: mailbox) -> Result<Arc<Session>, ErrorCode> {
    let mut slot = slot(mbox)?.lock().unwrap_or_else(PoisonError::into_inner);
    slot.take_if(|session| is_ours(session)).ok_or(ErrorCode::IllegalSession)
}

fn slot(mbox: mailbox) -> Result<&'static Slot, ErrorCode> {
    let number = usize::try_from(mbox).map_err(|_| ErrorCode::IllegalSession)?;
    let page = TABLE.get(number / PAGE).and_then(OnceLock::get);
    page.map(|page| &page[number % PAGE]).ok_or(ErrorCode::IllegalSession)
}

/// A session belongs to the process that connected it. In the child of a fork
/// it must be left alone: the socket is still the parent's.
fn is_ours(session: &Session) -> bool {
    session.generation() == fork::generation()
}
