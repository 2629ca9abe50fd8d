//! The only unsafe code of the crate: calls of libspread and of the system,
//! behind types that cannot be used wrongly.
//!
//! What libspread leaves to its callers is done here: names are terminated and
//! within bounds, the input flag in `service_type` is cleared, the buffers are
//! as long as their lengths say, results are looked at before anything is read,
//! and a mailbox number lives exactly as long as its [`RawMailbox`].

mod auth;
mod socket;

use std::ffi::{CStr, c_char, c_int};
use std::io::{self, IoSlice};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once, PoisonError};
use std::time::{Duration, Instant};

use spread_sys::{SP_connect_timeout, mailbox, sp_time};
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, HEADER_LEN, Header, Limits, Name, ServiceType};
#[cfg(feature = "tokio")]
use tokio::io::unix::AsyncFd;

#[cfg(feature = "tokio")]
use crate::asynchronous::Held;
use crate::auth::Authenticator;
use auth::{Exchanges, METHODS, set_null_method};
use socket::{is_transient, poll};
pub(crate) use socket::{read_by, wait_until, write_by};

/// How long a disconnect waits for the daemon at most.
const LINGER: Duration = Duration::from_secs(1);

/// Pieces that one message can be sent in.
pub(crate) const MAX_PIECES: usize = spread_sys::MAX_CLIENT_SCATTER_ELEMENTS as usize;

const ACCEPTED: c_int = spread_sys::ACCEPT_SESSION as c_int;

/// The result of a call: a code is negative.
type Result<T, E = Code> = std::result::Result<T, E>;

/// A negative result of libspread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) c_int);

impl From<Code> for ReceiveError {
    fn from(code: Code) -> ReceiveError {
        ReceiveError::Code(code)
    }
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Code {
        Code(code.code())
    }
}

impl Code {
    /// The code, if it is one that `sp.h` knows.
    pub(crate) fn known(self) -> Option<ErrorCode> {
        // Where `char` is unsigned, the C library hands on the bytes of the
        // handshake as positive numbers.
        let code = if (128..256).contains(&self.0) { self.0 - 256 } else { self.0 };
        ErrorCode::from_code(code)
    }
}

fn check(result: c_int) -> Result<usize> {
    usize::try_from(result).map_err(|_| Code(result))
}

/// What to connect to, and as whom.
#[derive(Debug)]
pub(crate) struct ConnectRequest<'a> {
    pub(crate) address: &'a CStr,
    pub(crate) private_name: &'a CStr,
    pub(crate) priority: bool,
    pub(crate) membership: bool,
    /// Without one it waits without end.
    pub(crate) deadline: Option<Instant>,
    pub(crate) authenticators: &'a [Arc<dyn Authenticator>],
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Code(Code),
    /// An authenticator gave up.
    Authentication {
        method: String,
        source: io::Error,
    },
}

/// The version of the library in use.
pub(crate) fn version() -> Option<(u32, u32, u32)> {
    let (mut major, mut minor, mut patch) = (0, 0, 0);
    // SAFETY: the three pointers are to integers that live through the call.
    let ok = unsafe { spread_sys::SP_version(&mut major, &mut minor, &mut patch) };
    let number = |n: c_int| u32::try_from(n).ok();
    (ok > 0).then_some((number(major)?, number(minor)?, number(patch)?))
}

/// A mailbox of libspread, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct RawMailbox {
    mbox: mailbox,
    /// The process that connected it, as [`fork_count`] tells it.
    process: u32,
    /// Dropped where it may block, though in a runtime of tokio.
    #[cfg(feature = "tokio")]
    may_block: bool,
}

/// How many forks lie between the first process and this one.
///
/// A child of fork(2) shares the parent's sockets, and libspread's state in it is
/// a copy that nobody holds: it must leave the parent's mailboxes alone.
fn fork_count() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    static REGISTERED: Once = Once::new();
    extern "C" fn in_child() {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
    REGISTERED.call_once(|| {
        // SAFETY: the handler does nothing but count, which is safe at any time.
        // It fails only without memory; then forks go unnoticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    COUNT.load(Ordering::Relaxed)
}

/// What `SP_receive` tells about a message besides its groups and its body.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) service_type: ServiceType,
    pub(crate) sender: Name,
    pub(crate) message_type: i16,
    pub(crate) endian_mismatch: bool,
}

/// Memory for the groups and the body of a message, kept from one to the next.
#[derive(Debug)]
pub(crate) struct Buffers {
    groups: Vec<[u8; NAME_FIELD]>,
    num_groups: usize,
    body: Vec<u8>,
}

/// What is there to be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A whole message, or the end: a receive does not wait.
    Message,
    /// A part of a message, which keeps the descriptor readable.
    Part {
        /// Bytes of it.
        queued: usize,
    },
    /// Nothing that keeps the descriptor readable.
    Nothing,
}

/// Room to send a message.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Enough,
    /// The descriptor is writable all the same: that is to have a third of the
    /// buffer free, which is too little for the largest messages.
    Some,
    None,
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readable {
    pub(crate) mailbox: bool,
    pub(crate) wake: bool,
}

/// Why nothing was received.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    Code(Code),
    /// The message has more bytes than any that a daemon sends.
    TooLong(usize),
}

impl RawMailbox {
    /// Connects; returns the mailbox and its private group.
    pub(crate) fn connect(
        request: &ConnectRequest<'_>,
    ) -> Result<(RawMailbox, Name), ConnectError> {
        let mut exchanges = Exchanges::new(request);
        // The library has one list of methods for the whole process.
        let _reading;
        let _writing;
        if request.authenticators.is_empty() {
            _reading = METHODS.read().unwrap_or_else(PoisonError::into_inner);
        } else {
            _writing = METHODS.write().unwrap_or_else(PoisonError::into_inner);
            exchanges.set()?;
        }
        let result = RawMailbox::connect_with_methods(request);
        if !request.authenticators.is_empty() {
            set_null_method();
        }
        match exchanges.failure() {
            Some((method, source)) if result.is_err() => {
                Err(ConnectError::Authentication { method, source })
            }
            _ => result.map_err(ConnectError::Code),
        }
    }

    fn connect_with_methods(request: &ConnectRequest<'_>) -> Result<(RawMailbox, Name)> {
        let mut mbox: mailbox = -1;
        // One byte more than a name takes, so that it ends whatever comes.
        let mut private_group: [c_char; NAME_FIELD + 1] = [0; NAME_FIELD + 1];
        let left = request.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        // SAFETY: both strings are terminated, `mbox` and `private_group` are
        // writable and the latter holds MAX_GROUP_NAME bytes. The methods set are
        // those of this connect, which lives through the call.
        let result = unsafe {
            SP_connect_timeout(
                request.address.as_ptr(),
                request.private_name.as_ptr(),
                c_int::from(request.priority),
                c_int::from(request.membership),
                &mut mbox,
                private_group.as_mut_ptr(),
                left.map_or(sp_time { sec: 0, usec: 0 }, time),
            )
        };
        if result != ACCEPTED || mbox < 0 {
            return Err(Code(result));
        }
        let raw = RawMailbox {
            mbox,
            process: fork_count(),
            #[cfg(feature = "tokio")]
            may_block: false,
        };
        raw.close_on_exec();
        let mut field = [0; NAME_FIELD];
        for (byte, &c) in field.iter_mut().zip(&private_group) {
            *byte = c as u8;
        }
        Ok((raw, Name::from_field(field)))
    }

    fn close_on_exec(&self) {
        // SAFETY: takes no pointer; the descriptor is open.
        unsafe { libc::fcntl(self.mbox, libc::F_SETFD, libc::FD_CLOEXEC) };
    }

    pub(crate) fn join(&self, group: Name) -> Result<()> {
        let group = terminated(group);
        // SAFETY: the name is terminated.
        check(unsafe { spread_sys::SP_join(self.mbox, group.as_ptr()) }).map(|_| ())
    }

    pub(crate) fn leave(&self, group: Name) -> Result<()> {
        let group = terminated(group);
        // SAFETY: the name is terminated.
        check(unsafe { spread_sys::SP_leave(self.mbox, group.as_ptr()) }).map(|_| ())
    }

    /// Sends `body`, piece by piece one message, to `groups`, all within the limits
    /// of Spread.
    pub(crate) fn multicast(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<usize> {
        let len: usize = body.iter().map(|piece| piece.len()).sum();
        if groups.len() > MAX_GROUPS || len > MAX_BODY_AND_GROUPS {
            return Err(ErrorCode::MessageTooLong.into());
        }
        let mut fields = [[0; NAME_FIELD]; MAX_GROUPS];
        for (field, group) in fields.iter_mut().zip(groups) {
            *field = terminated(*group);
        }
        let (count, groups) = (groups.len() as c_int, fields.as_ptr());
        let flags = service_type.bits() as c_int;
        if let [body] = body {
            // SAFETY: `fields` holds at least as many terminated names as told,
            // `body` has the length given, and the library keeps neither.
            return check(unsafe {
                spread_sys::SP_multigroup_multicast(
                    self.mbox,
                    flags,
                    count,
                    groups,
                    message_type,
                    body.len() as c_int,
                    body.as_ptr().cast(),
                )
            });
        }
        let scatter = scatter(body);
        // SAFETY: as above; `scatter` holds the pieces of `body`, which the library
        // only reads.
        check(unsafe {
            spread_sys::SP_multigroup_scat_multicast(
                self.mbox,
                flags,
                count,
                groups,
                message_type,
                &scatter,
            )
        })
    }

    /// Sends the first of some multicasts that are encoded one after the other, as
    /// many as there is room for; returns how many bytes they have. `None` if the
    /// library cannot.
    pub(crate) fn multicast_frames(&self, frames: &mut [u8]) -> Option<Result<usize>> {
        spread_sys::multicast_frames(self.mbox, frames).map(check)
    }

    /// Whether something can be sent, or sending would fail.
    pub(crate) fn is_writable(&self) -> io::Result<bool> {
        let [writable] = poll([(self.mbox, libc::POLLOUT)], Some(Instant::now()))?;
        Ok(writable)
    }

    /// Waits for a message, and lets `buffers` grow until it fits.
    pub(crate) fn receive(&self, buffers: &mut Buffers) -> Result<Received, ReceiveError> {
        loop {
            // In: no flags; a left-over DROP_RECV would cut messages short.
            let mut service_type: spread_sys::service = 0;
            let mut sender: [c_char; NAME_FIELD] = [0; NAME_FIELD];
            let mut num_groups: c_int = 0;
            let mut message_type: i16 = 0;
            let mut endian_mismatch: c_int = 0;
            // SAFETY: every pointer is to memory that is writable and lives
            // through the call; `groups` has room for as many names, and `body`
            // for as many bytes, as the two lengths say.
            let result = unsafe {
                spread_sys::SP_receive(
                    self.mbox,
                    &mut service_type,
                    sender.as_mut_ptr(),
                    buffers.groups.len() as c_int,
                    &mut num_groups,
                    buffers.groups.as_mut_ptr().cast(),
                    &mut message_type,
                    &mut endian_mismatch,
                    buffers.body.capacity() as c_int,
                    buffers.body.as_mut_ptr().cast(),
                )
            };
            match check(result) {
                Ok(len) => {
                    let count = usize::try_from(num_groups).unwrap_or(usize::MAX);
                    if len > buffers.body.capacity() || count > buffers.groups.len() {
                        return Err(Code::from(ErrorCode::Bug).into());
                    }
                    // SAFETY: the library has written `len` bytes, and they are
                    // within the capacity.
                    unsafe { buffers.body.set_len(len) };
                    buffers.num_groups = count;
                    return Ok(Received {
                        service_type: ServiceType::from_bits_retain(service_type as u32),
                        sender: Name::from_field(sender.map(|c| c as u8)),
                        message_type,
                        endian_mismatch: endian_mismatch != 0,
                    });
                }
                Err(code) => match code.known() {
                    // Both sizes are told with either code, as a negative
                    // number; zero means that this one would do.
                    Some(ErrorCode::GroupsTooShort | ErrorCode::BufferTooShort) => {
                        buffers.grow(num_groups, endian_mismatch)?;
                    }
                    _ => return Err(ReceiveError::Code(code)),
                },
            }
        }
    }

    /// Waits until the descriptor is readable or its peer is gone, or until
    /// `wake` is readable; says which. Neither: the deadline has passed. Without
    /// a deadline it waits without end.
    pub(crate) fn wait_readable(
        &self,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Readable> {
        self.wait(libc::POLLIN, wake, deadline)
    }

    /// As [`wait_readable`](Self::wait_readable), but waits for the peer to send
    /// no more.
    pub(crate) fn wait_hangup(
        &self,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Readable> {
        self.wait(libc::POLLRDHUP, wake, deadline)
    }

    fn wait(
        &self,
        events: i16,
        wake: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> io::Result<Readable> {
        let wake = wake.map_or(-1, |fd| fd.as_raw_fd());
        let [mailbox, wake] = poll([(self.mbox, events), (wake, libc::POLLIN)], deadline)?;
        Ok(Readable { mailbox, wake })
    }

    /// What is there to be received.
    pub(crate) fn arrival(&self) -> io::Result<Arrival> {
        match spread_sys::message_ready(self.mbox) {
            Some(0) => Ok(Arrival::Nothing),
            // An error is for the receive to report.
            Some(_) => Ok(Arrival::Message),
            None => self.peek_arrival(),
        }
    }

    /// The C library does not tell, but it leaves a message in the kernel's queue
    /// until it is asked for it, so the queue begins with a header.
    fn peek_arrival(&self) -> io::Result<Arrival> {
        let mut head = [0; HEADER_LEN];
        let len = match self.recv(&mut head, libc::MSG_PEEK | libc::MSG_DONTWAIT) {
            // The end of the stream.
            Ok(0) => return Ok(Arrival::Message),
            Ok(len) => len,
            Err(error) if is_transient(&error) => return Ok(Arrival::Nothing),
            // For the library to report.
            Err(_) => return Ok(Arrival::Message),
        };
        let whole = match Header::decode(&head, Limits::FROM_DAEMON) {
            _ if len < HEADER_LEN => usize::MAX,
            Ok(header) => header.frame_len(),
            Err(_) => return Ok(Arrival::Message),
        };
        let queued = self.queued()?;
        if queued >= whole || self.is_half_closed()? {
            return Ok(Arrival::Message);
        }
        Ok(Arrival::Part { queued })
    }

    fn is_half_closed(&self) -> io::Result<bool> {
        Ok(self.wait_hangup(None, Some(Instant::now()))?.mailbox)
    }

    fn queued(&self) -> io::Result<usize> {
        let mut queued: c_int = 0;
        // SAFETY: FIONREAD writes one int.
        match unsafe { libc::ioctl(self.mbox, libc::FIONREAD, &mut queued) } {
            0 => Ok(usize::try_from(queued).unwrap_or(0)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether a message of so many bytes can be sent without waiting, as far as
    /// one can tell.
    #[cfg(feature = "tokio")]
    pub(crate) fn room(&self, len: usize) -> io::Result<Room> {
        // Without events to wait for, poll(2) tells of the end of a connection only.
        let [writable, ended] =
            poll([(self.mbox, libc::POLLOUT), (self.mbox, 0)], Some(Instant::now()))?;
        if !writable {
            return Ok(Room::None);
        }
        if ended {
            // Sending fails at once, however full the buffer.
            return Ok(Room::Enough);
        }
        let mut waiting: c_int = 0;
        // SAFETY: TIOCOUTQ writes one int.
        if unsafe { libc::ioctl(self.mbox, libc::TIOCOUTQ, &mut waiting) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let waiting = usize::try_from(waiting).unwrap_or(0);
        let buffer = socket2::SockRef::from(self).send_buffer_size()?;
        // The kernel counts more than the bytes. If nothing waits, there will not
        // be more room than there is.
        let enough = waiting == 0 || waiting + len + len / 4 + 4096 <= buffer;
        Ok(if enough { Room::Enough } else { Room::Some })
    }

    /// Ends the session and waits, up to [`LINGER`], for the daemon to do the
    /// same: so that all that was sent before arrives.
    ///
    /// `SP_disconnect` closes at once. With messages still unread that resets a
    /// TCP connection, and the daemon never sees what was on its way.
    pub(crate) fn disconnect(self) -> io::Result<()> {
        let result = self.linger();
        self.kill();
        result
    }

    fn linger(&self) -> io::Result<()> {
        let deadline = Instant::now() + LINGER;
        // SAFETY: takes no pointer; the descriptor is open.
        if unsafe { libc::shutdown(self.mbox, libc::SHUT_WR) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut unread = [0; 16 * 1024];
        loop {
            if !self.wait_readable(None, Some(deadline))?.mailbox {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.recv(&mut unread, libc::MSG_DONTWAIT) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn recv(&self, buffer: &mut [u8], flags: c_int) -> io::Result<usize> {
        // SAFETY: `buffer` is writable and has the length given.
        let len = unsafe { libc::recv(self.mbox, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }

    /// Ends the connection both ways: whoever waits in it wakes up.
    pub(crate) fn shut_down(&self) {
        // SAFETY: takes no pointer; the descriptor is open. It fails only if the
        // daemon has ended the connection already.
        unsafe { libc::shutdown(self.mbox, libc::SHUT_RDWR) };
    }

    /// Whether this process has connected the mailbox, and not its parent.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == fork_count()
    }

    /// To be called once, as the last thing done with the mailbox.
    fn close(&self) {
        if self.is_ours() {
            // SAFETY: takes no pointer; the mailbox is not used again.
            unsafe { spread_sys::SP_kill(self.mbox) };
        } else {
            // SAFETY: as above; the parent has a descriptor of its own.
            unsafe { libc::close(self.mbox) };
        }
    }

    /// Closes without a word.
    pub(crate) fn kill(self) {
        ManuallyDrop::new(self).close();
    }
}

impl Drop for RawMailbox {
    fn drop(&mut self) {
        #[cfg(feature = "tokio")]
        if !self.may_block
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let this = RawMailbox { may_block: true, ..*self };
            runtime.spawn_blocking(move || drop(this));
            return;
        }
        if self.is_ours() {
            // There is nobody to tell that the daemon was gone already.
            let _ = self.linger();
        }
        self.close();
    }
}

impl AsFd for RawMailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the mailbox is an open descriptor as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.mbox) }
    }
}

impl AsRawFd for RawMailbox {
    fn as_raw_fd(&self) -> RawFd {
        self.mbox
    }
}

impl Buffers {
    pub(crate) fn new(groups: usize, body: usize) -> Buffers {
        Buffers {
            groups: vec![[0; NAME_FIELD]; groups],
            num_groups: 0,
            body: Vec::with_capacity(body),
        }
    }

    /// The groups and the body of the last message.
    pub(crate) fn parts(&mut self) -> (&[[u8; NAME_FIELD]], &mut Vec<u8>) {
        (&self.groups[..self.num_groups], &mut self.body)
    }

    /// Makes room for what `SP_receive` said it needs, as negative numbers.
    fn grow(&mut self, num_groups: c_int, endian_mismatch: c_int) -> Result<(), ReceiveError> {
        let needed = |n: c_int| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX);
        let groups = if num_groups < 0 { needed(num_groups) } else { 0 };
        let body = if endian_mismatch < 0 { needed(endian_mismatch) } else { 0 };
        let Limits { groups: max_groups, data: max_body, .. } = Limits::FROM_DAEMON;
        if groups > max_groups || body > max_body {
            return Err(ReceiveError::TooLong(groups.saturating_mul(NAME_FIELD).max(body)));
        }
        if groups <= self.groups.len() && body <= self.body.capacity() {
            // Nothing to grow: asking again would go on for ever.
            return Err(Code::from(ErrorCode::Bug).into());
        }
        if groups > self.groups.len() {
            self.groups.resize(groups, [0; NAME_FIELD]);
        }
        self.body.clear();
        self.body.reserve(body);
        Ok(())
    }
}

/// The pieces that are not empty: the C library takes an empty one for the end of
/// the connection. The caller has seen to it that there are not too many.
fn scatter(pieces: &[IoSlice<'_>]) -> spread_sys::scatter {
    let none = spread_sys::scat_element { buf: ptr::null_mut(), len: 0 };
    let mut scatter = spread_sys::scatter { num_elements: 0, elements: [none; MAX_PIECES] };
    let pieces = pieces.iter().filter(|piece| !piece.is_empty());
    for (element, piece) in scatter.elements.iter_mut().zip(pieces) {
        *element =
            spread_sys::scat_element { buf: piece.as_ptr().cast_mut().cast(), len: piece.len() };
        scatter.num_elements += 1;
    }
    scatter
}

/// The name as a C string in a field, with nothing behind it.
fn terminated(name: Name) -> [c_char; NAME_FIELD] {
    let mut field = [0; NAME_FIELD];
    for (c, &byte) in field.iter_mut().zip(name.as_bytes()) {
        *c = byte as c_char;
    }
    field
}

fn time(duration: Duration) -> sp_time {
    // A `long` has 32 bits somewhere; nobody waits for longer than that.
    let sec = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    // Zero would mean without end, so it becomes 1 us.
    let usec = if sec == 0 { duration.subsec_micros().max(1) } else { duration.subsec_micros() };
    sp_time { sec: sec.into(), usec: usec as _ }
}

/// Has a runtime of tokio watch a mailbox.
#[cfg(feature = "tokio")]
pub(crate) fn register(connection: Held) -> io::Result<AsyncFd<Held>> {
    // SAFETY: the connection keeps its mailbox, and so the descriptor, open until
    // it is dropped, and the number stays the same.
    unsafe { AsyncFd::register(connection) }.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_known_by_its_byte_whatever_the_sign_of_a_char() {
        for code in -20..=1 {
            let byte = code & 0xff;
            assert_eq!(Code(byte).known(), Code(code).known(), "{code}");
        }
        assert_eq!(Code(0xfa).known(), Some(ErrorCode::RejectNotUnique));
    }
}
