//! Arguments from Python.

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PySequence, PyString};
use spread::{SendOptions, Service, ServiceType};

use crate::error::illegal_service;

/// A text, or its bytes as the Python 3 port of the C module takes them.
pub(crate) fn text(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let bytes = name(argument, value)?;
    // No address or name has such bytes: what does not fit is refused where it is used.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A text that is used as it is, or its bytes.
pub(crate) fn utf8(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    String::from_utf8(name(argument, value)?)
        .map_err(|_| PyValueError::new_err(format!("{argument} is not UTF-8")))
}

/// The name of a group. Which bytes it may have, the client checks.
pub(crate) fn name(argument: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(text) = value.cast::<PyString>() {
        Ok(text.to_cow()?.as_bytes().to_vec())
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        Ok(bytes.as_bytes().to_vec())
    } else {
        let text = format!("{argument} must be str or bytes, not {}", value.get_type().name()?);
        Err(PyTypeError::new_err(text))
    }
}

/// The names of groups: a tuple, or another sequence that is not itself a name.
pub(crate) fn names(value: &Bound<'_, PyAny>) -> PyResult<Vec<Vec<u8>>> {
    let is_name = value.is_instance_of::<PyString>() || value.is_instance_of::<PyBytes>();
    match value.cast::<PySequence>() {
        Ok(groups) if !is_name => {
            groups.try_iter()?.map(|group| name("a group", &group?)).collect()
        }
        _ => {
            let kind = value.get_type().name()?;
            let text = format!("groups must be a tuple of names, not {kind}");
            Err(PyTypeError::new_err(text))
        }
    }
}

/// The bytes of a message.
///
/// The bytes of a mutable object are copied, so that it may change meanwhile.
pub(crate) fn message(value: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(bytes.clone().into());
    }
    if let Ok(bytes) = value.cast::<PyByteArray>() {
        return Ok(bytes.clone().into());
    }
    if value.is_instance_of::<PyString>() {
        let text = "a message is bytes, not str: encode it, as in message.encode()";
        return Err(PyTypeError::new_err(text));
    }
    let Ok(view) = PyMemoryView::from(value) else {
        let kind = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("a message is bytes, not {kind}")));
    };
    let bytes = view.call_method0("tobytes")?;
    Ok(bytes.cast_into::<PyBytes>()?.into())
}

/// A service type and a message type.
pub(crate) fn options(service_type: i64, message_type: i16) -> PyResult<SendOptions> {
    let bits = u32::try_from(service_type).map_err(|_| illegal_service(service_type))?;
    let flags = ServiceType::from_bits_retain(bits);
    let service = flags.service().ok_or_else(|| illegal_service(service_type))?;
    let self_discard = flags.contains(ServiceType::SELF_DISCARD);
    if flags != ServiceType::regular(service, self_discard) {
        return Err(illegal_service(service_type));
    }
    Ok(options_of(service, self_discard, message_type))
}

fn options_of(service: Service, self_discard: bool, message_type: i16) -> SendOptions {
    SendOptions::new(service).self_discard(self_discard).message_type(message_type)
}
