//! How clients authenticate: the methods that connects of the process use.

use std::ffi::{c_char, c_int, c_void};
use std::slice;

use spread_wire::ErrorCode;
use spread_wire::handshake::AUTH_METHODS;

use crate::auth::{self, Method};
use crate::convert::c_bytes;
use crate::types::auth_function;
use crate::wait::code;

/// Sets the method by which later connects of the process authenticate. Returns
/// 1, or 0 and changes nothing if the name is longer than 29 bytes or no text,
/// or the function null.
///
/// During a connect, `auth_function` is called with the descriptor, on which
/// reads and writes block, and with `auth_data`. It does the client's part of
/// the exchange, and returns 0 to give up: the connect then returns
/// `REJECT_AUTH`. The timeout of the connect does not interrupt it.
///
/// Before the first call the method is `NULL`, which exchanges nothing.
///
/// # Safety
///
/// `auth_name` is null or ends in a zero. `auth_function` can be called with
/// `auth_data` from every thread that connects, until other methods are set and
/// the connects that began before have returned.
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_set_auth_method(
    auth_name: *const c_char,
    auth_function: Option<auth_function>,
    auth_data: *mut c_void,
) -> c_int {
    let set = code(|| {
        // SAFETY: as the caller promises.
        let method = unsafe { method(auth_name, auth_function, auth_data)? };
        auth::set(vec![method]);
        Ok(1)
    });
    c_int::from(set == 1)
}

/// As [`SP_set_auth_method`], for up to 3 methods, all of which a connect goes
/// through, one after the other. Returns 1, or 0 and changes nothing.
///
/// # Safety
///
/// Each array is null or as long as `num_methods`; for what is in them
/// see [`SP_set_auth_method`].
#[cfg_attr(feature = "capi", unsafe(no_mangle))]
pub unsafe extern "C" fn SP_set_auth_methods(
    num_methods: c_int,
    auth_name: *mut *const c_char,
    auth_function: *mut Option<auth_function>,
    auth_data: *mut *mut c_void,
) -> c_int {
    let set = code(|| {
        let count = usize::try_from(num_methods).map_err(|_| ErrorCode::IllegalMessage)?;
        let is_null = auth_name.is_null() || auth_function.is_null() || auth_data.is_null();
        if count > AUTH_METHODS || (is_null && count > 0) {
            return Err(ErrorCode::IllegalMessage);
        }
        let mut methods = Vec::with_capacity(count);
        if count > 0 {
            // SAFETY: none is null, so each has so many elements.
            let (names, functions, data) = unsafe {
                (
                    slice::from_raw_parts(auth_name, count),
                    slice::from_raw_parts(auth_function, count),
                    slice::from_raw_parts(auth_data, count),
                )
            };
            for ((name, function), data) in names.iter().zip(functions).zip(data) {
                // SAFETY: as the caller promises.
                methods.push(unsafe { method(*name, *function, *data)? });
            }
        }
        auth::set(methods);
        Ok(1)
    });
    c_int::from(set == 1)
}

/// # Safety
///
/// As for [`SP_set_auth_method`].
unsafe fn method(
    name: *const c_char,
    function: Option<auth_function>,
    data: *mut c_void,
) -> Result<Method, ErrorCode> {
    // SAFETY: as the caller promises.
    let name = unsafe { c_bytes(name) };
    let function = function.ok_or(ErrorCode::IllegalMessage)?;
    // SAFETY: as the caller promises.
    unsafe { Method::new(name, function, data) }.ok_or(ErrorCode::IllegalMessage)
}
