//! Flush Spread: the layer behind the `FL_` functions, which is [`spread_core::flush`].
//!
//! The machine belongs to a [`Session`], behind a lock that is never held across a wait. What
//! the application sends is checked and handed to the connection under the lock, so that no
//! message follows the flush that it should precede.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use spread_core::flush::{Machine, Packet, Received, Refusal};
use spread_wire::{ByteOrder, ErrorCode, Name, ServiceType};

use crate::session::{Flushed, Sent, Session, Taken};
use crate::types::{ILLEGAL_GROUP, ILLEGAL_RECEIVERS, ILLEGAL_STATE};

/// The layer's part of a session.
#[derive(Debug)]
pub(crate) struct Flush {
    machine: Mutex<Machine>,
    waiting: Waiting,
}

/// A descriptor that is readable while messages wait in the layer rather than in the socket.
/// Only threads that wait beside each other need it.
#[derive(Debug)]
struct Waiting {
    ends: [UnixStream; 2],
    is_readable: AtomicBool,
}

impl Flush {
    /// The layer for a client whose private group is `own`.
    ///
    /// # Errors
    ///
    /// No descriptors are left.
    pub(crate) fn new(own: Name) -> io::Result<Flush> {
        Ok(Flush { machine: Mutex::new(Machine::new(own)), waiting: Waiting::new()? })
    }

    /// The layer for the child of a fork; `None` if another thread was using it at the fork,
    /// or if no descriptors are left.
    pub(crate) fn in_child(&self, own: Name) -> Option<Flush> {
        let mut machine = self.machine.try_lock().ok()?;
        let child = Flush::new(own).ok()?;
        {
            let mut taken = child.lock();
            std::mem::swap(&mut *machine, &mut *taken);
            child.tell_others(&taken);
        }
        Some(child)
    }

    /// Locks the state; nothing may be waited for meanwhile.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor to wait for besides the socket.
    pub(crate) fn waiting(&self) -> RawFd {
        self.waiting.ends[0].as_raw_fd()
    }

    /// Lets other threads that receive know whether there is something for them; to be
    /// called with the lock held.
    pub(crate) fn tell_others(&self, machine: &Machine) {
        let Waiting { ends: [read, write], is_readable } = &self.waiting;
        let should_be = machine.deliveries() > 0;
        if is_readable.load(Ordering::Relaxed) == should_be {
            return;
        }
        let mut byte = [0];
        let (mut read, mut write) = (read, write);
        let done = if should_be { write.write(&byte) } else { read.read(&mut byte) };
        if done.is_ok() {
            is_readable.store(should_be, Ordering::Relaxed);
        }
    }
}

impl Waiting {
    fn new() -> io::Result<Waiting> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        Ok(Waiting { ends: [read, write], is_readable: AtomicBool::new(false) })
    }
}

/// The code of what the application may not do now.
pub(crate) fn code_of(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::Group => ILLEGAL_GROUP,
        Refusal::State => ILLEGAL_STATE,
        Refusal::Receivers => ILLEGAL_RECEIVERS,
    }
}

/// Sends what the layer has to send, as far as there is room and memory.
///
/// # Errors
///
/// As for [`Session::send`].
pub(crate) fn send_replies(session: &Session, machine: &mut Machine) -> Result<Flushed, ErrorCode> {
    let flushed = session.flush()?;
    if flushed != Flushed::All {
        return Ok(flushed);
    }
    while let Some(reply) = machine.reply() {
        let body = reply.id.encode(ByteOrder::NATIVE);
        let body = [IoSlice::new(&body)];
        match session.send(ServiceType::FIFO, &[reply.group], reply.message_type, &body)? {
            Sent::NoRoom => return Ok(Flushed::NoRoom),
            Sent::NoMemory => return Ok(Flushed::NoMemory),
            Sent::Begun => {
                machine.replied();
                return Ok(Flushed::NoRoom);
            }
            Sent::All => machine.replied(),
        }
    }
    Ok(Flushed::All)
}

/// Receives until there is a message for the application, or nothing is left; returns `false`
/// if the kernel has no memory for what is left.
///
/// # Errors
///
/// As for [`Session::receive`]; `NetErrorOnSession` if too much waits for a view, with which
/// the session has failed.
pub(crate) fn receive(session: &Session, machine: &mut Machine) -> Result<bool, ErrorCode> {
    while machine.delivery().is_none() {
        let packet = session.receive(|inbox, connection| {
            let Some(incoming) = inbox.try_message(connection)? else {
                return Ok(None);
            };
            let packet = Packet::read(&Received::of(&incoming), connection.private_group());
            inbox.consume();
            Ok(Some(packet))
        })?;
        match packet {
            Taken::Nothing => break,
            Taken::NoMemory => return Ok(false),
            // Another program's message, with a type of the layer.
            Taken::Value(None) => {}
            Taken::Value(Some(packet)) => {
                machine.input(packet).map_err(|_| session.fail())?;
            }
        }
    }
    Ok(true)
}
