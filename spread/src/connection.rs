//! What the halves of a mailbox have in common: the connection.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use spread_wire::{ErrorCode, PrivateGroup};

use crate::interrupt::Wake;
use crate::multicast::GroupList;
use crate::sys::{Arrival, Buffers, Code, RawMailbox, Readable, ReceiveError, Received};
use crate::{Error, ProtocolError, SendOptions, ToGroups, multicast, sys};

/// How long to wait for the rest of a message that has begun to arrive.
const REST_OF_MESSAGE: Duration = Duration::from_millis(1);

/// Bytes of a message of which the rest may not come before these are received.
///
/// The window of TCP closes on what is not received, long before the buffer is
/// full; and who writes to a unix socket is told to go on only once its buffer is
/// three quarters empty, all of which one message may fill. The bundled library
/// takes a part of a message off the socket, the C library leaves it there.
const HELD_BACK: usize = 1024;

/// How long a smaller part is given to grow.
const STUCK_AT_LAST: Duration = Duration::from_millis(50);

/// How long such a part is given to grow.
pub(crate) const STUCK: Duration = Duration::from_millis(2);

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) raw: RawMailbox,
    private_group: PrivateGroup,
    /// Set when the daemon broke the protocol: what follows cannot be trusted.
    broken: AtomicBool,
    /// What interrupts a receive, once somebody has asked for it.
    wake: OnceLock<Arc<Wake>>,
    /// A part of a message: how long it is, and since when.
    part: Mutex<Option<(usize, Instant)>>,
}

impl Connection {
    pub(crate) fn new(raw: RawMailbox, private_group: PrivateGroup) -> Connection {
        Connection {
            raw,
            private_group,
            broken: AtomicBool::new(false),
            wake: OnceLock::new(),
            part: Mutex::new(None),
        }
    }

    /// Has its receives ended by the interrupters of `wake`, too.
    pub(crate) fn woken_by(self, wake: Arc<Wake>) -> Connection {
        Connection { wake: OnceLock::from(wake), ..self }
    }

    pub(crate) fn private_group(&self) -> PrivateGroup {
        self.private_group
    }

    pub(crate) fn join(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.usable()?;
        self.raw.join(group.into()).map_err(|code| session_error("SP_join", code))
    }

    pub(crate) fn leave(&self, group: impl AsRef<[u8]>) -> Result<(), Error> {
        let group = multicast::group_name(group)?;
        self.usable()?;
        self.raw.leave(group.into()).map_err(|code| session_error("SP_leave", code))
    }

    pub(crate) fn multicast(
        &self,
        options: SendOptions,
        groups: impl ToGroups,
        payload: &[u8],
    ) -> Result<(), Error> {
        let groups = GroupList::of(groups)?;
        groups.check_payload(payload.len())?;
        self.send(options, &groups, payload)
    }

    pub(crate) fn multicast_vectored(
        &self,
        options: SendOptions,
        groups: impl ToGroups,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        let groups = GroupList::of(groups)?;
        let len = payload.iter().fold(0usize, |len, piece| len.saturating_add(piece.len()));
        groups.check_payload(len)?;
        let pieces = payload.iter().filter(|piece| !piece.is_empty()).count();
        if pieces > sys::MAX_PIECES {
            let whole: Vec<u8> = payload.iter().flat_map(|piece| piece.iter().copied()).collect();
            return self.send(options, &groups, &whole);
        }
        self.send_pieces(options, &groups, payload)
    }

    /// Sends what has been checked.
    pub(crate) fn send(
        &self,
        options: SendOptions,
        groups: &GroupList,
        payload: &[u8],
    ) -> Result<(), Error> {
        self.send_pieces(options, groups, &[IoSlice::new(payload)])
    }

    fn send_pieces(
        &self,
        options: SendOptions,
        groups: &GroupList,
        payload: &[IoSlice<'_>],
    ) -> Result<(), Error> {
        self.usable()?;
        self.raw
            .multicast(options.service_type(), groups.names(), options.number(), payload)
            .map(|_| ())
            .map_err(|code| session_error("SP_multigroup_multicast", code))
    }

    /// Waits for a message, and receives it into `buffers`.
    pub(crate) fn receive(&self, buffers: &mut Buffers) -> Result<Received, Error> {
        self.usable()?;
        // Without an interrupter the library may do the waiting.
        if self.wake.get().is_some() {
            self.wait(None)?;
        }
        self.take(buffers)
    }

    /// As [`receive`](Self::receive), but gives up at the deadline.
    pub(crate) fn receive_by(
        &self,
        deadline: Option<Instant>,
        buffers: &mut Buffers,
    ) -> Result<Option<Received>, Error> {
        self.usable()?;
        if self.wait(deadline)? { self.take(buffers).map(Some) } else { Ok(None) }
    }

    /// As [`receive`](Self::receive), but does not wait, not even for the rest of
    /// a message, and takes no notice of an interrupter.
    ///
    /// Over the C library it waits for the rest of a large one that has not grown
    /// for as long as `patience`. None is to be had in an event loop, which may
    /// never hear of a rest that has no room.
    pub(crate) fn try_receive(
        &self,
        patience: Duration,
        buffers: &mut Buffers,
    ) -> Result<Option<Received>, Error> {
        self.usable()?;
        if self.arrival(patience)? == Arrival::Message {
            self.take(buffers).map(Some)
        } else {
            Ok(None)
        }
    }

    fn take(&self, buffers: &mut Buffers) -> Result<Received, Error> {
        self.raw.receive(buffers).map_err(|error| match error {
            ReceiveError::TooLong(len) => self.broken(ProtocolError::TooLong(len)),
            ReceiveError::Code(code) => match code.known() {
                Some(ErrorCode::IllegalMessage) => self.broken(ProtocolError::Header),
                _ => session_error("SP_receive", code),
            },
        })
    }

    /// Waits until a message is there, all of it, or none will be; `false` if
    /// that does not happen in time.
    fn wait(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        let wake = self.wake.get().map(|wake| wake.as_fd());
        loop {
            let readable = match self.arrival(STUCK)? {
                Arrival::Message => return Ok(true),
                Arrival::Nothing => self.raw.wait_readable(wake, deadline),
                // Readable already, so poll(2) would not wait for the rest.
                Arrival::Part { .. } => {
                    let soon = Instant::now() + REST_OF_MESSAGE;
                    self.raw.wait_hangup(wake, Some(deadline.map_or(soon, |d| d.min(soon))))
                }
            };
            let readable = readable.map_err(Error::Io)?;
            self.heed(readable)?;
            if !readable.mailbox && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
    }

    /// What is there to be received; a large part of a message that has not grown
    /// for as long as `patience` counts as all of it.
    fn arrival(&self, patience: Duration) -> Result<Arrival, Error> {
        let arrival = self.raw.arrival().map_err(Error::Io)?;
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        let Arrival::Part { queued } = arrival else {
            *part = None;
            return Ok(arrival);
        };
        let since = match *part {
            Some((before, since)) if before == queued => since,
            _ => Instant::now(),
        };
        *part = Some((queued, since));
        let patience = if queued >= HELD_BACK { patience } else { STUCK_AT_LAST };
        let stuck = since.elapsed() >= patience;
        Ok(if stuck { Arrival::Message } else { arrival })
    }

    /// Whether the last look found a part of a message that keeps the descriptor
    /// readable, so that an event may not tell of the rest.
    #[cfg(feature = "tokio")]
    pub(crate) fn has_part(&self) -> bool {
        self.part.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn heed(&self, readable: Readable) -> Result<(), Error> {
        match self.wake.get() {
            Some(wake) if readable.wake && wake.take() => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }

    /// What interrupts the receives of this connection.
    pub(crate) fn wake(&self) -> io::Result<&Wake> {
        if let Some(wake) = self.wake.get() {
            return Ok(wake);
        }
        let wake = Arc::new(Wake::new()?);
        Ok(self.wake.get_or_init(|| wake))
    }

    /// Notes that the daemon broke the protocol: nothing more can be received.
    pub(crate) fn broken(&self, error: ProtocolError) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        Error::Protocol(error)
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        if !self.raw.is_ours() {
            return Err(Error::Forked);
        }
        if self.broken.load(Ordering::Relaxed) { Err(Error::ConnectionClosed) } else { Ok(()) }
    }

    pub(crate) fn disconnect(self) -> Result<(), Error> {
        self.raw.disconnect().map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Error::Io(error),
            _ => Error::ConnectionClosed,
        })
    }
}

pub(crate) fn session_error(call: &'static str, code: Code) -> Error {
    match code.known() {
        Some(
            ErrorCode::ConnectionClosed | ErrorCode::NetErrorOnSession | ErrorCode::IllegalSession,
        ) => Error::ConnectionClosed,
        _ => Error::Library { call, code: code.0 },
    }
}
