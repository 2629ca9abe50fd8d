//! One session: a connection, and who may receive from it.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use spread_core::{Closing, Connection, Error, Inbox, Ready, Sent};
use spread_wire::limits::{MAX_BODY_AND_GROUPS, MAX_GROUPS, NAME_FIELD};
use spread_wire::{ErrorCode, Name, ServiceType};

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
}

impl Session {
    pub(crate) fn new(connection: Connection) -> Session {
        let (gate, generation) = (Gate::new(Inbox::default()), spread_os::generation());
        Session { connection, gate, generation, is_inherited: false }
    }

    /// Takes the session over in the child of a fork, along with what has been received
    /// ahead. The session that was the parent's is not to be used or dropped any more.
    ///
    /// It has failed in the child if another thread was receiving or sending at the fork;
    /// not if it was waiting.
    pub(crate) fn in_child(&self) -> Session {
        Session {
            connection: self.connection.in_child(),
            gate: self.gate.in_child(),
            generation: spread_os::generation(),
            is_inherited: true,
        }
    }

    /// Whether it is another process that it belongs to.
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

    /// Sends a message as far as there is room; what has begun is sent by
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
        self.connection.try_send(service_type, groups, message_type, body).map_err(code_of)
    }

    /// Sends the rest of what has begun as far as there is room; says whether that is all.
    ///
    /// # Errors
    ///
    /// As for [`send`](Session::send).
    pub(crate) fn flush(&self) -> Result<bool, ErrorCode> {
        self.gate.check().map_err(shut)?;
        self.connection.try_flush().map_err(code_of)
    }

    /// Calls `body` while no other thread receives, which it must not wait for anything in.
    ///
    /// # Errors
    ///
    /// - `IllegalMessage`: what the daemon sent is no message; the session has failed.
    /// - `NetErrorOnSession`, `ConnectionClosed`, `IllegalSession`: as for
    ///   [`send`](Session::send).
    #[inline]
    pub(crate) fn receive<T>(
        &self,
        body: impl FnOnce(&mut Inbox, &Connection) -> Result<T, Error>,
    ) -> Result<T, ErrorCode> {
        let mut inbox = self.gate.enter().map_err(shut)?;
        body(&mut inbox, &self.connection).map_err(code_of)
    }

    /// Lets no call of this process use the session any more, for it has lost its number.
    pub(crate) fn abandon(&self) {
        self.gate.end();
    }

    /// Ends the session, whose handle is that of the table. Calls that wait in it wake up.
    ///
    /// If there is none, the socket is closed and not shut down: another process may have
    /// it as well.
    pub(crate) fn kill(self: Arc<Session>) {
        self.gate.end();
        // The table has given out no handle since it gave this one away.
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

/// A disconnect under way. When it is dropped the connection is over, in all processes.
#[derive(Debug)]
pub(crate) struct Ending {
    session: Arc<Session>,
    deadline: Instant,
    is_told: bool,
}

impl Ending {
    /// Begins to disconnect a session, whose handle is that of the table. From here on
    /// nobody receives, so nobody receives a part of what is drained.
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
        // The daemon may send for ever.
        (!left.is_zero()).then(|| (self.session.mailbox(), ready, left))
    }

    /// If the daemon cannot be told, it sees the socket close.
    fn advance(&mut self) -> Option<Ready> {
        let connection = &self.session.connection;
        if !self.is_told {
            let own = [self.session.private_group()];
            if connection.try_send(ServiceType::KILL, &own, 0, &[]).ok()? == Sent::Nothing {
                return Some(Ready::ToWrite);
            }
            self.is_told = true;
        }
        match connection.try_close().ok()? {
            Closing::Wait(ready) => Some(ready),
            // Between two steps the thread can be cancelled.
            Closing::Again => Some(Ready::ToRead),
            Closing::Done => None,
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

fn code_of(error: Error) -> ErrorCode {
    match error {
        Error::Closed => ErrorCode::ConnectionClosed,
        Error::Protocol(_) => ErrorCode::IllegalMessage,
        Error::ShutDown => ErrorCode::IllegalSession,
        _ => ErrorCode::NetErrorOnSession,
    }
}
