//! The authentication methods that an application has set for its connects.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};

use spread_wire::handshake::{AUTH_NAME, AUTH_NULL};

use crate::types::auth_function;

/// A method, and how the application does its part of it.
#[derive(Clone)]
pub(crate) struct Method {
    name: String,
    exchange: Option<Exchange>,
}

#[derive(Clone, Copy)]
struct Exchange {
    function: auth_function,
    data: *mut c_void,
}

// SAFETY: the library does not look at the data; whoever sets a method promises
// that every thread may call the function with it.
unsafe impl Send for Exchange {}

impl Method {
    /// A method of the application; `None` if it cannot be one's name.
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
        Some(Method { name: name.to_owned(), exchange: Some(Exchange { function, data }) })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Does the client's part; `false` if it gives up.
    pub(crate) fn exchange(&self, fd: BorrowedFd<'_>) -> bool {
        self.exchange.is_none_or(|Exchange { function, data }| {
            // SAFETY: the method is set, or was when this connect began.
            unsafe { function(fd.as_raw_fd(), data) != 0 }
        })
    }
}

/// `None` as long as the application has set nothing.
static METHODS: Mutex<Option<Vec<Method>>> = Mutex::new(None);

/// Has later connects use these methods.
pub(crate) fn set(methods: Vec<Method>) {
    *METHODS.lock().unwrap_or_else(PoisonError::into_inner) = Some(methods);
}

/// The methods for a connect that begins now.
pub(crate) fn methods() -> Vec<Method> {
    let methods = METHODS.lock().unwrap_or_else(PoisonError::into_inner);
    let without = || vec![Method { name: AUTH_NULL.to_owned(), exchange: None }];
    methods.clone().unwrap_or_else(without)
}
