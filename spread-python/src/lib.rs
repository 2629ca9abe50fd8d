//! The module `spread` of Python: the interface of the Spread wrapper for Python, over the
//! crate `spread`.
//!
//! `python/spread/__init__.py` gives it its public name, and `__init__.pyi` its types.

mod arguments;
mod constants;
mod error;
mod mailbox;
mod message;
mod wait;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use spread::UserPassword;

use crate::error::{SpreadError, to_python};
use crate::mailbox::Mailbox;

/// What `connect()` goes to by default.
const DEFAULT_DAEMON: &str = "4803@localhost";

/// connect(spread_name="4803@localhost", private_name="", priority=0, membership=1, *, user=None, password=None)
/// --
///
/// Connects to a Spread daemon and returns a MailboxType.
///
/// spread_name is "PORT@HOST", "PORT" for the unix socket /tmp/PORT, or the path of a unix
/// socket. private_name has at most 10 bytes; the daemon makes one up if it is empty.
/// priority is 0 or 1 and has no effect. membership tells whether membership messages are
/// received. The keywords daemon and name are other names of the first two arguments.
///
/// user and password authenticate by the daemon's method PWORD. They have at most 31 and 8
/// bytes, and go over the wire as they are.
///
/// Raises SpreadError; after 10 seconds without an answer of the daemon, too. Its code is
/// REJECT_AUTH if the daemon demands a password and none is given, does not know the user
/// with this password, or permits no passwords, and if one of both is too long.
#[pyfunction]
#[pyo3(signature = (
    spread_name=None, private_name=None, priority=0, membership=1, *, daemon=None, name=None,
    user=None, password=None
))]
#[expect(clippy::too_many_arguments, reason = "they are those of the function in Python")]
fn connect(
    py: Python<'_>,
    spread_name: Option<&Bound<'_, PyAny>>,
    private_name: Option<&Bound<'_, PyAny>>,
    priority: i32,
    membership: i32,
    daemon: Option<&Bound<'_, PyAny>>,
    name: Option<&Bound<'_, PyAny>>,
    user: Option<&Bound<'_, PyAny>>,
    password: Option<&Bound<'_, PyAny>>,
) -> PyResult<Mailbox> {
    let address = match one_of("spread_name", spread_name, "daemon", daemon)? {
        Some(address) => arguments::text("spread_name", address)?,
        None => DEFAULT_DAEMON.to_owned(),
    };
    let mut builder =
        spread::Mailbox::builder(address).priority(priority > 0).membership(membership != 0);
    if let Some(name) = one_of("private_name", private_name, "name", name)? {
        let name = arguments::text("private_name", name)?;
        if !name.is_empty() {
            builder = builder.private_name(name);
        }
    }
    match (user, password) {
        (None, None) => {}
        (Some(user), Some(password)) => {
            let user = arguments::utf8("user", user)?;
            let password = arguments::utf8("password", password)?;
            builder = builder.authenticate(UserPassword::new(user, password));
        }
        _ => return Err(PyTypeError::new_err("connect() takes user and password together")),
    }
    let connected = py.detach(|| builder.connect());
    Mailbox::new(py, connected.map_err(to_python)?)
}

/// The argument that was given by either of its two names.
fn one_of<'a, 'py>(
    first: &str,
    one: Option<&'a Bound<'py, PyAny>>,
    second: &str,
    other: Option<&'a Bound<'py, PyAny>>,
) -> PyResult<Option<&'a Bound<'py, PyAny>>> {
    if one.is_some() && other.is_some() {
        let text = format!("connect() takes {first} or {second}, not both");
        return Err(PyTypeError::new_err(text));
    }
    Ok(one.or(other))
}

/// version()
/// --
///
/// Returns the version of Spread whose client this is, (major, minor, patch).
#[pyfunction]
fn version() -> PyResult<(u32, u32, u32)> {
    spread::library_version().ok_or_else(|| SpreadError::new_err("the version is not known"))
}

#[pymodule]
#[pyo3(name = "_spread")]
fn spread_module(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add_function(wrap_pyfunction!(connect, module)?)?;
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add("SpreadError", py.get_type::<SpreadError>())?;
    module.add_class::<Mailbox>()?;
    module.add_class::<message::RegularMsg>()?;
    module.add_class::<message::MembershipMsg>()?;
    module.add_class::<message::GroupId>()?;
    constants::add_to(module)
}
