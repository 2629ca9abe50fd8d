//! The list of authentication methods, of which libspread has one for the whole
//! process.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::RwLock;
use std::time::Instant;

use super::{ConnectError, ConnectRequest};
use crate::auth::{AuthStream, Authenticator};

/// Held for reading by connects that use the process's list of authentication
/// methods as it is, and for writing by one that changes it.
pub(super) static METHODS: RwLock<()> = RwLock::new(());

/// What the authentications of one connect go by; the library hands a pointer to
/// each element to [`exchange`].
pub(super) struct Exchanges<'a>(Vec<Exchange<'a>>);

struct Exchange<'a> {
    method: CString,
    authenticator: &'a dyn Authenticator,
    deadline: Option<Instant>,
    error: Option<io::Error>,
}

impl<'a> Exchanges<'a> {
    pub(super) fn new(request: &ConnectRequest<'a>) -> Exchanges<'a> {
        let exchanges = request.authenticators.iter().map(|authenticator| Exchange {
            method: CString::new(authenticator.method()).unwrap_or_default(),
            authenticator: &**authenticator,
            deadline: request.deadline,
            error: None,
        });
        Exchanges(exchanges.collect())
    }

    /// Has the next connect go through these exchanges, for as long as `self`
    /// lives and [`METHODS`] is held.
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
        // SAFETY: the arrays are as long as told, and copied. Each name is
        // terminated, and each pointer leads to the element that `exchange` takes
        // it for, which stays where it is until the methods are set anew.
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
        let methods = self.0.iter().map(|one| one.authenticator.method());
        let source = io::Error::new(
            io::ErrorKind::InvalidInput,
            "a connect has at most 3 methods, with names of 1 to 29 bytes",
        );
        let method = methods.collect::<Vec<_>>().join(", ");
        Err(ConnectError::Authentication { method, source })
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
    let mut stream = AuthStream { fd, deadline: exchange.deadline };
    // What a panic leaves half done is dropped with the connect.
    let authenticate = AssertUnwindSafe(|| exchange.authenticator.authenticate(&mut stream));
    let result = catch_unwind(authenticate)
        .unwrap_or_else(|_| Err(io::Error::other("the authenticator panicked")));
    exchange.error = result.err();
    c_int::from(exchange.error.is_none())
}

/// Has connects exchange nothing, as at first.
pub(super) fn set_null_method() {
    unsafe extern "C" fn nothing(_: c_int, _: *mut c_void) -> c_int {
        1
    }
    // SAFETY: the name is terminated, and the function takes anything.
    unsafe { spread_sys::SP_set_auth_method(c"NULL".as_ptr(), Some(nothing), ptr::null_mut()) };
}
