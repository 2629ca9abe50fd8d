//! What the halves of a mailbox have in common: the connection.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use spread_wire::{Begun, ErrorCode, PrivateGroup};
#[cfg(feature = "tokio")]
use spread_wire::{
    ByteOrder, HEADER_LEN, Request,
    limits::{MAX_GROUPS, NAME_FIELD},
};

use crate::coalescing::Coalescing;
use crate::interrupt::Wake;
use crate::multicast::GroupList;
use crate::sys::{Buffers, Code, RawMailbox, Readable, ReceiveError};
use crate::{Error, ProtocolError, SendOptions, ToGroups, multicast, sys};

/// A connection to a daemon.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) raw: RawMailbox,
    private_group: PrivateGroup,
    /// Set when the daemon broke the protocol, or a message stopped half way: what
    /// follows cannot be trusted.
    broken: AtomicBool,
    /// What interrupts a receive, once somebody has asked for it.
    wake: OnceLock<Arc<Wake>>,
    /// How long a receive sleeps while messages keep coming, if the user has said.
    coalesce: Option<Duration>,
}

/// How far receiving has come.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The beginning of the next message, if it has been taken off the socket.
    begun: Begun,
    /// When to sleep before the next message.
    coalescing: Coalescing,
}

impl Connection {
    pub(crate) fn new(
        raw: RawMailbox,
        private_group: PrivateGroup,
        coalesce: Option<Duration>,
    ) -> Connection {
        let (broken, wake) = (AtomicBool::new(false), OnceLock::new());
        Connection { raw, private_group, broken, wake, coalesce }
    }

    /// Has its receives ended by the interrupters of `wake`, too.
    pub(crate) fn woken_by(self, wake: Arc<Wake>) -> Connection {
        Connection { wake: OnceLock::from(wake), ..self }
    }

    /// For a receiver that has received nothing so far.
    pub(crate) fn progress(&self) -> Progress {
        Progress { begun: Begun::default(), coalescing: Coalescing::new(self.coalesce) }
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

    /// Sends what has been checked, as far as there is room, without waiting; says
    /// whether that is all of it. The rest is for [`RawMailbox::flush`].
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is no room.
    #[cfg(feature = "tokio")]
    pub(crate) fn start_send(&self, request: &Request<'_>) -> io::Result<bool> {
        let mut head = [0; HEADER_LEN + MAX_GROUPS * NAME_FIELD];
        let mut room = &mut head[..];
        request.encode_head(self.private_group.into(), ByteOrder::NATIVE, &mut room);
        let len = HEADER_LEN + MAX_GROUPS * NAME_FIELD - room.len();
        self.raw.start_send(&head[..len], request.body())
    }

    /// Waits for a message, and receives it into `buffers`.
    #[inline]
    pub(crate) fn receive(
        &self,
        progress: &mut Progress,
        buffers: &mut Buffers,
    ) -> Result<(), Error> {
        self.usable()?;
        self.pause(None, progress)?;
        // Without an interrupter the library may do the waiting, but not for the rest
        // of a message that it has not seen the beginning of.
        if self.wake.get().is_some() || !progress.begun.is_empty() {
            self.wait(None, progress)?;
        }
        self.take(progress, buffers)
    }

    /// As [`receive`](Self::receive), but gives up at the deadline; says whether it has
    /// received a message.
    pub(crate) fn receive_by(
        &self,
        deadline: Option<Instant>,
        progress: &mut Progress,
        buffers: &mut Buffers,
    ) -> Result<bool, Error> {
        self.usable()?;
        self.pause(deadline, progress)?;
        if !self.wait(deadline, progress)? {
            return Ok(false);
        }
        self.take(progress, buffers).map(|()| true)
    }

    /// As [`receive`](Self::receive), but does not wait, not even for the rest of
    /// a message, and takes no notice of an interrupter; says whether it has received a
    /// message.
    pub(crate) fn try_receive(
        &self,
        progress: &mut Progress,
        buffers: &mut Buffers,
    ) -> Result<bool, Error> {
        self.usable()?;
        if !self.has_message(progress)? {
            return Ok(false);
        }
        self.take(progress, buffers).map(|()| true)
    }

    /// Receives the message that is there, or waits for one that has not begun.
    #[inline]
    fn take(&self, progress: &mut Progress, buffers: &mut Buffers) -> Result<(), Error> {
        let begun = &mut progress.begun;
        let received = if begun.is_empty() {
            self.raw.receive(buffers)
        } else {
            self.raw.receive_begun(begun, self.private_group.into(), buffers)
        };
        received.map_err(|error| self.receive_error(error))?;
        progress.coalescing.received(buffers.body_len());
        Ok(())
    }

    /// Sleeps if a message has to be waited for while they keep coming, so that several
    /// come meanwhile.
    #[inline]
    fn pause(&self, deadline: Option<Instant>, progress: &mut Progress) -> Result<(), Error> {
        if !progress.coalescing.is_due() {
            return Ok(());
        }
        let waits = self.raw.would_wait().map_err(|error| self.receive_error(error))?;
        if let Some(time) = progress.coalescing.look(waits) {
            let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
            thread::sleep(deadline.map_or(time, |deadline| left(deadline).min(time)));
        }
        Ok(())
    }

    /// Waits until a message is there, all of it, or none will be; `false` if
    /// that does not happen in time.
    fn wait(&self, deadline: Option<Instant>, progress: &mut Progress) -> Result<bool, Error> {
        let wake = self.wake.get().map(|wake| wake.as_fd());
        while !self.has_message(progress)? {
            let readable = self.raw.wait_readable(wake, deadline).map_err(Error::Io)?;
            self.heed(readable)?;
            if !readable.mailbox && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has_message(&self, progress: &mut Progress) -> Result<bool, Error> {
        self.raw.has_message(&mut progress.begun).map_err(|error| self.receive_error(error))
    }

    /// What went wrong in a receive; none can follow, because the library may be
    /// within a message.
    #[cold]
    fn receive_error(&self, error: ReceiveError) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        match error {
            ReceiveError::TooLong(len) => Error::Protocol(ProtocolError::TooLong(len)),
            ReceiveError::Code(code) => match code.known() {
                Some(ErrorCode::IllegalMessage) => Error::Protocol(ProtocolError::Header),
                _ => session_error("SP_receive", code),
            },
            ReceiveError::Io(error) => Error::Io(error),
        }
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

    /// Notes that a message has not gone, at least not all of it: nothing can follow.
    #[cfg(feature = "tokio")]
    pub(crate) fn send_failed(&self) -> Error {
        self.broken.store(true, Ordering::Relaxed);
        Error::ConnectionClosed
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        if !self.raw.is_ours() {
            return Err(Error::Forked);
        }
        if self.broken.load(Ordering::Relaxed) { Err(Error::ConnectionClosed) } else { Ok(()) }
    }

    pub(crate) fn disconnect(self) -> Result<(), Error> {
        if !self.raw.is_ours() {
            return Err(Error::Forked);
        }
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
