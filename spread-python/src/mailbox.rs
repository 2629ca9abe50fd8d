//! A connection to a daemon, as `connect()` returns it.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyString, PyTuple};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use spread::{Batch, Error, Message, Receiver, SendOptions, Sender, ToGroups};

use crate::error::to_python;
use crate::{arguments, message, wait};

/// A connection to a Spread daemon. connect() makes it.
///
/// All methods can be called from several threads. In the child of a fork they raise
/// SpreadError: connect anew there.
#[pyclass(frozen, module = "spread", name = "MailboxType")]
pub(crate) struct Mailbox {
    /// The name that the daemon knows this client by: "#private_name#daemon".
    #[pyo3(get)]
    private_group: Py<PyString>,
    sender: Sender,
    fd: RawFd,
    /// Of the process that connected it.
    generation: u32,
    /// Whether an error has told that the connection has come to its end.
    ended: AtomicBool,
    /// Locked for every send, so that no attempt waits within the connection with the GIL held.
    /// Its holders touch no object of Python, which might run a finalizer that locks again, and
    /// send only what there is room for.
    sending: Mutex<Batch>,
    /// Locked for attempts that neither wait nor touch an object of Python.
    ///
    /// `None` once it has been disconnected.
    receiver: Mutex<Option<Receiver>>,
}

/// How far an attempt to flush has come.
enum Flush {
    Done,
    NeedsRoom,
    /// The system lacks memory, while the descriptor may be writable.
    NeedsMemory,
}

impl Mailbox {
    pub(crate) fn new(py: Python<'_>, mailbox: spread::Mailbox) -> PyResult<Mailbox> {
        let (sender, receiver) = mailbox.split();
        Ok(Mailbox {
            private_group: message::text(py, sender.private_group().into())?.unbind(),
            sender,
            fd: receiver.as_raw_fd(),
            generation: spread_os::generation(),
            ended: AtomicBool::new(false),
            sending: Mutex::new(Batch::new()),
            receiver: Mutex::new(Some(receiver)),
        })
    }

    /// Raises in the child of a fork, where another thread of the parent may hold a lock.
    fn check_process(&self) -> PyResult<()> {
        if self.generation == spread_os::generation() {
            Ok(())
        } else {
            Err(to_python(Error::Forked))
        }
    }

    fn check_connected(&self, py: Python<'_>) -> PyResult<()> {
        let is_connected = lock(&self.receiver, py).is_some();
        if is_connected { Ok(()) } else { Err(to_python(Error::ShutDown)) }
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: the connection owns the descriptor and closes it with its last half, and
        // `sender` is one.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }

    fn failed(&self, error: Error) -> PyErr {
        if error.is_closed() {
            self.ended.store(true, Ordering::Relaxed);
        }
        to_python(error)
    }

    /// Makes one attempt to receive.
    ///
    /// The GIL is held in attempts, which never wait: a thread that gave it away in each would
    /// wait for up to the switch interval of Python, 5 ms, wherever another one computes.
    fn attempt_receive(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        let received = match &mut *lock(&self.receiver, py) {
            Some(receiver) => receiver.try_receive(),
            None => Err(Error::ShutDown),
        };
        received.map_err(|error| self.failed(error))
    }

    /// Makes one attempt to send; returns whether the connection has taken the message.
    fn attempt_send(
        &self,
        py: Python<'_>,
        options: SendOptions,
        groups: &impl ToGroups,
        payload: &[u8],
    ) -> PyResult<bool> {
        let sent = {
            let mut batch = lock(&self.sending, py);
            batch.clear();
            batch.push(options, groups, payload).and_then(|()| {
                match self.sender.try_multicast_batch(&mut batch) {
                    // A part has been sent, and the connection keeps the rest for a flush.
                    Err(Error::Resource(_)) if batch.is_empty() => Ok(1),
                    sent => sent,
                }
            })
        };
        sent.map(|count| count > 0).map_err(|error| self.failed(error))
    }

    /// Sends the rest of a message that has begun, as far as there is room.
    fn attempt_flush(&self, py: Python<'_>) -> PyResult<Flush> {
        let flushed = {
            let _sending = lock(&self.sending, py);
            self.sender.try_flush()
        };
        match flushed {
            Ok(true) => Ok(Flush::Done),
            Ok(false) => Ok(Flush::NeedsRoom),
            Err(Error::Resource(_)) => Ok(Flush::NeedsMemory),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Waits until everything before has been sent.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            match self.attempt_flush(py)? {
                Flush::Done => return Ok(()),
                Flush::NeedsRoom => wait::until(py, self.descriptor(), PollFlags::OUT)?,
                Flush::NeedsMemory => wait::for_memory(py)?,
            }
        }
    }

    fn send(
        &self,
        py: Python<'_>,
        options: SendOptions,
        groups: &impl ToGroups,
        payload: &[u8],
    ) -> PyResult<usize> {
        self.check_process()?;
        while !self.attempt_send(py, options, groups, payload)? {
            wait::until(py, self.descriptor(), PollFlags::OUT)?;
        }
        self.flush(py)?;
        Ok(payload.len())
    }

    /// Joins or leaves, once there is room, so that a signal can end the wait before.
    ///
    /// No other thread sends between the last look for room and the request.
    fn request(
        &self,
        py: Python<'_>,
        send: impl FnOnce(&Sender) -> Result<(), Error> + Send,
    ) -> PyResult<()> {
        self.check_process()?;
        loop {
            self.flush(py)?;
            wait::until(py, self.descriptor(), PollFlags::OUT)?;
            let sending = lock(&self.sending, py);
            // Another thread may have sent meanwhile. The next flush tells errors.
            let is_flushed = matches!(self.sender.try_flush(), Ok(true));
            if is_flushed && wait::is_ready(self.descriptor(), PollFlags::OUT)? {
                let sender = &self.sender;
                let sent = py.detach(|| send(sender));
                drop(sending);
                return sent.map_err(|error| self.failed(error));
            }
        }
    }
}

#[pymethods]
impl Mailbox {
    /// join(group)
    /// --
    ///
    /// Joins a group. It takes effect with the membership message that names this client as
    /// joined.
    fn join(&self, py: Python<'_>, group: &Bound<'_, PyAny>) -> PyResult<()> {
        let group = arguments::name("group", group)?;
        self.request(py, |sender| sender.join(group))
    }

    /// leave(group)
    /// --
    ///
    /// Leaves a group. The last that comes of it is a membership message with the reason
    /// CAUSED_BY_LEAVE and no members.
    fn leave(&self, py: Python<'_>, group: &Bound<'_, PyAny>) -> PyResult<()> {
        let group = arguments::name("group", group)?;
        self.request(py, |sender| sender.leave(group))
    }

    /// multicast(service_type, group, message, message_type=0)
    /// --
    ///
    /// Sends a message to all members of a group, and returns the number of its bytes. Waits
    /// while the daemon takes no more.
    #[pyo3(signature = (service_type, group, message, message_type=0))]
    fn multicast(
        &self,
        py: Python<'_>,
        service_type: i64,
        group: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        message_type: i16,
    ) -> PyResult<usize> {
        let options = arguments::options(service_type, message_type)?;
        let group = arguments::name("group", group)?;
        self.send(py, options, &group, &arguments::message(message)?)
    }

    /// multigroup_multicast(service_type, groups, message, message_type=0)
    /// --
    ///
    /// Sends a message to all members of several groups, at most 43, and returns the number of
    /// its bytes. A member of several of them gets it once.
    #[pyo3(signature = (service_type, groups, message, message_type=0))]
    fn multigroup_multicast(
        &self,
        py: Python<'_>,
        service_type: i64,
        groups: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        message_type: i16,
    ) -> PyResult<usize> {
        let options = arguments::options(service_type, message_type)?;
        let groups = arguments::names(groups)?;
        self.send(py, options, &groups, &arguments::message(message)?)
    }

    /// receive()
    /// --
    ///
    /// Waits for a message, and returns it as a RegularMsgType or a MembershipMsgType.
    fn receive(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.check_process()?;
        loop {
            if let Some(message) = self.attempt_receive(py)? {
                return message::to_python(py, message);
            }
            wait::until(py, self.descriptor(), PollFlags::IN)?;
        }
    }

    /// poll()
    /// --
    ///
    /// Returns 1 if receive() has something to return, otherwise 0. Raises SpreadError once the
    /// connection has ended and all messages are received. It may return 1 when only a part of
    /// a message has come, the rest of which receive() waits for; try_receive() never waits.
    fn poll(&self, py: Python<'_>) -> PyResult<i32> {
        self.check_process()?;
        self.check_connected(py)?;
        if !wait::is_ready(self.descriptor(), PollFlags::IN)? {
            return Ok(0);
        }
        // Of what was read ahead the last byte is in the socket.
        let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match recv(self.descriptor(), &mut [0; 1], peek) {
            Ok((1.., _)) => Ok(1),
            // Another thread has received it.
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Ok(_) => Err(self.failed(Error::ConnectionClosed { source: None })),
            Err(error) => Err(self.failed(Error::ConnectionClosed { source: Some(error.into()) })),
        }
    }

    /// fileno()
    /// --
    ///
    /// Returns the descriptor of the connection. It is readable whenever a message can be
    /// received. It is not for reading, writing or closing.
    fn fileno(&self, py: Python<'_>) -> PyResult<RawFd> {
        self.check_process()?;
        self.check_connected(py)?;
        Ok(self.fd)
    }

    /// disconnect()
    /// --
    ///
    /// Ends the connection, and waits until the daemon has taken everything that was sent
    /// before, for a second at most; signals are handled after that. Methods that wait in other
    /// threads raise SpreadError. Does nothing if the connection is known to have ended.
    fn disconnect(&self, py: Python<'_>) -> PyResult<()> {
        self.check_process()?;
        let Some(receiver) = lock(&self.receiver, py).take() else { return Ok(()) };
        if self.ended.load(Ordering::Relaxed) {
            return Ok(());
        }
        py.detach(|| receiver.disconnect()).map_err(to_python)
    }

    /// try_receive()
    /// --
    ///
    /// Returns a message if all of it has come, otherwise None. Never waits.
    fn try_receive(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.check_process()?;
        self.attempt_receive(py)?.map(|message| message::to_python(py, message)).transpose()
    }

    /// try_multicast(service_type, groups, message, message_type=0)
    /// --
    ///
    /// Sends a message to a group or several, if there is room for a part of it at least;
    /// returns whether there was. Does not wait for the daemon. What there was no room for goes
    /// with try_flush() or before whatever is sent next.
    #[pyo3(signature = (service_type, groups, message, message_type=0))]
    fn try_multicast(
        &self,
        py: Python<'_>,
        service_type: i64,
        groups: &Bound<'_, PyAny>,
        message: &Bound<'_, PyAny>,
        message_type: i16,
    ) -> PyResult<bool> {
        self.check_process()?;
        let options = arguments::options(service_type, message_type)?;
        let message = arguments::message(message)?;
        if let Ok(group) = arguments::name("groups", groups) {
            return self.attempt_send(py, options, &group, &message);
        }
        self.attempt_send(py, options, &arguments::names(groups)?, &message)
    }

    /// try_flush()
    /// --
    ///
    /// Sends the rest of a message that has begun, as far as there is room; returns whether
    /// nothing is left. Does not wait for the daemon. Something is left, too, while the system
    /// lacks memory; the descriptor may then be writable.
    fn try_flush(&self, py: Python<'_>) -> PyResult<bool> {
        self.check_process()?;
        Ok(matches!(self.attempt_flush(py)?, Flush::Done))
    }

    fn __enter__(this: Py<Mailbox>) -> Py<Mailbox> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.disconnect(py)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<MailboxType {}>", self.private_group.bind(py).repr()?))
    }
}

/// Locks, and lets other threads of Python run if that has to wait.
fn lock<'a, T>(mutex: &'a Mutex<T>, py: Python<'_>) -> MutexGuard<'a, T> {
    // What a panic leaves behind is whole: the connection keeps its own state.
    mutex.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
}
