//! What a mailbox receives, as objects of Python.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use spread::{Cause, Message, Name, RejectedMessage, ServiceType};

use crate::error::SpreadError;

/// A message that a client multicast, as MailboxType.receive() returns it.
#[pyclass(frozen, module = "spread", name = "RegularMsgType")]
pub(crate) struct RegularMsg {
    /// The private group of the client that sent it.
    #[pyo3(get)]
    sender: Py<PyString>,
    /// The groups that it was sent to.
    #[pyo3(get)]
    groups: Py<PyList>,
    /// The data, as bytes.
    #[pyo3(get)]
    message: Py<PyBytes>,
    /// The message_type that its sender gave it.
    #[pyo3(get)]
    msg_type: i16,
    /// 1 if its sender's host has another byte order, otherwise 0.
    #[pyo3(get)]
    endian: i32,
}

#[pymethods]
impl RegularMsg {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<RegularMsgType sender={} groups={} msg_type={} message={}>",
            self.sender.bind(py).repr()?,
            self.groups.bind(py).repr()?,
            self.msg_type,
            self.message.bind(py).repr()?,
        ))
    }
}

/// A membership message, as MailboxType.receive() returns it.
#[pyclass(frozen, module = "spread", name = "MembershipMsgType")]
pub(crate) struct MembershipMsg {
    /// One of the constants CAUSED_BY_*, or 0 if the message is transitional.
    #[pyo3(get)]
    reason: u32,
    /// The group.
    #[pyo3(get)]
    group: Py<PyString>,
    /// Names the view of the group; None for the own leave.
    #[pyo3(get)]
    group_id: Option<Py<GroupId>>,
    /// The members of the new view, as private groups.
    #[pyo3(get)]
    members: Py<PyList>,
    /// The member that joined, left or disconnected; for CAUSED_BY_NETWORK the members that
    /// came with this one from its former view.
    #[pyo3(get)]
    extra: Py<PyList>,
    /// For each former view, those of its members that came to this one; None where there is
    /// no new view.
    #[pyo3(get)]
    orig_members: Option<Py<PyList>>,
}

#[pymethods]
impl MembershipMsg {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!(
            "<MembershipMsgType reason={:#x} group={} members={} extra={}>",
            self.reason,
            self.group.bind(py).repr()?,
            self.members.bind(py).repr()?,
            self.extra.bind(py).repr()?,
        ))
    }
}

/// The identifier of a view of a group; equal for all its members.
#[pyclass(frozen, module = "spread", name = "GroupIdType")]
pub(crate) struct GroupId(spread::GroupId);

#[pymethods]
impl GroupId {
    fn __eq__(&self, other: &GroupId) -> bool {
        self.0 == other.0
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        let spread::GroupId { proc_id, time, index } = self.0;
        format!("<group_id {proc_id:08X}:{time:08X}:{index:08X}>")
    }
}

/// The object for a message that was received.
pub(crate) fn to_python(py: Python<'_>, message: Message) -> PyResult<Py<PyAny>> {
    let Message::Regular(message) = message else { return membership(py, &message) };
    let message = RegularMsg {
        sender: text(py, message.sender())?.unbind(),
        groups: texts(py, message.groups())?.unbind(),
        message: PyBytes::new(py, message.payload()).unbind(),
        msg_type: message.message_type(),
        endian: message.endian_mismatch().into(),
    };
    Ok(Py::new(py, message)?.into_any())
}

/// Without `CAUSED_BY_*`, which a transitional message has none of.
const TRANSITIONAL: ServiceType = ServiceType::empty();

fn membership(py: Python<'_>, message: &Message) -> PyResult<Py<PyAny>> {
    let (reason, group, id, members, sets, mine) = match message {
        Message::Membership(view) => {
            let (reason, sets, mine) = match &view.cause {
                Cause::Joined(who) => (ServiceType::CAUSED_BY_JOIN, vec![vec![*who]], 0),
                Cause::Left(who) => (ServiceType::CAUSED_BY_LEAVE, vec![vec![*who]], 0),
                Cause::Disconnected(who) => {
                    (ServiceType::CAUSED_BY_DISCONNECT, vec![vec![*who]], 0)
                }
                Cause::Network { vs_sets, mine } => {
                    (ServiceType::CAUSED_BY_NETWORK, vs_sets.clone(), *mine)
                }
            };
            (reason, view.group, Some(view.id), &view.members[..], Some(sets), mine)
        }
        Message::Transitional(signal) => {
            (TRANSITIONAL, signal.group, Some(signal.id), &[][..], None, 0)
        }
        Message::SelfLeave(leave) => {
            (ServiceType::CAUSED_BY_LEAVE, leave.group, None, &[][..], None, 0)
        }
        Message::Rejected(rejected) => return Err(was_rejected(rejected)),
        other => return Err(SpreadError::new_err(format!("unexpected message: {other:?}"))),
    };
    let extra = sets.as_ref().and_then(|sets| sets.get(mine)).map_or(&[][..], |set| set);
    let all = |sets: Vec<Vec<Name>>| {
        let sets = sets.iter().map(|set| texts(py, set)).collect::<PyResult<Vec<_>>>()?;
        Ok::<_, PyErr>(PyList::new(py, sets)?.unbind())
    };
    let message = MembershipMsg {
        reason: reason.bits(),
        group: text(py, group)?.unbind(),
        group_id: id.map(|id| Py::new(py, GroupId(id))).transpose()?,
        members: texts(py, members)?.unbind(),
        extra: texts(py, extra)?.unbind(),
        orig_members: sets.map(all).transpose()?,
    };
    Ok(Py::new(py, message)?.into_any())
}

/// As in the C module, a message that came back is an error without a number.
#[cold]
fn was_rejected(message: &RejectedMessage) -> PyErr {
    let groups = message.groups.iter().map(|group| group.as_bytes().escape_ascii().to_string());
    let groups = groups.collect::<Vec<_>>().join(", ");
    let kind = message.old_type.bits();
    SpreadError::new_err(format!("the daemon rejected a message of type {kind:#x} to {groups}"))
}

fn texts<'py>(py: Python<'py>, names: &[Name]) -> PyResult<Bound<'py, PyList>> {
    let names = names.iter().map(|name| text(py, *name)).collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, names)
}

/// A name as a text. Names that passed a daemon's checks are ASCII; other bytes become
/// surrogates, as in the names of files (PEP 383).
pub(crate) fn text(py: Python<'_>, name: Name) -> PyResult<Bound<'_, PyString>> {
    match name.as_str() {
        Some(text) => Ok(PyString::new(py, text)),
        None => {
            let bytes = PyBytes::new(py, name.as_bytes());
            let text = bytes.call_method1("decode", ("utf-8", "surrogateescape"))?;
            Ok(text.cast_into()?)
        }
    }
}
