//! The authentication methods that an application has set for its connects.

use std::ffi::{c_int, c_void};
use std::mem;
use std::sync::{Mutex, PoisonError};

use spread_wire::handshake::AUTH_NAME;

use crate::types::auth_function;

/// A method of the application.
#[derive(Clone)]
pub(crate) struct Method {
    pub(crate) name: String,
    pub(crate) exchange: Exchange,
}

/// How the application does its part of a method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    /// The thread may be cancelled in it, which unwinds.
    function: unsafe extern "C-unwind" fn(c_int, *mut c_void) -> c_int,
    data: *mut c_void,
}

// SAFETY: the library does not look at the data; whoever sets a method promises
// that every thread may call the function with it.
unsafe impl Send for Exchange {}

impl Method {
    /// Returns `None` if the name cannot be that of a method.
    ///
    /// # Safety
    ///
    /// `function` can be called with `data` from every thread, for as long as
    /// the method is set or a connect that began meanwhile goes on.
    pub(crate) unsafe fn new(
        name: &[u8],
        function: auth_function,
        data: *mut c_void,
    ) -> Option<Method> {
        let name = str::from_utf8(name).ok().filter(|name| name.len() < AUTH_NAME)?;
        // SAFETY: both are functions in C, with the same arguments; only what the caller
        // expects of an unwind is different.
        let function = unsafe {
            mem::transmute::<
                unsafe extern "C" fn(c_int, *mut c_void) -> c_int,
                unsafe extern "C-unwind" fn(c_int, *mut c_void) -> c_int,
            >(function)
        };
        Some(Method { name: name.to_owned(), exchange: Exchange { function, data } })
    }
}

impl Exchange {
    /// Does the client's part of the method; returns 0 if it gives up. Nothing of the caller
    /// may have a destructor: the thread may be cancelled.
    pub(crate) fn call(self, fd: c_int) -> c_int {
        // SAFETY: the method is set, or was when this connect began.
        unsafe { (self.function)(fd, self.data) }
    }
}

/// `None` as long as the application has set nothing.
static METHODS: Mutex<Option<Vec<Method>>> = Mutex::new(None);

/// Sets the methods of later connects.
pub(crate) fn set(methods: Vec<Method>) {
    *METHODS.lock().unwrap_or_else(PoisonError::into_inner) = Some(methods);
}

/// The methods for a connect that begins now; `None` if the application has not set any.
pub(crate) fn methods() -> Option<Vec<Method>> {
    METHODS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
