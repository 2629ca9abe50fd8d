//! A group that this process has joined.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{c_int, c_uint, c_void};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr;
use std::slice;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;
use crate::error::code;
use crate::library::{Address, Functions, Model, Name, Part, RingId};

/// Bytes that a message may have, at most, to be delivered in one piece.
pub const MAX_MESSAGE: usize = 1_047_552;

/// Bytes that the name of a group may have, at most.
pub const MAX_GROUP_NAME: usize = 128;

const LIBRARY: &str = "libcpg.so.4";

/// How long to wait for a service that is busy, and has not refused.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(5);

/// A process in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The number of its host, `nodeid` in the configuration of Corosync.
    pub node: u32,
    /// The number of the process on that host.
    pub pid: u32,
}

/// Identifies a set of hosts that see each other. No other set has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ring {
    /// The host that leads it.
    pub node: u32,
    /// Grows with each ring.
    pub seq: u64,
}

/// Something that a group delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message. Longer ones than [`MAX_MESSAGE`], which other programs can send in pieces,
    /// are not told.
    Message {
        /// The process that sent it.
        from: Member,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// The members have changed.
    Members {
        /// All members now.
        members: Vec<Member>,
        /// Those that are gone.
        left: Vec<Member>,
        /// Those that are new; also one that was gone for a moment only.
        joined: Vec<Member>,
    },
    /// The hosts have changed, or this is the first event.
    Ring(Ring),
}

/// Whether a message was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be delivered, to this process, too.
    Yes,
    /// There is no room. No event tells when there is: try again after the next
    /// delivery, or after a while.
    Full,
}

/// A group that this process has joined; dropping it leaves the group.
///
/// The descriptor ([`AsFd`]) is readable when there is something to dispatch.
pub struct Group {
    functions: Functions,
    handle: u64,
    fd: c_int,
    name: Name,
    member: Member,
    /// What was told and not returned yet.
    told: VecDeque<Event>,
}

impl Group {
    /// Joins a group of the Corosync that runs on this host.
    ///
    /// Waits while Corosync is busy: with a change of its hosts, for example, for at most
    /// five seconds.
    ///
    /// # Errors
    ///
    /// [`Error::Library`] or [`Error::Symbol`] if `libcpg.so.4` is missing or another
    /// library, [`Error::GroupName`] for an empty or too long name, [`Error::NotRunning`],
    /// [`Error::Access`] if this user may not use Corosync, and [`Error::Failed`] if it
    /// refuses for another reason, or is busy for longer.
    pub fn join(name: &str) -> Result<Group, Error> {
        Group::join_by(LIBRARY, name)
    }

    /// Joins a group by a library of another name, as [`Group::join`] does.
    ///
    /// # Errors
    ///
    /// The errors of [`Group::join`].
    pub fn join_by(library: &str, name: &str) -> Result<Group, Error> {
        if name.is_empty() || name.len() > MAX_GROUP_NAME {
            return Err(Error::GroupName { len: name.len() });
        }
        let mut value = [0; MAX_GROUP_NAME];
        value[..name.len()].copy_from_slice(name.as_bytes());
        let name = Name { len: name.len() as u32, value };
        let functions = Functions::open(library)?;
        let mut handle = 0;
        const V1: c_uint = 1;
        const INITIAL_RING: c_uint = 1;
        let mut model = Model {
            model: V1,
            deliver: on_deliver,
            change: on_change,
            ring: on_ring,
            flags: INITIAL_RING,
        };
        patiently("cpg_model_initialize", || {
            // SAFETY: The pointers are valid for the call, and libcpg copies the model.
            unsafe { (functions.initialize)(&mut handle, V1, &mut model, ptr::null_mut()) }
        })?;
        let member = Member { node: 0, pid: std::process::id() };
        let mut group = Group { functions, handle, fd: -1, name, member, told: VecDeque::new() };
        // From here on dropping the group ends the handle.
        let Group { functions, fd, member, name, .. } = &mut group;
        // SAFETY: The handle is valid, and so are the pointers, for the call.
        check("cpg_fd_get", unsafe { (functions.fd_get)(handle, fd) })?;
        // SAFETY: As above.
        patiently("cpg_local_get", || unsafe { (functions.local_get)(handle, &mut member.node) })?;
        // SAFETY: As above.
        patiently("cpg_join", || unsafe { (functions.join)(handle, name) })?;
        Ok(group)
    }

    /// Returns this process as the other members see it.
    pub fn member(&self) -> Member {
        self.member
    }

    /// Sends a message to all members, this process included, in agreed order. Does not
    /// wait for room.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`] above [`MAX_MESSAGE`], [`Error::NotRunning`] if Corosync has
    /// ended, and [`Error::Failed`].
    pub fn multicast(&mut self, message: &[u8]) -> Result<Sent, Error> {
        if message.len() > MAX_MESSAGE {
            return Err(Error::TooLong { len: message.len() });
        }
        const AGREED: c_uint = 2;
        let part = Part { base: message.as_ptr().cast(), len: message.len() };
        // SAFETY: The handle is valid; the part and its bytes are for the call, which copies
        // them.
        match unsafe { (self.functions.mcast_joined)(self.handle, AGREED, &part, 1) } {
            code::OK => Ok(Sent::Yes),
            code::TRY_AGAIN => Ok(Sent::Full),
            code::TOO_BIG => Err(Error::TooLong { len: message.len() }),
            other => Err(Error::of("cpg_mcast_joined", other)),
        }
    }

    /// Returns the next event, if there is one. Takes a megabyte of stack.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if Corosync has ended, and [`Error::Failed`].
    pub fn dispatch(&mut self) -> Result<Option<Event>, Error> {
        const ONE_NONBLOCKING: c_uint = 4;
        if let Some(event) = self.told.pop_front() {
            return Ok(Some(event));
        }
        // SAFETY: The handle is valid. It calls the callbacks below, in this thread.
        let result = unsafe { (self.functions.dispatch)(self.handle, ONE_NONBLOCKING) };
        self.told.extend(TOLD.take());
        match result {
            code::OK => Ok(self.told.pop_front()),
            code::TRY_AGAIN => Ok(None),
            other => Err(Error::of("cpg_dispatch", other)),
        }
    }
}

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: The descriptor is open as long as the handle, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: The handle is valid and not used afterwards. Both fail only if Corosync has
        // ended, which ends the membership as well.
        unsafe {
            (self.functions.leave)(self.handle, &self.name);
            (self.functions.finalize)(self.handle);
        }
    }
}

/// Calls a function until Corosync is not busy.
fn patiently(function: &'static str, mut call: impl FnMut() -> c_uint) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match call() {
            code::TRY_AGAIN if Instant::now() < until => thread::sleep(RETRY),
            other => return check(function, other),
        }
    }
}

fn check(function: &'static str, result: c_uint) -> Result<(), Error> {
    match result {
        code::OK => Ok(()),
        other => Err(Error::of(function, other)),
    }
}

thread_local! {
    /// What the callbacks tell within a call of `cpg_dispatch`, which calls them in its own
    /// thread.
    static TOLD: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) };
}

/// Notes an event. It is called in [`Group::dispatch`] only, so that the thread is not
/// ending and nobody else uses the list; it does not panic in any case.
fn tell(event: Event) {
    let _ = TOLD.try_with(|told| told.try_borrow_mut().map(|mut told| told.push(event)));
}

/// `cpg_deliver_fn_t`.
///
/// # Safety
///
/// `message` has `len` bytes for the time of the call.
unsafe extern "C" fn on_deliver(
    _: u64,
    _: *const Name,
    node: u32,
    pid: u32,
    message: *mut c_void,
    len: usize,
) {
    if len > MAX_MESSAGE {
        return;
    }
    // SAFETY: As the caller promises. Nobody writes to them during the call.
    let bytes = unsafe { list::<u8>(message.cast(), len) }.to_vec();
    tell(Event::Message { from: Member { node, pid }, bytes });
}

/// `cpg_confchg_fn_t`.
///
/// # Safety
///
/// The lists have as many entries, for the time of the call.
unsafe extern "C" fn on_change(
    _: u64,
    _: *const Name,
    members: *const Address,
    num_members: usize,
    left: *const Address,
    num_left: usize,
    joined: *const Address,
    num_joined: usize,
) {
    let member = |address: &Address| Member { node: address.node, pid: address.pid };
    // SAFETY: As the caller promises.
    let (members, left, joined) =
        unsafe { (list(members, num_members), list(left, num_left), list(joined, num_joined)) };
    tell(Event::Members {
        members: members.iter().map(member).collect(),
        left: left.iter().map(member).collect(),
        joined: joined.iter().map(member).collect(),
    });
}

/// `cpg_totem_confchg_fn_t`.
unsafe extern "C" fn on_ring(_: u64, RingId { node, seq }: RingId, _: u32, _: *const u32) {
    tell(Event::Ring(Ring { node, seq }));
}

/// Returns a list of C, which may be a null pointer if it is empty.
///
/// # Safety
///
/// If `len` is not 0, `at` points to as many values, which nobody changes while the
/// list is used.
unsafe fn list<'a, T>(at: *const T, len: usize) -> &'a [T] {
    if at.is_null() || len == 0 {
        return &[];
    }
    // SAFETY: As the caller promises.
    unsafe { slice::from_raw_parts(at, len) }
}
