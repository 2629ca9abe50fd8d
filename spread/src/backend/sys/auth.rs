//! The list of authentication methods, of which libspread has one for the whole process.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use spread_core::{AuthStep, ConnectError, Ready, wait};
use spread_os::PerProcess;

use crate::Authenticator;

/// Who uses the list of methods: shared by connects that do not authenticate, owned by one
/// that sets methods of its own.
pub(super) static METHODS: PerProcess<Methods> = PerProcess::new();

#[derive(Debug, Default)]
pub(super) struct Methods {
    users: Mutex<Users>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Users {
    shared: usize,
    is_owned: bool,
}

/// The right to connect with the list of methods as it is, or to change it.
#[derive(Debug)]
pub(super) struct Access<'a>(&'a Methods);

impl Methods {
    /// `None` if the deadline passes before.
    pub(super) fn share(&self, deadline: Option<Instant>) -> Option<Access<'_>> {
        self.wait(deadline, |users| users.is_owned)?.shared += 1;
        Some(Access(self))
    }

    /// `None` if the deadline passes before.
    pub(super) fn own(&self, deadline: Option<Instant>) -> Option<Access<'_>> {
        self.wait(deadline, |users| users.is_owned || users.shared > 0)?.is_owned = true;
        Some(Access(self))
    }

    fn wait(
        &self,
        deadline: Option<Instant>,
        is_taken: impl Fn(&Users) -> bool,
    ) -> Option<MutexGuard<'_, Users>> {
        let mut users = self.lock();
        while is_taken(&users) {
            users = match deadline {
                None => self.changed.wait(users).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    let waited = self.changed.wait_timeout(users, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Some(users)
    }

    fn lock(&self) -> MutexGuard<'_, Users> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Access<'_> {
    fn drop(&mut self) {
        let mut users = self.0.lock();
        // Nobody shares what is owned.
        if users.is_owned {
            users.is_owned = false;
        } else {
            users.shared -= 1;
        }
        self.0.changed.notify_all();
    }
}

/// What the authentications of one connect go by; the library hands a pointer to each
/// element to [`exchange`].
pub(super) struct Exchanges<'a>(Vec<Exchange<'a>>);

struct Exchange<'a> {
    method: CString,
    authenticator: &'a dyn Authenticator,
    deadline: Option<Instant>,
    error: Option<io::Error>,
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(
        authenticators: &[&'a dyn Authenticator],
        deadline: Option<Instant>,
    ) -> Exchanges<'a> {
        let exchanges = authenticators.iter().map(|&authenticator| Exchange {
            method: CString::new(authenticator.method()).unwrap_or_default(),
            authenticator,
            deadline,
            error: None,
        });
        Exchanges(exchanges.collect())
    }

    /// Lets the next connect go through these exchanges, for as long as `self` lives and
    /// [`METHODS`] are owned.
    pub(super) fn set(&mut self) -> Result<(), ConnectError> {
        let mut names: Vec<*const c_char> = Vec::new();
        let mut functions: Vec<Option<unsafe extern "C" fn(c_int, *mut c_void) -> c_int>> =
            Vec::new();
        let mut data: Vec<*mut c_void> = Vec::new();
        for one in &mut self.0 {
            names.push(one.method.as_ptr());
            functions.push(Some(exchange));
            data.push((&raw mut *one).cast());
        }
        // SAFETY: the arrays are as long as told, and copied. Each name is terminated, and
        // each pointer leads to the element that `exchange` takes it for, which stays where
        // it is until the methods are set anew.
        let set = unsafe {
            spread_sys::SP_set_auth_methods(
                names.len() as c_int,
                names.as_mut_ptr(),
                functions.as_mut_ptr(),
                data.as_mut_ptr(),
            )
        };
        if set > 0 {
            return Ok(());
        }
        let methods: Vec<_> = self.0.iter().map(|one| one.authenticator.method()).collect();
        let source = io::Error::new(
            io::ErrorKind::InvalidInput,
            "a connect has at most 3 methods, with names of 1 to 29 bytes",
        );
        Err(ConnectError::Authentication { method: methods.join(", "), offered: None, source })
    }

    /// The exchange that an authenticator gave up.
    pub(super) fn failure(self) -> Option<(String, io::Error)> {
        let failed = self.0.into_iter().find_map(|one| Some((one.authenticator, one.error?)));
        failed.map(|(authenticator, error)| (authenticator.method().to_owned(), error))
    }
}

/// Called by the library during a connect, with a pointer to an [`Exchange`].
unsafe extern "C" fn exchange(fd: c_int, data: *mut c_void) -> c_int {
    // SAFETY: the pointer was made of an element that nobody uses meanwhile.
    let exchange = unsafe { &mut *data.cast::<Exchange<'_>>() };
    // SAFETY: the library keeps the descriptor open during the call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    // What a panic leaves half done is dropped with the connect.
    let steps = AssertUnwindSafe(|| go_through(exchange, fd));
    let result =
        catch_unwind(steps).unwrap_or_else(|_| Err(io::Error::other("the authenticator panicked")));
    exchange.error = result.err();
    c_int::from(exchange.error.is_none())
}

fn go_through(exchange: &Exchange<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    let mut steps = exchange.authenticator.begin();
    let mut received = Vec::new();
    loop {
        // A peer that answers at once could go on for ever.
        if exchange.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let next = steps.next(&received)?;
        received.clear();
        match next {
            AuthStep::Done => return Ok(()),
            AuthStep::Send(bytes) => {
                let mut sent = 0;
                while sent < bytes.len() {
                    sent += when_ready(fd, Ready::ToWrite, exchange.deadline, || {
                        let rest = &bytes[sent..];
                        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
                        // SAFETY: `rest` has the length given.
                        unsafe {
                            libc::send(fd.as_raw_fd(), rest.as_ptr().cast(), rest.len(), flags)
                        }
                    })?;
                }
            }
            AuthStep::Receive(len) => {
                while received.len() < len {
                    let mut chunk = [0; 256];
                    let most = chunk.len().min(len - received.len());
                    let count = when_ready(fd, Ready::ToRead, exchange.deadline, || {
                        let (to, flags) = (chunk.as_mut_ptr().cast(), libc::MSG_DONTWAIT);
                        // SAFETY: `chunk` is writable and has at least this length.
                        unsafe { libc::recv(fd.as_raw_fd(), to, most, flags) }
                    })?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    received.extend_from_slice(&chunk[..count]);
                }
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn when_ready(
    fd: BorrowedFd<'_>,
    ready: Ready,
    deadline: Option<Instant>,
    mut call: impl FnMut() -> isize,
) -> io::Result<usize> {
    loop {
        if !wait(fd, ready, deadline)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match usize::try_from(call()).map_err(|_| io::Error::last_os_error()) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            done => return done,
        }
    }
}

/// Lets connects exchange nothing, as at first.
pub(super) fn set_null_method() {
    unsafe extern "C" fn nothing(_: c_int, _: *mut c_void) -> c_int {
        1
    }
    // SAFETY: the name is terminated, and the function takes anything.
    unsafe { spread_sys::SP_set_auth_method(c"NULL".as_ptr(), Some(nothing), ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_turn_is_not_waited_for_beyond_the_deadline() {
        let methods = Methods::default();
        let soon = || Some(Instant::now() + Duration::from_millis(10));
        let (one, other) = (methods.share(None), methods.share(None));
        assert!(methods.own(soon()).is_none(), "two share");
        drop((one, other));
        let owned = methods.own(None);
        assert!(methods.share(soon()).is_none() && methods.own(soon()).is_none());
        drop(owned);
        assert!(methods.share(soon()).is_some());
    }
}
