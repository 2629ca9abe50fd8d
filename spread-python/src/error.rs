//! Errors of the client as exceptions.

use pyo3::prelude::*;
use pyo3::{create_exception, exceptions::PyException};

create_exception!(
    spread,
    SpreadError,
    PyException,
    "The error of every operation of this module.\n\n\
     args is an error constant and its message, or a message alone where Spread has no constant."
);

/// `ILLEGAL_SERVICE` of `sp.h`.
const ILLEGAL_SERVICE: i32 = -12;

/// The exception for an error, with the texts of its causes.
#[cold]
pub(crate) fn to_python(error: spread::Error) -> PyErr {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    match error.code() {
        Some(code) => SpreadError::new_err((code, text)),
        None => SpreadError::new_err(text),
    }
}

/// A service type that is not exactly one service, with or without `SELF_DISCARD`.
#[cold]
pub(crate) fn illegal_service(bits: i64) -> PyErr {
    let text =
        format!("illegal service type {bits:#x}: it is one service, or that and SELF_DISCARD");
    SpreadError::new_err((ILLEGAL_SERVICE, text))
}
