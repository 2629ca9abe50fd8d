//! One session: a connection, and who may receive from it.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use spread_core::{Closing, Connection, Error, Inbox, MEMORY_PAUSE, Ready};
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, Name, ServiceType};

use crate::flush::Flush;
use crate::gate::{Gate, Shut};
use crate::types::mailbox;

/// How long a disconnect takes at most.
const LINGER: Duration = Duration::from_secs(1);

/// A session with a daemon.
///
/// Its descriptor is open until the last handle on it is gone, so the number
/// of the mailbox belongs to it for as long as any thread works with it.
#[derive(Debug)]
pub(crate) struct Session {
    connection: Connection,
    gate: Gate<Inbox>,
    /// The process that it belongs to, as [`spread_os::generation`] counts.
    generation: u32,
    is_inherited: bool,
    /// Flush Spread, if it is used; `None` if it was lost at a fork.
    flush: OnceLock<Option<Box<Flush>>>,
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Session {
        let (gate, generation) = (Gate::new(Inbox::default()), spread_os::generation());
        Session { connection, gate, generation, is_inherited: false, flush: OnceLock::new() }
    }

    /// Takes the session over in the child of a fork, along with what has been received
    /// ahead. The session that was the parent's is not to be used or dropped any more.
    ///
    /// It has failed in the child if another thread was receiving or sending at the fork, or in
    /// Flush Spread, or if no descriptors are left for that; not if it was waiting.
    pub(crate) fn in_child(&self) -> Session {
        let (own, connection) = (self.private_group(), self.connection.in_child());
        let flush = self.flush.get().map(|flush| {
            let flush = flush.as_ref().and_then(|flush| flush.in_child(own));
            if flush.is_none() {
                connection.set_failed();
            }
            flush.map(Box::new)
        });
        Session {
            connection,
            gate: self.gate.in_child(),
            generation: spread_os::generation(),
            is_inherited: true,
            flush: flush.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// Adds Flush Spread; `false` if no descriptors are left.
    pub(crate) fn add_flush(&self) -> bool {
        let flush = Flush::new(self.private_group());
        flush.is_ok_and(|flush| self.flush.set(Some(Box::new(flush))).is_ok())
    }

    /// Flush Spread over the session.
    ///
    /// # Errors
    ///
    /// - `IllegalSession`: it is not used.
    /// - `NetErrorOnSession`: it was lost at a fork.
    pub(crate) fn flush_layer(&self) -> Result<&Flush, ErrorCode> {
        let flush = self.flush.get().ok_or(ErrorCode::IllegalSession)?;
        flush.as_deref().ok_or(ErrorCode::NetErrorOnSession)
    }

    /// Whether Flush Spread is used.
    pub(crate) fn uses_flush(&self) -> bool {
        self.flush.get().is_some()
    }

    /// Whether it belongs to the process that this one was forked from.
    #[inline]
    pub(crate) fn is_of_parent(&self) -> bool {
        self.generation != spread_os::generation()
    }

    /// The number of its descriptor.
    #[inline]
    pub(crate) fn mailbox(&self) -> mailbox {
        self.connection.as_raw_fd()
    }

    /// The client's own private group.
    pub(crate) fn private_group(&self) -> Name {
        self.connection.private_group().into()
    }

    /// Sends a message as far as there is room and memory; what has begun is sent by
    /// [`flush`](Session::flush). A multicast lies in any number of pieces.
    ///
    /// # Errors
    ///
    /// - `MessageTooLong`: more groups or bytes than real Spread delivers.
    /// - `NetErrorOnSession`, `ConnectionClosed`, `IllegalSession`: the session has failed or
    ///   ended.
    #[inline]
    pub(crate) fn send(
        &self,
        service_type: ServiceType,
        groups: &[Name],
        message_type: i16,
        body: &[IoSlice<'_>],
    ) -> Result<Sent, ErrorCode> {
        let total = body.iter().try_fold(groups.len() * NAME_FIELD, |n, b| n.checked_add(b.len()));
        if groups.len() > MAX_GROUPS || total.is_none_or(|total| total > MAX_BODY_AND_GROUPS) {
            return Err(ErrorCode::MessageTooLong);
        }
        self.gate.check().map_err(shut)?;
        match self.connection.try_send(service_type, groups, message_type, body) {
            Ok(spread_core::Sent::All) => Ok(Sent::All),
            Ok(spread_core::Sent::Begun) => Ok(Sent::Begun),
            Ok(spread_core::Sent::Nothing) => Ok(Sent::NoRoom),
            Err(Error::Resource(_)) => Ok(Sent::NoMemory),
            Err(error) => Err(code_of(&error)),
        }
    }

    /// Sends the rest of what has begun as far as there is room and memory.
    ///
    /// # Errors
    ///
    /// As for [`send`](Session::send).
    pub(crate) fn flush(&self) -> Result<Flushed, ErrorCode> {
        self.gate.check().map_err(shut)?;
        match self.connection.try_flush() {
            Ok(true) => Ok(Flushed::All),
            Ok(false) => Ok(Flushed::NoRoom),
            Err(Error::Resource(_)) => Ok(Flushed::NoMemory),
            Err(error) => Err(code_of(&error)),
        }
    }

    /// Calls `body` with the inbox locked; `body` must not wait.
    ///
    /// # Errors
    ///
    /// - `IllegalMessage`: what the daemon sent is no message; the session has failed.
    /// - `NetErrorOnSession`, `ConnectionClosed`, `IllegalSession`: as for
    ///   [`send`](Session::send).
    #[inline]
    pub(crate) fn receive<T>(
        &self,
        body: impl FnOnce(&mut Inbox, &Connection) -> Result<Option<T>, Error>,
    ) -> Result<Taken<T>, ErrorCode> {
        let mut inbox = self.gate.enter().map_err(shut)?;
        match body(&mut inbox, &self.connection) {
            Ok(Some(value)) => Ok(Taken::Value(value)),
            Ok(None) => Ok(Taken::Nothing),
            Err(Error::Resource(_)) => Ok(Taken::NoMemory),
            Err(error) => Err(code_of(&error)),
        }
    }

    /// Lets the session fail; returns the code of a session that has.
    pub(crate) fn fail(&self) -> ErrorCode {
        self.connection.set_failed();
        ErrorCode::NetErrorOnSession
    }

    /// Ends the session for this process and leaves the descriptor alone: its number belongs
    /// to another session now.
    pub(crate) fn abandon(&self) {
        self.gate.end();
    }

    /// Ends the session, given the table's handle. Calls that wait in it return.
    ///
    /// The socket is shut down only if there are such calls; otherwise it is only closed, and
    /// another process that has it by a fork can go on.
    pub(crate) fn kill(self: Arc<Session>) {
        self.gate.end();
        // The table gives out no more handles, so a further one is that of a call.
        if Arc::strong_count(&self) > 1 {
            self.connection.shut_down();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.is_inherited {
            // SAFETY: the descriptor is open, and this was the last handle on it in this
            // process: those of the parent's sessions are never used or dropped here.
            drop(unsafe { OwnedFd::from_raw_fd(self.mailbox()) });
        }
    }
}

/// How far a send has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The kernel has all of the message.
    All,
    /// The message has begun, and the connection keeps the rest of it.
    Begun,
    /// Nothing of the message has been sent.
    NoRoom,
    /// Nothing of the message has been sent: the kernel has no memory, of which no event tells.
    NoMemory,
}

impl Sent {
    /// Whether the message is on its way.
    pub(crate) fn has_begun(self) -> bool {
        matches!(self, Sent::All | Sent::Begun)
    }
}

/// What a receive that does not wait returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken<T> {
    Value(T),
    Nothing,
    /// The kernel has no memory, of which no event tells.
    NoMemory,
}

/// How far a flush has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    All,
    NoRoom,
    /// The kernel has no memory, of which no event tells.
    NoMemory,
}

/// A disconnect under way. Dropping it shuts the connection down, for all processes.
#[derive(Debug)]
pub(crate) struct Ending {
    session: Arc<Session>,
    deadline: Instant,
    is_told: bool,
}

impl Ending {
    /// Begins to disconnect a session, given the table's handle. From here on receives return
    /// an error, so that none takes a part of what is drained.
    pub(crate) fn new(session: Arc<Session>) -> Ending {
        session.gate.end();
        Ending { session, deadline: Instant::now() + LINGER, is_told: false }
    }

    /// Goes on as far as that is possible without waiting: sends the rest of a message that
    /// has begun, tells the daemon, and waits until it has ended its side. Returns what to
    /// wait for, and for how long; `None` if the disconnect is over.
    pub(crate) fn next(&mut self) -> Option<(mailbox, Ready, Duration)> {
        let ready = self.advance()?;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let time = if ready == Ready::Ended { left.min(MEMORY_PAUSE) } else { left };
        // The daemon may send for ever.
        (!left.is_zero()).then(|| (self.session.mailbox(), ready, time))
    }

    /// If the daemon cannot be told, it sees the socket close. For want of memory there is
    /// nothing to wait for but the end.
    fn advance(&mut self) -> Option<Ready> {
        let connection = &self.session.connection;
        if !self.is_told {
            let own = [self.session.private_group()];
            match connection.try_send(ServiceType::KILL, &own, 0, &[]) {
                Ok(spread_core::Sent::Nothing) => return Some(Ready::ToWrite),
                Ok(spread_core::Sent::All | spread_core::Sent::Begun) => self.is_told = true,
                Err(Error::Resource(_)) => return Some(Ready::Ended),
                Err(_) => return None,
            }
        }
        match connection.try_close().ok()? {
            Closing::Wait(ready) => Some(ready),
            // Between two steps the thread can be cancelled.
            Closing::Again => Some(Ready::ToRead),
            Closing::Pause => Some(Ready::Ended),
            Closing::Done | Closing::ShutDown => None,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.session.connection.shut_down();
    }
}

fn shut(shut: Shut) -> ErrorCode {
    match shut {
        Shut::Failed => ErrorCode::NetErrorOnSession,
        Shut::Ended => ErrorCode::IllegalSession,
    }
}

/// The code of an error that is not a want of memory, for which C has none.
#[cold]
fn code_of(error: &Error) -> ErrorCode {
    match error {
        Error::Closed(_) => ErrorCode::ConnectionClosed,
        Error::Protocol(_) => ErrorCode::IllegalMessage,
        Error::ShutDown => ErrorCode::IllegalSession,
        _ => ErrorCode::NetErrorOnSession,
    }
}
